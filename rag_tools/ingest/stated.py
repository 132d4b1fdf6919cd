"""What a document says about itself, as typed fields: times, numbers, lists; the rest is text."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from rag_tools.types import Metadata

_LONGEST = 1000  # characters of a value
_MOST = 50  # fields, and values of a list
_FIELD = re.compile(r"[\w.\- ]{1,100}")  # what a filter can name
_PDF_TIME = re.compile(
    r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:(Z)|([+-])(\d\d)'?(\d\d)?'?)?"
)


def stated_time(stated: str) -> str:
    """Return a time in ISO 8601, in UTC if its zone is known; what can't be read stays as it is.

    Examples
    --------
    >>> stated_time("2026-03-03T09:30:00+01:00"), stated_time("2026-03-03"), stated_time("in May")
    ('2026-03-03T08:30:00+00:00', '2026-03-03', 'in May')
    >>> stated_time("D:20260303093000+01'00'")
    '2026-03-03T08:30:00+00:00'
    """
    text = stated.strip()
    if re.fullmatch(r"\d{4}(?:-\d\d(?:-\d\d)?)?", text):
        return text
    try:
        if text.startswith("D:"):
            return _pdf_time(text)
        return _shown(dt.datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return text


def _pdf_time(text: str) -> str:
    match = _PDF_TIME.fullmatch(text)
    if match is None:
        raise ValueError(text)
    numbers = [int(each) if each else None for each in match.groups()[:6]]
    year, month, day, *time = numbers
    zone: dt.timezone | None = dt.UTC if match[7] else None
    if match[8]:
        sign = -1 if match[8] == "-" else 1
        zone = dt.timezone(sign * dt.timedelta(hours=int(match[9]), minutes=int(match[10] or 0)))
    hour, minute, second = (each or 0 for each in time)
    return _shown(dt.datetime(year or 1, month or 1, day or 1, hour, minute, second, tzinfo=zone))


def _shown(moment: dt.datetime) -> str:
    return (moment.astimezone(dt.UTC) if moment.tzinfo else moment).isoformat()


def fields(stated: Mapping[Any, Any]) -> Metadata:
    """Return fields that were parsed from YAML or TOML as metadata.

    Numbers, truth values, texts, times, and lists of these are kept as such; whatever else is
    text. ``title`` isn't among them: it is the document's.
    """
    found: Metadata = {}
    for name, value in stated.items():
        field = str(name).strip()
        if len(found) < _MOST and _FIELD.fullmatch(field) and field.lower() != "title":
            typed = _typed(value)
            if typed not in (None, "", []):
                found[field] = typed
    return found


def yaml_fields(text: str) -> Metadata:
    """Return the fields of a mapping in YAML; nothing if it is broken, or refers to itself."""
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            return {}  # what is named often unfolds to more than there is memory
        stated = yaml.load(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError):
        return {}
    return fields(stated) if isinstance(stated, dict) else {}


def _typed(value: Any) -> Any:  # noqa: ANN401 - what a parser gives
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else _text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else _text(value)
    if isinstance(value, dt.datetime):
        return _shown(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_scalar(each) for each in value[:_MOST] if each is not None]
    return None if value is None else _text(value)


def _scalar(value: Any) -> Any:  # noqa: ANN401
    return _text(value) if isinstance(value, list | tuple | dict) else _typed(value)


def _text(value: Any) -> str:  # noqa: ANN401
    shown = str(value)[:_LONGEST]
    return " ".join(shown.encode("utf-8", "replace").decode("utf-8").split())
