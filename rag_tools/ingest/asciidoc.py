"""AsciiDoc → Document: the source itself, with its structure, read line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag_tools.ingest.blocks import Opening, Sections, tile
from rag_tools.ingest.decode import decode
from rag_tools.sentences import lines
from rag_tools.types import BlockKind, Document

_HEADING = re.compile(r"(?P<marks>={1,6}|#{1,6})\s+(?P<title>\S.*?)(?:\s+(?P=marks))?\s*\Z")
_FENCES = {"-": "code", ".": "code", "`": "code", "/": "lines", "+": "lines"}
_FENCE = re.compile(r"(?:(?P<mark>[-./+*=_])(?P=mark){3,}|--|`{3,}\w*)\s*\Z")
_TABLE = re.compile(r"[|,:!]={3,}\s*\Z")
_ATTRIBUTE = re.compile(r":!?[\w-]+!?:(?:\s|\Z)")
_BLOCK_LINE = re.compile(r"\[[^\[\]]*\]\s*\Z|\.[^\s.].*\Z|\[\[[^\[\]]*\]\]\s*\Z")
_ITEM = re.compile(
    r"\s*(?:\*{1,5}|-|\.{1,5}|\d{1,9}\.|<\d{1,3}>)\s+\S|\s*\S.{0,200}?:{2,4}(?:\s|\Z)"
)
_COMMENT = re.compile(r"//(?!/)")
_PASSED = ("include::", "image::", "toc::", "ifdef::", "ifndef::", "ifeval::", "endif::")
_HEADER_OPTION = re.compile(r"options\s*=\s*\"?[^\]\"]*header|%[\w%]*header")


def load_asciidoc(data: bytes, *, uri: str, name: str) -> Document:
    """Return the document in an AsciiDoc file.

    Each heading, paragraph, list item, term with its description, table row and delimited block is
    a block. A row is a line that begins with a cell, so that a row with a line for each of its
    cells is several. The title is the first heading of level 0, else the name of the file. A
    `Loader`, see `rag_tools.ingest.load`.
    """
    text = decode(data, name=name)
    reader = _Reader(text)
    openings = list(reader.openings())
    return Document(
        text=text,
        uri=uri,
        title=reader.title or name,
        media_type="text/asciidoc",
        blocks=tile(openings, len(text)),
    )


class _Reader:
    def __init__(self, text: str) -> None:
        self.title = ""
        self._lines = [(span.start, span.of(text).rstrip()) for span in lines(text)]
        self._sections = Sections()
        self._fence = ""  # what closes the verbatim block that is open
        self._in_table = False
        self._before_table = ""  # the line with its options
        self._rows = 0  # of the table that is open

    def openings(self) -> Iterator[Opening]:
        kind: BlockKind | None = None  # of the block that goes on
        for place, (start, line) in enumerate(self._lines):
            if self._fence:
                if line == self._fence:
                    self._fence, kind = "", None
                continue
            if _TABLE.match(line):
                self._in_table, self._rows, kind = not self._in_table, 0, None
                yield self._sections.opening("lines", start)
                continue
            if self._in_table:
                yield from self._row(place, start, line)
                continue
            if not line:
                kind = None
                continue
            new = self._kind(place, line, kind)
            if new != kind or (new == "item" and _ITEM.match(line)) or new == "heading":
                yield self._sections.opening(new, start)
            kind = None if new in ("heading", "code") and not self._fence else new

    def _kind(self, place: int, line: str, before: BlockKind | None) -> BlockKind:
        if heading := _HEADING.match(line):
            level = len(heading["marks"])
            if level == 1 and not self.title:
                self.title = heading["title"]
            self._sections.open(level, heading["title"])
            return "heading"
        if fence := _FENCE.match(line):
            # What the other fences enclose, such as a quotation, is text.
            kind = _FENCES.get(line[0]) if len(line) > 2 else None
            if kind:
                self._fence = line if not line.startswith("`") else "```"
                return "code" if kind == "code" else "lines"
            return "lines" if fence else "paragraph"
        if _BLOCK_LINE.match(line) or _ATTRIBUTE.match(line) or line.startswith(_PASSED):
            self._before_table = line
            return "lines"
        if _COMMENT.match(line):
            return "lines"
        if _ITEM.match(line):
            return "item"
        if line == "+" and before == "item":
            return "item"
        if before is None and line[:1].isspace():
            return "code"
        return before if before in ("item", "paragraph", "code") else "paragraph"

    def _row(self, place: int, start: int, line: str) -> Iterator[Opening]:
        """Yield the opening of a row; the first, with a blank line after it, is the header."""
        if not line:
            return
        self._rows += 1
        follows = self._lines[place + 1][1] if place + 1 < len(self._lines) else ""
        first = self._rows == 1
        is_header = first and (not follows or bool(_HEADER_OPTION.search(self._before_table)))
        if is_header or first or line.lstrip()[:1] in "|!":
            yield self._sections.opening("header" if is_header else "row", start)
