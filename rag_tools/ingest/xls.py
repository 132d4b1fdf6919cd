"""Old Excel workbooks (.xls) to canonical text, through xlrd; see ``xlsx`` for what is shown."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import xlrd
from xlrd.biffh import error_text_from_code
from xlrd.compdoc import CompDocError

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.cell_format import GENERAL, shown
from rag_tools.ingest.extraction import Extraction
from rag_tools.ingest.sheets import Row, SheetWriter
from rag_tools.types import Document

_MEDIA_TYPE = "application/vnd.ms-excel"

# xlrd hardly validates: on a damaged file it trips over whatever is missing.
_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    CompDocError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    xlrd.XLRDError,
)


def load_xls(data: bytes, *, uri: str, name: str) -> Document:
    """Extract the cells of an old Excel workbook, as ``load_xlsx`` does those of a new one.

    A `Loader`, see `rag_tools.ingest.load`.
    """
    out = Extraction()
    writer = SheetWriter(out, name)
    try:
        # It writes its warnings to `logfile`.
        book = xlrd.open_workbook(
            file_contents=data, formatting_info=True, on_demand=True, logfile=io.StringIO()
        )
        for number in range(book.nsheets):
            sheet = book.sheet_by_index(number)
            if not sheet.visibility:
                writer.sheet(sheet.name, _rows(book, sheet))
            book.unload_sheet(number)
    except _FAULTS as error:
        reason = str(error) or type(error).__name__
        way_out = "save it without a password" if "encrypted" in reason else "save it as .xlsx"
        raise UnreadableFileError(
            f"{name}: not an Excel workbook that can be read ({reason}): {way_out}"
        ) from error
    author = " ".join(str(book.user_name or "").split())
    return out.document(
        uri=uri,
        name=name,
        media_type=_MEDIA_TYPE,
        title=name,
        metadata={"author": author} if author else {},
    )


def _rows(book: Any, sheet: Any) -> Iterator[Row]:  # noqa: ANN401 - xlrd has no types
    for number in range(sheet.nrows):
        cells = []
        for column, cell in enumerate(sheet.row(number), 1):
            if text := _shown(book, cell):
                cells.append((column, text))
        yield Row(number + 1, cells)


def _shown(book: Any, cell: Any) -> str:  # noqa: ANN401
    match cell.ctype:
        case xlrd.XL_CELL_TEXT:
            return str(cell.value)
        case xlrd.XL_CELL_NUMBER | xlrd.XL_CELL_DATE:
            return shown(cell.value, _format_code(book, cell), from_1904=book.datemode == 1)
        case xlrd.XL_CELL_BOOLEAN:
            return "TRUE" if cell.value else "FALSE"
        case xlrd.XL_CELL_ERROR:
            return str(error_text_from_code.get(cell.value, ""))
        case _:
            return ""


def _format_code(book: Any, cell: Any) -> str:  # noqa: ANN401
    try:
        return str(book.format_map[book.xf_list[cell.xf_index].format_key].format_str)
    except (IndexError, KeyError, TypeError):
        return GENERAL
