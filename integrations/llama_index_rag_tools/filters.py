"""LlamaIndex's metadata filters as filters of rag-tools."""

from __future__ import annotations

from typing import Any

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from rag_tools.errors import InvalidQueryError
from rag_tools.frameworks import containing
from rag_tools.types import Filter

_OPERATORS = {
    FilterOperator.GT: ">",
    FilterOperator.GTE: ">=",
    FilterOperator.LT: "<",
    FilterOperator.LTE: "<=",
}


def to_filter(filters: Filter | MetadataFilters | None) -> Filter | None:
    """Return the filter that metadata filters state; one of rag-tools stays as it is.

    The condition ``not`` holds for documents that meet none of its filters. ``any``, ``contains``
    and ``==`` hold if one of the values of a field does.

    Raises
    ------
    InvalidQueryError
        If an operator needs another kind of value.
    """
    if not isinstance(filters, MetadataFilters):
        return filters
    parts = [
        to_filter(each) if isinstance(each, MetadataFilters) else _filter(each)
        for each in filters.filters
    ]
    if filters.condition == FilterCondition.NOT:
        return {"not": {"or": parts}}
    return {"or" if filters.condition == FilterCondition.OR else "and": parts}


def _filter(given: MetadataFilter) -> Filter:
    field, value, operator = given.key, given.value, given.operator
    match operator:
        case FilterOperator.IS_EMPTY:
            return {field: {"exists": False}}
        case FilterOperator.NIN:
            return {field: {"not": {"in": _several(given)}}}
        case FilterOperator.IN | FilterOperator.ANY:
            return {field: {"in": _several(given)}}
        case FilterOperator.ALL:
            return {"and": [{field: {"=": each}} for each in _several(given)]}
        case FilterOperator.EQ | FilterOperator.CONTAINS:
            return {field: {"in": value} if isinstance(value, list) else {"=": value}}
        case FilterOperator.NE:
            return {field: {"not": value}}
        case FilterOperator.TEXT_MATCH:
            return {field: {"glob": containing(str(value))}}
        case FilterOperator.TEXT_MATCH_INSENSITIVE:
            return {field: {"glob": containing(str(value), case=False)}}
        case _ if operator in _OPERATORS:
            return {field: {_OPERATORS[operator]: value}}
    raise InvalidQueryError(f"filter {field!r}: rag-tools has no operator {operator.value!r}")


def _several(given: MetadataFilter) -> list[Any]:
    if not isinstance(given.value, list):
        raise InvalidQueryError(
            f"filter {given.key!r}: {given.operator.value} takes a list, and not {given.value!r}"
        )
    return list(given.value)
