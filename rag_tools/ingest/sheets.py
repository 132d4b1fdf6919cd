"""The cells of a spreadsheet as text: sheets, tables, rows, and a name for each cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import quote as percent_encode

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.extraction import Extraction
from rag_tools.ingest.text import ROWS_LOOKED_AT, looks_like_header
from rag_tools.types import BlockKind

MAX_CELLS = 2_000_000
"""Cells with content above which a spreadsheet is refused."""

_PLAIN_NAME = re.compile(r"[^\W\d]\w*")


class Row(NamedTuple):
    """A row of a sheet: its number and those of its columns from 1, with the cells' texts."""

    number: int
    cells: list[tuple[int, str]]


class SheetWriter:
    """Writes the sheets of a spreadsheet to an extraction.

    Parameters
    ----------
    out
        Where to.
    name
        Name of the file, for messages.
    """

    def __init__(self, out: Extraction, name: str) -> None:
        self._out = out
        self._name = name
        self._cells = 0

    def sheet(self, title: str, rows: Iterable[Row]) -> None:
        """Write a sheet: its name as a heading, then its tables, which empty rows separate.

        Cells of a table's row are separated by a tab, and there is one for each column that the
        table uses, up to the last cell with content. White space in a cell becomes one space.

        Raises
        ------
        UnreadableFileError
            There are more than `MAX_CELLS` cells.
        """
        tables = self._tables(rows)
        if not tables:
            return
        self._out.heading(1, title)
        start = self._out.length
        self._out.append(" ".join(title.split()))
        self._out.mark(start, sheet_reference(title))
        for table in tables:
            self._table(title, table)

    def _tables(self, rows: Iterable[Row]) -> list[list[Row]]:
        tables: list[list[Row]] = []
        before = -1
        for number, cells in rows:
            kept = [(column, " ".join(text.split())) for column, text in cells]
            kept = [(column, text) for column, text in kept if text]
            self._cells += len(kept)
            if self._cells > MAX_CELLS:
                raise UnreadableFileError(
                    f"{self._name}: more than {MAX_CELLS:,} cells: save its sheets as CSV files, "
                    "or split it"
                )
            if kept:
                if number != before + 1:
                    tables.append([])
                tables[-1].append(Row(number, kept))
                before = number
        return tables

    def _table(self, title: str, table: list[Row]) -> None:
        columns = sorted({column for row in table for column, _ in row.cells})
        places = {column: place for place, column in enumerate(columns)}
        captions = 0
        while len(columns) > 1 and captions < len(table) and len(table[captions].cells) == 1:
            captions += 1
        if captions == len(table):  # nothing stands beside anything
            captions = 0
        looked_at = table[captions : captions + ROWS_LOOKED_AT]
        has_header = looks_like_header([_texts(row, places) for row in looked_at])
        for number, row in enumerate(table):
            kind: BlockKind = "row"
            if number < captions:
                kind = "paragraph"
            elif has_header and number == captions:
                kind = "header"
            self._out.start_block(kind, separator="\n" if number > captions else "\n\n")
            self._row(title, row, places)

    def _row(self, title: str, row: Row, places: dict[int, int]) -> None:
        at = 0
        for column, text in row.cells:
            self._out.append("\t" * (places[column] - at))
            at = places[column]
            start = self._out.length
            self._out.append(text)
            address = f"{sheet_reference(title)}!{column_letters(column)}{row.number}"
            self._out.mark(start, address, percent_encode(address, safe="!'"))


def _texts(row: Row, places: dict[int, int]) -> Sequence[str]:
    texts = [""] * len(places)
    for column, text in row.cells:
        texts[places[column]] = text
    return texts


def sheet_reference(title: str) -> str:
    """Return the name of a sheet as it stands in a formula.

    Examples
    --------
    >>> sheet_reference("Sheet1"), sheet_reference("Bob's plan")
    ('Sheet1', "'Bob''s plan'")
    """
    if _PLAIN_NAME.fullmatch(title):
        return title
    return "'" + title.replace("'", "''") + "'"


def column_letters(number: int) -> str:
    """Return the letters of a column that counts from 1.

    Examples
    --------
    >>> column_letters(2), column_letters(27), column_letters(16384)
    ('B', 'AA', 'XFD')
    """
    letters = ""
    while number > 0:
        number, place = divmod(number - 1, 26)
        letters = chr(ord("A") + place) + letters
    return letters


def column_number(address: str) -> int:
    """Return the number of the column in the address of a cell, from 1; 0 if there is none.

    Examples
    --------
    >>> column_number("B7"), column_number("AA1")
    (2, 27)
    """
    number = 0
    for character in address[:3]:
        if not "A" <= character <= "Z":
            break
        number = number * 26 + ord(character) - ord("A") + 1
    return number
