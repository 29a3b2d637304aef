"""Pictures of results, drawn without a display, in one style.

Every function returns a figure, for :func:`save` or a :class:`ser_tf.report.Report` to write.
Colours are single hues from light to dark or a pair of Okabe and Ito's palette, and marks differ in
shape too, so that all of it reads the same with any colour vision and in grey.
"""

import os
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

INK = "#1b2733"
LINE = "#2171b5"
GRID = "#d9dfe5"
SECOND = "#d55e00"  # vermillion of Okabe and Ito, "Color Universal Design" (2008)

Row = tuple[str, float, Sequence[float] | None]
Shown = Literal["both", "counts", "rates"]


def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure as a PNG or an SVG, as its name says, the same whenever it is drawn."""
    FigureCanvasAgg(figure)
    if os.fspath(path).endswith(".svg"):
        # Text stays text; the salt makes ids the same in every run.
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ser-tf"}):
            figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
        return
    figure.savefig(path, format="png", dpi=150, bbox_inches="tight", metadata={"Software": None})


def confusion_matrix(
    counts: ArrayLike,
    truth: Sequence[str],
    answer: Sequence[str],
    *,
    title: str,
    shown: Shown = "both",
) -> Figure:
    """Draw a confusion matrix: the share of each row as colour, share and count as text.

    Rows without recordings and answers beyond the labels that nobody gave (silence) are left out.

    Args:
        counts: int[len(truth), len(answer)].
        truth: Row names.
        answer: Column names; begins with the row names.
        title: What is shown: corpus, protocol, count.
        shown: What is written into the cells; colours of counts are relative to the largest.
    """
    matrix = np.asarray(counts, int)
    rows = np.flatnonzero(matrix.sum(axis=1))
    columns = np.array([k for k in range(len(answer)) if k < len(truth) or matrix[:, k].any()])
    matrix = matrix[np.ix_(rows, columns)]
    rates = matrix / matrix.sum(axis=1, keepdims=True)
    shade = matrix / matrix.max() if shown == "counts" else rates

    figure = Figure(figsize=(2.2 + 0.78 * len(columns), 1.9 + 0.62 * len(rows)))
    axes = figure.add_subplot()
    image = axes.imshow(shade, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), [answer[k] for k in columns], rotation=35, ha="right")
    axes.set_yticks(
        range(len(rows)),
        [f"{truth[k]} ({n})" for k, n in zip(rows, matrix.sum(axis=1), strict=True)],
    )
    style(axes, title, "answered", "truth (recordings)", fontsize=11)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(visible=False)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            words = {"counts": f"{count}", "rates": f"{rates[row, column]:.0%}"}
            text = words.get(shown, f"{words['rates']}\n{words['counts']}")
            ink = "white" if shade[row, column] > 0.65 else INK
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
    if shown != "counts":
        bar = figure.colorbar(image, ax=axes, format=_share, pad=0.02)
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.ax.tick_params(length=0, colors=INK, labelsize=8)
        bar.set_label("share of the truth", color=INK, fontsize=9)
    return figure


def coverage(curve: Sequence[Mapping[str, Any]], *, title: str, marked: Sequence[float]) -> Figure:
    """Draw accuracy against the share of recordings answered.

    Args:
        curve: What :func:`ser_tf.metrics.coverage_accuracy` returns.
        title: What is shown: corpus, protocol, count.
        marked: Thresholds of the curve that are written beside it.
    """
    drawn = [row for row in curve if row["accuracy"] is not None]
    figure = Figure(figsize=(6.4, 4.4))
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
    axes.xaxis.set_major_formatter(_share)
    axes.yaxis.set_major_formatter(_share)
    answered = "recordings answered (confidence reaches the threshold)"
    style(axes, title, answered, "accuracy among them")
    return figure


def reliability(
    bins: Sequence[Mapping[str, Any]],
    *,
    title: str,
    before: Sequence[Mapping[str, Any]] | None = None,
) -> Figure:
    """Draw how often answers are right against how sure the model says it is, and counts below.

    Args:
        bins: What :func:`ser_tf.calibration.reliability` returns.
        title: What is shown: corpus, protocol, count.
        before: The same of the probabilities without the model's temperature.
    """
    figure = Figure(figsize=(6.4, 6.4))
    axes, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    axes.plot((0, 1), (0, 1), color=INK, linewidth=1, linestyle=":", label="as sure as right")
    series: list[tuple[Sequence[Mapping[str, Any]], dict[str, Any]]] = []
    if before is not None:
        hollow = {"color": SECOND, "marker": "s", "markerfacecolor": "white", "linestyle": "--"}
        series.append((before, hollow | {"label": "without temperature"}))
    name = "the model" if before is None else "the model, with temperature"
    series.append((bins, {"color": LINE, "marker": "o", "label": name}))
    for rows, look in series:
        filled = [row for row in rows if row["count"]]
        confidence = [row["confidence"] for row in filled]
        right = [row["accuracy"] for row in filled]
        axes.plot(confidence, right, **look, markersize=5, linewidth=1.2)
    places = [(row["above"] + row["up_to"]) / 2 for row in bins]
    bars = below.bar(places, [row["count"] for row in bins], 0.9 / len(bins), color=LINE)
    below.bar_label(
        bars, [str(row["count"] or "") for row in bins], fontsize=8, color=INK, padding=2
    )
    below.margins(y=0.25)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.03, 1.03)
    axes.xaxis.set_major_formatter(_share)
    axes.yaxis.set_major_formatter(_share)
    style(axes, title, "", "answers that are right")
    style(below, "", "confidence of the answer (mean of each of 15 bins)", "recordings")
    below.tick_params(axis="x", pad=8)
    axes.legend(loc="upper left", frameon=False, fontsize=9, labelcolor=INK)
    figure.align_ylabels()
    return figure


def dots(
    rows: Sequence[Row],
    *,
    title: str,
    label: str,
    reference: float,
    reference_name: str,
    unit: str = "%",
) -> Figure:
    """Draw a dot a row, first row at the top, its interval as a bar and its way from a reference.

    Args:
        rows: Name, value (a share) and interval of it, where there is one.
        title: What is shown: corpus, protocol, count.
        label: What the values are.
        reference: What they are seen against: a line from top to bottom.
        reference_name: Its name, written at its foot.
        unit: What stands behind the hundredfold of a value.
    """
    figure = Figure(figsize=(6.4, 1.4 + 0.29 * len(rows)))
    axes = figure.add_subplot()
    places = -np.arange(len(rows))
    axes.axvline(reference, color=INK, linewidth=1, linestyle=":")
    for place, (_, value, low_high) in zip(places, rows, strict=True):
        axes.plot((reference, value), (place, place), color=GRID, linewidth=5, zorder=1)
        if low_high is not None:
            axes.plot(low_high, (place, place), color=LINE, linewidth=1.5)
        axes.plot(value, place, "o", color=LINE, markersize=6)
    axes.set_yticks(places, [name for name, *_ in rows])
    axes.set_ylim(-len(rows) + 0.3, 0.7)
    axes.xaxis.set_major_formatter(lambda share, _: _share(share).replace("%", unit))
    style(axes, title, f"{label} (dotted: {reference_name})", "")
    axes.grid(visible=False, axis="y")
    return figure


def style(axes: Axes, title: str, x: str, y: str, *, fontsize: int = 10) -> None:
    """Give axes the colours and lines of all pictures here, a title, and names of both axes."""
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.set_title(title, loc="left", fontsize=fontsize, color=INK, pad=12)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)


def _share(share: float, _: float | None = None) -> str:
    return f"{share:.0%}".replace("-", "−")
