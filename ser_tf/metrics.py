"""Figures of a classifier on labelled recordings. Nothing here reads a file or a model.

Every function takes the truth as label names and the answers as probabilities ``float[n, L]`` in
the order of ``labels`` (L of them). A row of zeros means that the recording was answered as
silence: it has a truth that was missed, so it counts as wrong everywhere, and as nothing else
(unless a label is itself called ``silence``; then it is that label).

Classes that the truth does not contain are left out of every mean over classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    recall_score,
)

SILENCE = "silence"
CALIBRATION_BINS = 15
RESAMPLES = 1_000
LEVEL = 0.95
BOOTSTRAP_SEED = 42
THRESHOLDS = tuple(k / 20 for k in range(20))  # 0 to 0.95
LEAST_PROBABILITY = 1e-9  # keeps the logarithm finite
SLICED = ("channel", "gender", "intensity")


def possible(labels: Sequence[str]) -> list[str]:
    """What can be answered: the labels, and silence."""
    return [*labels] if SILENCE in labels else [*labels, SILENCE]


def answers(probabilities: ArrayLike, labels: Sequence[str]) -> list[str]:
    """The most probable label of each row, or ``"silence"`` for a row of zeros.

    Args:
        probabilities: float[n, L].
        labels: The L labels, in column order.
    """
    rows = _rows(probabilities, labels)
    return [labels[row.argmax()] if row.any() else SILENCE for row in rows]


def confusion(truth: Sequence[str], answered: Sequence[str], labels: Sequence[str]) -> NDArray:
    """Counts int[L, L + 1]: rows are the truth, columns the answer as in :func:`possible`."""
    columns = possible(labels)
    if not truth:
        return np.zeros((len(labels), len(columns)), int)
    return confusion_matrix(truth, answered, labels=columns)[: len(labels)]


def calibration_error(
    truth: Sequence[str], probabilities: ArrayLike, labels: Sequence[str]
) -> float | None:
    """Expected calibration error of the answered label (Guo et al., 2017, arXiv:1706.04599).

    15 bins of equal width over the confidence, each open below and closed above; the mean, weighted
    by count, of |accuracy − mean confidence|. Recordings answered as silence carry no confidence
    and are left out; None where nothing else remains.
    """
    rows = _rows(probabilities, labels)
    voiced = rows.any(axis=1)
    if not voiced.any():
        return None
    confidence = rows[voiced].max(axis=1)
    right = np.asarray(truth)[voiced] == np.asarray(answers(rows, labels))[voiced]
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    bins = np.digitize(confidence, edges[1:-1], right=True)
    gap = np.bincount(bins, weights=right - confidence, minlength=CALIBRATION_BINS)
    return float(np.abs(gap).sum() / len(confidence))


def unscaled(probabilities: ArrayLike, temperature: float) -> NDArray[np.float64]:
    """Probabilities as they were before their logits were divided by a temperature.

    Args:
        probabilities: float[n, L]; a row of zeros stays one.
        temperature: What the logits were divided by.

    Returns:
        float64[n, L]: softmax(temperature · log p).
    """
    rows = np.asarray(probabilities, np.float64)
    logits = temperature * np.log(np.maximum(rows, LEAST_PROBABILITY))
    return np.where(rows.any(axis=1, keepdims=True), softmax(logits, axis=1), 0.0)


def coverage_accuracy(
    truth: Sequence[str], probabilities: ArrayLike, labels: Sequence[str]
) -> list[dict[str, float | None]]:
    """What is gained by answering only where the model is confident (selective classification).

    Returns:
        For each of :data:`THRESHOLDS` ``{"threshold", "coverage", "accuracy"}``: the share of
        recordings whose confidence reaches the threshold, and the accuracy among these (None where
        there are none). Silence has confidence 0, so the first row is that of all recordings.
    """
    rows = _rows(probabilities, labels)
    confidence = rows.max(axis=1)
    right = np.asarray(truth) == np.asarray(answers(rows, labels))
    curve: list[dict[str, float | None]] = []
    for threshold in THRESHOLDS:
        answered = confidence >= threshold
        accuracy = float(right[answered].mean()) if answered.any() else None
        coverage = float(answered.mean())
        curve.append({"threshold": threshold, "coverage": coverage, "accuracy": accuracy})
    return curve


def under_conditions(
    truth: Sequence[str],
    clean: ArrayLike,
    degraded: Mapping[str, ArrayLike],
    labels: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Figures under each condition.

    Args:
        truth: n label names.
        clean: float[n, L]: the answers to the recordings as they are.
        degraded: The answers to them under each condition, float[n, L] each.
        labels: The L labels, in column order.

    Returns:
        ``{condition: {"accuracy", "uar", "weighted_f1", "loss"}}``; the loss is the clean accuracy
        minus that of the condition.
    """
    before = overall(truth, answers(clean, labels))["accuracy"]
    table = {}
    for condition, probabilities in degraded.items():
        figures = overall(truth, answers(probabilities, labels))
        table[condition] = {key: figures[key] for key in ("accuracy", "uar", "weighted_f1")}
        table[condition]["loss"] = before - figures["accuracy"]
    return table


def by_class(
    truth: Sequence[str], answered: Sequence[str], labels: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Count, precision, recall, F1 and accuracy of each label.

    The accuracy of a class is the share of its recordings that were answered rightly, which is the
    diagonal of the row-normalised confusion matrix and what the field's per-class tables show. It
    equals recall by definition; both stand here because both are asked for. A class without
    recordings has None for recall, F1 and accuracy; a class never answered has precision 0.
    """
    precision, recall, f1, count = precision_recall_fscore_support(
        truth, answered, labels=list(labels), zero_division=0
    )
    table = {}
    for index, label in enumerate(labels):
        present = bool(count[index])
        hit = float(recall[index]) if present else None
        table[label] = {
            "count": int(count[index]),
            "precision": float(precision[index]) if present or label in answered else None,
            "recall": hit,
            "f1": float(f1[index]) if present else None,
            "accuracy": hit,
        }
    return table


def overall(truth: Sequence[str], answered: Sequence[str]) -> dict[str, float]:
    """Accuracy, weighted F1, macro F1 and UAR (unweighted average recall).

    The means run over the classes that the truth contains, so an emotion that a corpus lacks does
    not pull them down; answering it is still wrong, and lowers the recall of the class it was.
    """
    present = sorted(set(truth))
    mean: dict[str, Any] = {"labels": present, "zero_division": 0}
    return {
        "accuracy": float(accuracy_score(truth, answered)),
        "weighted_f1": float(f1_score(truth, answered, average="weighted", **mean)),
        "macro_f1": float(f1_score(truth, answered, average="macro", **mean)),
        "uar": float(recall_score(truth, answered, average="macro", **mean)),
    }


def among_present(
    truth: Sequence[str], probabilities: ArrayLike, labels: Sequence[str]
) -> dict[str, Any] | None:
    """Figures where the most probable of the emotions that the truth contains is the answer.

    A corpus of four emotions is answered with four, as somebody would have it who knows that no
    other occurs. Silence stays silence.

    Returns:
        ``{"labels": [...]}`` with the keys of :func:`overall`; None where the truth contains all
        labels, or one alone, which leaves nothing to tell apart.
    """
    occurring = set(truth)
    present = [label for label in labels if label in occurring]
    if len(present) in (1, len(labels)):
        return None
    rows = _rows(probabilities, labels)
    chosen = rows[:, [labels.index(label) for label in present]].argmax(axis=1)
    answered = [
        present[index] if row.any() else SILENCE for index, row in zip(chosen, rows, strict=True)
    ]
    return {"labels": present, **overall(truth, answered)}


def intervals(
    truth: Sequence[str],
    answered: Sequence[str],
    labels: Sequence[str],
    speakers: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = BOOTSTRAP_SEED,
) -> dict[str, Any]:
    """95 % percentile intervals of accuracy, weighted F1 and UAR by bootstrap over speakers.

    Recordings of one voice succeed and fail together, so whole speakers are drawn with replacement
    (the cluster bootstrap), each draw as many as there are. A recording whose speaker is unknown
    (``""``) is a unit of its own. With fewer than two units there is nothing to draw from, and the
    intervals are None.

    Returns:
        ``{"over": "speakers" | "recordings", "units", "resamples", "level", "accuracy":
        [low, high], "weighted_f1": …, "uar": …}``; ``over`` is ``"recordings"`` where no speaker
        is known.
    """
    unit_of: dict[object, int] = {}
    unit = [unit_of.setdefault(name or n, len(unit_of)) for n, name in enumerate(speakers)]
    known = any(speakers)
    result: dict[str, Any] = {
        "over": "speakers" if known else "recordings",
        "units": len(unit_of),
        "resamples": resamples,
        "level": LEVEL,
    }
    names = ("accuracy", "weighted_f1", "uar")
    if len(unit_of) < 2:
        return result | dict.fromkeys(names)

    column = {label: index for index, label in enumerate(possible(labels))}
    counts = np.zeros((len(unit_of), len(labels), len(column)))
    rows = [column[label] for label in truth]
    np.add.at(counts, (unit, rows, [column[label] for label in answered]), 1)
    counts = counts.reshape(len(unit_of), -1)

    rng = np.random.default_rng(seed)
    drawn = np.empty((resamples, len(names)))
    for index in range(resamples):
        picked = rng.integers(len(unit_of), size=len(unit_of))
        pooled = np.bincount(picked, minlength=len(unit_of)) @ counts
        drawn[index] = _of_counts(pooled.reshape(len(labels), -1))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(drawn, (tail, 1 - tail), axis=0)
    return result | {name: [float(low[k]), float(high[k])] for k, name in enumerate(names)}


def slices(
    truth: Sequence[str], answered: Sequence[str], traits: Sequence[Mapping[str, str]]
) -> dict[str, dict[str, dict[str, float]]]:
    """``{trait: {value: {"count", "accuracy", "uar"}}}`` for known :data:`SLICED` traits."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    for trait in SLICED:
        values = sorted({known[trait] for known in traits if trait in known})
        if values:
            result[trait] = {}
        for value in values:
            chosen = [n for n, known in enumerate(traits) if known.get(trait) == value]
            figures = overall([truth[n] for n in chosen], [answered[n] for n in chosen])
            result[trait][value] = {
                "count": len(chosen),
                "accuracy": figures["accuracy"],
                "uar": figures["uar"],
            }
    return result


def measure(
    truth: Sequence[str],
    probabilities: ArrayLike,
    labels: Sequence[str],
    *,
    speakers: Sequence[str] | None = None,
    traits: Sequence[Mapping[str, str]] | None = None,
    temperature: float | None = None,
) -> dict[str, Any]:
    """All figures of one evaluation, ready for JSON.

    ``"among_present"`` is there where :func:`among_present` finds a label that the truth lacks.

    Args:
        truth: n label names, each one of ``labels``.
        probabilities: float[n, L]; a row of zeros where the answer was silence.
        labels: The L labels, in column order.
        speakers: n speaker names, ``""`` where unknown; None where none is known.
        traits: n mappings such as ``{"gender": "female"}``.
        temperature: What the model divides its logits by, where known; adds ``"temperature"``, and
            ``"ece_unscaled"``, the calibration error without it.

    Raises:
        ValueError: If there is nothing to measure, the lengths differ or a truth is no label.
    """
    rows = _rows(probabilities, labels)
    if not len(truth) or len(truth) != len(rows):
        raise ValueError(f"{len(truth)} labels for {len(rows)} answers")
    if foreign := sorted(set(truth) - set(labels)):
        raise ValueError(f"no such label: {', '.join(foreign)}")
    answered = answers(rows, labels)
    narrowed = among_present(truth, rows, labels)
    calibration: dict[str, float | None] = {"ece": calibration_error(truth, rows, labels)}
    if temperature is not None:
        raw = unscaled(rows, temperature)
        calibration["ece_unscaled"] = calibration_error(truth, raw, labels)
        calibration["temperature"] = temperature
    return {
        "count": len(truth),
        "silent": answered.count(SILENCE),
        **overall(truth, answered),
        **calibration,
        **({} if narrowed is None else {"among_present": narrowed}),
        "coverage": coverage_accuracy(truth, rows, labels),
        "intervals": intervals(truth, answered, labels, speakers or [""] * len(truth)),
        "classes": by_class(truth, answered, labels),
        "confusion": {
            "truth": list(labels),
            "answer": possible(labels),
            "counts": confusion(truth, answered, labels).tolist(),
        },
        "slices": slices(truth, answered, traits or []),
    }


def _rows(probabilities: ArrayLike, labels: Sequence[str]) -> NDArray[np.float64]:
    return np.asarray(probabilities, np.float64).reshape(-1, len(labels))


def _of_counts(counts: NDArray) -> tuple[float, float, float]:
    """Accuracy, weighted F1 and UAR of a confusion matrix, over the classes present."""
    right = np.diagonal(counts)
    truth = counts.sum(axis=1)
    f1 = 2 * right / np.maximum(truth + counts.sum(axis=0)[: len(counts)], 1)
    present = truth > 0
    uar = (right[present] / truth[present]).mean()
    return right.sum() / truth.sum(), (f1 * truth).sum() / truth.sum(), uar
