"""Org mode → Document: the source itself, with its structure, read line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag_tools.ingest.blocks import Opening, Sections, tile
from rag_tools.ingest.decode import decode
from rag_tools.sentences import lines
from rag_tools.types import BlockKind, Document

_HEADING = re.compile(
    r"(?P<stars>\*{1,40}) +(?:(?:TODO|DONE|NEXT|WAITING|CANCELLED|CANCELED)\s+)?"
    r"(?:\[#[A-Z0-9]\]\s+)?(?P<title>.*?)(?:\s+:[\w@#%:]+:)?\s*\Z"
)
_KEYWORD = re.compile(r"\s*#\+(?P<key>\w+):\s*(?P<value>.*?)\s*\Z")
_BLOCK = re.compile(r"\s*#\+begin_(?P<name>\w+)", re.IGNORECASE)
_END = re.compile(r"\s*#\+end_(?P<name>\w+)", re.IGNORECASE)
_DRAWER = re.compile(r"\s*:[A-Za-z][\w-]*:\s*\Z")
_ITEM = re.compile(r"(?:\s*(?:[-+]|\d{1,9}[.)])|\s+\*)\s+\S")
_RULE = re.compile(r"\s*\|[-+|]*\s*\Z")
_LINK = re.compile(r"\[\[[^\[\]]{1,500}\]\[([^\[\]]{1,500})\]\]")
_OF_CODE = frozenset({"example", "export", "src"})


def load_org(data: bytes, *, uri: str, name: str) -> Document:
    """Return the document in an Org file.

    Each heading, paragraph, list item, table row and source block is a block; keywords and drawers
    are lines. The title is that of ``#+TITLE``, else the name of the file. A `Loader`, see
    `rag_tools.ingest.load`.
    """
    text = decode(data, name=name)
    reader = _Reader(text)
    openings = list(reader.openings())
    return Document(
        text=text,
        uri=uri,
        title=reader.title or name,
        media_type="text/org",
        blocks=tile(openings, len(text)),
    )


class _Reader:
    def __init__(self, text: str) -> None:
        self.title = ""
        self._lines = [(span.start, span.of(text).rstrip("\r\n")) for span in lines(text)]
        self._sections = Sections()

    def openings(self) -> Iterator[Opening]:
        kind: BlockKind | None = None  # of the block that goes on
        inside = ""  # the name of the block or drawer that is open
        for place, (start, line) in enumerate(self._lines):
            if inside:
                closed = _END.match(line)
                if (closed and closed["name"].lower() == inside) or (
                    inside == ":" and line.strip().lower() == ":end:"
                ):
                    inside, kind = "", None
                elif inside not in _OF_CODE and inside != ":" and not line.strip():
                    kind = None
                elif kind is None:
                    kind = "paragraph"
                    yield self._sections.opening(kind, start)
            elif heading := _HEADING.match(line):
                self._sections.open(len(heading["stars"]), _plain(heading["title"]))
                kind = None
                yield self._sections.opening("heading", start)
            elif block := _BLOCK.match(line):
                inside = block["name"].lower()
                kind = "code" if inside in _OF_CODE else "paragraph"
                yield self._sections.opening(kind, start)
            elif _DRAWER.match(line) and self._is_closed(place):
                inside, kind = ":", "lines"
                yield self._sections.opening(kind, start)
            elif not line.strip():
                kind = kind if kind == "item" else None
            else:
                new = self._kind(place, line, kind)
                goes_on = new == kind and new not in ("header", "row")
                if not goes_on or (new == "item" and _ITEM.match(line)):
                    yield self._sections.opening(new, start)
                kind = new

    def _kind(self, place: int, line: str, before: BlockKind | None) -> BlockKind:
        if keyword := _KEYWORD.match(line):
            if keyword["key"].lower() == "title":
                self.title = f"{self.title} {keyword['value']}".strip()
            return "lines"
        if line.lstrip().startswith("|"):
            follows = self._lines[place + 1][1] if place + 1 < len(self._lines) else ""
            in_table = before in ("header", "row", "table")
            if _RULE.match(line):
                return "table"
            return "header" if not in_table and _RULE.match(follows) and follows.strip() else "row"
        if _ITEM.match(line):
            return "item"
        if line.startswith("# "):
            return "lines"
        return "item" if before == "item" and line[:1].isspace() else "paragraph"

    def _is_closed(self, place: int) -> bool:
        """Tell whether a drawer that opens at a line is closed; most have a few lines."""
        rows = (line.strip().lower() for _, line in self._lines[place + 1 : place + 100])
        return ":end:" in rows


def _plain(title: str) -> str:
    return _LINK.sub(r"\1", title)
