"""Plain text, tables in text, configuration and other line-oriented files → Document.

Formats with a structure of their own (Markdown, reStructuredText, source code) have their own
modules.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from rag_tools.ingest.blocks import Opening, tile
from rag_tools.ingest.decode import decode
from rag_tools.sentences import lines, paragraphs
from rag_tools.types import BlockKind, Document, Span

_PROSE: BlockKind = "paragraph"
_LINES: BlockKind = "code"
_ENTRIES: BlockKind = "lines"
_ROWS: BlockKind = "table"

FORMATS: dict[str, tuple[str, BlockKind]] = {
    # Suffix → media type, and what the file consists of. README, LICENSE, Makefile have no suffix.
    "": ("text/plain", _PROSE),
    ".txt": ("text/plain", _PROSE),
    ".text": ("text/plain", _PROSE),
    ".bib": ("text/x-bibtex", _PROSE),
    ".po": ("text/x-gettext-translation", _PROSE),
    ".textile": ("text/plain", _PROSE),
    ".wiki": ("text/plain", _PROSE),
    ".csv": ("text/csv", _ROWS),
    ".tab": ("text/tab-separated-values", _ROWS),
    ".tsv": ("text/tab-separated-values", _ROWS),
    ".bat": ("text/plain", _LINES),
    ".cfg": ("text/plain", _ENTRIES),
    ".clj": ("text/x-clojure", _LINES),
    ".cmake": ("text/x-cmake", _LINES),
    ".cmd": ("text/plain", _LINES),
    ".conf": ("text/plain", _ENTRIES),
    ".dart": ("text/x-dart", _LINES),
    ".diff": ("text/x-diff", _LINES),
    ".ex": ("text/x-elixir", _LINES),
    ".exs": ("text/x-elixir", _LINES),
    ".gradle": ("text/x-groovy", _LINES),
    ".graphql": ("application/graphql", _LINES),
    ".hs": ("text/x-haskell", _LINES),
    ".ini": ("text/plain", _ENTRIES),
    ".jl": ("text/x-julia", _LINES),
    ".less": ("text/css", _LINES),
    ".log": ("text/plain", _ENTRIES),
    ".ml": ("text/x-ocaml", _LINES),
    ".patch": ("text/x-diff", _LINES),
    ".pl": ("text/x-perl", _LINES),
    ".properties": ("text/plain", _ENTRIES),
    ".ps1": ("text/plain", _LINES),
    ".r": ("text/x-r", _LINES),
    ".scss": ("text/css", _LINES),
    ".zig": ("text/x-zig", _LINES),
}


# How the runs of lines in a plain text are recognised.
_LOG_ENTRY = re.compile(
    r"\W{0,2}(?:\d{4}[-/.]\d\d[-/.]\d\d[T ,]*\d\d:\d\d|\d\d:\d\d:\d\d"
    r"|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d \d\d:\d\d"
    r"|(?:\d{1,3}\.){3}\d{1,3} \S+ \S+ \[)"
)
_PAIR = re.compile(r"\s*[\w$][\w $./()&#%-]{0,39}(?:\s*=\s*|:\s+)(?=\S)")
_ASKED = re.compile(r"\s*(?:Q|A|Question|Answer)\s?\d{0,3}\s?[:.)]", re.IGNORECASE)
_OPTION = re.compile(r"[^\S\r\n]*--?[A-Za-z][\w-]*(?:[ =,<[]|\s*\Z)")
_DEFINITION = re.compile(r"\S[^\r\n]*(?:\r\n|[\r\n])[^\S\r\n]{0,3}:[^\S\r\n]+\S")
_CELL_ENDS = ("\t", "|", ";", ",")
_DIGIT = re.compile(r"\d")
_NUMBER = re.compile(r"[\d\W_]*\d[\d\W_]*")

_LONG_SOURCE = 5_000
_LONG_LINES = 500
"""A source of this many characters, and this many per line on average, counts as minified."""

_LONGEST_ROW = 8_192
"""Most characters of a row of several lines; a longer one has a stray quotation mark."""


def load_text(data: bytes, *, uri: str, name: str) -> Document:
    """Return the document in a text file: each run of lines between blank lines is a block.

    A table has a block for its header, if it seems to have one, and others for its rows. In prose,
    entries of a log, pairs of key and value, and descriptions of options are told from running
    text. The suffix of the name tells prose from tables and line-oriented
    formats. A `Loader`, see `rag_tools.ingest.load`.
    """
    text = decode(data, name=name)
    suffix = PurePath(name).suffix.lower()
    media_type, kind = FORMATS.get(suffix, FORMATS[""])
    return Document(
        text=text,
        uri=uri,
        title=name,
        media_type=media_type,
        blocks=tile(_openings(text, kind), len(text)),
    )


ROWS_LOOKED_AT = 20
"""Rows of a table that are enough for `looks_like_header`."""


def looks_like_header(rows: Sequence[Sequence[str]], *, by_numbers: bool = False) -> bool:
    """Tell whether the first row of a table names its columns.

    Parameters
    ----------
    rows
        Cells of the first rows, `ROWS_LOOKED_AT` at most.
    by_numbers
        Whether numbers must confirm it: some below the names, and none among them.
    """
    if len(rows) < 2 or len(rows[0]) < 2:
        return False
    names = [cell.strip() for cell in rows[0]]
    if not any(names) or len({*names}) < len(names) or any(map(_NUMBER.fullmatch, names)):
        return False
    return not by_numbers or (
        not any(map(_DIGIT.search, names))
        and any(_DIGIT.search(cell) for row in rows[1:] for cell in row)
    )


def _block_kind(text: str, span: Span) -> BlockKind:
    """Return the kind of block that a run of lines in a plain text is."""
    rows = [line.of(text).rstrip() for line in lines(text, *span)]
    rows = [row for row in rows if row]
    if len(rows) > 1 and sum(map(bool, map(_LOG_ENTRY.match, rows))) * 2 > len(rows):
        return _ENTRIES
    if len(rows) > 1 and all(_PAIR.match(row) and not _ASKED.match(row) for row in rows):
        return _ENTRIES
    if len(rows) > 1 and len({row.count("\t") for row in rows}) == 1 and "\t" in rows[0].strip():
        return _ROWS
    return "item" if is_definition(text, span.start) else _PROSE


def is_minified(text: str) -> bool:
    """Tell whether a source is minified: it is long and has hardly any lines."""
    return len(text) >= _LONG_SOURCE and len(text) / (text.count("\n") + 1) >= _LONG_LINES


def is_definition(text: str, start: int) -> bool:
    """Tell whether there is a term at `start`, with its definition after a colon on a new line."""
    return _DEFINITION.match(text, start) is not None


def _openings(text: str, kind: BlockKind) -> Iterator[Opening]:
    for number, span in enumerate(paragraphs(text)):
        found = _block_kind(text, span) if kind == _PROSE else kind
        if kind == _ROWS:
            yield from _table(text, span, has_header=number == 0)
        elif found == _PROSE and any(_OPTION.match(line.of(text)) for line in lines(text, *span)):
            yield from _options(text, span)
        else:
            yield Opening(found, span.start)


def _options(text: str, span: Span) -> Iterator[Opening]:
    """Yield the opening of each option of a command, together with its description."""
    yield Opening(_PROSE, span.start)
    depth = None
    for line in lines(text, *span):
        row = line.of(text)
        indent = len(row) - len(row.lstrip())
        if _OPTION.match(row) and (depth is None or indent <= depth):
            depth = indent
            yield Opening("item", line.start)


def _table(text: str, span: Span, *, has_header: bool) -> Iterator[Opening]:
    """Yield the openings of a table's header and of its rows; rows of one line share a block."""
    rows = list(_rows(text, span))
    start = 0
    if has_header and _has_header(text, rows):
        yield Opening("header", span.start)
        start = 1
    before: BlockKind | None = None
    for row in rows[start:]:
        kind: BlockKind = "row" if len(lines(text, *row)) > 1 else _ROWS
        if kind == "row" or kind != before:
            yield Opening(kind, row.start)
        before = kind


def _rows(text: str, span: Span) -> Iterator[Span]:
    """Yield the rows of a table: a line each, or several if one ends inside quotation marks."""
    start = span.start
    odd = False
    for line in lines(text, *span):
        odd ^= text.count('"', *line) % 2 == 1
        if odd and line.end - start > _LONGEST_ROW:
            yield from lines(text, start, line.end)
            start, odd = line.end, False
        elif not odd:
            yield Span(start, line.end)
            start = line.end
    yield from lines(text, start, span.end)


def _has_header(text: str, rows: Sequence[Span]) -> bool:
    first = [row.of(text)[:_LONGEST_ROW] for row in rows[:2]]
    delimiter = max(_CELL_ENDS, key=lambda each: min((row.count(each) for row in first), default=0))
    try:
        return looks_like_header(list(csv.reader(first, delimiter=delimiter)))
    except csv.Error:  # the row holds a NUL or an extremely long cell
        return False
