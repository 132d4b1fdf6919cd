"""Excel workbooks (.xlsx) to canonical text: the cells of all sheets as the program shows them.

Numbers, dates and times are written as their formats show them, and formulas as the values that
were saved with them. Hidden sheets, comments and charts are left out.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, NamedTuple

from lxml import etree

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.archive import Archive, attribute, local
from rag_tools.ingest.cell_format import BUILT_IN, GENERAL, shown
from rag_tools.ingest.extraction import Extraction
from rag_tools.ingest.properties import office_properties
from rag_tools.ingest.sheets import Row, SheetWriter, column_number
from rag_tools.types import Document

_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_MOST_SHEETS = 10_000
_LAST_ROW = 1_048_576


class _Workbook(NamedTuple):
    """What the cells of all sheets refer to."""

    strings: list[str]
    formats: list[str]  # format code of each cell style
    from_1904: bool


def load_xlsx(data: bytes, *, uri: str, name: str) -> Document:
    """Extract the cells of an Excel workbook.

    Each sheet's name is a heading. Rows are blocks, with the first row of a table as its header if
    it seems to name the columns. The parts of the source map are cells: ``Sheet1!B7``. A `Loader`,
    see `rag_tools.ingest.load`.

    Raises
    ------
    UnreadableFileError
        As every loader does; also if there are too many cells, or if it is a binary workbook.
    """
    archive = Archive(data, name, "an Excel workbook")
    if "xl/workbook.bin" in archive:
        raise UnreadableFileError(f"{name}: a binary workbook (.xlsb): save it as .xlsx")
    main = archive.main("xl/workbook.xml")
    relations = archive.relations(main)
    root = archive.xml(main)
    by_kind = {each.kind: each.target for each in relations.values()}
    settings = root.find("{*}workbookPr")
    workbook = _Workbook(
        _strings(archive, by_kind.get("sharedStrings", "")),
        _formats(archive, by_kind.get("styles", "")),
        settings is not None and settings.get("date1904") in ("1", "true"),
    )
    extraction = Extraction()
    writer = SheetWriter(extraction, name)
    for number, sheet in enumerate(root.iterfind("{*}sheets/{*}sheet")):
        if number >= _MOST_SHEETS:
            raise UnreadableFileError(f"{name}: more than {_MOST_SHEETS:,} sheets: split it")
        relation = relations.get(attribute(sheet, "id"))
        is_hidden = sheet.get("state", "visible") != "visible"
        if not is_hidden and relation and relation.target in archive:
            member = archive.read(relation.target)
            writer.sheet(sheet.get("name", ""), _rows(member, workbook, name))
    properties = office_properties(archive)
    return extraction.document(
        uri=uri,
        name=name,
        media_type=_MEDIA_TYPE,
        title=properties.title or name,
        metadata=properties.metadata,
    )


def _iterate(member: bytes, tag: str, name: str) -> Iterator[Any]:
    """Yield the elements of a name in a large member, and forget each one afterwards."""
    walk = etree.iterparse(
        io.BytesIO(member),
        tag="{*}" + tag,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
    )
    try:
        for _, element in walk:
            yield element
            element.clear()
            while element.getprevious() is not None:
                del element.getparent()[0]
    except etree.XMLSyntaxError as error:
        raise UnreadableFileError(
            f"{name}: not an Excel workbook that can be read ({error}): save it again"
        ) from error


def _strings(archive: Archive, member: str) -> list[str]:
    if member not in archive:
        return []
    return [_string(entry) for entry in _iterate(archive.read(member), "si", archive.name)]


def _string(entry: Any) -> str:  # noqa: ANN401 - lxml has no types
    """Return a text without the reading aids that some have above them."""
    return "".join(
        text.text or "" for text in entry.iter("{*}t") if local(text.getparent()) != "rPh"
    )


def _formats(archive: Archive, member: str) -> list[str]:
    root = archive.xml_if_any(member) if member else None
    if root is None:
        return []
    codes = dict(BUILT_IN)
    for each in root.iterfind("{*}numFmts/{*}numFmt"):
        codes[_whole(each.get("numFmtId"))] = each.get("formatCode", GENERAL)
    return [
        codes.get(_whole(style.get("numFmtId")), GENERAL)
        for style in root.iterfind("{*}cellXfs/{*}xf")
    ]


def _rows(member: bytes, workbook: _Workbook, name: str) -> Iterator[Row]:
    before = 0
    for row in _iterate(member, "row", name):
        number = _whole(row.get("r")) or before + 1
        if not before < number <= _LAST_ROW:
            continue
        before = number
        cells = []
        column = 0
        for cell in row.iterchildren("{*}c"):
            column = max(column + 1, column_number(cell.get("r", "")))
            if text := _shown(cell, workbook):
                cells.append((column, text))
        yield Row(number, cells)


def _shown(cell: Any, workbook: _Workbook) -> str:  # noqa: ANN401
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return _string(cell)
    value: str = cell.findtext("{*}v") or ""
    match kind:
        case "s":
            place = _whole(value)
            return workbook.strings[place] if place < len(workbook.strings) else ""
        case "b":
            return {"1": "TRUE", "0": "FALSE"}.get(value, value)
        case "n" if value:
            style = _whole(cell.get("s"))
            code = workbook.formats[style] if style < len(workbook.formats) else GENERAL
            try:
                return shown(float(value), code, from_1904=workbook.from_1904)
            except (OverflowError, ValueError):
                return value
        case _:
            return value


def _whole(value: str | None) -> int:
    """Return a number that isn't negative; 0 for what isn't one."""
    return int(value) if value and value.isascii() and value.isdecimal() and len(value) < 10 else 0
