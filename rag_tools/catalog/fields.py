"""What the values of a field are: text, numbers, dates, truth values; and what is declared of them.

Pure functions of values. A date is a stretch of time: ``2026-03`` is a month, and a time without a
zone is in UTC.
"""

from __future__ import annotations

import calendar
import datetime as dt
import json
import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

from rag_tools.catalog.filters import Scalar
from rag_tools.errors import InvalidQueryError
from rag_tools.types import FieldType

OF_DOCUMENTS = {"document_id": "id", "title": "title", "media_type": "media_type"}
"""Fields that every document has, and their columns in the catalog."""

PATH = "path"

NAMES = ""
"""The column of the names of fields, which is the name of none."""

_DATE = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?"
    r"(Z|[+-]\d\d:?\d\d)?)?)?)?"
)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}
_MOST_VALUES = 50  # of a text that is declared to be a list


@lru_cache(maxsize=4096)
def period(text: str) -> tuple[int, int] | None:
    """Return when a date begins, and when it has passed, in microseconds; None if it is no date.

    Examples
    --------
    >>> begin, end = period("2026-03-03")
    >>> (end - begin) // 3_600_000_000
    24
    >>> period("2026-03-03T09:30:00+01:00")[0] == period("2026-03-03T08:30:00")[0]
    True
    >>> period("in May")
    """
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        begin = dt.datetime.fromisoformat(
            f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}"
            f".{(fraction or '0').ljust(6, '0')}{zone or 'Z'}"
        )
    except ValueError:
        return None
    start = (begin - _EPOCH) // _MICROSECOND
    if fraction:
        return start, start + 1
    if hour:
        return start, start + (1_000_000 if second else 60_000_000)
    days = 1
    if month is None:
        days = 366 if calendar.isleap(begin.year) else 365
    elif day is None:
        days = calendar.monthrange(begin.year, begin.month)[1]
    return start, start + days * 86_400_000_000


def number(text: str) -> int | float | None:
    """Return the number that a text is; None if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    if isinstance(found, int):
        return found if -(2**63) <= found < 2**63 else float(found)
    return found if math.isfinite(found) else None


def converted(value: Scalar, declared: FieldType) -> list[Scalar]:
    """Return a value of a document as its field's type declares it; as it is if it can't be."""
    match declared:
        case "string" | "path" if not isinstance(value, str):
            return [json.dumps(value)]
        case "number" if isinstance(value, str):
            found = number(value.strip())
            return [value if found is None else found]
        case "boolean" if isinstance(value, str):
            return [_TRUTH.get(value.strip().lower(), value)]
        case "date" if isinstance(value, int) and not isinstance(value, bool):
            return [f"{value:04d}" if 0 < value <= 9999 else value]
        case "list" if isinstance(value, str):
            parts = value.split(";") if ";" in value else value.split(",")
            return [part.strip() for part in parts[:_MOST_VALUES] if part.strip()]
        case _:
            return [value]


def bound(field: str, type: str, operand: Scalar) -> Scalar:
    """Return the bound of a range as the values of its field are compared with it.

    Raises
    ------
    InvalidQueryError
        If it can't be compared with values of this type.
    """
    shown = f"filter {field!r}: the field holds"
    if type == "boolean":
        raise InvalidQueryError(f"{shown} true and false, which have no order: use =")
    if isinstance(operand, bool):
        raise InvalidQueryError(f"{shown} values of type {type}, and {operand} has no order")
    if type == "number" and isinstance(operand, str):
        found = number(operand)
        if found is None:
            raise InvalidQueryError(f"{shown} numbers: {operand!r} is none")
        return found
    if type == "date":
        text = f"{operand:04d}" if isinstance(operand, int) and 0 < operand <= 9999 else operand
        if not isinstance(text, str) or period(text) is None:
            raise InvalidQueryError(
                f"{shown} dates: {operand!r} is none; write 2026, 2026-03, 2026-03-03 or "
                "2026-03-03T09:30:00+01:00"
            )
        return text
    if type in ("string", "path", "list") and not isinstance(operand, str):
        raise InvalidQueryError(f"{shown} text: write {json.dumps(str(operand))}")
    return operand


def wanted(field: str, type: str, operand: Scalar, declared: bool) -> Scalar:
    """Return what a value is to equal, as the values of a declared field are stored."""
    if not declared:
        return operand
    found = converted(operand, type) if type != "list" else [operand]  # type: ignore[arg-type]
    return found[0] if found else operand


def inferred(
    texts: Iterable[str], *, numbers: bool, booleans: bool
) -> FieldType | Literal["mixed"]:
    """Return the type that values have; ``mixed`` if several.

    Parameters
    ----------
    texts
        The values that are text.
    numbers, booleans
        Whether there are any of these.
    """
    dates = texts_seen = 0
    for text in texts:
        texts_seen += 1
        if period(text) is None:
            return "mixed" if numbers or booleans else "string"
        dates += 1
    if bool(texts_seen) + numbers + booleans > 1:
        return "mixed"
    return "number" if numbers else "boolean" if booleans else "date" if dates else "string"


def glob(pattern: str) -> re.Pattern[str]:
    r"""Return what matches the texts that a glob does, in linear time for each star.

    ``*`` stands for any characters, ``/`` too, ``?`` for one, ``[a-z]`` for one of some, and
    ``[^a-z]`` for one of the others.

    Examples
    --------
    >>> bool(glob("docs/*.md").fullmatch("docs/a/b.md")), bool(glob("[^a]?").fullmatch("ab"))
    (True, False)
    """
    runs, run, at = [], "", 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*":
            runs.append(run)
            run = ""
        elif character == "?":
            run += "."
        elif character == "[":
            negated = pattern[at : at + 1] == "^"
            begin = at + negated
            close = pattern.find("]", begin + 1)
            if close < 0:
                return re.compile(r"(?!)")
            run += _class(pattern[begin:close], negated)
            at = close + 1
        else:
            run += re.escape(character)
    *before, last = [*runs, run]
    if not before:
        return re.compile(last, re.DOTALL)
    first, *middle = before
    # The first place where a run matches is as good as any other: nothing is tried again.
    found = "".join(f"(?>.*?{each})" for each in middle if each)
    return re.compile(f"{first}{found}.*{last}", re.DOTALL)


def _class(inside: str, negated: bool) -> str:
    """Return a class of characters, with ranges; a range that ends before it begins is empty."""
    ranges, at = [], 0
    while at < len(inside):
        low = high = inside[at]
        if inside[at + 1 : at + 2] == "-" and at + 2 < len(inside):
            high = inside[at + 2]
            at += 2
        at += 1
        if low <= high:
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    if not ranges:
        return "." if negated else "(?!)"
    return f"[{'^' if negated else ''}{''.join(ranges)}]"
