"""reStructuredText → Document: the source itself, with its structure.

The file is read line by line for what passages need: section titles, literal blocks, directives,
lists and tables. Nothing is rendered. docutils renders, but doesn't keep offsets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from rag_tools.ingest.blocks import Opening, tile
from rag_tools.ingest.decode import decode
from rag_tools.sentences import lines
from rag_tools.types import BlockKind, Document

# A line that repeats one character other than a letter, a digit or a space.
_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*")
_SHORTEST_ADORNMENT = 4  # unless it is as long as its title
_HEADER_FIELD = re.compile(r"[A-Z][\w-]*:(?:\s|\Z)")
_FIELD = re.compile(r":[^:\s][^:]*:(?:\s|\Z)")
_LIST_ITEM = re.compile(r"(?:[-*+•‣⁃]|\(?(?:\d+|[A-Za-z]|#)[.)])\s")
_OPTION = re.compile(r"(?:--?|/)[A-Za-z?][\w-]*(?:[ =,]|\Z)")
_LIST_TABLE = re.compile(r"\.\. +list-table::")
_CSV_TABLE = re.compile(r"\.\. +csv-table::")
_CELL_LIST = re.compile(r"\s+[*-] +[*-](?:\s|\Z)")
_CODE_DIRECTIVE = re.compile(
    r"\.\. +(?:code|code-block|sourcecode|parsed-literal|literalinclude|math|raw|doctest"
    r"|testcode|testsetup|testoutput|productionlist|highlight|include)::"
)
_TABLE_BORDER = re.compile(r"\+[-=+]{2,}|=++(?: ++=++)++\s*\Z")

# Inline mark-up in titles.
_ROLE = re.compile(r":[A-Za-z][\w+.:-]{0,50}:`(?P<content>[^`]{1,500})`")
_ROLE_TARGET = re.compile(r"(?P<shown>.*\S)\s*<[^<>]*>\Z", re.DOTALL)
_LITERAL = re.compile(r"``(?P<content>.{1,500}?)``(?!`)")
_REFERENCE = re.compile(r"`(?P<shown>[^`<>]{1,500}?)(?:\s*<[^`<>]{1,500}>)?`_{0,2}")
_EMPHASIS = re.compile(r"(?<![\w*\\])(\*\*?)(?=[^\s*])([^*]{0,500}[^\s*\\])\1(?![\w*])")
_SUBSTITUTION = re.compile(r"(?<![\w|])\|(\S(?:[^|]{0,200}\S)?)\|(?:__?)?(?![\w|])")
_FOOTNOTE = re.compile(r"\s*\[(?:#\w*|\*|\d+)\]_(?!\w)")
_NAMED_REFERENCE = re.compile(r"(?<!\w)(?!_)(\w{1,200}?)__?(?!\w)")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class _Line(NamedTuple):
    start: int
    end: int
    text: str  # without trailing white space

    @property
    def indented(self) -> bool:
        return self.text[:1].isspace()


def load_rst(data: bytes, *, uri: str, name: str) -> Document:
    """Return the document in a reStructuredText file.

    Each title, paragraph, list item, definition, table row, literal block and code-like directive
    is a block. The title is the ``Title:`` field of a header such as a PEP's, after its number, and
    encloses all sections; else the first section's; else the file's name. A `Loader`, see
    `rag_tools.ingest.load`.
    """
    text = decode(data, name=name)
    rows = [_Line(start, end, text[start:end].rstrip()) for start, end in lines(text)]
    openings = list(_Reader(rows).read())
    title = next((opening.path[0] for opening in openings if opening.path), name)
    return Document(
        text=text,
        uri=uri,
        title=title,
        media_type="text/x-rst",
        blocks=tile(openings, len(text)),
    )


def _plain(title: str) -> str:
    """Return a title as a reader sees it: roles and references are replaced by what they show.

    Examples
    --------
    >>> _plain("The :class:`~shop.Cart` of ``shop`` and `others <more.html>`_")
    'The Cart of shop and others'
    """
    kept: list[str] = []  # the content of literals isn't mark-up
    for number, part in enumerate(_LITERAL.split(title)):
        if number % 2 == 0:
            part = _ROLE.sub(_role_shown, part)
            part = _REFERENCE.sub(r"\g<shown>", part)
            part = _EMPHASIS.sub(r"\2", part)
            part = _SUBSTITUTION.sub(r"\1", _FOOTNOTE.sub("", part))
            part = _ESCAPED.sub(r"\1", _NAMED_REFERENCE.sub(r"\1", part))
        kept.append(part)
    return " ".join("".join(kept).split())


def _role_shown(role: re.Match[str]) -> str:
    content = role["content"]
    if target := _ROLE_TARGET.fullmatch(content):
        return target["shown"]
    # "~" before a dotted name shows its last part, "!" makes no link.
    content = content.removeprefix("!")
    return content[1:].rpartition(".")[2] if content.startswith("~") else content


class _Reader:
    """Reads lines top-down, one block after the other."""

    def __init__(self, rows: list[_Line]) -> None:
        self._rows = rows
        self._document_title: tuple[str, ...] = ()
        self._titles: list[str] = []  # open sections, outermost first
        self._styles: list[tuple[str, bool]] = []  # level → character, with an overline

    def read(self) -> Iterator[Opening]:
        """Yield the opening of each block, which extends to the next opening."""
        row = self._skip_blank(0)
        header_end = self._header_end(row)
        if header_end > row:
            yield self._opening("lines", row)
            row = self._skip_blank(header_end)
        while row < len(self._rows):
            title_rows = self._title(row)
            if title_rows:
                yield self._opening("heading", row)
                row = self._skip_blank(row + title_rows)
                continue
            kind, end = self._body(row)
            if kind == "table":
                yield from self._table(row, end)
            elif kind == "item":
                yield from self._items(row, end)
            else:
                yield self._opening(kind, row)
            row = self._skip_blank(end)

    def _items(self, row: int, end: int) -> Iterator[Opening]:
        """Yield the openings of items: each marked line, or each term that isn't indented."""
        marked = bool(self._item_mark(self._text(row)))
        yield self._opening("item", row)
        for each in range(row + 1, end):
            text = self._text(each)
            starts = self._item_mark(text) if marked else self._rows[each - 1].indented
            if text and not self._rows[each].indented and starts:
                yield self._opening("item", each)

    @staticmethod
    def _item_mark(text: str) -> re.Match[str] | None:
        return _LIST_ITEM.match(text) or _FIELD.match(text) or _OPTION.match(text)

    def _table(self, row: int, end: int) -> Iterator[Opening]:
        """Yield the openings of a table's header and of its rows."""
        if self._text(row).startswith(".. "):
            yield from self._directive_table(row, end)
            return
        rules = [each for each in range(row, end) if _TABLE_BORDER.match(self._text(each).lstrip())]
        is_rule = frozenset(rules)
        is_grid = self._text(row).lstrip().startswith("+")
        if is_grid:
            heads = [each for each in rules if set(self._text(each).strip()) <= set("+=")]
            body, has_header = (heads[0] if heads else row), bool(heads)
        else:
            has_header = len(rules) > 2
            body = rules[1] if has_header else row
        yield self._opening("header" if has_header else "row", row)
        # Without a header, the rule above the first row belongs to that row.
        for each in range(body + 1 if has_header else row + 2, end):
            text = self._text(each)
            if each in is_rule:
                continue
            # A row of a simple table begins in the first column, a row of a grid after a rule.
            if each - 1 in is_rule or not (is_grid or text[:1].isspace()):
                yield self._opening("row", each)

    def _directive_table(self, row: int, end: int) -> Iterator[Opening]:
        """Yield the openings of the rows of a table whose cells are a nested list or CSV."""
        start = row + 1
        headers = 0
        yield self._opening("paragraph", row)
        while start < end and (not self._text(start) or _FIELD.match(self._text(start).lstrip())):
            option = self._text(start).strip()
            if option.startswith(":header-rows:"):
                headers = int("".join(filter(str.isdigit, option)) or 0)
            elif option.startswith(":header:"):
                yield self._opening("header", start)
            start += 1
        is_list = _LIST_TABLE.match(self._text(row)) is not None
        for each in range(start, end):
            if self._text(each) and (not is_list or _CELL_LIST.match(self._text(each))):
                yield self._opening("header" if headers > 0 else "row", each)
                headers -= 1

    def _opening(self, kind: BlockKind, row: int) -> Opening:
        return Opening(kind, self._rows[row].start, (*self._document_title, *self._titles))

    def _skip_blank(self, row: int) -> int:
        while row < len(self._rows) and not self._rows[row].text:
            row += 1
        return row

    def _text(self, row: int) -> str:
        return self._rows[row].text if row < len(self._rows) else ""

    def _header_end(self, row: int) -> int:
        """Return the row after a header of ``Name: value`` lines with a title, or `row`."""
        if not _HEADER_FIELD.match(self._text(row)):
            return row
        end = row
        fields: list[str] = []
        while self._text(end):
            if self._rows[end].indented and fields:
                fields[-1] += " " + self._text(end).strip()
            elif _HEADER_FIELD.match(self._text(end)):
                fields.append(self._text(end))
            else:
                return row
            end += 1
        named = {
            name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)
        }
        title = named.get("title")
        if not title:
            return row
        number = named.get("pep")  # people ask for a PEP by its number
        self._document_title = (f"PEP {number} – {title}" if number else title,)
        return end

    def _title(self, row: int) -> int:
        """Open the section whose title is at `row`; return how many rows it has, 0 without one."""
        first, second, third = (self._text(row + ahead) for ahead in range(3))
        if _ADORNMENT.fullmatch(first) and second and first == third:
            title, underline, overlined = second, third, True
        elif not first[:1].isspace() and _ADORNMENT.fullmatch(second):
            title, underline, overlined = first, second, False
        else:
            return 0
        title = title.strip()
        if _ADORNMENT.fullmatch(title) or len(underline) < min(_SHORTEST_ADORNMENT, len(title)):
            return 0
        style = (underline[0], overlined)
        if style not in self._styles:
            # A new style opens the next level below the current section.
            self._styles.append(style)
        level = min(self._styles.index(style), len(self._titles))
        self._titles = [*self._titles[:level], _plain(title)]
        return 3 if overlined else 2

    def _body(self, row: int) -> tuple[BlockKind, int]:
        """Return the kind of the body element at `row` and the row after it."""
        text = self._text(row)
        if _TABLE_BORDER.match(text.lstrip()):
            return "table", self._paragraph_end(row)
        if _LIST_TABLE.match(text) or _CSV_TABLE.match(text):
            return "table", self._indented_end(row + 1)
        if _CODE_DIRECTIVE.match(text):
            return "code", self._indented_end(row + 1)
        if text.startswith(".. "):
            return "paragraph", self._indented_end(row + 1)
        if text.startswith(">>> "):
            return "code", self._paragraph_end(row)
        if self._rows[row].indented:
            literal = self._previous_text(row).endswith("::")
            return ("code" if literal else "paragraph"), self._indented_end(row)
        if self._item_mark(text):
            return "item", self._indented_end(self._paragraph_end(row))
        if self._text(row + 1) and self._rows[row + 1].indented:  # a term and its definition
            return "item", self._indented_end(row + 1)
        return "paragraph", self._paragraph_end(row)

    def _previous_text(self, row: int) -> str:
        row -= 1
        while row >= 0 and not self._rows[row].text:
            row -= 1
        return self._rows[row].text if row >= 0 else ""

    def _paragraph_end(self, row: int) -> int:
        row += 1
        while self._text(row):
            row += 1
        return row

    def _indented_end(self, row: int) -> int:
        """Return the row after the indented lines that start at `row`, with blank lines between."""
        end = row
        while row < len(self._rows) and (not self._rows[row].text or self._rows[row].indented):
            row += 1
            if self._rows[row - 1].text:
                end = row
        return end
