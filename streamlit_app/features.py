"""The tab that sets a recording's acoustic features beside the corpus's, emotion by emotion."""

import csv
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from edge import audio
from streamlit_app import pictures
from streamlit_app.hearing import Model, hear, literal, remembered

CORPUS = Path(__file__).resolve().parent.parent / "docs" / "corpus"
ACCENT, OTHER = "#2f8fae", "#d55e00"  # readable on light and on dark, and told apart in grey
INK = "#7d8899"
LOUDNESS = "loudness_lufs"
SCALARS = {
    LOUDNESS: "Loudness, LUFS",
    "hpss_percussive_db": "Percussive power, dB",
    "pitch_median_hz": "Pitch, median, Hz",
    "pitch_range": "Pitch, range, semitones",
    "pitch_slope": "Pitch, slope, semitones a second",
    "pitch_voiced": "Voiced share of the frames",
    "hpss_harmonic_share": "Harmonic share of the power",
    "centroid_mean": "Spectral centroid, Hz",
    "rolloff_mean": "Roll-off (85 %), Hz",
    "zcr_mean": "Zero crossings, share of the samples",
}
NOTES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
PROFILES = {  # MFCC 0 is the level, which loudness tells better
    "MFCC": [(f"mfcc_{k:02d}_mean", f"{k}") for k in range(1, 13)],
    "Chroma": [(f"chroma_{k:02d}_mean", note) for k, note in enumerate(NOTES)],
    "Spectral contrast, dB": [(f"contrast_{k}_mean", f"band {k}") for k in range(7)],
}
MOST_POINTS = 1_500  # of a contour
LEAST_POWER = 1e-8  # -80 dBFS, below which the page speaks of silence


class Described(NamedTuple):
    """What is measured of the first minute of a recording.

    Attributes:
        values: By descriptor, as :func:`ser_tf.descriptors.describe` names them, and its loudness.
        level: Frames of 25 ms: seconds and level, dBFS.
        pitch: Frames of 16 ms: seconds and pitch, Hz; NaN where there is no voice.
        seconds: Length of what was measured.
        whole: Whether that is all of the recording.
    """

    values: dict[str, float]
    level: pd.DataFrame
    pitch: pd.DataFrame
    seconds: float
    whole: bool


def show(model: Model, recording: UploadedFile | None) -> None:
    """Measure the recording of the tab Listen and set it beside the corpus."""
    if recording is None:
        st.info("Upload or record a voice in the tab Listen; its features are shown here.")
        return
    key = (model.key, recording.file_id)
    heard = remembered("heard", key, partial(hear, model.classifier, recording))
    if heard.problem:
        st.error(
            literal(f"This recording cannot be used. {heard.problem}"), icon=":material/error:"
        )
        return
    with st.spinner("Measuring"):
        described = remembered("described", recording.file_id, partial(describe, recording))
    answer = heard.prediction.emotion
    said = f"heard as {literal(answer)}" if answer else "silent"
    st.write(f"**{literal(recording.name)}**, {said}.")
    if not described.whole:
        st.caption(f"Measured on the first {pictures.PICTURED:.0f} seconds.")
    _contours(described)
    if not (CORPUS / "descriptors.csv").is_file():
        st.write("The tables of the corpus (docs/corpus) are not beside this page.")
        return
    _comparisons(described, answer)


def describe(recording: BinaryIO) -> Described:
    """Measure a recording.

    Args:
        recording: A binary stream that holds a complete audio file.
    """
    import pyloudnorm

    from ser_tf import descriptors

    waveform, whole = pictures.beginning(recording)
    values = descriptors.describe(waveform)
    seconds = len(waveform) / audio.SAMPLE_RATE
    block = min(0.4, seconds)  # of the gate of BS.1770
    meter = pyloudnorm.Meter(audio.SAMPLE_RATE, block_size=block)
    with np.errstate(divide="ignore"):
        loudness = float(meter.integrated_loudness(waveform.astype(np.float64)))
    values[LOUDNESS] = loudness if np.isfinite(loudness) else float("nan")
    level = 10.0 * np.log10(np.maximum(audio.frame_power(waveform), LEAST_POWER))
    pitch = descriptors.pitch_contour(waveform)
    return Described(
        values,
        _contour(level, audio.HOP_SECONDS),
        _contour(pitch, descriptors.HOP / audio.SAMPLE_RATE),
        seconds,
        whole,
    )


@st.cache_data(max_entries=1, show_spinner=False)
def distributions() -> pd.DataFrame:
    """Mean and standard deviation of each descriptor over the corpus's recordings.

    Returns:
        Columns ``descriptor``, ``emotion``, ``mean``, ``deviation``, from what
        ``python -m ser_tf.explore`` has written of RAVDESS.
    """
    wide = pd.read_csv(CORPUS / "descriptors.csv").set_index("descriptor")
    emotions = [name.removesuffix(" mean") for name in wide if name.endswith(" mean")]
    rows = [
        (descriptor, emotion, wide.at[descriptor, f"{emotion} mean"], deviation)
        for emotion in emotions
        for descriptor, deviation in wide[f"{emotion} deviation"].items()
    ]
    loudness = defaultdict(list)
    with (CORPUS / "files.csv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            if row["loudness"]:
                loudness[row["emotion"]].append(float(row["loudness"]))
    rows += [(LOUDNESS, name, np.mean(each), np.std(each)) for name, each in loudness.items()]
    return pd.DataFrame(rows, columns=["descriptor", "emotion", "mean", "deviation"])


def _contour(values: np.ndarray, hop: float) -> pd.DataFrame:
    table = pd.DataFrame({"seconds": np.arange(len(values)) * hop, "value": values})
    return table.iloc[:: max(1, len(table) // MOST_POINTS)]


def _contours(described: Described) -> None:
    st.header("Over time", anchor=False)
    st.altair_chart(
        _line(described.level, described.seconds, "level, dBFS", "Level of the recording over time")
    )
    if described.pitch["value"].notna().any():
        title = "pitch, Hz"
        st.altair_chart(
            _line(described.pitch, described.seconds, title, "Pitch of the voice over time", 12)
        )
    else:
        st.caption("Nothing in it is voiced, so it has no pitch.")


def _line(
    table: pd.DataFrame, seconds: float, title: str, description: str, dots: int = 0
) -> alt.Chart:
    chart = alt.Chart(table, description=description)
    mark = (
        chart.mark_circle(size=dots, color=ACCENT)
        if dots
        else chart.mark_line(color=ACCENT, strokeWidth=1.5)
    )
    return mark.encode(
        x=pictures.seconds_axis(seconds),
        y=alt.Y(
            "value:Q",
            title=title,
            scale=alt.Scale(zero=False),
            axis=alt.Axis(minExtent=pictures.MARGIN - 20, tickCount=4),
        ),
        tooltip=[
            alt.Tooltip("seconds:Q", format=".2f"),
            alt.Tooltip("value:Q", title=title, format=".1f"),
        ],
    ).properties(height=190)


def _comparisons(described: Described, answer: str | None) -> None:
    corpus = distributions()
    st.header("Beside the corpus", anchor=False)
    st.caption(
        "RAVDESS, 2,452 recordings: mean, and one standard deviation to both sides, by the emotion "
        "that was acted. Levels depend on the microphone as much as on the voice."
    )
    name = st.selectbox(
        "Feature",
        list(SCALARS),
        format_func=SCALARS.__getitem__,
        key="scalar",
        persist_state="page",
    )
    value = described.values[name]
    st.altair_chart(_strip(corpus[corpus["descriptor"] == name], value, SCALARS[name]))
    if not np.isfinite(value):
        st.caption("This recording has no such value.")
    kind, against = st.columns(2)
    profile = kind.selectbox("Profile", list(PROFILES), key="profile", persist_state="page")
    emotions = corpus["emotion"].unique().tolist()
    emotion = against.selectbox(
        "Beside recordings acted as",
        emotions,
        index=emotions.index(answer) if answer in emotions else 0,
    )
    st.altair_chart(_profile(corpus, described.values, profile, emotion))
    st.caption(f"With dots: this recording. The band: recordings acted as {emotion}.")


def _strip(table: pd.DataFrame, value: float, title: str) -> alt.LayerChart | alt.FacetChart:
    table = table.assign(
        low=table["mean"] - table["deviation"], high=table["mean"] + table["deviation"]
    )
    description = f"{title}: the corpus by emotion, and this recording as a line."
    base = alt.Chart(table).encode(
        y=alt.Y(
            "emotion:N",
            sort=None,
            title=None,
            axis=alt.Axis(minExtent=pictures.MARGIN, labelOverlap=False),
        ),
        tooltip=[
            "emotion",
            alt.Tooltip("mean:Q", format=".3~f"),
            alt.Tooltip("deviation:Q", format=".3~f"),
        ],
    )
    layers = [
        base.mark_bar(height=8, cornerRadius=4, color=ACCENT, opacity=0.35).encode(
            x=alt.X("low:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6)),
            x2="high:Q",
        ),
        base.mark_point(filled=True, size=70, color=ACCENT, opacity=1).encode(x="mean:Q"),
    ]
    if np.isfinite(value):
        here = alt.Chart(pd.DataFrame({"value": [value], "words": ["this recording"]}))
        layers += [
            here.mark_rule(color=OTHER, strokeWidth=2).encode(x="value:Q"),
            here.mark_text(color=OTHER, dy=-8, baseline="bottom").encode(
                x="value:Q", y=alt.value(0), text="words"
            ),
        ]
    return alt.layer(*layers).properties(height=300, description=description)


def _profile(
    corpus: pd.DataFrame, values: dict[str, float], profile: str, emotion: str
) -> alt.LayerChart | alt.FacetChart:
    names = dict(PROFILES[profile])
    table = corpus[(corpus["emotion"] == emotion) & corpus["descriptor"].isin(list(names))]
    table = table.assign(
        low=table["mean"] - table["deviation"],
        high=table["mean"] + table["deviation"],
        here=table["descriptor"].map(values),
        part=table["descriptor"].map(names),
    )
    description = f"{profile} of this recording beside recordings acted as {emotion}."
    base = alt.Chart(table).encode(
        x=alt.X("part:N", sort=list(names.values()), title=None, axis=alt.Axis(labelAngle=0))
    )
    range_axis = alt.Y(
        "low:Q",
        title=profile,
        scale=alt.Scale(zero=False),
        axis=alt.Axis(minExtent=pictures.MARGIN - 20),
    )
    here = base.mark_line(color=OTHER, point={"color": OTHER, "filled": True}).encode(
        y="here:Q",
        tooltip=[
            alt.Tooltip("part", title=profile),
            alt.Tooltip("here:Q", title="this recording", format=".2f"),
            alt.Tooltip("mean:Q", title=emotion, format=".2f"),
        ],
    )
    return alt.layer(
        base.mark_area(color=ACCENT, opacity=0.25).encode(y=range_axis, y2="high:Q"),
        base.mark_line(color=ACCENT).encode(y="mean:Q"),
        here,
    ).properties(height=280, description=description)
