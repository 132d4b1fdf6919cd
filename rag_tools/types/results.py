"""Results of a search: hits, the citations in them, and the alignments behind a citation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rag_tools.types.documents import Box
from rag_tools.types.filters import Facet
from rag_tools.types.values import Metadata, Value

FlagKind = Literal["hidden", "invisible characters", "instructions"]


class Flag(Value):
    """A stretch of a passage that deserves a second look before anything in it is believed.

    Attributes
    ----------
    kind
        ``hidden``: a reader of the source doesn't see it. ``invisible characters``: it holds
        characters that nobody sees. ``instructions``: it seems to give instructions to a model.
    start, end
        Range of code points of the document's canonical text.
    detail
        What was recognised, in a few words.
    """

    kind: FlagKind
    start: int
    end: int
    detail: str


class Aligned(Value):
    """One edge of an alignment: a query token, the passage token it matched, how well."""

    query_start: int
    query_end: int
    start: int
    end: int
    similarity: float


class Citation(Value):
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
    part
        The slide, cell, time or other part that has a name, for sources with such parts:
        ``slide 3``, ``Sheet1!B7:D7``, ``00:12:31 – 00:12:40``.
    recognised
        Confidence, from 0 to 1, with which the least sure line of the quote was recognised in a
        picture; None if the source has the words as text.
    heading
        Heading or symbol path, ``"A > B"``.
    header
        Of a row of a table: the row that names its columns, verbatim; None if there is none, or
        if it is longer than 500 characters.
    score
        Evidence for the query in the quote and, in part, in the passage around it: mean
        similarity per query token, from 0 to 1; comparable between documents.
    alignment
        Query token to document token, when asked for.
    flags
        What in the quote deserves a second look.
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
    part: str | None = None
    boxes: tuple[Box, ...] = ()
    recognised: float | None = None
    heading: str | None = None
    header: str | None = None
    score: float = 0.0
    alignment: tuple[Aligned, ...] | None = None
    flags: tuple[Flag, ...] = ()

    @property
    def page_name(self) -> str | None:
        """The page as a person finds it: ``page 4``, or ``page iv (PDF page 4)``."""
        if self.page_label is None:
            return None if self.page is None else f"page {self.page}"
        return f"page {self.page_label} (PDF page {self.page})"

    @property
    def place(self) -> str | None:
        """The page or the part as a person finds it; None if the source has neither.

        Words that were recognised in a picture are marked so: ``page 4, recognised (97 %)``.
        """
        mark = None if self.recognised is None else f"recognised ({100 * self.recognised:.0f} %)"
        return ", ".join(filter(None, (self.page_name or self.part, mark))) or None


class Copy(Value):
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


class Judgement(Value):
    """What the evidence model said of a passage, read together with the query.

    Attributes
    ----------
    gain
        Part of the hit's score that is due to it.
    no_answer
        Probability that the passage holds no answer to the query.
    entailed, contradicted
        Probabilities that the passage says what the query claims, and that it says the opposite;
        they mean something only if the query is a claim.
    """

    gain: float
    no_answer: float
    entailed: float
    contradicted: float


class Hit(Value):
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
    reading
        What the second stage said of the passage; None if it wasn't read.
    flags
        What in the passage deserves a second look: hidden text, instructions to models.
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
    reading: Judgement | None = None
    flags: tuple[Flag, ...] = ()


class SearchResults(Value):
    """Hits in order of falling score, ties by id.

    Attributes
    ----------
    confidence
        How likely the documents answer the query at all, from 0 to 1, judged by the first hit.
        None if that can't be told: no hit, or settings that it wasn't fitted to.
    low_confidence
        It is below 0.4: the hits are the nearest passages there are, and hardly an answer.
    facets
        The values of the fields that were asked for, counted over the documents searched.
    """

    query: str
    results: tuple[Hit, ...] = ()
    facets: tuple[Facet, ...] = ()
    confidence: float | None = None
    low_confidence: bool = False
