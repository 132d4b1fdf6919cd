"""Source code → Document: the file itself, with functions and classes as blocks.

tree-sitter finds the definitions and recovers from syntax errors. It counts UTF-8 bytes; the
blocks count code points.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import PurePath
from typing import NamedTuple

from tree_sitter import Language, Node, Parser

from rag_tools.ingest.blocks import Opening, tile
from rag_tools.ingest.decode import decode
from rag_tools.ingest.macros import without_macros
from rag_tools.types import BlockKind, Document

_MAX_DEPTH = 32
"""Definitions nested deeper than this stay part of the one that holds them."""


@dataclass(frozen=True, slots=True)
class _Grammar:
    """How a language names its definitions.

    Attributes
    ----------
    package, function
        Python package of the grammar and its function that returns it.
    media_type
        Of the language.
    functions, classes
        Node types that become ``function`` and ``class`` blocks.
    wrappers
        Node types around one definition that belong to it, such as ``export``.
    regions
        Node types looked through for definitions, such as ``#ifdef``.
    prefixes
        Node types that belong to the definition after them.
    """

    package: str
    function: str
    media_type: str
    functions: frozenset[str]
    classes: frozenset[str]
    wrappers: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    prefixes: frozenset[str] = frozenset({"comment"})


_PYTHON = _Grammar(
    "tree_sitter_python",
    "language",
    "text/x-python",
    functions=frozenset({"function_definition"}),
    classes=frozenset({"class_definition"}),
    wrappers=frozenset({"decorated_definition"}),
    regions=frozenset(
        {
            "block",
            "elif_clause",
            "else_clause",
            "except_clause",
            "finally_clause",
            "if_statement",
            "try_statement",
            "with_statement",
        }
    ),
)
_ECMASCRIPT_FUNCTIONS = frozenset(
    {
        "arrow_function",
        "function_declaration",
        "function_expression",
        "generator_function",
        "generator_function_declaration",
        "method_definition",
    }
)
_ECMASCRIPT_WRAPPERS = frozenset(
    {
        "export_statement",
        "expression_statement",
        "lexical_declaration",
        "variable_declaration",
        # What gives an anonymous function its name.
        "assignment_expression",
        "field_definition",
        "public_field_definition",
        "variable_declarator",
    }
)
_JAVASCRIPT = _Grammar(
    "tree_sitter_javascript",
    "language",
    "text/javascript",
    functions=_ECMASCRIPT_FUNCTIONS,
    classes=frozenset({"class_declaration", "class"}),
    wrappers=_ECMASCRIPT_WRAPPERS,
    prefixes=frozenset({"comment", "decorator"}),
)
_TYPESCRIPT = _Grammar(
    "tree_sitter_typescript",
    "language_typescript",
    "text/typescript",
    functions=_ECMASCRIPT_FUNCTIONS | {"function_signature"},
    classes=frozenset(
        {
            "abstract_class_declaration",
            "class",
            "class_declaration",
            "enum_declaration",
            "interface_declaration",
            "internal_module",
            "module",
            "type_alias_declaration",
        }
    ),
    wrappers=_ECMASCRIPT_WRAPPERS | {"ambient_declaration"},
    prefixes=frozenset({"comment", "decorator"}),
)
_TSX = replace(_TYPESCRIPT, function="language_tsx")
_GO = _Grammar(
    "tree_sitter_go",
    "language",
    "text/x-go",
    functions=frozenset({"func_literal", "function_declaration", "method_declaration"}),
    classes=frozenset({"type_alias", "type_spec"}),
    wrappers=frozenset({"expression_list", "type_declaration", "var_declaration", "var_spec"}),
    regions=frozenset({"var_spec_list"}),
)
_RUST = _Grammar(
    "tree_sitter_rust",
    "language",
    "text/x-rust",
    functions=frozenset({"function_item", "function_signature_item", "macro_definition"}),
    classes=frozenset(
        {"enum_item", "impl_item", "mod_item", "struct_item", "trait_item", "union_item"}
    ),
    regions=frozenset({"declaration_list", "foreign_mod_item"}),
    prefixes=frozenset({"attribute_item", "block_comment", "line_comment"}),
)
_JAVA = _Grammar(
    "tree_sitter_java",
    "language",
    "text/x-java",
    functions=frozenset(
        {"compact_constructor_declaration", "constructor_declaration", "method_declaration"}
    ),
    classes=frozenset(
        {
            "annotation_type_declaration",
            "class_declaration",
            "enum_declaration",
            "interface_declaration",
            "record_declaration",
        }
    ),
    regions=frozenset({"enum_body_declarations"}),
    prefixes=frozenset({"block_comment", "line_comment"}),
)
_CPP = _Grammar(
    "tree_sitter_cpp",
    "language",
    "text/x-c++",
    functions=frozenset({"function_definition", "lambda_expression"}),
    classes=frozenset(
        {
            "class_specifier",
            "enum_specifier",
            "namespace_definition",
            "struct_specifier",
            "type_definition",
            "union_specifier",
        }
    ),
    wrappers=frozenset({"declaration", "init_declarator", "template_declaration"}),
    regions=frozenset(
        {
            "declaration_list",
            "linkage_specification",
            "preproc_elif",
            "preproc_else",
            "preproc_if",
            "preproc_ifdef",
        }
    ),
)
_C = replace(_CPP, package="tree_sitter_c", media_type="text/x-c")
_PREPROCESSED = (_C, _CPP)

LANGUAGES: dict[str, _Grammar] = {
    ".py": _PYTHON,
    ".pyi": _PYTHON,
    ".pyw": _PYTHON,
    ".js": _JAVASCRIPT,
    ".cjs": _JAVASCRIPT,
    ".jsx": _JAVASCRIPT,
    ".mjs": _JAVASCRIPT,
    ".ts": _TYPESCRIPT,
    ".cts": _TYPESCRIPT,
    ".mts": _TYPESCRIPT,
    ".tsx": _TSX,
    ".go": _GO,
    ".rs": _RUST,
    ".java": _JAVA,
    ".c": _C,
    ".cc": _CPP,
    ".cpp": _CPP,
    ".cxx": _CPP,
    ".h": _CPP,  # C headers too: the grammar takes both
    ".hh": _CPP,
    ".hpp": _CPP,
    ".hxx": _CPP,
    ".inl": _CPP,
    ".ipp": _CPP,
}

# Without a body these are mentions, not definitions.
_CLASSES_WITH_BODY = frozenset(
    {"class_specifier", "enum_specifier", "mod_item", "struct_specifier", "union_specifier"}
)
_ANONYMOUS = frozenset(
    {
        "arrow_function",
        "class",
        "func_literal",
        "function_expression",
        "generator_function",
        "lambda_expression",
    }
)
_BINDING = ("name", "left", "property", "declarator")
"""Fields that hold the name of what an anonymous function or class is bound to."""

# Declarators around another one that they have no field for.
_AROUND = frozenset({"attributed_declarator", "parenthesized_declarator", "reference_declarator"})
# Definitions that may have no name.
_UNNAMED = frozenset(
    {
        "class_specifier",
        "enum_specifier",
        "function_definition",
        "namespace_definition",
        "struct_specifier",
        "type_definition",
        "union_specifier",
    }
)
_INLINE = re.compile(r"\Ainline\s+")
_MACRO = re.compile(r"[A-Z][A-Z0-9_]+")

_MACROS_ABOVE = 2000  # bytes above a definition that are looked at for macros that belong to it
_BLANK_LINE = re.compile(rb"(?:\r\n|\r|\n)[ \t]*(?=[\r\n])")
_LINE_END = re.compile(rb"\r\n|\r|\n")
_WORD = re.compile(rb"[0-9A-Za-z_\x80-\xff]")
_IDENTIFIER = re.compile(r"\w++")
_ANGLE = re.compile(r"[<>]")
_CONTINUATION = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 that don't begin a character."""


def load_code(data: bytes, *, uri: str, name: str) -> Document:
    """Return the document in a source file.

    One block per function, method, class, struct or the like, with the comments, decorators and
    attributes right above it; what stands between them is ``code``. A block's path holds the
    names of the enclosing symbols and its own. Where the syntax is broken, what the parser
    could make out is kept.

    Parameters
    ----------
    data
        The whole file.
    uri
        Of the document.
    name
        File name; its suffix tells the language, and it is the title.

    Raises
    ------
    UnreadableFileError
        The bytes aren't text.
    """
    text = decode(data, name=name)
    grammar = LANGUAGES[PurePath(name).suffix.lower()]
    source = text.encode("utf-8")
    language = Language(getattr(import_module(grammar.package), grammar.function)())
    readable = without_macros(source) if grammar in _PREPROCESSED else source
    tree = Parser(language).parse(readable)
    definitions = _Reader(source, readable, grammar).definitions(tree.root_node)
    openings = _in_code_points(_openings(definitions, source), source)
    return Document(
        text=text,
        uri=uri,
        title=name,
        media_type=grammar.media_type,
        blocks=tile(openings, len(text)),
    )


def _in_code_points(openings: Iterable[Opening], source: bytes) -> Iterator[Opening]:
    """Convert the offsets of `openings`, in order, from bytes of UTF-8 to code points."""
    code_points = position = 0
    for opening in openings:
        # Counted, not decoded: an offset inside a character counts it as being before.
        code_points += len(source[position : opening.start].translate(None, _CONTINUATION))
        position = opening.start
        yield opening._replace(start=code_points)


class _Definition(NamedTuple):
    """A function or class: range of bytes, kind, path that ends in its name."""

    start: int
    end: int
    kind: BlockKind
    path: tuple[str, ...]


def _openings(definitions: Iterable[_Definition], source: bytes) -> Iterator[Opening]:
    """Yield where blocks open, in bytes, given definitions in order with inner after outer.

    A stretch without any word, such as a closing brace, doesn't open a block.
    """
    openings = list(_all_openings(definitions, source))
    ends = [*(opening.start for opening in openings[1:]), len(source)]
    for opening, end in zip(openings, ends, strict=True):
        if _WORD.search(source, opening.start, end):
            yield opening


def _all_openings(definitions: Iterable[_Definition], source: bytes) -> Iterator[Opening]:
    """Yield every opening, in order of `start` whatever the definitions are."""
    enclosing = [_Definition(0, len(source), "code", ())]
    position = 0  # of the last opening
    yield Opening("code", 0)
    for definition in definitions:
        # Where the syntax is broken, what belongs to a definition (a comment, its wrapper) may
        # begin before the definition ahead of it: each character goes to the first that has it.
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


def _closings(enclosing: list[_Definition], until: int, source: bytes) -> Iterator[Opening]:
    """Leave the definitions that end before `until`: what is around them goes on there."""
    while len(enclosing) > 1 and enclosing[-1].end <= until:
        closed = enclosing.pop()
        line_end = _LINE_END.search(source, closed.end, until)
        outer = enclosing[-1]
        yield Opening(outer.kind, line_end.end() if line_end else until, outer.path)


class _Reader:
    """Finds the definitions in a syntax tree."""

    def __init__(self, source: bytes, readable: bytes, grammar: _Grammar) -> None:
        self._source = source
        self._readable = readable
        self._grammar = grammar

    def definitions(
        self,
        node: Node,
        path: tuple[str, ...] = (),
        wrapper_start: int | None = None,
        depth: int = 0,
    ) -> Iterator[_Definition]:
        """Yield the definitions below `node`, which stands at `path`, inner after outer.

        The first of them begins at `wrapper_start` if `node` is wrapped around it.
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
                inner = (*path, *_names(child, grammar))
                yield _Definition(start, child.end_byte, kind, inner)
                body = child.child_by_field_name("body")
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

    def _extended(self, prefix: tuple[int, int] | None, node: Node) -> tuple[int, int] | None:
        """Return the range of `prefix` and `node`, of `node` alone if they don't touch."""
        start = node.start_byte
        end = start + len(self._source[start : node.end_byte].rstrip())
        if prefix is not None and self._adjacent(prefix[1], start):
            return prefix[0], end
        line_start = self._line_start(start)
        # A comment after code on the same line belongs to that code.
        own_line = line_start < start or start == 0 or self._source[start - 1] in b"\r\n"
        return (start, end) if own_line else None

    def _adjacent(self, end: int, start: int) -> bool:
        """Tell whether nothing but one line end at most lies between two offsets."""
        between = self._source[end:start]
        return not between.strip() and len(_LINE_END.findall(between)) <= 1

    def _macros_above(self, start: int) -> int:
        """Return where the lines of macros right above a definition begin: they belong to it."""
        if self._readable is self._source:
            return start
        low = max(0, start - _MACROS_ABOVE)
        above = low + len(self._readable[low:start].rstrip())  # from here on all is macros
        between = self._source[above:start]
        # A line of nothing sets them apart.
        blank = max((match.end() for match in _BLANK_LINE.finditer(between)), default=0)
        first = len(between) - len(between[blank:].lstrip())
        return above + first

    def _line_start(self, start: int) -> int:
        """Return the start of the line if there is only indentation before `start`."""
        position = start
        while position > 0 and self._source[position - 1] in b" \t":
            position -= 1
        return position if position == 0 or self._source[position - 1] in b"\r\n" else start


def _names(node: Node, grammar: _Grammar) -> tuple[str, ...]:
    """Return the name of a definition, or the names that qualify it and its own."""
    if node.type == "impl_item":
        names = [_text(node.child_by_field_name(field)) for field in ("trait", "type")]
        return (" for ".join(name for name in names if name),)
    if node.type == "method_declaration" and (receiver := node.child_by_field_name("receiver")):
        return (*_receiver_type(_text(receiver)), _text(node.child_by_field_name("name")))
    name = node.child_by_field_name("name")
    if name is None and node.type in _ANONYMOUS:
        return _bound_names(node, grammar)
    if name is None:
        return tuple(_declared(node))
    return _clean(_scopes(_text(name)))


def _bound_names(node: Node, grammar: _Grammar) -> tuple[str, ...]:
    """Return the names of what an anonymous function or class is bound to."""
    around = node.parent
    while around is not None and around.type in grammar.wrappers:
        for field in _BINDING:
            if name := around.child_by_field_name(field):
                return tuple(_declared(name)) or _clean([_text(name)])
        if around.type == "export_statement":
            return ("default",)
        around = around.parent
    return ()


def _clean(names: Iterable[str]) -> tuple[str, ...]:
    bare = (_INLINE.sub("", name.strip("\"' ")) for name in names)
    return tuple(name for name in bare if name)


def _declared(node: Node) -> Iterator[str]:
    """Yield the names in a definition of C or C++: those that qualify it, then its own.

    The name is in the innermost declarator: of ``int *(*f(int))[3]`` it is ``f``.
    """
    macro = node.type == "function_definition" and node.child_by_field_name("type") is None
    whole = node.child_by_field_name("declarator")
    node = _innermost(node)
    while node.type == "qualified_identifier":  # a loop: thousands may stand in each other
        scope, name = (node.child_by_field_name(field) for field in ("scope", "name"))
        yield from _clean(_scopes(_text(scope)))
        if name is None:
            return
        node, macro = _innermost(name), False
    if node.type == "operator_cast":
        yield _converted(node)
    elif macro and _MACRO.fullmatch(_text(node)):
        yield _text(whole)  # as "TEST(Suite, Name)": the macro alone doesn't tell
    elif node.type not in _UNNAMED:
        yield from _clean(_scopes(_text(node)))


def _innermost(node: Node) -> Node:
    while (inner := _inner_declarator(node)) is not None:
        node = inner
    return node


def _inner_declarator(node: Node) -> Node | None:
    if node.type == "operator_cast":  # its declarator holds the parameters
        return None
    inner = node.child_by_field_name("declarator")
    if inner is None and node.type in _AROUND:
        inner = next((child for child in node.named_children if "attr" not in child.type), None)
    return inner


def _converted(node: Node) -> str:
    """Return the name of a conversion: ``operator bool``."""
    end: Node | None = node
    while end is not None and end.type != "parameter_list":
        end = end.child_by_field_name("declarator") or end.child_by_field_name("parameters")
    text = node.text or b""
    return " ".join(
        (text if end is None else text[: end.start_byte - node.start_byte]).decode().split()
    )


def _receiver_type(receiver: str) -> list[str]:
    """Return the type that a Go method belongs to; nothing if its receiver has none.

    Examples
    --------
    >>> _receiver_type("(t *Tree[K, V])"), _receiver_type("(")
    (['Tree'], [])
    """
    declared, _, _ = receiver.partition(")")
    declared, _, _ = declared.partition("[")
    return _IDENTIFIER.findall(declared)[-1:]


def _scopes(name: str) -> list[str]:
    """Split a name at each ``::`` that doesn't stand within the arguments of a template.

    Examples
    --------
    >>> _scopes("std::map<a::b, c>::at")
    ['std', 'map<a::b, c>', 'at']
    """
    parts = name.split("::")
    scopes = [[parts[-1]]]  # from the last to the first, each with its parts from last to first
    angle = ""  # the first angle bracket after the place that is looked at
    for part, following in zip(reversed(parts[:-1]), reversed(parts[1:]), strict=True):
        if found := _ANGLE.search(following):
            angle = found.group()
        if angle == ">":
            scopes[-1].append(part)
        else:
            scopes.append([part])
    return ["::".join(reversed(scope)) for scope in reversed(scopes)]


def _text(node: Node | None) -> str:
    if node is None or node.text is None:
        return ""
    return " ".join(node.text.decode("utf-8").split())
