"""Editing JSON with comments and trailing commas in place: every other character is kept.

Many programs use this format for configuration that people edit by hand. tree-sitter finds the
values, with the grammar of JavaScript, which includes this format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import tree_sitter_javascript
from tree_sitter import Language, Node, Parser

from rag_tools_mcp.install.values import EditError, at

_PARSER = Parser(Language(tree_sitter_javascript.language()))


class _Edit(NamedTuple):
    """Bytes `start` to `end` of the text become `new`."""

    start: int
    end: int
    new: str


def get(text: str, path: Sequence[str]) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value at `path`; None if there is none.

    Raises
    ------
    EditError
        If the text can't be parsed, or a value on the path isn't an object.

    Examples
    --------
    >>> get('{"a": {"b": [1, 2,], /* both */ }}', ["a"])
    {'b': [1, 2]}
    """
    return at(_value(_root(text if text.strip() else "{}")), path)


def put(text: str, path: Sequence[str], value: object) -> str:
    r"""Return `text` with `value` at `path`; missing objects on the path are added.

    Raises
    ------
    EditError
        If the text can't be parsed, or a value on the path isn't an object.

    Examples
    --------
    >>> print(put('{"a": 1 // one\n}', ["b"], True))
    {"a": 1, // one
      "b": true
    }
    """
    if not text.strip():
        text = "{}\n"
    owner, pair, depth = _find(text, path)
    if pair is None:
        for missing in reversed(path[depth + 1 :]):
            value = {missing: value}
        return _apply(text, _added(text, owner, path[depth], value))
    node = _field(pair, "value")
    new = _dumped(text, value, _indent(text, node))
    return _apply(text, [_Edit(node.start_byte, node.end_byte, new)])


def remove(text: str, path: Sequence[str]) -> str:
    """Return `text` without the member at `path`, which must exist.

    Raises
    ------
    EditError
        If the text can't be parsed, a value on the path isn't an object, or there is no such
        member.

    Examples
    --------
    >>> remove('{"a": 1, "b": 2}', ["b"])
    '{"a": 1}'
    """
    owner, pair, depth = _find(text, path)
    if pair is None or depth + 1 < len(path):
        raise EditError(f"there is no {'.'.join(path)}")
    return _apply(text, _removed(owner, pair))


def _find(text: str, path: Sequence[str]) -> tuple[Node, Node | None, int]:
    """Return how far `path`, which isn't empty, leads into a document.

    Returns
    -------
    owner
        The last object on the path that exists.
    pair
        The member of `owner` that is next on the path; None if there is none.
    depth
        The number of names on the path that lead to `owner`.
    """
    owner = _root(text)
    depth = 0
    while True:
        pair = _members(owner).get(path[depth])
        if pair is None or depth + 1 == len(path):
            return owner, pair, depth
        depth += 1
        owner = _object(_field(pair, "value"), path[:depth])


def _root(text: str) -> Node:
    # Without the parenthesis, the brace would open a block. `_apply` accounts for its one byte.
    tree = _PARSER.parse(f"({text}\n)".encode())
    program = tree.root_node
    statements = [child for child in program.named_children if child.type != "comment"]
    if not program.has_error and len(statements) == 1:
        (statement,) = statements
        if (inner := statement.named_child(0)) and inner.type == "parenthesized_expression":
            values = [child for child in inner.named_children if child.type != "comment"]
            if len(values) == 1:
                return _object(values[0], ())
    raise EditError("the text is not JSON")


def _object(node: Node, path: Sequence[str]) -> Node:
    """Return `node`, which is at `path`, if it is an object that is valid in JSON."""
    if node.type != "object":
        raise EditError(f"{'.'.join(path) or 'the document'} is not an object")
    previous = "{"
    for child in node.children[1:]:
        key = child.child_by_field_name("key") if child.type == "pair" else None
        # JavaScript allows other keys and members, and its grammar repeated commas.
        known = (key is not None and key.type == "string") or child.type in ("comment", "}")
        if not (known or (child.type == "," and previous == "pair")):
            raise EditError(f"line {child.start_point.row + 1} is not JSON")
        previous = previous if child.type == "comment" else child.type
    return node


def _members(node: Node) -> dict[str, Node]:
    """Return the pairs of an object by name; of several with the same name, the last one."""
    pairs = (child for child in node.named_children if child.type == "pair")
    return {_value(_field(pair, "key")): pair for pair in pairs}


def _field(pair: Node, name: str) -> Node:
    node = pair.child_by_field_name(name)
    assert node is not None, "a pair has a key and a value"
    return node


def _value(node: Node) -> Any:  # noqa: ANN401 - any JSON value
    if node.type == "object":
        members = _members(_object(node, ()))
        return {name: _value(_field(pair, "value")) for name, pair in members.items()}
    if node.type == "array":
        return [_value(child) for child in node.named_children if child.type != "comment"]
    try:
        return json.loads((node.text or b"").decode())
    except ValueError:
        raise EditError(f"line {node.start_point.row + 1} is not JSON") from None


def _added(text: str, owner: Node, name: str, value: object) -> list[_Edit]:
    """Return the edits that make ``name: value`` the last member of `owner`."""
    outer = _indent(text, owner)
    inner = outer + _unit(text)
    *_, last, close = owner.children
    edits, comma = [], ""
    if pairs := [child for child in owner.children if child.type == "pair"]:
        if _starts_line(text, pairs[-1]):
            inner = _indent(text, pairs[-1])
        if any(child.type == "," for child in owner.children[owner.children.index(pairs[-1]) :]):
            comma = ","  # the file uses trailing commas
        else:
            edits.append(_Edit(pairs[-1].end_byte, pairs[-1].end_byte, ","))
    newline = _newline(text)
    member = f"{json.dumps(name, ensure_ascii=False)}: {_dumped(text, value, inner)}{comma}"
    # Between the last token and the brace there is only white space.
    if last.end_point.row == close.start_point.row:
        whole = newline + inner + member + newline + outer
        edits.append(_Edit(last.end_byte, close.start_byte, whole))
    else:
        edits.append(_Edit(last.end_byte, last.end_byte, newline + inner + member))
    return edits


def _removed(owner: Node, pair: Node) -> list[_Edit]:
    """Return the edits that remove `pair`, and one comma, from `owner`."""
    tokens = owner.children
    position = tokens.index(pair)
    if not [token for token in tokens if token.type in ("pair", "comment") and token != pair]:
        return [_Edit(tokens[0].end_byte, tokens[-1].start_byte, "")]
    before, after = tokens[position - 1], tokens[position + 1 :]
    following = next(token for token in after if token.type != "comment")
    commas = [token for token in tokens[:position] if token.type == ","]
    comma = following if following.type == "," else commas[-1] if commas else None
    # The line end after a preceding comment is needed, unless another one follows.
    left = next(token for token in after if token != comma)
    alone = before.type != "comment" or left.start_point.row > pair.end_point.row
    edits = [_Edit(before.end_byte if alone else pair.start_byte, pair.end_byte, "")]
    if comma is not None:
        edits.append(_Edit(comma.start_byte, comma.end_byte, ""))
    return sorted(edits)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _dumped(text: str, value: object, indent: str) -> str:
    """Return `value` as JSON in the style of `text`; all lines but the first are indented."""
    dumped = json.dumps(value, ensure_ascii=False, indent=_unit(text))
    return dumped.replace("\n", _newline(text) + indent)


def _unit(text: str) -> str:
    """Return one level of indentation: that of the first indented member."""
    found = re.search(r'^([ \t]+)"', text, re.MULTILINE)
    return found[1] if found else "  "


def _indent(text: str, node: Node) -> str:
    """Return the indentation of the line on which `node` begins."""
    line = text.split("\n")[node.start_point.row]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _starts_line(text: str, node: Node) -> bool:
    line = text.split("\n")[node.start_point.row].encode()
    # The first line begins after the parenthesis.
    column = node.start_point.column - (node.start_point.row == 0)
    return not line[:column].strip()


def _apply(text: str, edits: Sequence[_Edit]) -> str:
    """Return `text` after `edits`, which are in order and don't overlap."""
    data = f"({text}".encode()
    parts, done = [], 1
    for edit in edits:
        parts += [data[done : edit.start], edit.new.encode()]
        done = edit.end
    return b"".join([*parts, data[done:]]).decode()
