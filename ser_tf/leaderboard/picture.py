"""The comparison as a picture: accuracy against size and against latency."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from ser_tf.leaderboard.table import size
from ser_tf.plots import GRID, INK, LINE, SECOND, style

# Ours, networks, classical systems: each differs in colour, shape and filling.
LOOKS: dict[str, dict[str, Any]] = {
    "ours": {"marker": "D", "color": SECOND, "label": "ours"},
    "network": {"marker": "o", "color": LINE, "label": "networks"},
    "classical": {
        "marker": "s",
        "color": INK,
        "markerfacecolor": "white",
        "label": "classical, features by librosa",
    },
}
MARK = 6  # points
ROOM = 3  # pixels between what stands side by side
DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
DISTANCES = (8, 13, 20, 28, 37, 47, 58, 70, 85, 100)  # points from a mark to its label


def draw(board: Mapping[str, Any]) -> Figure:
    """Draw what was measured of a board: two panels with logarithmic axes, a name at every mark.

    Args:
        board: What :func:`ser_tf.leaderboard.board` returns; at least one row is measured.
    """
    rows = [row for row in board["rows"] if row["state"] == "measured"]
    panels = (
        ("bytes", "size of the model file", lambda value, _: size(value)),
        ("milliseconds", "one clip, from file to answer, one thread", _milliseconds),
    )
    figure = Figure(figsize=(12.5, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    both = figure.subplots(1, len(panels), sharey=True)
    for axes, (key, label, form) in zip(both, panels, strict=True):
        shown = [row for row in rows if row[key]]
        axes.set_xscale("log")
        for row in shown:
            figures = row["figures"]
            place = (row[key], figures["accuracy"])
            if figures["interval"]:
                axes.plot(place[:1] * 2, figures["interval"], color=GRID, linewidth=2, zorder=1)
            look = {k: v for k, v in LOOKS[_kind(row)].items() if k != "label"}
            axes.plot(*place, **look, markersize=MARK, linestyle="", zorder=3)
        axes.margins(x=0.16, y=0.06)
        low, high = axes.get_xlim()
        if high < 10 * low:  # a decade at least, or the axis has no figure to read
            middle = (low * high) ** 0.5
            axes.set_xlim(middle / 10**0.5, middle * 10**0.5)
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high > 100 * low else (1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(form)
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        style(axes, "", label, "")
        axes.tick_params(which="minor", length=0)
    both[0].set_ylabel("accuracy (bars: 95 %)", color=INK)
    corpus = board["corpus"]
    title = (
        f"{corpus['name']}, split {board['split']}: every system on the same "
        f"{max(row['figures']['count'] for row in rows):,} recordings"
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    _legend(both[0], {_kind(row) for row in rows})
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes, (key, _, _) in zip(both, panels, strict=True):
        shown = [row for row in rows if row[key]]
        _name(axes, [(row["name"], row[key], row["figures"]["accuracy"]) for row in shown])
    return figure


def _kind(row: Mapping[str, Any]) -> str:
    if not row["rows"]:
        return "ours"
    return "classical" if str(row["file"]).endswith(".skops") else "network"


def _legend(axes: Axes, kinds: set[str]) -> None:
    for kind, look in LOOKS.items():
        if kind in kinds:
            axes.plot([], [], linestyle="", markersize=MARK, **look)
    figure = axes.figure
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(LOOKS),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )


def _name(axes: Axes, marks: Sequence[tuple[str, float, float]]) -> None:
    """Write a name beside every mark, where it covers neither a mark nor another name.

    Names are set one after the other, from the top; each takes the nearest free place around its
    mark, with a line to it where that is not beside it.
    """
    figure = axes.figure
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    frame = axes.get_window_extent(renderer)
    scale = figure.dpi / 72
    half = MARK * scale / 2 + ROOM
    taken = []
    for _, x, y in marks:
        centre = axes.transData.transform((x, y))
        taken.append(Bbox([centre - half, centre + half]))
    for name, x, y in sorted(marks, key=lambda mark: (-mark[2], mark[1])):
        note = axes.annotate(
            name, (x, y), xytext=(0, 0), textcoords="offset points", fontsize=7.5, color=INK
        )
        for distance, box in _places(note, renderer):  # noqa: B007  the last ones stay
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1
            inside = inside and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not box.count_overlaps(taken):
                break
        taken.append(box)
        if distance > DISTANCES[0]:
            dx, dy = note.get_position()
            axes.annotate(
                "",
                (x, y),
                xytext=(dx, dy),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.5, "shrinkA": 0},
            )


def _places(note: Annotation, renderer: Any) -> Iterator[tuple[int, Bbox]]:
    """Put a name in one place after the other, the nearest first: distance and outline there."""
    for distance, (right, up) in product(DISTANCES, DIRECTIONS):
        length = distance / (abs(right) + abs(up)) ** 0.5
        note.set_position((right * length, up * length))
        note.set_horizontalalignment(("center", "left", "right")[right])
        note.set_verticalalignment(("center", "bottom", "top")[up])
        yield distance, note.get_window_extent(renderer).padded(ROOM / 2)


def _milliseconds(value: float, _: int) -> str:
    return f"{value / 1000:g} s" if value >= 1000 else f"{value:g} ms"
