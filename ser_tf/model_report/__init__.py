"""The report of an evaluation: how often a model is right, on what, and where it is not."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ser_tf import metrics
from ser_tf.answers import Answers
from ser_tf.bootstrap import Bootstrap
from ser_tf.latency import Latency
from ser_tf.model_report.accuracy import conditions, confusion, overall, slices
from ser_tf.model_report.against import against
from ser_tf.model_report.confidence import calibration, coverage, mistakes
from ser_tf.model_report.material import Material
from ser_tf.report import Report

PROTOCOLS = {
    "common": "a random fifth of the corpus, so that the same voices stand on both sides: "
    "comparable with other projects, and optimistic",
    "actors": "voices held out from training",
    "elsewhere": "the whole of a corpus that is none of those learnt from",
}


def build(
    figures: Mapping[str, Any],
    answers: Answers,
    latency: Latency,
    *,
    pair: tuple[Answers, Answers] | None = None,
    embed_audio: bool = False,
    unchecked: Sequence[str] = (),
) -> Report:
    """Make the report.

    Args:
        figures: The contents of ``metrics.json``, as :mod:`ser_tf.evaluate` makes them.
        answers: What they were made from.
        latency: Of the same model on the same recordings.
        pair: The answers that ``figures["against"]`` was made from, where it is there.
        embed_audio: Whether the page gets players of the worst mistakes. It then holds recordings
            and may go no further than they may.
        unchecked: Models that no ``split.json`` stands beside, so that it cannot be known whether
            they learnt from a recording.
    """
    speakers = [recording.speaker for recording in answers.recordings]
    corpus, split, count = figures["corpus"]["name"], figures["split"], figures["count"]
    material = Material(
        figures,
        answers,
        np.array([recording.emotion for recording in answers.recordings]),
        np.array(metrics.answers(answers.clean, answers.labels)),
        Bootstrap(speakers),
        f"{corpus}, split {split}: {count:,} recordings",
    )
    report = Report(f"{figures['model']['file']} on {corpus}", _lead(material, unchecked))
    overall(report, material)
    confusion(report, material)
    calibration(report, material)
    coverage(report, material)
    slices(report, material)
    if answers.degraded:
        conditions(report, material)
    if pair is not None:
        against(report, material, *pair)
    mistakes(report, material, embed_audio)
    _cost(report, material, latency)
    return report


def _lead(material: Material, unchecked: Sequence[str]) -> str:
    figures = material.figures
    voices = len({recording.speaker for recording in material.answers.recordings} - {""})
    split = figures["split"]
    meaning = PROTOCOLS.get(split.partition(":")[0])
    return (
        f"{figures['count']:,} recordings of {figures['corpus']['name']}"
        + f" by {voices} voices" * bool(voices)
        + f", split {split}"
        + f" ({meaning})" * bool(meaning)
        + ". "
        + (
            f"No split.json stands beside {' or '.join(unchecked)}, so whether any of them was "
            "learnt from could not be checked."
            if unchecked
            else "None of them was learnt from or used for choosing."
        )
        + f" {figures['left_out']} further ones could not be used." * bool(figures["left_out"])
    )


def _cost(report: Report, material: Material, latency: Latency) -> None:
    model = material.figures["model"]
    corpus, split = material.figures["corpus"]["name"], material.figures["split"]
    report.section("Latency and size")
    report.table(
        ["figure", "value"],
        [
            ["one answer, median", f"{latency.median:.1f} ms"],
            ["one answer, 95th percentile", f"{latency.p95:.1f} ms"],
            ["size of the file", f"{model['bytes']:,} bytes"],
            ["SHA-256 of the file", model["sha256"]],
        ],
        caption=f"{latency.clips:,} recordings of {corpus}, split {split}, {latency.seconds:.1f} s "
        f"long (median), one after the other on one thread: {latency.runtime}, "
        f"{latency.architecture}, model warm, from the decoded waveform to the answer.",
        name="cost",
    )
