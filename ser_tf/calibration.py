"""How often a model is right where it says how sure it is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ser_tf.metrics import CALIBRATION_BINS, answers


def reliability(
    truth: Sequence[str], probabilities: ArrayLike, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """The bins of :func:`ser_tf.metrics.calibration_error`, as a reliability diagram shows them.

    Args:
        truth: n label names.
        probabilities: float[n, L]; a row of zeros (silence) carries no confidence and is left out.
        labels: The L labels, in column order.

    Returns:
        For each of the 15 bins of equal width, open below and closed above, ``{"above", "up_to",
        "count", "confidence", "accuracy"}``: its bounds, its recordings, the mean confidence of
        the answer and the share that was right (both None where there are none).
    """
    rows = np.asarray(probabilities, np.float64).reshape(-1, len(labels))
    voiced = rows.any(axis=1)
    confidence = rows[voiced].max(axis=1)
    right = np.asarray(truth)[voiced] == np.asarray(answers(rows, labels))[voiced]
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    place = np.digitize(confidence, edges[1:-1], right=True)
    bins: list[dict[str, Any]] = []
    for index in range(CALIBRATION_BINS):
        inside = place == index
        count = int(inside.sum())
        bins.append(
            {
                "above": float(edges[index]),
                "up_to": float(edges[index + 1]),
                "count": count,
                "confidence": float(confidence[inside].mean()) if count else None,
                "accuracy": float(right[inside].mean()) if count else None,
            }
        )
    return bins
