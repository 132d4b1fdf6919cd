"""Reading filters: from JSON to conditions on documents, with limits on their size.

Nothing is compared here: `rag_tools.catalog.columns` finds the documents that meet a condition.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, get_args

from rag_tools.errors import InvalidQueryError
from rag_tools.types import FieldType, Filter

Scalar = str | int | float | bool

DECLARED = "fields"
"""The setting of an index with the declared types of fields."""

RANGES = (">", ">=", "<", "<=")
OPERATORS = ("=", "in", "not", *RANGES, "exists", "prefix", "glob")

_FIELD = re.compile(r"[\w.\- ]{1,100}")
_MOST = 500  # values and tests of a filter
_DEEPEST = 20
_LONGEST_PATTERN = 1000  # characters of a prefix or a glob


class Test(NamedTuple):
    """An operator of one field with what it compares to: for ``in``, a tuple of values."""

    operator: str
    operand: Scalar | tuple[Scalar, ...]


class Has(NamedTuple):
    """A document has a value in a field that meets all tests; without tests: it has a value."""

    field: str
    tests: tuple[Test, ...] = ()


class Not(NamedTuple):
    """A document doesn't meet a condition."""

    condition: Condition


class All(NamedTuple):
    """A document meets all of some conditions."""

    conditions: tuple[Condition, ...] = ()


class Any(NamedTuple):
    """A document meets at least one of some conditions."""

    conditions: tuple[Condition, ...] = ()


Condition = Has | Not | All | Any


def parse_filter(filter: Filter) -> Condition:
    """Return the condition that a filter states.

    Raises
    ------
    InvalidQueryError
        If it isn't a filter, or is too large.

    Examples
    --------
    >>> parse_filter({"lang": ["en", "fr"]})
    Has(field='lang', tests=(Test(operator='in', operand=('en', 'fr')),))
    >>> parse_filter({"not": {"year": {">=": 2020}}})
    Not(condition=Has(field='year', tests=(Test(operator='>=', operand=2020),)))
    """
    return _Parser().filter(filter, 0)


def is_everything(condition: Condition) -> bool:
    """Tell whether a condition leaves out nothing, because it states nothing."""
    return isinstance(condition, All) and not condition.conditions


def check_field(field: object) -> str:
    """Return the name of a field; raise `InvalidQueryError` if it can't be one."""
    if not isinstance(field, str) or not _FIELD.fullmatch(field):
        raise InvalidQueryError(f"filter field {field!r}: use letters, digits, '_', '-', '.'")
    return field


def check_declared(types: Mapping[str, FieldType | None]) -> dict[str, FieldType | None]:
    """Return the types that are declared for fields.

    Raises
    ------
    InvalidQueryError
        If a name or a type isn't one, or the field is of every document.
    """
    if len(types) > _MOST:
        raise InvalidQueryError(f"{len(types)} fields: declare {_MOST} at most")
    for field, type in types.items():
        if check_field(field) in ("document_id", "title", "media_type", "path"):
            raise InvalidQueryError(f"the type of {field!r} is fixed")
        if type is not None and type not in get_args(FieldType):
            raise InvalidQueryError(
                f"field {field!r}: {type!r} is none of {', '.join(get_args(FieldType))}"
            )
    return dict(types)


class _Parser:
    """Counts what it reads."""

    def __init__(self) -> None:
        self._values = 0
        self._tests = 0

    def filter(self, filter: Filter, depth: int) -> Condition:
        self._descend(depth)
        parts: list[Condition] = []
        for name, stated in filter.items():
            if name in ("and", "or") and _is_filters(stated):
                within = tuple(self.filter(each, depth + 1) for each in stated)
                parts.append(All(within) if name == "and" else Any(within))
            elif name == "not" and isinstance(stated, Mapping):
                parts.append(Not(self.filter(stated, depth + 1)))
            else:
                parts.append(self._field(name, stated, depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _field(self, field: object, stated: object, depth: int) -> Condition:
        field = check_field(field)
        self._tests += 1
        self._limit()
        if not isinstance(stated, Mapping):
            operator = "in" if _is_sequence(stated) else "="
            return Has(field, (self._test(field, operator, stated),))
        self._descend(depth)
        if not stated:
            raise InvalidQueryError(f"filter {field!r}: give a value or one of {_known()}")
        tests: list[Test] = []
        parts: list[Condition] = []
        for operator, operand in stated.items():
            if operator == "not":
                parts.append(Not(self._field(field, operand, depth + 1)))
            elif operator == "exists":
                if not isinstance(operand, bool):
                    raise InvalidQueryError(f"filter {field!r}: exists is true or false")
                parts.append(Has(field) if operand else Not(Has(field)))
            else:
                tests.append(self._test(field, operator, operand))
        if tests:
            parts.append(Has(field, tuple(tests)))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _test(self, field: str, operator: object, operand: object) -> Test:
        if operator == "in":
            if not _is_sequence(operand):
                raise InvalidQueryError(f"filter {field!r}: in takes a list of values")
            assert isinstance(operand, Sequence)
            return Test("in", tuple(self._value(field, each) for each in operand))
        if operator not in OPERATORS:
            raise InvalidQueryError(f"filter {field!r}: {operator!r} is none of {_known()}")
        value = self._value(field, operand)
        if operator in ("prefix", "glob") and not isinstance(value, str):
            raise InvalidQueryError(f"filter {field!r}: {operator} takes a text, and not {value!r}")
        if operator in ("prefix", "glob") and len(str(value)) > _LONGEST_PATTERN:
            raise InvalidQueryError(
                f"filter {field!r}: a {operator} has {_LONGEST_PATTERN} characters at most"
            )
        return Test(str(operator), value)

    def _value(self, field: str, value: object) -> Scalar:
        self._values += 1
        self._limit()
        if not isinstance(value, str | int | float) or value != value:
            raise InvalidQueryError(
                f"filter {field!r}: {value!r} isn't a string, a number or a boolean"
            )
        if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
            raise InvalidQueryError(f"filter {field!r}: {value!r} isn't valid Unicode")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InvalidQueryError(f"filter {field!r}: {value} has more than 64 bits")
        return value

    def _limit(self) -> None:
        if max(self._values, self._tests) > _MOST:
            raise InvalidQueryError(f"a filter of more than {_MOST} values: give {_MOST} at most")

    def _descend(self, depth: int) -> None:
        if depth > _DEEPEST:
            raise InvalidQueryError(f"a filter that is nested more than {_DEEPEST} times")


def _is_sequence(stated: object) -> bool:
    return isinstance(stated, Sequence) and not isinstance(stated, str | bytes)


def _is_filters(stated: object) -> bool:
    return _is_sequence(stated) and all(isinstance(each, Mapping) for each in stated)  # type: ignore[attr-defined]


def _known() -> str:
    return ", ".join(OPERATORS)
