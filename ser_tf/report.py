"""A report as one HTML page that needs nothing beside it, with its pictures and tables as files."""

import base64
import csv
import io
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from markupsafe import Markup, escape
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ser_tf.outputs import replacing

PAGE = "index.html"
TEMPLATE = "report.html"
GENERATOR = "ser_tf.report"  # what a page says of itself, so that it may be replaced by a new one
PNG_DPI = 150
MARGIN = 0.1  # inches about a picture
ABSENT = "–"

FONTS = "'DejaVu Sans', Verdana, sans-serif"  # of one width

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NUMBER = re.compile(r"[-−+±]?\d[\d,]*(\.\d+)?( ?%)?( \([^)]*\))?")
_LONG = re.compile(r"(\.\d\d)\d+")


class ReportError(Exception):
    """A report that cannot be written. The message is one line that names the folder."""


@dataclass
class _Section:
    heading: str
    anchor: str
    blocks: list[dict[str, Any]] = field(default_factory=list)


class Report:
    """Headings, paragraphs, tables, figures and players, in the order in which they are added.

    Names of figures and tables are those of the files beside the page: lower-case words joined by
    hyphens, none twice.

    Examples:
        >>> report = Report("Voices", "RAVDESS, all 2,452 recordings.")
        >>> report.section("Counts")
        >>> report.table(["emotion", "files"], [["calm", 376]], caption="Files by emotion.")
    """

    def __init__(self, title: str, lead: str) -> None:
        """Begin a report.

        Args:
            title: The page's name.
            lead: One plain paragraph: corpus, protocol, count.
        """
        self._title = title
        self._lead = lead
        self._sections = [_Section("", "")]
        self._files: dict[str, bytes] = {}

    def section(self, heading: str) -> None:
        """Begin a section, which the table of contents lists."""
        taken = {section.anchor for section in self._sections}
        stem = re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-") or "section"
        anchor, number = stem, 1
        while anchor in taken:
            number += 1
            anchor = f"{stem}-{number}"
        self._sections.append(_Section(heading, anchor))

    def text(self, paragraph: str) -> None:
        """Add a paragraph of plain text."""
        self._add(kind="text", text=paragraph)

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        caption: str,
        name: str | None = None,
    ) -> None:
        """Add a table. The first column names the rows; columns of numbers stand to the right.

        Args:
            columns: The header.
            rows: As many cells each. The floats of a column share a number of decimals, one to
                three, that gives its largest three significant digits; ``None`` and NaN are shown
                as a dash, and left empty in the file.
            caption: What is shown: corpus, protocol, count.
            name: Writes the values, as precise as they came, as ``NAME.csv`` too.
        """
        rows = [list(row) for row in rows]
        shown = [_formatted([row[k] for row in rows]) for k in range(len(columns))]
        files = [self._keep(f"{name}.csv", _csv(columns, rows))] if name else []
        self._add(
            kind="table",
            columns=columns,
            numeric=[_is_numeric(column) for column in shown],
            rows=list(zip(*shown, strict=True)),
            caption=caption,
            files=files,
        )

    def data(
        self, columns: Sequence[str], rows: Sequence[Sequence[object]], *, caption: str, name: str
    ) -> None:
        """Add a table too long for the page: ``NAME.csv`` and a link to it."""
        file = self._keep(f"{name}.csv", _csv(columns, rows))
        self._add(kind="data", caption=caption, file=file)

    def figure(
        self, figure: Figure, name: str, *, caption: str, alt: str, raster: bool = False
    ) -> None:
        """Add a picture, drawn now: ``figure`` may be changed or dropped afterwards.

        Args:
            figure: Of matplotlib, with or without a canvas.
            name: It is written as ``NAME.png`` and ``NAME.svg``.
            caption: What is shown: corpus, protocol, count.
            alt: What the picture says, for those who cannot see it.
            raster: Embeds the PNG, for pictures so dense that their SVG would be large.
        """
        FigureCanvasAgg(figure)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # done; to do it for both files again takes long
        area = figure.get_tightbbox().padded(MARGIN)
        png, svg = io.BytesIO(), io.StringIO()
        figure.savefig(
            png, format="png", dpi=PNG_DPI, bbox_inches=area, metadata={"Software": None}
        )
        # Text stays text: smaller than outlines, and it can be searched. The salt makes ids the
        # same in every run.
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ser-tf"}):
            figure.savefig(
                svg, format="svg", dpi=PNG_DPI, bbox_inches=area, metadata={"Date": None}
            )
        drawing = _slimmed(svg.getvalue(), name, alt)
        files = [
            self._keep(f"{name}.png", png.getvalue()),
            self._keep(f"{name}.svg", drawing.encode()),
        ]
        self._add(
            kind="figure",
            width=_width_px(drawing),
            svg="" if raster else Markup(drawing),
            png=_data_uri(png.getvalue(), "image/png") if raster else "",
            alt=alt,
            caption=caption,
            files=files,
        )

    def audio(self, content: bytes, media_type: str, *, caption: str) -> None:
        """Add a player with the recording inside the page.

        Args:
            content: A complete audio file.
            media_type: Such as ``"audio/flac"``.
            caption: What is heard.
        """
        self._add(kind="audio", source=_data_uri(content, media_type), caption=caption)

    def write(self, folder: Path) -> Path:
        """Write the page, its pictures and its tables; the folder is complete or not there.

        Args:
            folder: New, empty, or an earlier report, which is replaced with all it holds.

        Returns:
            ``folder/index.html``.

        Raises:
            ReportError: As :func:`check_folder`.
        """
        check_folder(folder)
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        page = environment.get_template(TEMPLATE).render(
            title=self._title, lead=self._lead, sections=self._sections, generator=GENERATOR
        )
        with replacing(folder) as new:
            for name, content in self._files.items():
                (new / name).write_bytes(content)
            (new / PAGE).write_text(page, encoding="utf-8")
        return folder / PAGE

    def _add(self, **block: Any) -> None:
        self._sections[-1].blocks.append(block)

    def _keep(self, name: str, content: bytes) -> str:
        if not _NAME.fullmatch(name.rpartition(".")[0]):
            raise ValueError(f"{name!r} is not lower-case words joined by hyphens")
        if name in self._files:
            raise ValueError(f"the report holds a {name} already")
        self._files[name] = content
        return name


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written, or holds anything but an earlier report.

    Raises:
        ReportError: With what stands in the way.
    """
    there = next(parent for parent in folder.absolute().parents if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "may not be written to" if there.is_dir() else "is a file"
        raise ReportError(f"{folder}: cannot be made, {there} {why}; give another --out")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ReportError(f"{folder}: is a file; give --out a folder")
    page = folder / PAGE
    if any(folder.iterdir()) and not (page.is_file() and _is_report(page)):
        raise ReportError(f"{folder}: holds files that are no report; give another --out")


def _is_report(page: Path) -> bool:
    with page.open("rb") as file:
        return GENERATOR.encode() in file.read(2_000)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(["" if _absent(cell) else cell for cell in row] for row in rows)
    return text.getvalue().encode()


def _formatted(cells: Sequence[object]) -> list[str]:
    floats = [abs(float(cell)) for cell in cells if isinstance(cell, Real)]
    largest = max(filter(math.isfinite, floats), default=0.0)
    decimals = min(3, max(1, 2 - math.floor(math.log10(largest)))) if largest else 1

    def shown(cell: object) -> str:
        if _absent(cell):
            return ABSENT
        if isinstance(cell, Integral):
            return f"{int(cell):,}".replace("-", "−")
        if isinstance(cell, Real):
            return f"{float(cell):,.{decimals}f}".replace("-", "−")
        text = str(cell)
        return re.sub("^-", "−", text) if _NUMBER.fullmatch(text) else text

    return [shown(cell) for cell in cells]


def _absent(cell: object) -> bool:
    return cell is None or (isinstance(cell, Real) and math.isnan(cell))


def _is_numeric(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell not in ("", ABSENT)]
    return bool(filled) and all(_NUMBER.fullmatch(cell) for cell in filled)


def _slimmed(svg: str, prefix: str, alt: str) -> str:
    """``svg`` without prologue and metadata, in hundredths of a point, with ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font-family: [^;\"]+", f"font-family: {FONTS}", svg)
    svg = re.sub(r'\b(d|x|y)="[^"]*"', lambda found: _LONG.sub(r"\1", found[0]), svg)
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\g<1>#{prefix}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)


def _width_px(svg: str) -> int:
    found = re.search(r'<svg [^>]*?width="([\d.]+)pt"', svg)
    assert found
    return round(float(found[1]) * 96 / 72)


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
