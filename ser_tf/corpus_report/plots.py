"""Pictures of a corpus, drawn without a display. Every one names the corpus and its count."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ser_tf.plots import GRID, INK, LINE

# Okabe and Ito, "Color universal design" (2008); its yellow is darkened to be seen on white.
COLOURS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7"),
    *("#56b4e9", "#d55e00", "#b3a300", "#000000"),
)
MARKERS = "o^sDvPX*"
FILL = "#c6dbef"
PANEL = 2.9  # inches, the width of a small one
WIDTH = 11.0
WHISKERS = (5, 25, 50, 75, 95)  # percentiles of a box
BOXES = "Boxes: the middle half and its median; lines: 5 % to 95 %."
MOST_KEYED = 24  # values that a map tells apart


def bars(title: str, groups: Mapping[str, Mapping[str, tuple[int, float]]]) -> Figure:
    """Recordings by the values of several traits, side by side.

    Args:
        title: Corpus and count.
        groups: By trait and value, the number of recordings and their minutes.
    """
    tallest = max(len(values) for values in groups.values())
    columns = _packed({trait: len(values) for trait, values in groups.items()}, tallest)
    height = max(sum(len(groups[trait]) + 1.6 for trait in column) for column in columns)
    figure = _figure(title, WIDTH, 1.0 + 0.24 * height)
    for axes, column in zip(
        figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True
    ):
        position, ticks, labels = 0.0, [], []
        largest = max(files for trait in column for files, _ in groups[trait].values())
        for trait in column:
            axes.text(0, position, trait, weight="bold", va="center", color=INK, fontsize=9)
            for value, (files, minutes) in groups[trait].items():
                position += 1
                axes.barh(position, files, height=0.72, color=LINE)
                axes.text(
                    files + 0.02 * largest,
                    position,
                    f"{files:,} · {minutes:.1f} min",
                    va="center",
                    fontsize=8,
                    color=INK,
                )
                ticks.append(position)
                labels.append(value)
            position += 1.6
        axes.set_yticks(ticks, labels)
        axes.set_ylim(height - 0.8, -0.8)
        axes.set_xlim(0, 1.45 * largest)
        axes.set_xlabel("recordings")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        _style(axes, grid="x")
    return figure


def levels(
    title: str,
    measures: Mapping[str, Mapping[str, NDArray[np.float64]]],
    parts: Mapping[str, Mapping[str, NDArray[np.float64]]],
) -> Figure:
    """Distributions: above as histograms, stacked by part; below as boxes by group.

    Args:
        title: Corpus and count.
        measures: By measure and group (emotion), float64[n].
        parts: By measure and part (speech, song), float64[n].
    """
    groups = len(next(iter(measures.values())))
    figure = _figure(title, WIDTH, 3.1 + 0.27 * groups)
    rows = figure.subplots(2, len(measures), height_ratios=(2.2, 0.6 + 0.27 * groups), sharex="col")
    for column, measure in enumerate(measures):
        above, below = rows[0, column], rows[1, column]
        stacked = [_finite(values) for values in parts[measure].values()]
        above.hist(
            stacked,
            bins=40,
            stacked=True,
            histtype="stepfilled",
            color=(LINE, "#9ecae1", "#6b7a87")[: len(stacked)],
            label=list(parts[measure]),
        )
        if column == 0:
            above.set_ylabel("recordings")
            if len(stacked) > 1:
                above.legend(frameon=False, fontsize=8)
        above.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        _style(above, grid="y")
        _boxes(below, measures[measure], labelled=column == 0)
        below.set_xlabel(measure)
    return figure


def boxes(
    title: str, measures: Mapping[str, Mapping[str, NDArray[np.float64]]], columns: int
) -> Figure:
    """Distributions as boxes by group, a panel each.

    Args:
        title: Corpus and count.
        measures: By measure and group, float64[n].
        columns: Panels beside one another.
    """
    groups = len(next(iter(measures.values())))
    lines = -(-len(measures) // columns)
    figure = _figure(title, WIDTH, 0.6 + lines * (0.75 + 0.2 * groups))
    panels = figure.subplots(lines, columns, squeeze=False)
    for index, axes in enumerate(panels.flat):
        if index >= len(measures):
            axes.set_axis_off()
            continue
        measure, values = list(measures.items())[index]
        _boxes(axes, values, labelled=index % columns == 0)
        axes.set_xlabel(measure)
    return figure


def examples(title: str, clips: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A clip of each group as waveform, mel spectrogram and MFCC.

    Args:
        title: Corpus and how they were chosen.
        clips: By group: ``"name"``, ``"seconds"``, ``"waveform"`` (float32[n]), ``"mel_db"``
            (float[bands, frames]) and ``"mfcc"`` (float[coefficients, frames]).
    """
    figure = _figure(title, WIDTH, 0.8 + 1.25 * len(clips))
    rows = figure.subplots(len(clips), 3, squeeze=False, sharex=True)
    longest = max(clip["seconds"] for clip in clips.values())
    loudest = max(clip["mel_db"].max() for clip in clips.values())
    coefficients = np.concatenate([clip["mfcc"][1:].ravel() for clip in clips.values()])
    spread = float(np.percentile(np.abs(coefficients), 98)) or 1.0
    for (group, clip), (wave, mel, mfcc) in zip(clips.items(), rows, strict=True):
        time, low, high = _envelope(clip["waveform"], clip["seconds"])
        wave.fill_between(time, low, high, color=LINE, linewidth=0.3)
        peak = float(max(high.max(), -low.min())) or 1.0
        wave.set_ylim(-1.1 * peak, 1.1 * peak)
        wave.set_yticks([-peak, peak], [f"−{peak:.2g}", f"{peak:.2g}"])
        wave.set_ylabel(group, fontsize=9, weight="bold")
        picture = mel.imshow(
            clip["mel_db"],
            cmap="viridis",
            interpolation="nearest",
            norm=Normalize(loudest - 80, loudest),
            extent=(0, clip["seconds"], 0, len(clip["mel_db"])),
            aspect="auto",
            origin="lower",
        )
        cepstrum = mfcc.imshow(
            clip["mfcc"][1:],
            cmap="PuOr_r",
            interpolation="nearest",
            norm=Normalize(-spread, spread),
            extent=(0, clip["seconds"], 0.5, len(clip["mfcc"]) - 0.5),
            aspect="auto",
            origin="lower",
        )
        for axes in (wave, mel, mfcc):
            _style(axes)
            axes.set_xlim(0, longest)
    for axes, heading in zip(
        rows[0], ("waveform", "mel spectrogram, 128 bands", "MFCC 1 to 39"), strict=True
    ):
        axes.set_title(heading, fontsize=9, color=INK)
    for axes in rows[-1]:
        axes.set_xlabel("seconds")
    for image, column, words in ((picture, 1, "dB"), (cepstrum, 2, "coefficient")):
        bar = figure.colorbar(
            image, ax=rows[:, column], location="bottom", shrink=0.7, aspect=40, pad=0.01
        )
        bar.set_label(f"{words}, one scale for all", fontsize=8, color=INK)
        _style_bar(bar)
    return figure


def profiles(
    title: str, families: Mapping[str, NDArray[np.float64]], groups: Sequence[str]
) -> Figure:
    """How the means of groups differ, a heat map for each family of descriptors.

    Args:
        title: Corpus and count.
        families: By heading, float64[groups, descriptors]: means, in standard deviations of all
            recordings from the mean of all.
        groups: Row names.
    """
    headings = list(families)
    figure = _figure(title, WIDTH, 0.9 + -(-len(headings) // 2) * (0.6 + 0.24 * len(groups)))
    panels = figure.subplots(-(-len(headings) // 2), 2, squeeze=False)
    spread = max(
        1e-3, max(float(np.nanmax(np.abs(values), initial=0)) for values in families.values())
    )
    for index, axes in enumerate(panels.flat):
        if index >= len(headings):
            axes.set_axis_off()
            continue
        values = families[headings[index]]
        picture = axes.imshow(
            values, cmap="PuOr_r", vmin=-spread, vmax=spread, aspect="auto", interpolation="nearest"
        )
        axes.set_title(headings[index], fontsize=9, loc="left", color=INK)
        axes.set_yticks(range(len(groups)), groups if index % 2 == 0 else [])
        _style(axes)
    bar = figure.colorbar(picture, ax=panels, location="bottom", shrink=0.5, aspect=40)
    bar.set_label("standard deviations from the mean of all recordings", fontsize=8, color=INK)
    _style_bar(bar)
    return figure


def correlations(title: str, matrix: NDArray[np.float64], names: Sequence[str]) -> Figure:
    """The correlation of every descriptor with every other as a heat map.

    Args:
        title: Corpus and count.
        matrix: float64[n, n] in [-1, 1]; NaN where a descriptor does not vary.
        names: n.
    """
    figure = _figure(title, 9.6, 8.3)
    axes = figure.subplots()
    axes.set_facecolor(GRID)
    picture = axes.imshow(matrix, cmap="PuOr_r", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    _style(axes)
    axes.tick_params(labelsize=7)
    bar = figure.colorbar(picture, ax=axes, shrink=0.6)
    bar.set_label("Pearson's r", fontsize=8, color=INK)
    _style_bar(bar)
    return figure


def maps(
    title: str,
    places: NDArray[np.float64],
    colourings: Mapping[str, Mapping[str, NDArray[np.bool_]]],
) -> Figure:
    """One map of the recordings, coloured in several ways.

    Args:
        title: Corpus and count.
        places: float64[n, 2].
        colourings: By trait and value, which recordings have it: bool[n]. Of more than 24 values
            the 24 most frequent are told apart.
    """
    figure = _figure(title, WIDTH, 0.5 + 5.2 * -(-len(colourings) // 2))
    panels = figure.subplots(-(-len(colourings) // 2), 2, squeeze=False)
    for axes in panels.flat[len(colourings) :]:
        axes.set_axis_off()
    size = float(np.clip(20_000 / len(places), 3, 40))
    for axes, (trait, held) in zip(panels.flat, colourings.items(), strict=False):
        if len(held) > MOST_KEYED:
            axes.scatter(*places.T, s=size, c=GRID, linewidths=0, rasterized=True)
            axes.scatter([], [], s=30, c=GRID, linewidths=0, label="others")
        frequent = sorted(held, key=lambda value: -int(held[value].sum()))[:MOST_KEYED]
        kept = [value for value in held if value in frequent]
        for k, value in enumerate(kept):
            colour = COLOURS[k % len(COLOURS)]
            marker = MARKERS[(k // len(COLOURS) if len(kept) > len(COLOURS) else k) % len(MARKERS)]
            axes.scatter(
                *places[held[value]].T,
                s=size,
                c=colour,
                marker=marker,
                linewidths=0,
                rasterized=True,
            )
            axes.scatter([], [], s=30, c=colour, marker=marker, linewidths=0, label=value)
        axes.set_title(f"by {trait}", fontsize=10, loc="left", color=INK)
        axes.spines[:].set_color(GRID)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_aspect("equal", "datalim")
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.01),
            ncols=4,
            frameon=False,
            fontsize=8,
            handletextpad=0.1,
            columnspacing=1.0,
        )
    return figure


def _figure(title: str, width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=INK)
    return figure


def _style(axes: Axes, grid: Literal["x", "y"] | None = None) -> None:
    if grid:
        axes.grid(axis=grid, color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK, labelsize=8)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK)
    axes.spines[:].set_visible(False)


def _style_bar(bar: Any) -> None:
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0, colors=INK, labelsize=8)


def _boxes(axes: Axes, groups: Mapping[str, NDArray[np.float64]], *, labelled: bool) -> None:
    drawn = []
    for position, values in enumerate(groups.values()):
        if len(finite := _finite(values)):
            low, q1, median, q3, high = np.percentile(finite, WHISKERS)
            box = {"whislo": low, "q1": q1, "med": median, "q3": q3, "whishi": high}
            drawn.append((position, box))
    if drawn:
        axes.bxp(
            [box for _, box in drawn],
            positions=[position for position, _ in drawn],
            orientation="horizontal",
            widths=0.62,
            showfliers=False,
            showcaps=False,
            patch_artist=True,
            boxprops={"facecolor": FILL, "edgecolor": "none"},
            medianprops={"color": INK, "linewidth": 1.6},
            whiskerprops={"color": LINE, "linewidth": 1.0},
        )
    axes.set_yticks(range(len(groups)), list(groups) if labelled else [])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    _style(axes, grid="x")


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[np.isfinite(values)]


def _envelope(waveform: NDArray[np.float32], seconds: float) -> tuple[NDArray, NDArray, NDArray]:
    """Time, lowest and highest sample of at most 400 stretches: all that a narrow panel shows."""
    parts = np.array_split(waveform, min(400, len(waveform)))
    low = np.array([part.min() for part in parts])
    high = np.array([part.max() for part in parts])
    return np.linspace(0, seconds, len(parts)), low, high


def _packed(sizes: Mapping[str, int], tallest: int) -> list[list[str]]:
    """Traits in columns, in their order, each column about as tall as the tallest trait."""
    columns: list[list[str]] = [[]]
    height = 0
    for trait, size in sizes.items():
        if columns[-1] and height + size > tallest + 6:
            columns.append([])
            height = 0
        columns[-1].append(trait)
        height += size + 2
    return columns
