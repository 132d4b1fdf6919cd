"""The name of a definition, and the names that qualify it, from its node in the syntax tree."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from tree_sitter import Node

from rag_tools.ingest.code_grammars import Grammar

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
"""Fields that hold the name to which an anonymous function or class is bound."""

# Declarators that contain another declarator but have no field for it.
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
_IDENTIFIER = re.compile(r"\w++")
_ANGLE = re.compile(r"[<>]")


def qualified_name(node: Node, grammar: Grammar) -> tuple[str, ...]:
    """Return the name of a definition after the names that qualify it, if there are any."""
    if node.type == "impl_item":
        names = [_text(node.child_by_field_name(field)) for field in ("trait", "type")]
        return (" for ".join(name for name in names if name),)
    if node.type == "method_declaration" and (receiver := node.child_by_field_name("receiver")):
        return (*_receiver_type(_text(receiver)), _text(node.child_by_field_name("name")))
    name = node.child_by_field_name("name")
    if name is None and grammar.names:
        return _clean(_parts(_listed(node, grammar), grammar))
    if name is None and node.type in _ANONYMOUS:
        return _bound_names(node, grammar)
    if name is None:
        return tuple(_declared(node))
    return _clean(_parts(_text(name), grammar))


def _parts(name: str, grammar: Grammar) -> list[str]:
    if grammar.scope == "::":
        return _scopes(name)
    return re.split(grammar.scope, name) if grammar.scope else [name]


def _listed(node: Node, grammar: Grammar) -> str:
    """Return the first children that name a definition, or what it is assigned to."""
    around: Node | None = node
    while around is not None:
        unnamed = itertools.dropwhile(
            lambda child: child.type not in grammar.names, around.children
        )
        run = itertools.takewhile(lambda child: child.type in grammar.names, unnamed)
        if found := " ".join(_text(child).strip("\"'`") for child in run):
            return found
        around = around.parent if around.parent and around.parent.type in grammar.wrappers else None
    return ""


def _bound_names(node: Node, grammar: Grammar) -> tuple[str, ...]:
    """Return the names to which an anonymous function or class is bound."""
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
    """Yield the names in a definition of C or C++: the qualifying names first, then its own.

    The name is in the innermost declarator: of ``int *(*f(int))[3]`` it is ``f``.
    """
    macro = node.type == "function_definition" and node.child_by_field_name("type") is None
    whole = node.child_by_field_name("declarator")
    node = _innermost(node)
    while node.type == "qualified_identifier":  # a loop, since thousands may be nested
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
    """Return the type to which a Go method belongs, or nothing if its receiver names none.

    Examples
    --------
    >>> _receiver_type("(t *Tree[K, V])"), _receiver_type("(")
    (['Tree'], [])
    """
    declared, _, _ = receiver.partition(")")
    declared, _, _ = declared.partition("[")
    return _IDENTIFIER.findall(declared)[-1:]


def _scopes(name: str) -> list[str]:
    """Split a name at each ``::`` that isn't inside the arguments of a template.

    Examples
    --------
    >>> _scopes("std::map<a::b, c>::at")
    ['std', 'map<a::b, c>', 'at']
    """
    parts = name.split("::")
    scopes = [[parts[-1]]]  # from the last to the first, each with its parts from last to first
    angle = ""  # the first angle bracket to the right of the current position
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
