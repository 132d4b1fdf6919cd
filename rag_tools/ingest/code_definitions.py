"""Finds the functions and classes in the syntax tree of a source file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tree_sitter import Node

from rag_tools.ingest.code_grammars import Grammar
from rag_tools.ingest.code_names import qualified_name
from rag_tools.types import BlockKind

_MAX_DEPTH = 32
"""Definitions nested deeper than this remain part of the enclosing definition."""

# Without a body, these node types mention a type rather than define it.
_CLASSES_WITH_BODY = frozenset(
    {
        "class_specifier",
        "enum_specifier",
        "mod_item",
        "namespace_definition",
        "struct_specifier",
        "union_specifier",
    }
)

_MACROS_ABOVE = 2000  # bytes above a definition in which its macros are looked for
_BLANK_LINE = re.compile(rb"(?:\r\n|\r|\n)[ \t]*(?=[\r\n])")
LINE_END = re.compile(rb"\r\n|\r|\n")


class Definition(NamedTuple):
    """A function or class: its range of bytes, its kind, and a path that ends with its name."""

    start: int
    end: int
    kind: BlockKind
    path: tuple[str, ...]


class DefinitionReader:
    """Finds the definitions in a syntax tree."""

    def __init__(self, source: bytes, readable: bytes, grammar: Grammar) -> None:
        self._source = source
        self._readable = readable
        self._grammar = grammar

    def definitions(
        self,
        node: Node,
        path: tuple[str, ...] = (),
        wrapper_start: int | None = None,
        depth: int = 0,
    ) -> Iterator[Definition]:
        """Yield the definitions below `node`, whose path is `path`, inner ones after outer ones.

        If `node` is a wrapper around the first definition, that one begins at `wrapper_start`.
        """
        if depth == _MAX_DEPTH:
            return
        grammar = self._grammar
        prefix: tuple[int, int] | None = None  # range of the comments right above
        for child in node.children:
            if child.type in grammar.prefixes:
                prefix = self._extended(prefix, child)
                continue
            start = self._macros_above(child.start_byte)
            if prefix is not None and self._adjacent(prefix[1], start):
                start = prefix[0]
            prefix = None
            start = self._line_start(start) if wrapper_start is None else wrapper_start
            kind = self._kind(child)
            if kind is not None:
                inner = (*path, *qualified_name(child, grammar))
                yield Definition(start, child.end_byte, kind, inner)
                body = self._body(child)
                if kind == "class" and body is not None:
                    yield from self.definitions(body, inner, None, depth + 1)
                wrapper_start = None
            elif child.type in grammar.wrappers:
                yield from self.definitions(child, path, start, depth + 1)
            elif child.type in grammar.regions or child.is_error:
                yield from self.definitions(child, path, None, depth + 1)

    def _kind(self, node: Node) -> BlockKind | None:
        if not node.is_named:
            return None
        if node.type in self._grammar.functions:
            return "function"
        if node.type not in self._grammar.classes:
            return None
        if node.type in _CLASSES_WITH_BODY and node.child_by_field_name("body") is None:
            return None  # "struct point;" declares, and "struct point p;" uses
        return "class"

    def _body(self, node: Node) -> Node | None:
        body = node.child_by_field_name("body")
        if body is None and self._grammar.bodies:
            return next((each for each in node.children if each.type in self._grammar.bodies), None)
        return body

    def _extended(self, prefix: tuple[int, int] | None, node: Node) -> tuple[int, int] | None:
        """Return the range of `prefix` and `node`, or that of `node` alone if they are apart."""
        start = node.start_byte
        end = start + len(self._source[start : node.end_byte].rstrip())
        if prefix is not None and self._adjacent(prefix[1], start):
            return prefix[0], end
        line_start = self._line_start(start)
        # A comment after code on the same line belongs to that code.
        own_line = line_start < start or start == 0 or self._source[start - 1] in b"\r\n"
        return (start, end) if own_line else None

    def _adjacent(self, end: int, start: int) -> bool:
        """Tell whether only white space, with one line end at most, is between two offsets."""
        between = self._source[end:start]
        return not between.strip() and len(LINE_END.findall(between)) <= 1

    def _macros_above(self, start: int) -> int:
        """Return where the macro lines directly above a definition begin; they belong to it."""
        if self._readable is self._source:
            return start
        low = max(0, start - _MACROS_ABOVE)
        above = low + len(self._readable[low:start].rstrip())  # only macros follow
        between = self._source[above:start]
        # A blank line separates macros from the definition.
        blank = max((match.end() for match in _BLANK_LINE.finditer(between)), default=0)
        first = len(between) - len(between[blank:].lstrip())
        return above + first

    def _line_start(self, start: int) -> int:
        """Return the start of the line if only indentation precedes `start`, else `start`."""
        position = start
        while position > 0 and self._source[position - 1] in b" \t":
            position -= 1
        return position if position == 0 or self._source[position - 1] in b"\r\n" else start
