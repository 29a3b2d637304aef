"""A picture of a recording that follows the player's position: waveform and emotions over time."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from streamlit_app.hearing import Trace

HERE = Path(__file__).resolve().parent


def draw(traced: Trace, labels: Sequence[str], least: float) -> None:
    """Draw a recording below its player, which stands in the container ``player``.

    Args:
        traced: The recording.
        labels: Of the model, in the order of the rows.
        least: Confidence, from 0 to 1, below which an answer is drawn as uncertain.
    """
    loudest = max(float(-traced.low.min()), float(traced.high.max()), 1e-4)
    heard = {part.emotion for part in traced.parts}
    rows = [label for label in labels if label in heard]
    parts = [
        {
            "start": round(start, 3),
            "end": round(end, 3),
            "row": rows.index(part.emotion) if part.emotion else -1,
            "confidence": round(part.confidence, 3),
            "uncertain": part.uncertain(least),
        }
        for part, (start, end) in zip(traced.parts, traced.spans, strict=True)
    ]
    _component()(
        data={
            "seconds": traced.seconds,
            "low": (traced.low / loudest).round(3).tolist(),
            "high": (traced.high / loudest).round(3).tolist(),
            "rows": rows,
            "parts": parts,
        },
        key="waveform",
    )


@cache
def _component() -> Any:
    return st.components.v2.component(
        "waveform",
        html='<div class="waveform"></div>',
        css=(HERE / "player.css").read_text(encoding="utf-8"),
        js=(HERE / "player.js").read_text(encoding="utf-8"),
    )
