"""From a filter on metadata to SQL."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag_tools.errors import InvalidQueryError
from rag_tools.types import Filter

_FIELD = re.compile(r"[\w.\- ]{1,100}")
_GLOB = re.compile(r"[*?\[]")
_MAX_VALUES = 500  # SQLite takes expressions of a depth of 1,000
_Value = str | int | float
_COLUMNS = {"document_id": "d.id", "title": "d.title", "media_type": "d.media_type"}


def compile_filter(filter: Filter) -> tuple[str, list[_Value]]:
    """Return a condition on ``document AS d`` and its parameters.

    Fields are and-ed; a sequence of values means any of them. A metadata value that is a list
    matches if one of its elements does. A path matches itself, whatever characters are in it; as a
    glob, its brackets are read both ways, as a class of characters and as themselves.

    Raises
    ------
    InvalidQueryError
        If a field's name or value can't be filtered on.

    Examples
    --------
    >>> compile_filter({"document_id": ["a", "b"]})
    ('(d.id = ? OR d.id = ?)', ['a', 'b'])
    """
    conditions = []
    n_values = 0
    parameters: list[_Value] = []
    for field, wanted in filter.items():
        if not isinstance(field, str) or not _FIELD.fullmatch(field):
            raise InvalidQueryError(f"filter field {field!r}: use letters, digits, '_', '-', '.'")
        values = _values(field, wanted)
        if column := _COLUMNS.get(field):
            tests = [f"{column} = ?"] * len(values)
            parameters += values
        else:
            source = f"""json_each(d.metadata, '$."{field}"')"""
            matching = list(map(_path_test if field == "path" else _test, values))
            tests = [f"EXISTS (SELECT 1 FROM {source} WHERE {test})" for test, _ in matching]
            parameters += [parameter for _, matched in matching for parameter in matched]
        conditions.append(f"({' OR '.join(tests)})" if tests else "0")
        n_values += len(values)
    if max(n_values, len(conditions)) > _MAX_VALUES:
        raise InvalidQueryError(f"a filter of {n_values} values: give {_MAX_VALUES} at most")
    return " AND ".join(conditions) or "1", parameters


def _test(value: _Value) -> tuple[str, list[_Value]]:
    """Return a condition on ``value``, and its parameters."""
    return "value = ?", [value]


def _path_test(path: _Value) -> tuple[str, list[_Value]]:
    """Return a condition on ``value``, the path of a document, and its parameters.

    Examples
    --------
    >>> _path_test("docs/*.md")
    ('value = ? OR value GLOB ?', ['docs/*.md', 'docs/*.md'])
    >>> _path_test("[id]/*")[1]
    ['[id]/*', '[id]/*', '[[]id]/*']
    """
    if not isinstance(path, str):
        return _test(path)
    path = path.removeprefix("./")
    globs: list[_Value] = []
    if _GLOB.search(path):
        globs.append(path)
    if "[" in path and re.search(r"[*?]", path):
        globs.append(path.replace("[", "[[]"))
    return " OR ".join(["value = ?", *["value GLOB ?"] * len(globs)]), [path, *globs]


def _values(field: str, wanted: object) -> list[_Value]:
    several = isinstance(wanted, Sequence) and not isinstance(wanted, str)
    values: list[_Value] = []
    for value in wanted if several else [wanted]:  # type: ignore[attr-defined]
        if not isinstance(value, str | int | float):
            raise InvalidQueryError(
                f"filter {field!r}: {value!r} isn't a string, a number or a boolean"
            )
        if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
            raise InvalidQueryError(f"filter {field!r}: {value!r} isn't valid Unicode")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InvalidQueryError(f"filter {field!r}: {value} has more than 64 bits")
        values.append(value)
    return values
