"""What the loaders of data share: pairs of key and value, and the containers around them.

The loader of a format reports where values begin and end. What is one unit is decided here: a value
with its key, or a container that its author wrote on one short line.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rag_tools.ingest.blocks import Opening
from rag_tools.types import BlockKind

_MAX_DEPTH = 32
"""Containers nested deeper than this remain part of the enclosing unit."""

_LONGEST_LINE = 200
"""Most characters of a container on one line that is one unit; a longer one is its values."""

_BEFORE = re.compile(r"[ \t]*+(?:[-?][ \t]++)*+(?:[&!][^\s,\[\]{}]*+[ \t]++)*+\Z")
_COMMENT = re.compile(r"[ \t]*+(?:#|//)")
_COMMENT_LINES = 50  # above a key, that belong to it
_LINE_END = re.compile(r"[\r\n]")
_LINE_BREAK = re.compile(r"\r\n|[\r\n]|\Z")
_LONGEST_BEFORE = 400  # characters before a value on its line that are looked at


class _Container(NamedTuple):
    place: int  # of its opening
    start: int
    key: str | None


class Outline:
    r"""The openings of blocks in a file of data.

    Each value is an ``item`` with its key; its path holds the keys of the containers around it. The
    beginning of a container, with its key, is a ``heading``. Comments on the lines right above a
    value belong to it.

    Examples
    --------
    >>> outline = Outline('{"a": {"b": 1}}')
    >>> for step in (outline.open(0, None), outline.open(1, "a"), outline.value(7)):
    ...     pass
    >>> outline.close(14), outline.close(15)
    (None, None)
    >>> [opening.kind for opening in outline.openings]
    ['item']
    """

    def __init__(self, text: str) -> None:
        self.openings: list[Opening] = []
        self._text = text
        self._open: list[_Container] = []
        self._path: tuple[str, ...] = ()
        self._deeper = 0  # containers that are open beyond the limit
        self._end = 0  # of what was reported last

    def open(self, start: int, key: str | None) -> None:
        """Open a container whose key begins at `start`; `key` is None for a file's only one."""
        if len(self._open) == _MAX_DEPTH or self._deeper:
            self._deeper += 1
            return
        start = self._leading(start)
        inner = self._path if key is None else (*self._path, key)
        self._open.append(_Container(len(self.openings), start, key))
        self._add("lines" if key is None else "heading", start, inner)
        self._path = inner

    def value(self, start: int, kind: BlockKind = "item") -> None:
        """Report a value that begins, with its key, at `start`."""
        if not self._deeper:
            self._add(kind, self._leading(start), self._path)

    def rest(self, position: int) -> None:
        """Report that nothing is known of the lines after the one in which `position` is."""
        following = _LINE_BREAK.search(self._text, position)
        self._add("lines", following.end() if following and position else position, self._path)

    def ends(self, end: int) -> None:
        """Report that a value ended at `end`."""
        self._end = max(self._end, end)

    def close(self, end: int, *, bracket: int | None = None, whole: bool = False) -> None:
        """Close the innermost container, which ends at `end`.

        Parameters
        ----------
        end
            Where it ends.
        bracket
            Where what closes it begins, if anything does.
        whole
            Whether it is one unit, however long.
        """
        if self._deeper:
            self._deeper -= 1
            return
        if not self._open:
            return
        place, start, key = self._open.pop()
        inner = self._path
        self._path = inner if key is None else inner[:-1]
        short = end - start <= _LONGEST_LINE and not _LINE_END.search(
            self._text[start:end].lstrip()
        )
        if whole or short:
            del self.openings[place + 1 :]
            self.openings[place] = Opening("item", start, self._path)
        elif bracket is not None and self.openings[-1].kind != "lines":
            # The rest of a container's last line isn't of its last value.
            self._add("lines", self._leading(bracket), inner)
        self._end = max(self._end, end)

    def _add(self, kind: BlockKind, start: int, path: tuple[str, ...]) -> None:
        """Add an opening, which in damaged files may seem to begin before the last one."""
        if self.openings:
            start = max(start, self.openings[-1].start)
        self.openings.append(Opening(kind, start, path))

    def _leading(self, start: int) -> int:
        """Return where the line of a value begins, or the comments above it, if only they do."""
        text = self._text
        low = max(self._end, start - _LONGEST_BEFORE)
        line = max(text.rfind("\n", low, start), text.rfind("\r", low, start)) + 1 or low
        if line < self._end or not _BEFORE.match(text[line:start]):
            return start
        for _ in range(_COMMENT_LINES):
            if line <= self._end or text[line - 1] not in "\r\n":
                break
            above = line - 1 - (text[line - 2 : line] == "\r\n")
            begin = max(text.rfind("\n", self._end, above), text.rfind("\r", self._end, above)) + 1
            if not begin and text[self._end - 1 : self._end] in ("", "\r", "\n"):
                begin = self._end
            if begin < self._end or not _COMMENT.match(text, begin, above):
                break
            line = begin
        return line
