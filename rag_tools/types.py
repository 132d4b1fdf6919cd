"""The nouns of the public interface, as immutable values.

Positions are half-open ``[start, end)`` in Unicode code points of a document's canonical text.
``document.text[span.start:span.end]`` is the span's text, always. Nothing here reads files,
scores or stores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Metadata = dict[str, Any]

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
VerificationStatus = Literal["exact", "moved", "stale", "missing"]
Verdict = Literal["supported", "partial", "unsupported"]
ConflictKind = Literal["number", "date", "time", "name", "sense"]


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


class Box(NamedTuple):
    """A rectangle on a page, in points from the page's top left corner."""

    page: int
    left: float
    top: float
    right: float
    bottom: float


class _Value(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64"
    )


class SourceMap(_Value):
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
    """

    pages: tuple[Page, ...] = ()
    boxes: bytes = b""
    elements: tuple[Element, ...] = ()


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


class Document(_Value):
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
    """

    text: str
    uri: str = Field(min_length=1)
    id: str = Field(default="", max_length=512)
    title: str = ""
    media_type: str = "text/plain"
    blocks: tuple[Block, ...] = ()
    source_map: SourceMap | None = None
    metadata: Metadata = Field(default_factory=dict)

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


class Aligned(_Value):
    """One edge of an alignment: a query token, the passage token it matched, how well."""

    query_start: int
    query_end: int
    start: int
    end: int
    similarity: float


class Citation(_Value):
    """A verbatim quote and everything needed to find and check it.

    Attributes
    ----------
    start, end
        Range of code points of the document's canonical text.
    quote
        ``document.text[start:end]``.
    document_sha256
        Of the canonical text the offsets refer to.
    prefix, suffix
        Up to 32 characters before and after (W3C TextQuoteSelector).
    url
        Where to open the source at the quote; never empty.
    lines, columns
        First and last line, first column and the column after the last character, from 1.
    page, boxes
        Page number and one rectangle per line, for paginated sources.
    page_label
        The page number as it is printed, such as ``iv``; None if it is `page`.
    heading
        Heading or symbol path, ``"A > B"``.
    score
        Evidence for the query in the quote and, in part, in the passage around it: mean
        similarity per query token, from 0 to 1; comparable between documents.
    alignment
        Query token to document token, when asked for.
    """

    document_id: str
    document_sha256: str
    start: int
    end: int
    quote: str
    prefix: str = ""
    suffix: str = ""
    url: str = ""
    lines: tuple[int, int] | None = None
    columns: tuple[int, int] | None = None
    page: int | None = None
    page_label: str | None = None
    boxes: tuple[Box, ...] = ()
    heading: str | None = None
    score: float = 0.0
    alignment: tuple[Aligned, ...] | None = None

    @property
    def page_name(self) -> str | None:
        """The page as a person finds it: ``page 4``, or ``page iv (PDF page 4)``."""
        if self.page_label is None:
            return None if self.page is None else f"page {self.page}"
        return f"page {self.page_label} (PDF page {self.page})"


class Copy(_Value):
    """Another passage that says what a hit says.

    Attributes
    ----------
    id
        Of the passage, ``DOCUMENT_ID:START-END``.
    url
        Where to open the source at the passage; never empty.
    score
        Its own.
    """

    id: str
    url: str
    score: float


class Hit(_Value):
    """A retrieved passage with its citations, best first.

    Attributes
    ----------
    id
        Of the passage, ``DOCUMENT_ID:START-END``.
    document_sha256
        Of the canonical text that `start` and `end` refer to.
    uri
        Where the document came from.
    url
        Where to open the source at the passage; never empty.
    text
        ``document.text[start:end]``.
    metadata
        The document's.
    also_in
        Duplicates of the passage, best first, at most ten: passages with the same heading path and
        the same text but for white space, or nearly the same text. They aren't hits themselves.
    """

    id: str
    document_id: str
    document_sha256: str
    uri: str
    title: str
    url: str
    score: float
    text: str
    start: int
    end: int
    heading: str | None = None
    metadata: Metadata = Field(default_factory=dict)
    citations: tuple[Citation, ...] = ()
    also_in: tuple[Copy, ...] = ()


class SearchResults(_Value):
    """Hits in order of falling score, ties by id.

    Attributes
    ----------
    confidence
        How likely the documents answer the query at all, from 0 to 1, judged by the first hit.
        None if that can't be told: no hit, or settings that it wasn't fitted to.
    low_confidence
        It is below 0.2: the hits are the nearest there are, and hardly an answer.
    """

    query: str
    results: tuple[Hit, ...] = ()
    confidence: float | None = None
    low_confidence: bool = False


class Conflict(_Value):
    """A part of a claim that keeps it from being supported, whatever its other words are.

    Attributes
    ----------
    start, end
        Range of code points of the claim.
    kind
        ``number``, ``date``, ``time`` or ``name``: no quote has it, or the nearest sentence has
        another one in its place. ``sense``: the nearest sentence says otherwise in nearly the same
        words, by a negation, an opposite or the other way round.
    """

    start: int
    end: int
    kind: ConflictKind


class Support(_Value):
    """How far documents support a claim in their words, and the quotes that bear on it.

    It compares words, and says nothing about truth, nor about what follows from what.

    Attributes
    ----------
    citations
        The quotes, best first.
    score
        How likely the documents say what the claim says, from 0 to 1.
    verdict
        ``supported``: they say it, and nothing of it is in conflict. ``partial``: part of it, or
        something close. ``unsupported``: the quotes are only the nearest there are.
    covered, uncovered
        Ranges of code points of `claim`: words that the quotes have, or close ones, and words
        that they haven't. Function words between words of a kind go with them. A number, date,
        time or name that is in conflict is uncovered.
    conflicts
        What keeps the verdict from being ``supported``, in order of the claim.
    calibrated
        Whether `score` was fitted to the checkpoint and the settings of this index. If not, it
        still orders claims, but isn't a likelihood.
    """

    claim: str
    citations: tuple[Citation, ...] = ()
    score: float = 0.0
    verdict: Verdict = "unsupported"
    covered: tuple[Span, ...] = ()
    uncovered: tuple[Span, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    calibrated: bool = False

    def unaligned(self) -> Self:
        """Return the same without the alignments of its citations."""
        plain = (each.model_copy(update={"alignment": None}) for each in self.citations)
        return self.model_copy(update={"citations": tuple(plain)})


class Claim(_Value):
    """A statement of an answer.

    Attributes
    ----------
    start, end
        Range of code points of the answer's `draft`.
    numbers
        Of its citations, from 1; none if it is unsupported.
    support
        What supports ``draft[start:end]``, read with blanks in place of mark-up; its spans count
        from `start`.
    """

    start: int
    end: int
    numbers: tuple[int, ...] = ()
    support: Support


class CitedAnswer(_Value):
    """An answer with citations.

    Attributes
    ----------
    text
        The answer in Markdown, with ``[n]`` after each supported statement.
    references
        What the numbers stand for: a list in Markdown, each item a link and the quote.
    draft
        The answer as it was given, without markers and references of its own.
    claims
        Statements of the draft that need a citation, in order.
    citations
        The nth has the number n; each quote has one number.
    """

    text: str
    references: str
    draft: str
    claims: tuple[Claim, ...] = ()
    citations: tuple[Citation, ...] = ()


class Fetched(_Value):
    """A document, or a range of it, as an agent reads it."""

    id: str
    title: str
    text: str
    url: str
    metadata: Metadata = Field(default_factory=dict)


class DocumentEntry(_Value):
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


class Verification(_Value):
    """What became of a citation.

    Attributes
    ----------
    status
        ``exact``: the quote stands at its offsets. ``moved``: the same words stand elsewhere, or,
        of a citation without `document_sha256`, with other white space or quotation marks, divided
        at a line end, or with the mark-up that rendering takes away.
        ``stale``: the document changed and the words are gone. ``missing``: there is no such
        document, or its text never held the words.
    checked
        What was read: the source itself where reachable, else the indexed text.
    citation
        The citation as it should read now (``exact`` and ``moved``), else as given.
    detail
        One sentence for a person.
    """

    status: VerificationStatus
    checked: Literal["source", "index"]
    citation: Citation
    detail: str


class Verifications(_Value):
    """What became of several citations, in the order given."""

    verifications: tuple[Verification, ...] = ()


class Skipped(_Value):
    """A source that was left out, and why."""

    path: str
    reason: str


class SyncReport(_Value):
    """What a sync did.

    Attributes
    ----------
    added, updated, removed
        Ids, in the order they were handled.
    unchanged
        Files that were indexed before and are the same.
    unsupported
        Files that were left out because no loader reads them.
    unsupported_types
        How many of them there are of each type, the most common first: a suffix in lower case,
        ``""`` for files without one, ``special`` for FIFOs, sockets and the like. ``other`` is
        the number of all types after the first twelve.
    sensitive
        Files that were left out because by their names they hold keys, passwords or tokens.
        Patterns of ``include`` that name them bring them in.
    ignored
        Files and folders that were left out because ``.ragignore`` or git's ignore files name
        them; a folder counts once, whatever is in it.
    skipped
        What can't be read or parsed, and why.
    encoded_passages
        How many passages went through the encoder.
    seconds
        How long it took.
    """

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: int = 0
    unsupported: int = 0
    unsupported_types: dict[str, int] = Field(default_factory=dict)
    sensitive: int = 0
    ignored: int = 0
    skipped: tuple[Skipped, ...] = ()
    encoded_passages: int = 0
    seconds: float = 0.0


class Status(_Value):
    """What an index holds and how it was built.

    Attributes
    ----------
    dim, bits
        Dimensions of a stored token, and bits of each.
    passages, tokens, segments
        Passages that can be found; tokens and segments as they are stored, tombstones included.
    tombstones
        Passages that were deleted and still take space.
    centroids
        Of the codebook.
    cosine
        Mean cosine of a token's embedding and what is stored of it, on samples; None if the index
        is empty.
    maxsim_error
        Mean absolute error of MaxSim, as a mean over query tokens, of stored passages against
        their embeddings, on the same samples.
    generation
        Number of the commit.
    bytes
        Of the whole index on disk.
    kernel
        What runs the hot stages of a search: an instruction set, or ``numpy``.
    """

    index: str
    format_version: int
    checkpoint: str
    dim: int
    bits: int
    passage_tokens: int
    roots: tuple[str, ...]
    documents: int
    passages: int
    tokens: int
    segments: int
    tombstones: int
    centroids: int
    cosine: float | None
    maxsim_error: float | None
    generation: int
    bytes: int
    kernel: str


class Progress(Protocol):
    """Called as long work advances: `stage`, units `done`, units in `total` (0: not known).

    A stage's `done` doesn't fall. What is counted depends on the stage: ``scan``, files looked at;
    ``index``, expected characters of text, of a total that stays the same; ``encode``, passages;
    ``cluster``, centroids; ``search``, queries; ``questions``, questions.
    """

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note."""


Filter = Mapping[str, str | int | float | bool | Sequence[str | int | float | bool]]
"""Metadata field → value, or sequence of values any of which may match; fields are and-ed.

``document_id``, ``title`` and ``media_type`` are fields of every document; ``path`` takes a path as
it is, or a glob.
"""
