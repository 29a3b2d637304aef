"""Pictures of results, drawn without a display."""

from collections.abc import Sequence
from os import PathLike

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

INK = "#1b2733"


def confusion_matrix(
    counts: ArrayLike,
    truth: Sequence[str],
    answer: Sequence[str],
    path: str | PathLike[str],
    *,
    title: str,
) -> None:
    """Draw a confusion matrix as a PNG: the share of each row as colour, share and count as text.

    One hue from light to dark, so it reads the same with any colour vision and in grey. Rows
    without recordings and answers beyond the labels that nobody gave (silence) are left out.

    Args:
        counts: int[len(truth), len(answer)].
        truth: Row names.
        answer: Column names; begins with the row names.
        path: The PNG to write.
        title: What is shown: corpus, protocol, count.
    """
    matrix = np.asarray(counts, int)
    rows = np.flatnonzero(matrix.sum(axis=1))
    columns = np.array([k for k in range(len(answer)) if k < len(truth) or matrix[:, k].any()])
    matrix = matrix[np.ix_(rows, columns)]
    rates = matrix / matrix.sum(axis=1, keepdims=True)

    figure = Figure(figsize=(2.2 + 0.78 * len(columns), 1.9 + 0.62 * len(rows)), dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(rates, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), [answer[k] for k in columns], rotation=35, ha="right")
    axes.set_yticks(
        range(len(rows)),
        [f"{truth[k]} ({n})" for k, n in zip(rows, matrix.sum(axis=1), strict=True)],
    )
    axes.set_xlabel("answered", color=INK)
    axes.set_ylabel("truth (recordings)", color=INK)
    axes.set_title(title, loc="left", fontsize=11, color=INK, pad=12)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            rate = rates[row, column]
            ink = "white" if rate > 0.65 else INK
            axes.text(
                column, row, f"{rate:.0%}\n{count}", ha="center", va="center", fontsize=8, color=ink
            )
    bar = figure.colorbar(image, ax=axes, format=lambda share, _: f"{share:.0%}", pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, colors=INK, labelsize=8)
    bar.set_label("share of the truth", color=INK, fontsize=9)
    figure.savefig(path, format="png", bbox_inches="tight", metadata={"Software": None})
