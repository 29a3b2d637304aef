"""Sections: how often a model is right, on what, and what it takes for what."""

from collections import Counter

import numpy as np

from ser_tf import metrics, plots
from ser_tf.model_report.material import Material, bounds, percent, with_interval
from ser_tf.report import Report

MOST_VALUES = 12  # a trait with more of them is no slicing


def overall(report: Report, material: Material) -> None:
    """Add the tables of the protocol: all recordings, and each emotion."""
    figures = material.figures
    spread = figures["intervals"]
    report.section("Accuracy")
    named = {
        "accuracy": "accuracy",
        "weighted F1": "weighted_f1",
        "macro F1": "macro_f1",
        "UAR": "uar",
        "ECE": "ece",
    }
    rows = [[name, percent(figures[key]), bounds(spread.get(key))] for name, key in named.items()]
    report.table(
        ["figure", "%", "95 % interval"],
        rows,
        caption=f"{material.what}. UAR is the mean recall of the emotions, ECE the "
        f"expected calibration error over {metrics.CALIBRATION_BINS} bins. Intervals by bootstrap "
        f"over {spread['units']} {spread['over']}"
        + f"; {figures['silent']} recordings answered as silence count as wrong"
        * bool(figures["silent"])
        + ".",
        name="figures",
    )
    classes = []
    for label, row in figures["classes"].items():
        spoken, given = material.truth == label, material.answered == label
        hit = spoken & given
        shares = {
            "precision": (hit, given),
            "recall": (hit, spoken),
            "f1": (2 * hit, spoken * 1 + given),
        }
        cells = [
            with_interval(row[key], material.bootstrap.interval(part, whole))
            for key, (part, whole) in shares.items()
        ]
        classes.append([label, row["count"], *cells])
    report.table(
        ["emotion", "recordings", "precision, %", "recall, %", "F1, %"],
        classes,
        caption=f"{material.what}. In brackets 95 % intervals. Recall is the accuracy among the "
        "recordings of an emotion.",
        name="classes",
    )


def confusion(report: Report, material: Material) -> None:
    """Add the confusion matrix, as shares and as counts."""
    matrix = material.figures["confusion"]
    counts, truth, answer = matrix["counts"], matrix["truth"], matrix["answer"]
    report.section("Confusion matrix")
    drawn: dict[plots.Shown, str] = {
        "rates": "Shares of each emotion's recordings",
        "counts": "Counts",
    }
    for shown, words in drawn.items():
        report.figure(
            plots.confusion_matrix(
                counts, truth, answer, title=f"{material.what}, {shown}", shown=shown
            ),
            f"confusion-{shown}",
            caption=f"{words}: rows are the truth, columns the answer. {material.what}.",
            alt=f"Confusion matrix as {shown}; the most frequent confusion is "
            f"{_worst_confusion(material)}.",
        )
    report.table(
        ["truth", *answer, "recordings"],
        [[name, *row, sum(row)] for name, row in zip(truth, counts, strict=True) if any(row)],
        caption=f"The counts as a table. {material.what}.",
        name="confusion",
    )


def _worst_confusion(material: Material) -> str:
    wrong = ~material.right
    pairs = Counter(zip(material.truth[wrong], material.answered[wrong], strict=True))
    if not pairs:
        return "none, for all answers are right"
    (truth, answer), count = pairs.most_common(1)[0]
    return f"{truth} answered as {answer}, {count} times"


def slices(report: Report, material: Material) -> None:
    """Add the accuracy by every trait of the recordings that has few values."""
    recordings, answers = material.answers.recordings, material.answers
    traits = sorted({trait for recording in recordings for trait in recording.traits})
    rows: list[list[object]] = []
    drawn: list[plots.Row] = []
    for trait in traits:
        of_each = np.array([recording.traits.get(trait, "") for recording in recordings])
        values = sorted({*of_each} - {""})
        if not 2 <= len(values) <= MOST_VALUES:
            continue
        for value in values:
            chosen = of_each == value
            truth, answered = material.truth[chosen].tolist(), material.answered[chosen].tolist()
            figures = metrics.overall(truth, answered)
            spread = metrics.intervals(
                truth,
                answered,
                answers.labels,
                [r.speaker for r, inside in zip(recordings, chosen, strict=True) if inside],
            )
            cells = [with_interval(figures[key], spread[key]) for key in ("accuracy", "uar")]
            rows.append([f"{trait}: {value}", len(truth), *cells])
            name = f"{trait}: {value} ({len(truth):,})"
            drawn.append((name, figures["accuracy"], spread["accuracy"]))
    if not rows:
        return
    report.section("Kinds of recordings")
    report.figure(
        plots.dots(
            drawn,
            title=material.what,
            label="accuracy, with 95 % intervals",
            reference=material.figures["accuracy"],
            reference_name="all recordings",
        ),
        "slices",
        caption=f"Accuracy by what is known of the recordings. {material.what}.",
        alt="A dot for each kind of recording; the values are in the table.",
    )
    report.table(
        ["kind", "recordings", "accuracy, %", "UAR, %"],
        rows,
        caption=f"{material.what}. In brackets 95 % intervals, by bootstrap over the "
        f"{material.bootstrap.over} of each kind.",
        name="slices",
    )


def conditions(report: Report, material: Material) -> None:
    """Add the accuracy under each condition of the ``robust`` protocol, the costliest first."""
    robust = material.figures["robust"]
    right = material.right.astype(float)
    every = np.ones(len(right))
    rows: list[list[object]] = []
    drawn: list[plots.Row] = []
    by_loss = sorted(
        material.answers.degraded, key=lambda condition: robust[condition]["loss"], reverse=True
    )
    for condition in by_loss:
        row = robust[condition]
        answered = metrics.answers(material.answers.degraded[condition], material.answers.labels)
        then = (np.array(answered) == material.truth).astype(float)
        spread = material.bootstrap.interval(then, every)
        drawn.append((condition, row["accuracy"], spread))
        rows.append(
            [
                condition,
                with_interval(row["accuracy"], spread),
                percent(row["uar"]),
                percent(row["weighted_f1"]),
                with_interval(row["loss"], material.bootstrap.interval(right - then, every)),
            ]
        )
    report.section("Levels, noise, rooms and codecs")
    report.text(
        f"The same recordings, degraded. On average over the {len(rows)} conditions "
        f"{percent(robust['mean_loss'])} points of accuracy are lost; at another distance to the "
        f"microphone (the worse of −10 and +10 dB) {percent(robust['gain_loss'])}."
    )
    report.figure(
        plots.dots(
            drawn,
            title=material.what,
            label="accuracy, with 95 % intervals",
            reference=material.figures["accuracy"],
            reference_name="as recorded",
        ),
        "conditions",
        caption=f"Accuracy under each condition, the costliest first. {material.what}.",
        alt=f"A dot for each condition; the costliest is {by_loss[0]}.",
    )
    report.table(
        ["condition", "accuracy, %", "UAR, %", "weighted F1, %", "accuracy lost, points"],
        rows,
        caption=f"{material.what}. In brackets 95 % intervals by bootstrap over "
        f"{material.bootstrap.units} {material.bootstrap.over}.",
        name="conditions",
    )
