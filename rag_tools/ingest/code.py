"""Source code → Document: the file itself, with functions and classes as blocks.

tree-sitter finds the definitions and recovers from syntax errors. It counts UTF-8 bytes; the
blocks count code points.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module

from tree_sitter import Language, Parser

from rag_tools.ingest.blocks import Opening, tile
from rag_tools.ingest.code_definitions import LINE_END, Definition, DefinitionReader
from rag_tools.ingest.code_grammars import COMPONENTS, LANGUAGES, PREPROCESSED, Grammar
from rag_tools.ingest.code_patterns import (
    component_sections,
    docker_definitions,
    proto_definitions,
)
from rag_tools.ingest.decode import decode
from rag_tools.ingest.formats import format_suffix
from rag_tools.ingest.macros import without_macros
from rag_tools.sentences import paragraphs
from rag_tools.types import Document

_WORD = re.compile(rb"[0-9A-Za-z_\x80-\xff]")
_CONTINUATION = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 that don't begin a character."""


def load_code(data: bytes, *, uri: str, name: str) -> Document:
    """Return the document in a source file.

    Each function, method, class, struct or similar definition is a block, together with the
    comments, decorators and attributes directly above it; the text between definitions is
    ``code``. A block's path holds the names of the enclosing symbols and its own. Where the syntax
    is broken, the definitions that the parser still recognises are kept. The name of the file
    tells the language. If its grammar isn't installed, each run of lines is a block. A `Loader`,
    see `rag_tools.ingest.load`.
    """
    text = decode(data, name=name)
    suffix = format_suffix(name)
    source = text.encode("utf-8")
    if suffix in PATTERNED:
        media_type, find = PATTERNED[suffix]
        definitions = find(source)
    else:
        grammar = LANGUAGES[suffix]
        media_type = grammar.media_type
        definitions = _parsed(source, source, grammar)
    openings: Iterable[Opening]
    try:
        openings = _in_code_points(list(_openings(definitions, source)), source)
    except ModuleNotFoundError:  # the grammar is in an extra: its lines, then, as of any other text
        openings = (Opening("code", paragraph.start) for paragraph in paragraphs(text))
    return Document(
        text=text,
        uri=uri,
        title=name,
        media_type=media_type,
        blocks=tile(openings, len(text)),
    )


def _parsed(
    source: bytes, script: bytes, grammar: Grammar, path: tuple[str, ...] = ()
) -> Iterator[Definition]:
    """Yield the definitions in `script`, which is `source` or the part of it that is code."""
    language = Language(getattr(import_module(grammar.package), grammar.function)())
    readable = without_macros(script) if grammar in PREPROCESSED else script
    tree = Parser(language).parse(readable)
    # What isn't code is blank, so that comments are looked for in the script alone.
    yield from DefinitionReader(script, readable, grammar).definitions(tree.root_node, path)


def _component(source: bytes) -> Iterator[Definition]:
    """Yield the sections of a component of Vue or Svelte, and what its scripts define."""
    for section, script, language in component_sections(source):
        yield section
        if script and (grammar := COMPONENTS.get(language)):
            yield from _parsed(source, script, grammar, section.path)


PATTERNED: dict[str, tuple[str, Callable[[bytes], Iterator[Definition]]]] = {
    ".dockerfile": ("text/x-dockerfile", docker_definitions),
    ".proto": ("text/x-protobuf", proto_definitions),
    ".svelte": ("text/x-svelte", _component),
    ".vue": ("text/x-vue", _component),
}
"""Suffix → media type and what finds the definitions, for what no grammar reads as a whole."""


def _in_code_points(openings: Iterable[Opening], source: bytes) -> Iterator[Opening]:
    """Convert the offsets of `openings`, in order, from bytes of UTF-8 to code points."""
    code_points = position = 0
    for opening in openings:
        # Characters are counted without decoding them; one that an offset falls into counts as
        # standing before the offset.
        code_points += len(source[position : opening.start].translate(None, _CONTINUATION))
        position = opening.start
        yield opening._replace(start=code_points)


def _openings(definitions: Iterable[Definition], source: bytes) -> Iterator[Opening]:
    """Yield where blocks open, in bytes, given definitions in order, inner ones after outer ones.

    A stretch without any word, such as a closing brace, doesn't open a block.
    """
    openings = list(_all_openings(definitions, source))
    ends = [*(opening.start for opening in openings[1:]), len(source)]
    for opening, end in zip(openings, ends, strict=True):
        if _WORD.search(source, opening.start, end):
            yield opening


def _all_openings(definitions: Iterable[Definition], source: bytes) -> Iterator[Opening]:
    """Yield every opening in ascending order of `start`, even if the definitions overlap."""
    enclosing = [Definition(0, len(source), "code", ())]
    position = 0  # of the last opening
    yield Opening("code", 0)
    for definition in definitions:
        # Where the syntax is broken, the comment or wrapper that belongs to a definition may
        # begin inside the definition before it. Each character then belongs to the first one.
        start = max(definition.start, position)
        for closing in _closings(enclosing, start, source):
            position = max(position, closing.start)
            yield closing._replace(start=position)
        position = start
        yield Opening(definition.kind, start, definition.path)
        enclosing.append(definition)
    for closing in _closings(enclosing, len(source), source):
        position = max(position, closing.start)
        yield closing._replace(start=position)


def _closings(enclosing: list[Definition], until: int, source: bytes) -> Iterator[Opening]:
    """Close the definitions that end before `until`; yield where the enclosing block goes on."""
    while len(enclosing) > 1 and enclosing[-1].end <= until:
        closed = enclosing.pop()
        line_end = LINE_END.search(source, closed.end, until)
        outer = enclosing[-1]
        yield Opening(outer.kind, line_end.end() if line_end else until, outer.path)
