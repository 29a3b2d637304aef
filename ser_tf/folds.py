"""What the folds of a protocol say together: figures of all their answers, and their spread."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ser_tf import evaluate
from ser_tf.answers import Answers, EvaluateError

FOLD_FIGURES = ("accuracy", "weighted_f1", "macro_f1", "uar", "ece", "ece_unscaled")


def pooled(together: Answers, folds: Mapping[str, Mapping[str, Any]], model: str) -> dict[str, Any]:
    """The figures of all folds' answers together, with their spread from fold to fold.

    Args:
        together: What :func:`joined` returns.
        folds: What :func:`ser_tf.evaluate.figures` returns of each fold, by its name.
        model: What the models are called.

    Returns:
        What :func:`ser_tf.evaluate.figures` returns, and ``"folds"``: ``"runs"``, ``"mean"`` and
        ``"sd"`` (of the sample; None for a single fold). ``"robust"`` holds means over the folds.
    """
    shown = [
        key for key in FOLD_FIGURES if all(fold.get(key) is not None for fold in folds.values())
    ]
    columns = {key: [fold[key] for fold in folds.values()] for key in shown}
    report = evaluate.measured(together) | {
        "model": {"file": model},
        "folds": {
            "runs": {
                name: {"count": fold["count"]} | {key: fold[key] for key in shown}
                for name, fold in folds.items()
            },
            "mean": {key: statistics.mean(column) for key, column in columns.items()},
            "sd": {
                key: statistics.stdev(column) if len(column) > 1 else None
                for key, column in columns.items()
            },
        },
    }
    if together.degraded:
        report["robust"] = evaluate.robust_summary(
            {
                condition: {
                    key: statistics.mean(fold["robust"][condition][key] for fold in folds.values())
                    for key in ("accuracy", "uar", "weighted_f1", "loss")
                }
                for condition in together.degraded
            }
        )
    return report


def joined(parts: Sequence[Answers]) -> Answers:
    """The answers of models that know the same labels, one after the other.

    Raises:
        EvaluateError: They know different ones.
    """
    first = parts[0]
    if any(part.labels != first.labels for part in parts):
        raise EvaluateError("the folds' models know different labels; train them alike")
    return Answers(
        first.labels,
        [recording for part in parts for recording in part.recordings],
        np.concatenate([part.clean for part in parts]),
        {
            condition: np.concatenate([part.degraded[condition] for part in parts])
            for condition in first.degraded
        },
        [recording for part in parts for recording in part.left_out],
    )
