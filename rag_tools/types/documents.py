"""Documents: a canonical text, its structure, and where its characters stand in the source."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from rag_tools.types.access import check_labels
from rag_tools.types.values import Metadata, Value

BlockKind = Literal[
    "heading",
    "paragraph",
    "list",
    "item",
    "table",
    "header",
    "row",
    "lines",
    "code",
    "function",
    "class",
    "navigation",
]


class Span(NamedTuple):
    """Half-open range ``[start, end)`` of code points.

    Examples
    --------
    >>> Span(2, 5).of("abcdef")
    'cde'
    """

    start: int
    end: int

    def of(self, text: str) -> str:
        """Return the characters of `text` that the span covers."""
        return text[self.start : self.end]

    def overlaps(self, other: Span) -> bool:
        """Tell whether the two spans share at least one character."""
        return self.start < other.end and other.start < self.end


class Block(NamedTuple):
    """A structural element of a document; the blocks of a document tile its text.

    Attributes
    ----------
    kind
        What the element is, which says what its units are, see `rag_tools.units`. ``heading``
        holds the heading's own characters. ``paragraph`` and ``list`` are running text.
        ``item`` is one list item with its continuation, or a term with its definition. The
        lines of a ``table`` are its rows; ``row`` is one row that may have several lines, and
        ``header`` the header of the rows that follow. ``lines`` are entries of a log or keys
        with their values; ``code``, ``function`` and ``class`` are lines of code.
        ``navigation`` is what a page repeats around its content, such as menus.
    start, end
        Range of code points; each block starts where the one before it ends.
    path
        Titles of the enclosing sections or names of the enclosing symbols, outermost first.
        A heading's own title, or a function's own name, is the last entry of its own path.
    """

    kind: BlockKind
    start: int
    end: int
    path: tuple[str, ...] = ()


class Hidden(NamedTuple):
    """Text that a reader of the source doesn't see.

    Attributes
    ----------
    start, end
        Range of code points.
    how
        Why it isn't seen, such as ``text in the colour of its background``.
    """

    start: int
    end: int
    how: str


class Page(NamedTuple):
    """A page of a paginated source: number from 1, range of code points, size in points.

    `label` is the page number as it is printed, such as ``iv``; None if it is `number`.
    """

    number: int
    start: int
    end: int
    width: float
    height: float
    label: str | None = None


class Element(NamedTuple):
    """An element of a marked-up source: range of code points, its path, its anchor or ``""``."""

    start: int
    end: int
    path: str
    anchor: str


class Part(NamedTuple):
    """A part by which people find a place in a source without pages: a slide, a cell, a time.

    Attributes
    ----------
    start, end
        Range of code points.
    label
        How a person names it: ``slide 3``, ``Sheet1!B7``, ``00:12:31``.
    fragment
        What leads to it after the ``#`` of a URL, percent-encoded: ``t=751``; ``""`` if nothing.
    """

    start: int
    end: int
    label: str
    fragment: str = ""


class Recognised(NamedTuple):
    """Text that was recognised in a picture: range of code points, confidence from 0 to 1."""

    start: int
    end: int
    confidence: float


class Box(NamedTuple):
    """A rectangle on a page, in points from the page's top left corner."""

    page: int
    left: float
    top: float
    right: float
    bottom: float


class SourceMap(Value):
    """Where the characters of an extracted text stand in their source.

    Attributes
    ----------
    pages
        Pages in order (PDF).
    boxes
        zlib-compressed little-endian int16 array of shape ``(len(text), 4)``: left, top, right,
        bottom of every code point in tenths of a point from the page's top left corner; all
        zero where a character has no glyph. Empty if the source has no geometry.
    elements
        Marked-up elements in order of `start` (HTML, DOCX).
    parts
        Slides, cells, times and other parts with names, in order of `start`; none overlaps another
        (PPTX, XLSX, subtitles).
    recognised
        What was recognised in pictures, in order of `start` (PDF, pictures).
    """

    pages: tuple[Page, ...] = ()
    boxes: bytes = b""
    elements: tuple[Element, ...] = ()
    parts: tuple[Part, ...] = ()
    recognised: tuple[Recognised, ...] = ()


MAX_LABEL_LENGTH = 200
"""Most characters of a title or a heading as a label; the text itself keeps them all."""

_MAX_PATH_LENGTH = 600
"""Most characters of a block's path as it is shown; beyond, outer entries are left out."""

_SEPARATOR_LENGTH = 3  # of " > "


def label(text: str) -> str:
    """Return a title or heading short enough to stand beside every result.

    Longer than `MAX_LABEL_LENGTH`, it is cut after a word, or within one that is as long as that,
    and ends with ``…``.

    Examples
    --------
    >>> label("Install")
    'Install'
    >>> label("word " * 50)[-15:]
    'word word word…'
    """
    if len(text) <= MAX_LABEL_LENGTH:
        return text
    kept = text[:MAX_LABEL_LENGTH]  # room for the ellipsis: what is cut off is at least one
    words = kept.rsplit(None, 1) if not kept[-1].isspace() else [kept]
    if len(words) == 2 and len(words[0]) >= MAX_LABEL_LENGTH // 2:
        kept = words[0]
    return kept[: MAX_LABEL_LENGTH - 1].rstrip() + "…"


def _labels(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return a block's path as labels: each cut, the outer ones left out if they are too many."""
    if sum(map(len, path)) + _SEPARATOR_LENGTH * len(path) <= MAX_LABEL_LENGTH:
        return path
    kept: list[str] = []
    length = 0
    for title in map(label, reversed(path)):
        length += len(title) + _SEPARATOR_LENGTH
        if kept and length > _MAX_PATH_LENGTH:
            break
        kept.append(title)
    return tuple(reversed(kept))


def document_id(uri: str) -> str:
    """Return the stable id of the document at `uri`: 80 bits of its SHA-256 in hexadecimal."""
    return hashlib.sha256(uri.encode("utf-8")).hexdigest()[:20]


class Document(Value):
    """A source turned into text.

    Attributes
    ----------
    text
        The canonical text, stored whole and unchanged. For text formats it is the decoded file.
    uri
        Where it came from: ``file:///…``, ``https://…`` or any name that is unique.
    id
        Stable identity; derived from `uri` when not given.
    title
        For people; the last part of `uri` when not given. A long one is cut, see `label`.
    media_type
        IANA media type of the source.
    blocks
        Structure; empty means one paragraph. Long entries of their paths are cut likewise, and
        of a very long path the outer entries are left out.
    source_map
        Positions in the source, if the source isn't plain text.
    metadata
        Values that searches can filter on: JSON, so without NaN and infinity.
    hidden
        Parts of the text that a reader of the source doesn't see, in order of `start`.
    left_out
        Characters of the source that it doesn't show and that aren't in the text, such as those of
        comments and hidden elements.
    labels
        Who may read it: names of groups, ``user:NAME`` or ``everyone``, see `Principal`.
    expires
        When it may be removed, as Unix time in seconds; None: never.
    hold
        Whether it must be kept, whatever `expires` says (legal hold).
    """

    text: str
    uri: str = Field(min_length=1)
    id: str = Field(default="", max_length=512)
    title: str = ""
    media_type: str = "text/plain"
    blocks: tuple[Block, ...] = ()
    source_map: SourceMap | None = None
    metadata: Metadata = Field(default_factory=dict)
    hidden: tuple[Hidden, ...] = ()
    left_out: int = 0
    labels: tuple[str, ...] = ()
    expires: int | None = Field(default=None, ge=-(2**53), le=2**53)
    hold: bool = False

    @model_validator(mode="before")
    @classmethod
    def _fill_defaults(cls, values: Any) -> Any:  # noqa: ANN401 - pydantic's signature
        if isinstance(values, Mapping) and values.get("uri"):
            values = dict(values)
            uri = str(values["uri"])
            values["id"] = values.get("id") or document_id(uri)
            values.setdefault("title", uri.rstrip("/").rsplit("/", 1)[-1])
        return values

    @field_validator("text", "uri", "id", "title")
    @classmethod
    def _encodable(cls, value: str) -> str:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"lone surrogate U+{ord(value[error.start]):04X} at {error.start}: "
                "decode the source with errors='replace'"
            ) from None
        return value

    @field_validator("title")
    @classmethod
    def _short_title(cls, value: str) -> str:
        return label(value)

    @field_validator("blocks")
    @classmethod
    def _short_paths(cls, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        short: dict[tuple[str, ...], tuple[str, ...]] = {}
        for block in blocks:
            if block.path not in short:
                short[block.path] = _labels(block.path)
        if all(path is kept for path, kept in short.items()):
            return blocks
        return tuple(block._replace(path=short[block.path]) for block in blocks)

    @field_validator("metadata")
    @classmethod
    def _storable(cls, value: Metadata) -> Metadata:
        try:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
        except (TypeError, ValueError) as error:
            raise ValueError(f"metadata can't be stored as JSON: {error}") from None
        return value

    @field_validator("labels")
    @classmethod
    def _checked_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        return check_labels(labels)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the canonical text as UTF-8, in hexadecimal."""
        return hashlib.sha256(self.text.encode("utf-8")).hexdigest()


class Passage(NamedTuple):
    """A range of a document that is encoded and retrieved as one.

    Attributes
    ----------
    start, end
        Range of code points of the document; at most 65,535 long.
    path
        Heading or symbol path at its start, outermost first; encoded as context.
    """

    start: int
    end: int
    path: tuple[str, ...] = ()


class Fetched(Value):
    """A document, or a range of it, as an agent reads it."""

    id: str
    title: str
    text: str
    url: str
    metadata: Metadata = Field(default_factory=dict)


class DocumentEntry(Value):
    """A document as it is listed: without its text, but with the number of its characters."""

    id: str
    title: str
    uri: str
    media_type: str
    characters: int
    metadata: Metadata = Field(default_factory=dict)


class Versions(NamedTuple):
    """Which documents an index holds, in which version: two of these tell what changed.

    Attributes
    ----------
    generation
        Of the index; it grows with every commit.
    keys
        A number for each document by id. A document that is replaced gets another.
    """

    generation: int
    keys: Mapping[str, int]
