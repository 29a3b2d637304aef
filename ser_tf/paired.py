"""Two models on the same recordings: is one better, and where do they differ?"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from ser_tf import metrics
from ser_tf.answers import Answers
from ser_tf.bootstrap import Bootstrap

DIFFERENCES = ("name", "truth", "answer", "confidence", "other answer", "other confidence", "right")
RIGHT = {(True, False): "this", (False, True): "other", (False, False): "neither"}


def mcnemar(this: ArrayLike, other: ArrayLike) -> dict[str, float]:
    """McNemar's exact test of two classifiers on the same recordings.

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947): where both are equally good, the recordings that only one
    of them gets right fall to either like a fair coin; so p is that of a two-sided binomial test.
    It takes recordings as independent, which those of one voice are not.

    Args:
        this: bool[n]: whether the one is right.
        other: bool[n]: whether the other is.

    Returns:
        ``{"this_alone", "other_alone", "p"}``: recordings that only one of them gets right, and
        the probability of a split at least as uneven.
    """
    first, second = np.asarray(this, bool), np.asarray(other, bool)
    this_alone, other_alone = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = this_alone + other_alone
    p = float(binomtest(this_alone, discordant, 0.5).pvalue) if discordant else 1.0
    return {"this_alone": this_alone, "other_alone": other_alone, "p": p}


def aligned(this: Answers, other: Answers) -> tuple[Answers, Answers]:
    """The answers of two models to the recordings that both could use, in one order."""
    both = {r.name for r in this.recordings} & {r.name for r in other.recordings}
    return this.only(lambda r: r.name in both), other.only(lambda r: r.name in both)


def compare(this: Answers, other: Answers) -> dict[str, Any]:
    """What one model gains over another.

    Args:
        this: The answers of the one, as :func:`aligned` returns them.
        other: Those of the other; it may know other labels.

    Returns:
        ``{"count", "accuracy", "other_accuracy", "difference", "interval", "over", "units",
        "differing", "mcnemar", "classes"}``: differences are this minus the other, their 95 %
        intervals by bootstrap over speakers; ``differing`` counts different answers, wrong ones
        included; ``classes`` holds the same by emotion, for those that were spoken.
    """
    truth = np.array([recording.emotion for recording in this.recordings])
    first, second = _answered(this), _answered(other)
    bootstrap = Bootstrap([recording.speaker for recording in this.recordings])
    right, other_right = first == truth, second == truth
    gain = right.astype(float) - other_right

    def among(chosen: np.ndarray) -> dict[str, Any]:
        return {
            "count": int(chosen.sum()),
            "accuracy": float(right[chosen].mean()),
            "other_accuracy": float(other_right[chosen].mean()),
            "difference": float(gain[chosen].mean()),
            "interval": bootstrap.interval(gain * chosen, chosen),
        }

    return {
        **among(np.ones(len(truth), bool)),
        "over": bootstrap.over,
        "units": bootstrap.units,
        "differing": int((first != second).sum()),
        "mcnemar": mcnemar(right, other_right),
        "classes": {label: among(truth == label) for label in this.labels if label in truth},
    }


def differences(this: Answers, other: Answers) -> list[list[object]]:
    """The recordings that two models answer differently, with the columns of :data:`DIFFERENCES`.

    Returns:
        First those that only this model gets right, then those that only the other does, then
        those that neither does; the clearest disagreement first.
    """
    order = list(RIGHT.values())
    rows: list[tuple[int, float, list[object]]] = []
    sure, other_sure = this.clean.max(axis=1), other.clean.max(axis=1)
    for n, (recording, answer, other_answer) in enumerate(
        zip(this.recordings, _answered(this), _answered(other), strict=True)
    ):
        if answer == other_answer:
            continue
        right = RIGHT[answer == recording.emotion, other_answer == recording.emotion]
        shown = [round(float(sure[n]), 4), round(float(other_sure[n]), 4)]
        row = [recording.name, recording.emotion, answer, shown[0], other_answer, shown[1], right]
        rows.append((order.index(right), -sum(shown), row))
    return [row for *_, row in sorted(rows, key=lambda entry: entry[:2])]


def write_differences(this: Answers, other: Answers, path: Path) -> None:
    """Write what :func:`differences` returns as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(DIFFERENCES)
        table.writerows(differences(this, other))


def names(this: Path, other: Path) -> tuple[str, str]:
    """What to call two model files: their names, with as many folders as tell them apart."""
    parts = this.resolve().parts, other.resolve().parts
    if parts[0] == parts[1]:
        return this.name, other.name
    count = next(n for n in range(1, 1 + max(map(len, parts))) if parts[0][-n:] != parts[1][-n:])
    return str(Path(*parts[0][-count:])), str(Path(*parts[1][-count:]))


def markdown(comparison: dict[str, Any]) -> list[str]:
    """What :func:`compare` returns, with ``"names"``, as the lines of a section."""
    this, other = comparison["names"]
    test = comparison["mcnemar"]
    lines = [
        "",
        f"## Against {other}",
        "",
        f"The same {comparison['count']} recordings; {comparison['differing']} are answered "
        f"differently. Differences in points, 95 % by bootstrap over {comparison['units']} "
        f"{comparison['over']}.",
        "",
        f"| accuracy | recordings | {this} | {other} | difference | 95 % interval |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in {"all": comparison, **comparison["classes"]}.items():
        low_high = row["interval"]
        cells = [
            name,
            str(row["count"]),
            f"{100 * row['accuracy']:.1f} %",
            f"{100 * row['other_accuracy']:.1f} %",
            f"{100 * row['difference']:+.1f}",
            " to ".join(f"{100 * end:+.1f}" for end in low_high) if low_high else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [
        *lines,
        "",
        f"{verdict(test)} (McNemar's exact test).",
    ]


def verdict(test: dict[str, float]) -> str:
    """What :func:`mcnemar` returns, in words."""
    return (
        f"{test['this_alone']} recordings are answered rightly by the first alone, "
        f"{test['other_alone']} by the second alone: p = {test['p']:.2g}"
    )


def _answered(answers: Answers) -> np.ndarray:
    given: Sequence[str] = metrics.answers(answers.clean, answers.labels)
    return np.array(given)
