"""From a filter on metadata to SQL."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag_tools.errors import InvalidQueryError
from rag_tools.types import Filter

_FIELD = re.compile(r"[\w.\- ]{1,100}")
_MAX_VALUES = 500  # SQLite takes expressions of a depth of 1,000
_COLUMNS = {"document_id": "d.id", "title": "d.title", "media_type": "d.media_type"}


def compile_filter(filter: Filter) -> tuple[str, list[str | int | float]]:
    """Return a condition on ``document AS d`` and its parameters.

    Fields are and-ed; a sequence of values means any of them. A metadata value that is a list
    matches if one of its elements does.

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
    parameters: list[str | int | float] = []
    for field, wanted in filter.items():
        if not isinstance(field, str) or not _FIELD.fullmatch(field):
            raise InvalidQueryError(f"filter field {field!r}: use letters, digits, '_', '-', '.'")
        values = _values(field, wanted)
        if column := _COLUMNS.get(field):
            tests = [f"{column} = ?"] * len(values)
        else:
            test = "value GLOB ?" if field == "path" else "value = ?"
            source = f"""json_each(d.metadata, '$."{field}"')"""
            tests = [f"EXISTS (SELECT 1 FROM {source} WHERE {test})"] * len(values)
        conditions.append(f"({' OR '.join(tests)})" if tests else "0")
        parameters += values
    if max(len(parameters), len(conditions)) > _MAX_VALUES:
        raise InvalidQueryError(f"a filter of {len(parameters)} values: give {_MAX_VALUES} at most")
    return " AND ".join(conditions) or "1", parameters


def _values(field: str, wanted: object) -> list[str | int | float]:
    several = isinstance(wanted, Sequence) and not isinstance(wanted, str)
    values: list[str | int | float] = []
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
