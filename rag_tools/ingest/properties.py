"""What documents say about themselves: properties of office documents and books as metadata."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from rag_tools.ingest.archive import Archive, local
from rag_tools.ingest.stated import stated_time
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
_TIMES = frozenset({"created", "date", "modified"})
_LONGEST_VALUE = 1000
_MOST_VALUES = 50


class Properties(NamedTuple):
    """The title of a document, ``""`` if it states none, and other properties as metadata."""

    title: str = ""
    metadata: Metadata = {}  # noqa: RUF012 - never changed


def core_properties(root: Any) -> Properties:  # noqa: ANN401 - lxml has no types
    """Return the properties below an element, of Dublin Core or OpenDocument.

    A property that is stated several times has its values separated by ``"; "``. Times are in ISO
    8601, see `stated_time`.
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
            words = stated_time(words) if _FIELDS[name] in _TIMES else words
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


# Name of a meta element of HTML (OpenGraph, Dublin Core, or none of them) → metadata field. Of
# several for a field, the first counts.
_META = {
    "author": "author",
    "article:author": "author",
    "dc.creator": "author",
    "description": "description",
    "og:description": "description",
    "dc.description": "description",
    "keywords": "keywords",
    "dc.subject": "keywords",
    "og:site_name": "site",
    "og:type": "type",
    "og:url": "page_url",
    "article:published_time": "date",
    "dc.date": "date",
    "article:modified_time": "modified",
    "og:updated_time": "modified",
    "article:section": "category",
}


def page_properties(root: Any) -> Metadata:  # noqa: ANN401 - lxml has no types
    """Return what a page of HTML states about itself, in ``meta`` elements and as its language."""
    if root is None:
        return {}
    stated: dict[str, str] = {}
    for element in root.iter("meta"):
        name = (element.get("property") or element.get("name") or "").strip().lower()
        words = " ".join((element.get("content") or "").split())[:_LONGEST_VALUE]
        if name in _META and words:
            stated.setdefault(name, words)
    found: Metadata = {}
    for name, field in _META.items():
        if name in stated:
            value = stated_time(stated[name]) if field in _TIMES else stated[name]
            found.setdefault(field, value)
    language = next((each.get("lang") for each in root.iter("html") if each.get("lang")), "")
    if language:
        found["language"] = language[:_LONGEST_VALUE]
    return found


_PDF = {
    "Author": "author",
    "Subject": "subject",
    "Keywords": "keywords",
    "CreationDate": "created",
    "ModDate": "modified",
}


def pdf_properties(pdf: Any) -> Metadata:  # noqa: ANN401 - pypdfium2 is untyped
    """Return what a PDF states about itself."""
    found: Metadata = {}
    for name, field in _PDF.items():
        stated = pdf.get_metadata_value(name).encode("utf-8", "replace").decode("utf-8")
        words = " ".join(stated.replace("\0", " ").split())[:_LONGEST_VALUE]
        if words:
            found[field] = stated_time(words) if field in _TIMES else words
    return found


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
