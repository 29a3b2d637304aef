"""An HTML page as tests look at it."""

from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """A page that is well nested.

    Attributes:
        tags: Names of tags with their attributes, in order.
        text: What is to be read, without styles and title.
        tables: The cells of each table, row by row, by its label.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.tables: dict[str | None, list[list[str]]] = {}
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._table = self.tables[dict(attrs)["aria-label"]] = []
        elif tag == "tr":
            self._table.append([])
        elif tag in ("td", "th"):
            self._table[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("style", "title"):
            self.text += data
        if self._open and self._open[-1] in ("td", "th"):
            self._table[-1][-1] += data

    def all(self, tag):
        """The attributes of every tag of a name."""
        return [attributes for name, attributes in self.tags if name == tag]
