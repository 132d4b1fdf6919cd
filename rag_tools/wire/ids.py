"""Short ids, by which a model refers to passages and citations.

``67d718:6977-7136:k3fq`` consists of a unique prefix of the document's id, as git abbreviates
commits; the range in code points; and a checksum of the text in it. Since the id contains all that
is needed to resolve it, nothing is stored: any worker and any later session can resolve it. The
checksum shows whether the document has changed since.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from typing import NamedTuple, Protocol

from rag_tools.errors import InvalidQueryError, NotFoundError
from rag_tools.types import Fetched, Span

MIN_PREFIX = 6
"""The shortest prefix of a document's id: 24 bits of an id that was derived from a URI."""

_CANDIDATES = 100
"""The number of documents with the same prefix among which the checksum decides."""

_SHORT = re.compile(
    r"(?P<document>.+):(?P<start>\d{1,15})-(?P<end>\d{1,15}):(?P<check>[a-z2-7]{4})", re.DOTALL
)
IN_BRACKETS = r"[^\[\]\s]{1,600}:\d{1,15}-\d{1,15}:[a-z2-7]{4}"
"""Pattern of a short id that may stand in square brackets."""

_MARKER = re.compile(rf"\[({IN_BRACKETS})\]")


class DocumentIds(Protocol):
    """An index that can list the ids of its documents, as `rag_tools.Engine` does."""

    def document_ids(self, text: str, *, limit: int, titles: bool = True) -> tuple[str, ...]:
        """Return the ids that begin with `text`; with `titles`, by title too."""


class Documents(DocumentIds, Protocol):
    """An index that can also return the text of a document."""

    def fetch(self, id: str, *, start: int = 0, end: int | None = None) -> Fetched:
        """Return a document's text between two code points."""


class Place(NamedTuple):
    """The place that a short id refers to.

    Attributes
    ----------
    text
        The text between `start` and `end` in the document as it is now.
    intact
        Whether this is the text that the id was made for.
    """

    document_id: str
    document_sha256: str
    start: int
    end: int
    text: str
    intact: bool


class ShortIds:
    """Makes the ids of one page of results; each document is looked up once.

    Parameters
    ----------
    index
        The index whose documents' ids are abbreviated. None: they aren't, because the other ids
        aren't known, as those of a server; the ids are then longer and work as well.
    """

    def __init__(self, index: DocumentIds | None) -> None:
        self._index = index
        self._prefixes: dict[str, str] = {}

    def of(self, document_id: str, start: int, text: str) -> str:
        """Return the short id of `text`, which begins at `start` in a document."""
        prefix = self._prefixes.get(document_id)
        if prefix is None:
            prefix = document_id if self._index is None else _prefix(self._index, document_id)
            self._prefixes[document_id] = prefix
        return f"{prefix}:{start}-{start + len(text)}:{checksum(text)}"


def checksum(text: str) -> str:
    """Return 20 bits of the SHA-256 of a text, as four letters and digits (base 32)."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return base64.b32encode(digest[:5])[:4].decode("ascii").lower()


def is_short(id: str) -> bool:
    """Tell whether an id has the form of those that `ShortIds` makes.

    Examples
    --------
    >>> is_short("67d718:6977-7136:k3fq"), is_short("67d718c421049dc12e6a:6977-7136")
    (True, False)
    """
    return _SHORT.fullmatch(id) is not None


def made_for(id: str) -> Callable[[str], bool]:
    """Return what tells whether a text is the one that a short id was made for, by its checksum."""
    return lambda text: checksum(text) == id[-4:]


def resolve(index: Documents, id: str) -> Place:
    """Return the place that a short id refers to.

    If documents were added whose ids have the same prefix, the checksum decides.

    Raises
    ------
    NotFoundError
        If no document's id has this prefix, or several do and none holds the text.
    """
    match = _SHORT.fullmatch(id)
    if match is None:
        raise NotFoundError(f"{id!r} is not an id that search or cite returned")
    start, end = int(match["start"]), int(match["end"])
    prefix, check = match["document"], match["check"]
    documents = index.document_ids(prefix, limit=_CANDIDATES, titles=False)
    if prefix in documents:
        documents = (prefix,)
    places = [_place(index, document, start, end, check) for document in documents]
    intact = [place for place in places if place.intact]
    if len(intact) == 1 or len(places) == 1:
        return (intact or places)[0]
    if not places:
        raise NotFoundError(
            f"no document matches the id {id!r}; it may have been deleted: search again"
        )
    raise NotFoundError(f"{id!r} now matches several documents: search again")


def document_of(index: DocumentIds, id: str) -> str:
    """Return the id that begins with `id` if there is exactly one; otherwise `id` itself."""
    if len(id) < MIN_PREFIX:
        return id
    found = index.document_ids(id, limit=2, titles=False)
    return found[0] if len(found) == 1 else id


class Marker(NamedTuple):
    """A short id in brackets: where it is in a text, brackets included, and the id."""

    span: Span
    id: str


def markers(text: str) -> list[Marker]:
    """Return the short ids in brackets in a text, in order.

    Examples
    --------
    >>> markers("Keys last 90 days [67d718:6977-7136:k3fq].")
    [Marker(span=Span(start=18, end=41), id='67d718:6977-7136:k3fq')]
    """
    return [Marker(Span(*match.span()), match[1]) for match in _MARKER.finditer(text)]


def matches(id: str, document_id: str, start: int, text: str) -> bool:
    """Tell whether a short id refers to the beginning of `text`, which begins at `start`.

    An id of the beginning only is made for a quote that was too long to be shown whole.

    Examples
    --------
    >>> id = ShortIds(None).of("67d718c421049dc12e6a", 6977, "90 days")
    >>> matches(id, "67d718c421049dc12e6a", 6977, "90 days from issue")
    True
    """
    match = _SHORT.fullmatch(id)
    return (
        match is not None
        and document_id.startswith(match["document"])
        and int(match["start"]) == start
        and checksum(text[: int(match["end"]) - start]) == match["check"]
        and int(match["end"]) <= start + len(text)
    )


def cited(draft: str) -> tuple[str, tuple[str, ...]]:
    """Return a draft with its bracketed short ids replaced by blanks, and the distinct ids.

    Examples
    --------
    >>> cited("Keys last 90 days [67d718:6977-7136:k3fq].")
    ('Keys last 90 days                        .', ('67d718:6977-7136:k3fq',))
    """
    ids = tuple(dict.fromkeys(marker.id for marker in markers(draft)))
    return _MARKER.sub(lambda match: " " * len(match[0]), draft), ids


def _prefix(index: DocumentIds, id: str) -> str:
    """Return the shortest prefix of a document's id that no other document's id has."""
    length = MIN_PREFIX
    while length < len(id):
        others = [
            other for other in index.document_ids(id[:length], limit=3, titles=False) if other != id
        ]
        if not others:
            break
        length = 1 + max(_common(id, other) for other in others)
    return id[:length]


def _common(one: str, other: str) -> int:
    """Return the length of the common prefix of two texts."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def _place(index: Documents, document_id: str, start: int, end: int, check: str) -> Place:
    try:
        fetched = index.fetch(document_id, start=start, end=end)
    except InvalidQueryError:  # the document has become shorter
        return Place(document_id, "", start, end, "", intact=False)
    intact = checksum(fetched.text) == check
    sha256 = fetched.metadata["document_sha256"]
    return Place(document_id, sha256, start, end, fetched.text, intact=intact)
