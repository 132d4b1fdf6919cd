"""Short ids of passages and citations: what a model is given to refer to them by.

``67d718:6977-7136:k3fq`` is the beginning of a document's id, long enough to be told from the
others, as git abbreviates commits; the range of code points; and a checksum of the text in it. It
is made of what it names and nothing is remembered, so that any worker, and any later session,
resolves it. If the document has changed since, the checksum tells.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

from rag_tools.errors import InvalidQueryError, NotFoundError

if TYPE_CHECKING:
    from rag_tools.engine import Engine

MIN_BEGINNING = 6
"""Characters of a document's id that are given at least: 24 bits of an id that was derived."""

_CANDIDATES = 100
"""Documents among which a beginning that fits several is looked for."""

_SHORT = re.compile(
    r"(?P<document>.+):(?P<start>\d{1,15})-(?P<end>\d{1,15}):(?P<check>[a-z2-7]{4})", re.DOTALL
)
_MARKER = re.compile(r"\[([^\[\]\s]{1,600}:\d{1,15}-\d{1,15}:[a-z2-7]{4})\]")


class Place(NamedTuple):
    """What a short id names.

    Attributes
    ----------
    text
        Between `start` and `end` as the document reads now.
    intact
        Whether that is what it was when the id was given.
    """

    document_id: str
    document_sha256: str
    start: int
    end: int
    text: str
    intact: bool


class ShortIds:
    """Gives ids out, for one page of results: what it looks up of a document, it looks up once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._beginnings: dict[str, str] = {}

    def of(self, document_id: str, start: int, text: str) -> str:
        """Return the short id of `text`, which stands in a document from `start` on."""
        beginning = self._beginnings.get(document_id)
        if beginning is None:
            beginning = self._beginnings[document_id] = _beginning(self._engine, document_id)
        return f"{beginning}:{start}-{start + len(text)}:{checksum(text)}"


def checksum(text: str) -> str:
    """Return 20 bits of the SHA-256 of a text, as four letters and digits."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return base64.b32encode(digest[:5])[:4].decode("ascii").lower()


def is_short(id: str) -> bool:
    """Tell whether an id has the form of those that `ShortIds` gives.

    Examples
    --------
    >>> is_short("67d718:6977-7136:k3fq"), is_short("67d718c421049dc12e6a:6977-7136")
    (True, False)
    """
    return _SHORT.fullmatch(id) is not None


def resolve(engine: Engine, id: str) -> Place:
    """Return what a short id names.

    Where later documents made its beginning fit several, the checksum decides.

    Raises
    ------
    NotFoundError
        No document's id begins so, or several do and none holds the text.
    """
    match = _SHORT.fullmatch(id)
    if match is None:
        raise NotFoundError(f"{id!r} isn't an id that search or cite returned")
    start, end = int(match["start"]), int(match["end"])
    beginning, check = match["document"], match["check"]
    documents = engine.document_ids(beginning, limit=_CANDIDATES, titles=False)
    if beginning in documents:
        documents = (beginning,)
    places = [_place(engine, document, start, end, check) for document in documents]
    intact = [place for place in places if place.intact]
    if len(intact) == 1 or len(places) == 1:
        return (intact or places)[0]
    if not places:
        raise NotFoundError(f"no document has the id of {id!r}; it may be deleted: search again")
    raise NotFoundError(f"{id!r} fits several documents by now: search again")


def document_of(engine: Engine, id: str) -> str:
    """Return the id of the one document whose id begins with `id`; else `id` as it is."""
    if len(id) < MIN_BEGINNING:
        return id
    found = engine.document_ids(id, limit=2, titles=False)
    return found[0] if len(found) == 1 else id


def cited(draft: str) -> tuple[str, tuple[str, ...]]:
    """Return a draft with blanks in place of the short ids in brackets, and these, each once.

    Examples
    --------
    >>> cited("Keys last 90 days [67d718:6977-7136:k3fq].")
    ('Keys last 90 days                        .', ('67d718:6977-7136:k3fq',))
    """
    ids = tuple(dict.fromkeys(match[1] for match in _MARKER.finditer(draft)))
    return _MARKER.sub(lambda match: " " * len(match[0]), draft), ids


def _beginning(engine: Engine, id: str) -> str:
    """Return the shortest beginning of a document's id that no other document's id has."""
    length = MIN_BEGINNING
    while length < len(id):
        others = [
            other
            for other in engine.document_ids(id[:length], limit=3, titles=False)
            if other != id
        ]
        if not others:
            break
        length = 1 + max(_common(id, other) for other in others)
    return id[:length]


def _common(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def _place(engine: Engine, document_id: str, start: int, end: int, check: str) -> Place:
    try:
        fetched = engine.fetch(document_id, start=start, end=end)
    except InvalidQueryError:  # the document is shorter by now
        return Place(document_id, "", start, end, "", intact=False)
    intact = checksum(fetched.text) == check
    sha256 = fetched.metadata["document_sha256"]
    return Place(document_id, sha256, start, end, fetched.text, intact=intact)
