"""OpenDocument files (.odt, .ods, .odp) to canonical text.

Of a text, the headings, paragraphs, lists, tables, text boxes and notes in document order, with the
alternative texts of pictures; of a spreadsheet, the cells as they were shown when it was saved; of
a presentation, the slides with their notes. Tables and charts that are embedded as documents of
their own are read where they are shown, those of spreadsheets excepted, which show its cells.
Deleted text, comments and hidden sheets are left out.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.archive import Archive, local
from rag_tools.ingest.extraction import Extraction
from rag_tools.ingest.properties import core_properties
from rag_tools.ingest.sheets import MAX_CELLS, Row, SheetWriter
from rag_tools.ingest.tables import write_table
from rag_tools.types import BlockKind, Document

MEDIA_TYPE = "application/vnd.oasis.opendocument."
_KINDS = ("text", "spreadsheet", "presentation", "graphics")

_NAMESPACE = "urn:oasis:names:tc:opendocument:xmlns:{}:1.0"
_TEXT = "{" + _NAMESPACE.format("text") + "}"
_TABLE = "{" + _NAMESPACE.format("table") + "}"
_DRAW = "{" + _NAMESPACE.format("drawing") + "}"
_PRESENTATION = "{" + _NAMESPACE.format("presentation") + "}"
_OFFICE = "{" + _NAMESPACE.format("office") + "}"
_STYLE = "{" + _NAMESPACE.format("style") + "}"
_CHART = "{" + _NAMESPACE.format("chart") + "}"
_LINK = "{http://www.w3.org/1999/xlink}href"

_CONTAINERS = frozenset(
    ("section", "index-body", "custom-shape", "frame", "text-box", "g", "a", "rect", "ellipse")
)
_INDEXES = frozenset(
    ("table-of-content", "illustration-index", "table-index", "object-index", "alphabetical-index")
)
_REPEATED = frozenset(("page-number", "date-time", "footer", "header", "page"))  # on each slide
_LEFT_OUT = frozenset(("tracked-changes", "annotation", "annotation-end", "ruby-text", "forms"))
_UNKNOWN_PAGE = "<number>"  # what LibreOffice writes for a number that only a page has
_MOST_SPACES = 1000
_DEEPEST = 60
_TITLE_LEVEL = 0  # above every heading


def load_odf(data: bytes, *, uri: str, name: str) -> Document:
    """Extract the text of an OpenDocument file.

    ``source_map.elements`` has paths such as ``text/p[12]``; its parts are cells (``Sheet1!B7``)
    and slides (``slide 3``). A `Loader`, see `rag_tools.ingest.load`.

    Raises
    ------
    UnreadableFileError
        As every loader does; also if the file is encrypted or has too many cells.
    """
    archive = Archive(data, name, "an OpenDocument file")
    manifest = archive.xml_if_any("META-INF/manifest.xml")
    if manifest is not None and next(manifest.iter("{*}encryption-data"), None) is not None:
        raise UnreadableFileError(f"{name}: encrypted: save it without a password")
    root = archive.xml("content.xml")
    out = Extraction()
    kind = ""
    for body in root.iterfind(_OFFICE + "body"):
        for content in body.iterchildren("*"):
            kind = kind or local(content)
            if local(content) == "spreadsheet":
                _sheets(content, _hidden_sheets(root), out, name)
            elif local(content) in ("presentation", "drawing"):
                _slides(content, out, _Objects(archive))
            else:
                flow = _Flow(out, _Objects(archive), titles=_title_styles(root))
                flow.read(content, "text")
                flow.notes()
    meta = core_properties(archive.xml_if_any("meta.xml"))
    kind = "graphics" if kind == "drawing" else kind
    return out.document(
        uri=uri,
        name=name,
        media_type=MEDIA_TYPE + (kind if kind in _KINDS else "text"),
        title=meta.title or (name if kind == "spreadsheet" else ""),
        metadata=meta.metadata,
    )


class _Objects:
    """The documents that are embedded in a file; each is read once, wherever else it is shown."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._taken: set[str] = set()

    def take(self, link: str) -> Iterator[Any]:
        """Yield what the body of a document contains, if it is here and wasn't taken before."""
        member = posixpath.normpath(posixpath.join(link, "content.xml"))
        if member == "content.xml" or member in self._taken:
            return
        self._taken.add(member)
        root = self._archive.xml_if_any(member)
        for body in () if root is None else root.iterfind(_OFFICE + "body"):
            yield from body.iterchildren("*")


class _Flow:
    """Reads paragraphs, lists, tables and embedded documents in the order of the document."""

    def __init__(
        self,
        out: Extraction,
        objects: _Objects | None = None,
        *,
        level: int = 0,
        titles: frozenset[str] = frozenset(),
    ) -> None:
        self._out = out
        self._objects = objects
        self._level = level  # of the section around it
        self._titles = titles  # styles of the document's title
        self._notes: list[str] = []

    def read(self, container: Any, path: str, depth: int = 0) -> None:  # noqa: ANN401 - lxml
        """Add the content of an element to the text."""
        counts: dict[str, int] = {}
        for element in container.iterchildren("*"):
            step = local(element)
            counts[step] = counts.get(step, 0) + 1
            inner = f"{path}/{step}[{counts[step]}]"
            if step in ("p", "h"):
                self._paragraph(element, inner, "paragraph")
            elif step == "list":
                self._list(element, inner, depth)
            elif step == "table":
                self._table(element, inner)
            elif step in _INDEXES:
                self._index(element, inner)
            elif step == "object" and self._objects is not None:
                for content in self._objects.take(element.get(_LINK, "")):
                    self._embedded(content, inner)
            elif step in _CONTAINERS and depth < _DEEPEST:
                self.described(element, inner)
                self.read(element, inner, depth + 1)

    def _embedded(self, content: Any, path: str) -> None:  # noqa: ANN401
        """Add an embedded document: the titles of a chart, and the tables that it shows."""
        if local(content) == "text":
            self.read(content, path, _DEEPEST - 1)
            return
        for number, title in enumerate(content.iter(_CHART + "title", _CHART + "subtitle"), 1):
            if words := " ".join(self.plain(title).split()):
                self._out.start_block("paragraph")
                self._out.write(words, f"{path}/title[{number}]")
        for number, table in enumerate(content.iter(_TABLE + "table"), 1):
            self._table(table, f"{path}/table[{number}]")

    def notes(self) -> None:
        """Add the footnotes and endnotes that the text refers to."""
        for number, words in enumerate(self._notes, 1):
            self._out.start_block("paragraph", path=())
            self._out.write(f"[{number}] {words}", f"notes/note[{number}]")
        self._notes = []

    def _paragraph(self, element: Any, path: str, kind: BlockKind) -> None:  # noqa: ANN401
        boxes: list[Any] = []
        words = "".join(self.inline(element, boxes))
        if words.strip():
            if element.get(_TEXT + "style-name") in self._titles:
                self._out.heading(_TITLE_LEVEL, words)
            elif local(element) == "h":
                self._out.heading(self._level + _outline_level(element), words)
            else:
                self._out.start_block(kind)
            self._out.write(words, path)
        for number, box in enumerate(boxes, 1):
            self.described(box, f"{path}/frame[{number}]")
            self.read(box, f"{path}/frame[{number}]", _DEEPEST - 1)

    def _list(self, element: Any, path: str, depth: int) -> None:  # noqa: ANN401
        for number, item in enumerate(element.iterchildren(), 1):
            inner = f"{path}/list-item[{number}]"
            for place, part in enumerate(item.iterchildren("*"), 1):
                if local(part) == "list" and depth < _DEEPEST:
                    self._list(part, inner, depth + 1)
                elif local(part) in ("p", "h"):
                    self._paragraph(part, f"{inner}/p[{place}]", "item")

    def _table(self, table: Any, path: str) -> None:  # noqa: ANN401
        rows = []
        marked = 0
        for number, row in enumerate(table.iter(_TABLE + "table-row"), 1):
            cells = [" ".join(self.plain(cell).split()) for cell in _cells_of(row)]
            rows.append((cells, f"{path}/table-row[{number}]"))
            in_header = local(row.getparent()) == "table-header-rows"
            marked += in_header and marked == number - 1
        write_table(self._out, rows, header_rows=marked or None)

    def _index(self, index: Any, path: str) -> None:  # noqa: ANN401
        for number, paragraph in enumerate(index.iter(_TEXT + "p"), 1):
            words = "".join(self.inline(paragraph, []))
            if words.strip():
                self._out.start_block("navigation", separator="\n\n" if number == 1 else "\n")
                self._out.write(words, f"{path}/p[{number}]")

    def described(self, frame: Any, path: str) -> None:  # noqa: ANN401
        """Add the alternative text of a picture."""
        for element in frame.iterchildren("{*}title", "{*}desc"):
            words = " ".join((element.text or "").split())
            if words:
                self._out.start_block("paragraph")
                self._out.write(words, path)

    def plain(self, element: Any) -> str:  # noqa: ANN401
        """Return the text of a cell, its paragraphs on lines of their own."""
        return "\n".join(
            "".join(self.inline(each, [])) for each in element.iter(_TEXT + "p", _TEXT + "h")
        )

    def inline(self, element: Any, boxes: list[Any], depth: int = 0) -> Iterator[str]:  # noqa: ANN401
        """Yield the characters of a paragraph; collect what is anchored in it in `boxes`."""
        if element.text:
            yield _collapsed(element.text)
        for child in element.iterchildren("*"):
            step = local(child)
            match step:
                case "s":
                    yield " " * min(_count(child, _TEXT + "c"), _MOST_SPACES)
                case "tab":
                    yield "\t"
                case "line-break":
                    yield "\n"
                case "note":
                    body = child.find(_TEXT + "note-body")
                    self._notes.append("" if body is None else " ".join(self.plain(body).split()))
                    yield f"[{len(self._notes)}]"
                case "frame" | "custom-shape" | "g" | "rect":
                    boxes.append(child)
                case "page-number" if child.text == _UNKNOWN_PAGE:
                    pass
                case _ if step not in _LEFT_OUT and depth < _DEEPEST:
                    yield from self.inline(child, boxes, depth + 1)
            if child.tail:
                yield _collapsed(child.tail)


def _collapsed(text: str) -> str:
    """Return characters with one space in place of each run of white space, as the format asks."""
    if "\n" not in text and "\t" not in text and "  " not in text:
        return text
    words = " ".join(text.split())
    return f"{' ' * text[0].isspace()}{words}{' ' * (bool(words) and text[-1].isspace())}"


def _outline_level(element: Any) -> int:  # noqa: ANN401
    return max(1, min(_count(element, _TEXT + "outline-level"), 10))


def _count(element: Any, name: str) -> int:  # noqa: ANN401
    """Return the value of an attribute that counts; 1 if it is missing or no number."""
    value = element.get(name, "1")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else 1


def _cells_of(row: Any) -> Iterator[Any]:  # noqa: ANN401
    yield from row.iterchildren(_TABLE + "table-cell", _TABLE + "covered-table-cell")


def _title_styles(root: Any) -> frozenset[str]:  # noqa: ANN401
    """Return the names of the styles of a document's title."""
    derived = {
        style.get(_STYLE + "name", "")
        for style in root.iterfind(f"{_OFFICE}automatic-styles/{_STYLE}style")
        if style.get(_STYLE + "parent-style-name") == "Title"
    }
    return frozenset(derived | {"Title"})


def _hidden_sheets(root: Any) -> frozenset[str]:  # noqa: ANN401
    """Return the names of the table styles that hide a sheet."""
    return frozenset(
        style.get(_STYLE + "name", "")
        for style in root.iterfind(f"{_OFFICE}automatic-styles/{_STYLE}style")
        for properties in style.iterchildren(_STYLE + "table-properties")
        if properties.get(_TABLE + "display") == "false"
    )


def _sheets(content: Any, hidden: frozenset[str], out: Extraction, name: str) -> None:  # noqa: ANN401
    writer = SheetWriter(out, name)
    for table in content.iterchildren(_TABLE + "table"):
        if table.get(_TABLE + "style-name") not in hidden:
            writer.sheet(table.get(_TABLE + "name", ""), _rows(table))


def _rows(table: Any) -> Iterator[Row]:  # noqa: ANN401
    number = 1
    flow = _Flow(Extraction())
    for row in table.iter(_TABLE + "table-row"):
        column = 1
        cells = []
        for cell in _cells_of(row):
            repeated = _count(cell, _TABLE + "number-columns-repeated")
            paragraphs = cell.iterchildren(_TEXT + "p")
            if text := "\n".join("".join(flow.inline(each, [])) for each in paragraphs):
                cells += [(column + place, text) for place in range(min(repeated, MAX_CELLS))]
            column += repeated
        repeated = _count(row, _TABLE + "number-rows-repeated")
        for place in range(repeated if cells else 0):
            yield Row(number + place, cells)
        number += repeated


def _slides(content: Any, out: Extraction, objects: _Objects) -> None:  # noqa: ANN401
    for number, page in enumerate(content.iterchildren(_DRAW + "page"), 1):
        path = f"slides[{number}]"
        start = out.length
        out.sections.close(1)
        flow = _Flow(out, objects, level=1)
        frames = list(page.iterchildren(_DRAW + "frame", _DRAW + "custom-shape", _DRAW + "g"))
        title = next((each for each in frames if _class_of(each) == "title"), None)
        words = "" if title is None else " ".join(flow.plain(title).split())
        if words:
            out.heading(1, words)
            out.write(words, f"{path}/title")
        for place, frame in enumerate(frames, 1):
            if (frame is not title or not words) and _class_of(frame) not in _REPEATED:
                flow.described(frame, f"{path}/{local(frame)}[{place}]")
                flow.read(frame, f"{path}/{local(frame)}[{place}]")
        flow.notes()
        out.mark(start, f"slide {number}")
        start = out.length
        for notes in page.iterchildren(_PRESENTATION + "notes"):
            for frame in notes.iterchildren(_DRAW + "frame"):
                if _class_of(frame) == "notes":
                    flow.read(frame, f"{path}/notes")
        out.mark(start, f"slide {number}, notes")


def _class_of(frame: Any) -> str:  # noqa: ANN401
    return str(frame.get(_PRESENTATION + "class", ""))
