"""Pictures of results, drawn without a display."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

INK = "#1b2733"
LINE = "#2171b5"
GRID = "#d9dfe5"


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


def coverage(
    curve: Sequence[Mapping[str, Any]],
    path: str | PathLike[str],
    *,
    title: str,
    marked: Sequence[float],
) -> None:
    """Draw accuracy against the share of recordings answered as a PNG.

    Args:
        curve: What :func:`ser_tf.metrics.coverage_accuracy` returns.
        path: The PNG to write.
        title: What is shown: corpus, protocol, count.
        marked: Thresholds of the curve that are written beside it.
    """
    drawn = [row for row in curve if row["accuracy"] is not None]
    figure = Figure(figsize=(6.4, 4.4), dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shares = [row["coverage"] for row in drawn]
    axes.plot(shares, [row["accuracy"] for row in drawn], color=LINE, marker="o", markersize=3)
    for row in drawn:
        if row["threshold"] in marked:
            axes.plot(row["coverage"], row["accuracy"], "o", color=LINE, markersize=7)
            axes.annotate(
                f"≥ {row['threshold']:g}",
                (row["coverage"], row["accuracy"]),
                textcoords="offset points",
                xytext=(6, 8),
                fontsize=8,
                color=INK,
            )
    axes.set_xlim(0, 1.1)
    axes.margins(y=0.12)
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_xlabel("recordings answered (confidence reaches the threshold)", color=INK)
    axes.set_ylabel("accuracy among them", color=INK)
    axes.set_title(title, loc="left", fontsize=10, color=INK, pad=12)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    figure.savefig(path, format="png", bbox_inches="tight", metadata={"Software": None})
