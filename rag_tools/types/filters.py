"""Filters on documents, the fields that they name, and counts of the values of fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from rag_tools.types.values import Value

Filter = Mapping[str, Any]
"""Which documents: field → value, sequence of values, or operators; all of them must hold.

Operators are ``=``, ``in``, ``not``, ``>``, ``>=``, ``<``, ``<=``, ``exists``, ``prefix`` and
``glob``; ``and``, ``or`` and ``not`` combine filters. ``document_id``, ``title`` and ``media_type``
are fields of every document; ``path`` takes a path as it is, or a glob. See ``docs/filters.md``.
"""

FieldType = Literal["string", "number", "date", "boolean", "list", "path"]


class FieldEntry(Value):
    """A field of the metadata of documents.

    Attributes
    ----------
    name
        As filters name it.
    type
        As it is declared, else what all of its values are; ``mixed`` if they differ.
    documents
        Number of documents that have it.
    several
        Whether a document has several values in it.
    declared
        Whether its type is declared.
    """

    name: str
    type: FieldType | Literal["mixed"]
    documents: int
    several: bool = False
    declared: bool = False


class FacetValue(Value):
    """A value of a field, and the number of documents that have it."""

    value: str | int | float | bool
    documents: int


class Facet(Value):
    """The values of a field among some documents.

    Attributes
    ----------
    field
        Its name.
    values
        The most frequent ones; those that are equally frequent are in ascending order.
    distinct
        Number of all values.
    missing
        Number of documents without any.
    """

    field: str
    values: tuple[FacetValue, ...] = ()
    distinct: int = 0
    missing: int = 0
