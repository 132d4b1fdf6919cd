"""The operators by which LangChain's vector stores filter, as filters of rag-tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rag_tools.errors import InvalidQueryError
from rag_tools.types import Filter

_OPERATORS = {
    "$eq": "=",
    "$in": "in",
    "$gt": ">",
    "$gte": ">=",
    "$lt": "<",
    "$lte": "<=",
    "$exists": "exists",
    "$not": "not",
}
_NEGATED = {"$ne": "=", "$nin": "in"}
_DEEPEST = 20


def to_filter(filter: Filter | None, depth: int = 0) -> Filter | None:
    """Return a filter with the operators of rag-tools for those that begin with ``$``.

    ``$and``, ``$or`` and ``$not`` combine filters; fields have ``$eq``, ``$ne``, ``$in``, ``$nin``,
    ``$gt``, ``$gte``, ``$lt``, ``$lte``, ``$between``, ``$exists``, ``$like`` and ``$not``. What
    has no such name stays as it is.

    Raises
    ------
    InvalidQueryError
        If there is another such name, or the filter is nested too deeply.
    """
    if filter is None:
        return None
    if depth > _DEEPEST:
        raise InvalidQueryError(f"a filter that is nested more than {_DEEPEST} times")
    parts: list[Filter] = []
    for name, stated in filter.items():
        if name in ("$and", "$or") and isinstance(stated, Sequence):
            parts.append({name[1:]: [to_filter(each, depth + 1) for each in stated]})
        elif name == "$not" and isinstance(stated, Mapping):
            parts.append({"not": to_filter(stated, depth + 1)})
        elif isinstance(name, str) and name.startswith("$"):
            raise InvalidQueryError(f"filter: rag-tools has no operator {name!r} there")
        elif isinstance(stated, Mapping) and name not in ("and", "or", "not"):
            parts += _field(name, stated, depth)
        else:
            parts.append({name: stated})
    return parts[0] if len(parts) == 1 else {"and": parts}


def _field(field: str, stated: Mapping[str, Any], depth: int) -> list[Filter]:
    """Return the operators of a field; those of one value stay together."""
    together: dict[str, Any] = {}
    parts: list[Filter] = []
    for operator, operand in stated.items():
        part = _test(field, operator, operand, depth)
        own = part.get(field)
        if isinstance(own, Mapping) and not own.keys() & together.keys():
            together.update(own)
        else:
            parts.append(part)
    return [*parts, {field: together}] if together or not parts else parts


def _test(field: str, operator: str, operand: Any, depth: int) -> Filter:  # noqa: ANN401
    if operator in _NEGATED:
        return {field: {"not": {_NEGATED[operator]: operand}}}
    if operator == "$between" and isinstance(operand, Sequence) and len(operand) == 2:
        return {field: {">=": operand[0], "<=": operand[1]}}
    if operator == "$like" and isinstance(operand, str):
        literal = "".join(f"[{c}]" if c in "*?[" else c for c in operand)
        return {field: {"glob": literal.replace("%", "*").replace("_", "?")}}
    if operator == "$not" and isinstance(operand, Mapping):
        within = to_filter({field: operand}, depth + 1)
        return {"not": within}
    if operator in _OPERATORS:
        return {field: {_OPERATORS[operator]: operand}}
    if operator.startswith("$"):
        raise InvalidQueryError(f"filter {field!r}: rag-tools has no operator {operator!r}")
    return {field: {operator: operand}}
