"""JSON with comments and trailing commas, changed in place: every other character stays.

Programs keep their configuration in this format, and people write it by hand. The grammar is
JavaScript's, which holds it: tree-sitter says where the values stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import tree_sitter_javascript
from tree_sitter import Language, Node, Parser

_PARSER = Parser(Language(tree_sitter_javascript.language()))


class JsoncError(ValueError):
    """The text isn't JSON with comments, or has something else where an object is needed."""


class _Edit(NamedTuple):
    """Bytes `start` to `end` of the text become `new`."""

    start: int
    end: int
    new: str


def get(text: str, path: Sequence[str]) -> Any:  # noqa: ANN401 - any JSON value
    """Return the value at `path`; None if nothing is there.

    Raises
    ------
    JsoncError
        The text can't be parsed, or a value on the way isn't an object.

    Examples
    --------
    >>> get('{"a": {"b": [1, 2,], /* both */ }}', ["a"])
    {'b': [1, 2]}
    """
    node = _root(text if text.strip() else "{}")
    for depth, name in enumerate(path):
        pair = _members(_object(node, path[:depth])).get(name)
        if pair is None:
            return None
        node = _field(pair, "value")
    return _value(node)


def put(text: str, path: Sequence[str], value: object) -> str:
    r"""Return `text` with `value` at `path`; objects on the way that are missing are made.

    Raises
    ------
    JsoncError
        The text can't be parsed, or a value on the way isn't an object.

    Examples
    --------
    >>> print(put('{"a": 1 // one\n}', ["b"], True))
    {"a": 1, // one
      "b": true
    }
    """
    if not text.strip():
        text = "{}\n"
    node = _root(text)
    for depth, name in enumerate(path):
        pair = _members(_object(node, path[:depth])).get(name)
        if pair is None:
            for missing in reversed(path[depth + 1 :]):
                value = {missing: value}
            return _apply(text, _added(text, node, name, value))
        node = _field(pair, "value")
    new = _dumped(text, value, _indent(text, node))
    return _apply(text, [_Edit(node.start_byte, node.end_byte, new)])


def remove(text: str, path: Sequence[str]) -> str:
    """Return `text` without the member at `path`, which must be there.

    Raises
    ------
    JsoncError
        The text can't be parsed, a value on the way isn't an object, or nothing is at `path`.

    Examples
    --------
    >>> remove('{"a": 1, "b": 2}', ["b"])
    '{"a": 1}'
    """
    owner = _root(text)
    for depth, name in enumerate(path, 1):
        pair = _members(owner).get(name)
        if pair is None:
            raise JsoncError(f"there is no {'.'.join(path)}")
        if depth == len(path):
            return _apply(text, _removed(owner, pair))
        owner = _object(_field(pair, "value"), path[:depth])
    raise JsoncError("a document can't be removed from itself")


def _root(text: str) -> Node:
    # A brace in front would open a block. The parenthesis takes one byte: `_apply` counts it.
    tree = _PARSER.parse(f"({text}\n)".encode())
    program = tree.root_node
    statements = [child for child in program.named_children if child.type != "comment"]
    if not program.has_error and len(statements) == 1:
        (statement,) = statements
        if (inner := statement.named_child(0)) and inner.type == "parenthesized_expression":
            values = [child for child in inner.named_children if child.type != "comment"]
            if len(values) == 1:
                return _object(values[0], ())
    raise JsoncError("this isn't JSON")


def _object(node: Node, path: Sequence[str]) -> Node:
    """Return `node`, which stands at `path`, if it is an object that JSON knows."""
    if node.type != "object":
        raise JsoncError(f"{'.'.join(path) or 'the whole'} isn't a JSON object")
    previous = "{"
    for child in node.children[1:]:
        key = child.child_by_field_name("key") if child.type == "pair" else None
        # JavaScript knows other keys and members; its grammar lets commas repeat.
        known = (key is not None and key.type == "string") or child.type in ("comment", "}")
        if not (known or (child.type == "," and previous == "pair")):
            raise JsoncError(f"line {child.start_point.row + 1} isn't JSON")
        previous = previous if child.type == "comment" else child.type
    return node


def _members(node: Node) -> dict[str, Node]:
    """Return the pairs of an object by name; of several with one name the last, as parsers do."""
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
        raise JsoncError(f"line {node.start_point.row + 1} isn't JSON") from None


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
            comma = ","  # the last one has one, by the file's habit
        else:
            edits.append(_Edit(pairs[-1].end_byte, pairs[-1].end_byte, ","))
    newline = _newline(text)
    member = f"{json.dumps(name, ensure_ascii=False)}: {_dumped(text, value, inner)}{comma}"
    # What stands between the last token and the brace is white space.
    if last.end_point.row == close.start_point.row:
        whole = newline + inner + member + newline + outer
        edits.append(_Edit(last.end_byte, close.start_byte, whole))
    else:
        edits.append(_Edit(last.end_byte, last.end_byte, newline + inner + member))
    return edits


def _removed(owner: Node, pair: Node) -> list[_Edit]:
    """Return the edits that take `pair`, and one comma, out of `owner`."""
    tokens = owner.children
    position = tokens.index(pair)
    if not [token for token in tokens if token.type in ("pair", "comment") and token != pair]:
        return [_Edit(tokens[0].end_byte, tokens[-1].start_byte, "")]
    before, after = tokens[position - 1], tokens[position + 1 :]
    following = next(token for token in after if token.type != "comment")
    commas = [token for token in tokens[:position] if token.type == ","]
    comma = following if following.type == "," else commas[-1] if commas else None
    # The line end of a comment in front is needed, unless another follows.
    left = next(token for token in after if token != comma)
    alone = before.type != "comment" or left.start_point.row > pair.end_point.row
    edits = [_Edit(before.end_byte if alone else pair.start_byte, pair.end_byte, "")]
    if comma is not None:
        edits.append(_Edit(comma.start_byte, comma.end_byte, ""))
    return sorted(edits)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _dumped(text: str, value: object, indent: str) -> str:
    """Return `value` as JSON in the style of `text`, all but its first line indented."""
    dumped = json.dumps(value, ensure_ascii=False, indent=_unit(text))
    return dumped.replace("\n", _newline(text) + indent)


def _unit(text: str) -> str:
    """Return one level of indentation: that of the first indented member."""
    found = re.search(r'^([ \t]+)"', text, re.MULTILINE)
    return found[1] if found else "  "


def _indent(text: str, node: Node) -> str:
    """Return the white space that begins the line on which `node` begins."""
    line = text.split("\n")[node.start_point.row]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _starts_line(text: str, node: Node) -> bool:
    line = text.split("\n")[node.start_point.row].encode()
    # The first line begins behind the parenthesis.
    column = node.start_point.column - (node.start_point.row == 0)
    return not line[:column].strip()


def _apply(text: str, edits: Sequence[_Edit]) -> str:
    """Return `text` after `edits`, which come in order and don't overlap."""
    data = f"({text}".encode()
    parts, done = [], 1
    for edit in edits:
        parts += [data[done : edit.start], edit.new.encode()]
        done = edit.end
    return b"".join([*parts, data[done:]]).decode()
