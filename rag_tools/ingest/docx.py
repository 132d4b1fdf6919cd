"""Word documents (.docx) to canonical text.

The text holds paragraphs, lists, tables, text boxes, notes and inserted documents in document
order, with the alternative texts of pictures and the values of form fields. It doesn't hold the
numbers and bullets that Word draws, deleted and hidden text, headers, footers and comments.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import docx
from docx.oxml import parse_xml
from docx.oxml.ns import qn
from lxml.etree import XMLSyntaxError

from rag_tools.errors import NoTextError, UnreadableFileError
from rag_tools.ingest.archive import check_archive
from rag_tools.ingest.docx_hiding import concealed
from rag_tools.ingest.extraction import Extraction
from rag_tools.ingest.html import load_html
from rag_tools.ingest.load import Loader
from rag_tools.ingest.properties import Properties, core_properties
from rag_tools.ingest.symbols import REPLACEMENT, symbol, symbols
from rag_tools.ingest.text import ROWS_LOOKED_AT, load_text, looks_like_header
from rag_tools.types import Document

_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

_HEADING_STYLE = re.compile(r"heading ([1-9])", re.I)
_TITLE_LEVEL = 0  # the style "Title" is above "Heading 1"

_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_TEXT_BOX = qn("w:txbxContent")
_TEXT = frozenset((qn("w:t"), _MATH_TEXT))
_PICTURES = {  # element → attribute with the alternative text
    "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}docPr": "descr",
    "{urn:schemas-microsoft-com:vml}shape": "alt",
}
_PRIVATE_USE = re.compile("[\uf020-\uf0ff]")
_FILE_NAME = re.compile(r"\S+\.(?:png|jpe?g|gif|svg|emf|wmf|bmp|tiff?)", re.I)
_BOXES = ("☐", "☒")
_CHARACTERS = {
    qn("w:tab"): "\t",
    qn("w:ptab"): "\t",
    qn("w:br"): "\n",
    qn("w:cr"): "\n",
    qn("w:noBreakHyphen"): "\u2011",
    qn("w:softHyphen"): "\u00ad",
}
_UNREAD = {
    qn("w:altChunk"): "an inserted document of another format",
    qn("w:object"): "embedded objects",
    qn("w:drawing"): "pictures",
    qn("w:pict"): "pictures",
    qn("w:subDoc"): "links to other documents",
}
_NOTES = {qn("w:footnoteReference"): "footnote", qn("w:endnoteReference"): "endnote"}
_NOT_CONTENT = frozenset(
    (qn("w:pPr"), qn("w:rPr"), qn("w:del"), qn("w:moveFrom"), _FALLBACK, _TEXT_BOX)
)
_TRANSPARENT = frozenset((qn("w:customXml"), qn("w:ins"), qn("w:moveTo"), qn("w:sdtContent")))


def load_docx(data: bytes, *, uri: str, name: str) -> Document:
    """Extract the text of a Word document.

    Paragraphs are separated by a blank line, list items and table rows by a line end, table cells
    by a tab. ``source_map.elements`` has paths such as ``body/p[12]`` and
    ``body/tbl[2]/tr[1]/tc[3]``. A `Loader`, see `rag_tools.ingest.load`.

    Raises
    ------
    UnreadableFileError
        As every loader does; also if the file unpacks to an absurd size.
    NoTextError
        The document holds only things that aren't read, such as embedded objects.
    """
    check_archive(data, name, "a Word document")
    source = _open(data, name)
    extraction = _Extraction(source)
    extraction.read()
    if not extraction.length and (holder := _holds_unread(source.body)):
        raise NoTextError(f"{name}: no text: it holds {holder}; save it with its text, or as PDF")
    return extraction.document(
        uri=uri,
        name=name,
        media_type=_MEDIA_TYPE,
        title=source.properties.title,
        metadata=source.properties.metadata,
    )


_INSERTED: dict[str, Loader] = {
    # Media type, or suffix where that is a general one.
    "text/html": load_html,
    "application/xhtml+xml": load_html,
    "html": load_html,
    "htm": load_html,
    "xhtml": load_html,
    "text/plain": load_text,
    "txt": load_text,
}


class _Concealed(str):
    """Characters that no reader of the document sees, and why."""

    how: str

    @classmethod
    def of(cls, text: str, how: str) -> _Concealed:
        concealed = cls(text)
        concealed.how = how
        return concealed


class _Source(NamedTuple):
    """The XML that is read."""

    body: Any
    styles: Any
    notes: dict[str, Any]  # "footnote" or "endnote" → element that holds them
    inserted: dict[str, Document]  # id of a relation → document that Word shows in a place
    properties: Properties


def _open(data: bytes, name: str) -> _Source:
    try:
        document = docx.Document(io.BytesIO(data))
        notes = {}
        for relation in document.part.rels.values():
            kind = relation.reltype.rpartition("/")[2].removesuffix("s")
            if kind in _NOTES.values() and not relation.is_external:
                notes[kind] = parse_xml(relation.target_part.blob)
        inserted = _read_inserted(document.part.rels, name)
        properties = core_properties(document.core_properties._element)
        if document.element.body is None:
            raise KeyError("no w:body")
        return _Source(document.element.body, document.styles.element, notes, inserted, properties)
    # python-docx doesn't validate: on a damaged file it trips over whatever is missing.
    except (
        AttributeError,
        EOFError,
        LookupError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
        XMLSyntaxError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise UnreadableFileError(
            f"{name}: not a readable Word document ({error}): open it in Word and save it again"
        ) from error


def _read_inserted(relations: Any, name: str) -> dict[str, Document]:  # noqa: ANN401
    """Return the documents that a file inserts, of the formats that are read, by relation."""
    inserted = {}
    for relation_id, relation in relations.items():
        if relation.is_external or not relation.reltype.endswith("/aFChunk"):
            continue
        part = relation.target_part
        loader = _INSERTED.get(str(part.content_type).partition(";")[0].strip().lower())
        suffix = str(part.partname).rpartition(".")[2].lower()
        loader = loader or _INSERTED.get(suffix)
        if loader is not None:
            # Documents that it inserts in turn aren't read, since a file could insert itself.
            inserted[relation_id] = loader(part.blob, uri="inserted:", name=name)
    return inserted


class _Extraction(Extraction):
    """The text that was read so far, and what is needed to go on."""

    def __init__(self, source: _Source) -> None:
        super().__init__()
        self._source = source
        self._styles = _read_styles(source.styles)
        self._notes: list[tuple[str, str]] = []  # kind and id, in order of reference

    def read(self) -> None:
        """Read the body, then the notes to which it refers."""
        self._read_flow(self._source.body, "body")
        note_texts = self._read_notes()
        for number, (kind, note_id) in enumerate(self._notes, 1):
            if text := note_texts.get((kind, note_id)):
                self.start_block("paragraph", path=())
                self.write(f"[{number}] {text}", f"{kind}s/{kind}[{note_id}]")

    def _read_flow(self, container: Any, path: str) -> None:  # noqa: ANN401
        for element, inner_path in _flow(container, path):
            if element.tag == qn("w:tbl"):
                self._table(element, inner_path)
            elif element.tag == qn("w:p"):
                self._paragraph(element, inner_path)
            else:
                self._inserted(element, inner_path)

    def _paragraph(self, paragraph: Any, path: str) -> None:  # noqa: ANN401
        pieces = list(self._inline(paragraph))
        text = "".join(pieces)
        if text.strip():
            level, is_list = self._style_of(paragraph)
            if level is not None:
                self.heading(level, text)
            else:
                self.start_block("item" if is_list else "paragraph")
            self._write_pieces(pieces, path)
        self._read_boxes(paragraph, path)

    def _write_pieces(self, pieces: list[str], path: str) -> None:
        start = self.length
        self.write("".join(pieces), path)
        for piece in pieces:
            if isinstance(piece, _Concealed):
                self.hide(start, start + len(piece), piece.how)
            start += len(piece)

    def _read_boxes(self, element: Any, path: str) -> None:  # noqa: ANN401
        """Read the text boxes that are anchored in an element, each with the boxes inside it."""
        for box in element.iter(_TEXT_BOX):
            around = []
            for ancestor in box.iterancestors():
                if ancestor is element:
                    break
                around.append(ancestor.tag)
            if _FALLBACK not in around and _TEXT_BOX not in around:
                self._read_flow(box, f"{path}/txbxContent")

    def _table(self, table: Any, path: str) -> None:  # noqa: ANN401
        rows = []
        marked = True  # whether Word repeats the row on every page; only the first rows can be
        for row, row_path in _flow(table, path, ("tr",)):
            properties = row.find(qn("w:trPr"))
            if properties is not None and properties.find(qn("w:del")) is not None:
                continue
            marked = marked and _is_on(properties, "w:tblHeader")
            cells = [
                (" ".join("".join(self._inline(cell)).split()), cell_path)
                for cell, cell_path in _flow(row, row_path, ("tc",))
            ]
            rows.append((marked, cells))
        if any(text for _, row in rows for text, _ in row):
            texts = [[text for text, _ in row] for _, row in rows[:ROWS_LOOKED_AT]]
            self._write_rows(rows, guessed=looks_like_header(texts, by_numbers=True))
        self._read_boxes(table, path)

    def _write_rows(self, rows: list[tuple[bool, list[tuple[str, str]]]], *, guessed: bool) -> None:
        for number, (marked, row) in enumerate(rows):
            is_header = marked or (guessed and number == 0)
            self.start_block("header" if is_header else "row", separator="\n" if number else "\n\n")
            for column, (text, cell_path) in enumerate(row):
                if column:
                    self.append("\t")
                if text:
                    self.write(text, cell_path)

    def _inserted(self, chunk: Any, path: str) -> None:  # noqa: ANN401
        """Read an inserted document, which Word shows at this place (``w:altChunk``)."""
        found = self._source.inserted.get(chunk.get(qn("r:id"), ""))
        if found is not None:
            self.insert(found, path)

    def _inline(self, element: Any) -> Iterator[str]:  # noqa: ANN401
        """Yield the visible characters of an element; the mark of a note becomes ``[1]``."""
        for child in element.iterchildren("*"):
            tag = child.tag
            if tag in _TEXT:
                yield _text(child)
            elif tag in _CHARACTERS:
                yield _CHARACTERS[tag]
            elif tag == qn("w:sym"):
                yield _symbol(child)
            elif tag in _PICTURES and (words := child.get(_PICTURES[tag], "").strip()):
                if not _FILE_NAME.fullmatch(words):
                    yield f" {words} "
                yield from self._inline(child)
            elif tag == qn("w:fldChar"):
                yield _field_value(child)
            elif tag in _NOTES:
                self._notes.append((_NOTES[tag], child.get(qn("w:id"), "")))
                yield f"[{len(self._notes)}]"
            elif tag == qn("w:r"):
                yield from self._run(child)
            elif tag not in _NOT_CONTENT:
                yield from self._inline(child)
                if tag == qn("w:p"):  # paragraphs inside a table cell or a nested table
                    yield "\n"

    def _run(self, run: Any) -> Iterator[str]:  # noqa: ANN401
        """Yield the characters of a run as Word shows them."""
        if _is_on(run.find(qn("w:rPr")), "w:vanish"):
            self.left_out += sum(len(text.text or "") for text in run.iter(*_TEXT))
        elif how := concealed(run):
            yield from (_Concealed.of(piece, how) for piece in self._inline(run))
        else:
            yield from self._inline(run)

    def _read_notes(self) -> dict[tuple[str, str], str]:
        texts = {}
        for kind, notes in self._source.notes.items():
            for note in notes.iterchildren(qn(f"w:{kind}")):
                text = " ".join("".join(self._inline(note)).split())
                texts[kind, note.get(qn("w:id"), "")] = text
        return texts

    def _style_of(self, paragraph: Any) -> tuple[int | None, bool]:  # noqa: ANN401
        """Return a paragraph's heading level, if any, and whether it is a list item."""
        level, is_list = None, False
        properties = paragraph.find(qn("w:pPr"))
        if properties is not None:
            style = properties.find(qn("w:pStyle"))
            if style is not None:
                level, is_list = self._styles.get(style.get(qn("w:val")), (None, False))
            level = _outline_level(properties, level)
            is_list = is_list or properties.find(qn("w:numPr")) is not None
        return level, is_list


def _flow(
    container: Any,  # noqa: ANN401
    path: str,
    wanted: tuple[str, ...] = ("p", "tbl", "altChunk"),
) -> Iterator[tuple[Any, str]]:
    """Yield the `wanted` elements in order with their paths, through content controls."""
    counts: Counter[str] = Counter()
    for child in container.iterchildren("*"):
        step = child.tag.rpartition("}")[2]
        counts[step] += 1
        child_path = f"{path}/{step}[{counts[step]}]"
        if step in wanted:
            yield child, child_path
        elif step == "sdt" or child.tag in _TRANSPARENT:
            yield from _flow(child, child_path, wanted)


def _text(element: Any) -> str:  # noqa: ANN401
    """Return the text of a ``w:t`` as Unicode, even if it is written in a symbol font."""
    text: str = element.text or ""
    if not _PRIVATE_USE.search(text):
        return text
    fonts = element.getparent().find(f"{qn('w:rPr')}/{qn('w:rFonts')}")
    return text if fonts is None else symbols(fonts.get(qn("w:ascii"), ""), text)


def _symbol(element: Any) -> str:  # noqa: ANN401
    try:
        code = int(element.get(qn("w:char"), ""), 16)
    except ValueError:
        return REPLACEMENT
    return symbol(element.get(qn("w:font"), ""), code)


def _field_value(element: Any) -> str:  # noqa: ANN401
    """Return what a form field shows that isn't in its text: a box, the entry of a list."""
    data = element.find(qn("w:ffData"))
    if data is None:
        return ""
    box = data.find(qn("w:checkBox"))
    if box is not None:
        state = box if box.find(qn("w:checked")) is not None else None
        return _BOXES[_is_on(state, "w:checked") if state is not None else _is_on(box, "w:default")]
    entries = [
        entry.get(qn("w:val"), "")
        for entry in data.findall(f"{qn('w:ddList')}/{qn('w:listEntry')}")
    ]
    result = data.find(f"{qn('w:ddList')}/{qn('w:result')}")
    place = "0" if result is None else result.get(qn("w:val"), "0")
    return entries[int(place)] if place.isdecimal() and int(place) < len(entries) else ""


def _is_on(properties: Any, name: str) -> bool:  # noqa: ANN401
    """Tell whether a property that can be on or off is there and on."""
    found = None if properties is None else properties.find(qn(name))
    return found is not None and found.get(qn("w:val"), "true") not in ("0", "false", "off")


def _holds_unread(body: Any) -> str:  # noqa: ANN401
    """Return in words what a document without text holds instead, "" if nothing."""
    for tag, words in _UNREAD.items():
        if next(body.iter(tag), None) is not None:
            return words
    return ""


def _outline_level(properties: Any, inherited: int | None) -> int | None:  # noqa: ANN401
    """Return the heading level that ``w:pPr`` sets, 1 to 9, else the inherited one."""
    outline = None if properties is None else properties.find(qn("w:outlineLvl"))
    if outline is None:
        return inherited
    level = outline.get(qn("w:val"), "9")
    return int(level) + 1 if level in tuple("012345678") else None  # 9 is body text


def _read_styles(styles: Any) -> dict[str | None, tuple[int | None, bool]]:  # noqa: ANN401
    """Return, per style id, the heading level if any and whether it is a list style."""
    by_id = {style.get(qn("w:styleId")): style for style in styles.iterchildren(qn("w:style"))}
    resolved: dict[str | None, tuple[int | None, bool]] = {}
    for style_id in by_id:
        chain: dict[str | None, Any] = {}  # the style and those it is based on, until one is known
        current = style_id
        while current in by_id and current not in chain and current not in resolved:
            chain[current] = by_id[current]
            based_on = by_id[current].find(qn("w:basedOn"))
            current = None if based_on is None else based_on.get(qn("w:val"))
        level, is_list = resolved.get(current, (None, False))
        for each, style in reversed(chain.items()):
            name = style.find(qn("w:name"))
            name = "" if name is None else name.get(qn("w:val"), "")
            properties = style.find(qn("w:pPr"))
            if heading := _HEADING_STYLE.fullmatch(name):
                level = int(heading[1])
            elif name.casefold() == "title":
                level = _TITLE_LEVEL
            else:
                level = _outline_level(properties, level)
            has_number = properties is not None and properties.find(qn("w:numPr")) is not None
            is_list = is_list or has_number or name.startswith("List")
            resolved[each] = (level, is_list)
    return resolved
