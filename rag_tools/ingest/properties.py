"""What documents say about themselves: properties of office documents and books as metadata."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from rag_tools.ingest.archive import Archive, local
from rag_tools.types import Metadata

_FIELDS = {
    # Name of an element of Dublin Core, OOXML or OpenDocument → metadata field.
    "creator": "author",
    "initial-creator": "author",
    "subject": "subject",
    "description": "description",
    "keywords": "keywords",
    "keyword": "keywords",
    "category": "category",
    "language": "language",
    "publisher": "publisher",
    "identifier": "identifier",
    "created": "created",
    "creation-date": "created",
    "modified": "modified",
    "date": "date",
}
_LONGEST_VALUE = 1000
_MOST_VALUES = 50


class Properties(NamedTuple):
    """The title of a document, ``""`` if it states none, and other properties as metadata."""

    title: str = ""
    metadata: Metadata = {}  # noqa: RUF012 - never changed


def core_properties(root: Any) -> Properties:  # noqa: ANN401 - lxml has no types
    """Return the properties below an element, of Dublin Core or OpenDocument.

    A property that is stated several times has its values separated by ``"; "``. Times are kept as
    the document writes them, in ISO 8601.
    """
    title = ""
    found: dict[str, list[str]] = {}
    for element in () if root is None else root.iter("*"):
        name = local(element)
        words = " ".join((element.text or "").split())[:_LONGEST_VALUE]
        if not words:
            continue
        if name == "title":
            title = title or words
        elif name in _FIELDS:
            values = found.setdefault(_FIELDS[name], [])
            if words not in values and len(values) < _MOST_VALUES:
                values.append(words)
    return Properties(title, {field: "; ".join(values) for field, values in found.items()})


def office_properties(archive: Archive) -> Properties:
    """Return the properties of an OOXML document."""
    for relation in archive.relations("").values():
        if relation.kind == "core-properties":
            return core_properties(archive.xml_if_any(relation.target))
    return core_properties(archive.xml_if_any("docProps/core.xml"))


def iso_time(stated: str) -> str:
    """Return the date of a mail in ISO 8601 and UTC, or ``""`` if it can't be read.

    Examples
    --------
    >>> iso_time("Tue, 3 Mar 2026 09:30:00 +0100")
    '2026-03-03T08:30:00+00:00'
    """
    try:
        found = parsedate_to_datetime(stated)
        return (found.astimezone(UTC) if found.tzinfo else found).isoformat()
    except (TypeError, ValueError, OverflowError, IndexError):
        return ""
