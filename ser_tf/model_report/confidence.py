"""Sections: whether a model's confidence can be relied on, and where it misled."""

import io

import numpy as np
import soundfile

from edge import audio
from ser_tf import metrics, plots
from ser_tf.answers import Answers
from ser_tf.calibration import reliability
from ser_tf.model_report.material import Material, bounds, percent
from ser_tf.report import Report
from ser_tf.tables import SHOWN_THRESHOLDS

MISTAKES = 20  # the most confident ones are listed
PLAYED_SECONDS = 30.0


def calibration(report: Report, material: Material) -> None:
    """Add the reliability diagram, with and without the temperature where it is known."""
    figures, answers = material.figures, material.answers
    truth = material.truth.tolist()
    bins = reliability(truth, answers.clean, answers.labels)
    before = None
    error = f"The expected calibration error is {percent(figures['ece']) or '–'} %"
    if answers.temperature is not None:
        raw = metrics.unscaled(answers.clean, answers.temperature)
        before = reliability(truth, raw, answers.labels)
        error += (
            f"; without the temperature of {answers.temperature:.2f} that the model divides its "
            f"logits by it would be {percent(figures['ece_unscaled']) or '–'} %"
        )
    report.section("Calibration")
    report.text(
        "Of the answers given with 80 % confidence, 80 % should be right. Points above the dotted "
        f"line are better than they claim, points below worse. {error}."
    )
    report.figure(
        plots.reliability(bins, before=before, title=material.what),
        "reliability",
        caption="Reliability diagram, and below how many answers of the model each bin holds. "
        f"{material.what}.",
        alt="Share of right answers against confidence, in 15 bins, with the number of answers in "
        "each below.",
    )
    sets = [bins] if before is None else [bins, before]
    columns = [
        f"{kind}{name}"
        for kind in ("", "raw ")[: len(sets)]
        for name in ("answers", "confidence, %", "right, %")
    ]
    rows = []
    for together in zip(*sets, strict=True):
        cells: list[object] = []
        for row in together:
            cells += [row["count"], percent(row["confidence"]), percent(row["accuracy"])]
        span = bounds((together[0]["above"], together[0]["up_to"]))
        rows.append([span, *cells])
    report.table(
        ["bin, %", *columns],
        rows,
        caption="The bins of the diagram: mean confidence and share of right answers"
        + "; raw: without temperature" * (before is not None)
        + f". {material.what}.",
        name="reliability-bins",
    )


def coverage(report: Report, material: Material) -> None:
    """Add the coverage–accuracy curve."""
    curve = material.figures["coverage"]
    report.section("Coverage and accuracy")
    report.text("What is gained by answering only where the model is sure enough.")
    report.figure(
        plots.coverage(curve, title=material.what, marked=SHOWN_THRESHOLDS[1:]),
        "coverage",
        caption="Accuracy among the recordings whose confidence reaches a threshold, against their "
        f"share. {material.what}.",
        alt="Accuracy rises as fewer recordings are answered; the values are in the table.",
    )
    report.table(
        ["answered from confidence", "answered, %", "accuracy among them, %"],
        [
            [f"{row['threshold']:.2f}", percent(row["coverage"]), percent(row["accuracy"])]
            for row in curve
        ],
        caption=f"The curve as a table. {material.what}.",
        name="coverage",
    )


def mistakes(report: Report, material: Material, embed_audio: bool) -> None:
    """Add the most confident mistakes, with players where they are asked for."""
    answers = material.answers
    confidence = answers.clean.max(axis=1)
    wrong = np.flatnonzero(~material.right & (confidence > 0))
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    report.section("Most confident mistakes")
    if not len(worst):
        report.text("There are none.")
        return
    rows: list[list[object]] = []
    for n in worst:
        second = int(np.argsort(-answers.clean[n], kind="stable")[1])
        rows.append(
            [
                answers.recordings[n].name,
                material.truth[n],
                material.answered[n],
                round(float(confidence[n]), 4),
                answers.labels[second],
                round(float(answers.clean[n][second]), 4),
            ]
        )
    report.table(
        ["recording", "truth", "answer", "confidence", "second choice", "its probability"],
        rows,
        caption=f"The {len(rows)} of {len(wrong):,} wrong answers that were given with the highest "
        f"confidence. {material.what}.",
        name="mistakes",
    )
    if embed_audio:
        report.text(
            "The recordings are part of this page, which may go no further than their licence lets "
            "them."
        )
        for n, row in zip(worst, rows, strict=True):
            report.audio(
                _player(answers, int(n)),
                "audio/flac",
                caption=f"{row[0]}: {row[1]}, answered {row[2]} ({confidence[n]:.0%})",
            )


def _player(answers: Answers, n: int) -> bytes:
    """The first seconds of a recording as the model heard it: FLAC, mono, 16 kHz."""
    waveform = next(audio.blocks(answers.recordings[n].path, PLAYED_SECONDS))
    with io.BytesIO() as file:
        soundfile.write(file, waveform, audio.SAMPLE_RATE, format="FLAC")
        return file.getvalue()
