"""Results cut to the size that a tool may return.

`max_chars` always counts the JSON of the structured content. What is shown to a person beside it,
in `_meta`, doesn't reach the model and isn't counted.

An entry is shortened rather than refused, so that no document keeps others from being seen: its
title and headings first, which may be of any length, then its quotes, its text, its metadata.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, TextContent
from pydantic import BaseModel, ConfigDict, Field

from rag_tools.errors import NotFoundError
from rag_tools.types import (
    Citation,
    DocumentEntry,
    Fetched,
    Hit,
    SearchResults,
    Skipped,
    Status,
    Support,
    SyncReport,
    Verification,
    Verifications,
)
from rag_tools_mcp import ids
from rag_tools_mcp.viewer import VIEW

if TYPE_CHECKING:
    from rag_tools.engine import Engine

MAX_CURSOR = 1_000
"""Hits that may precede a page."""

COUNTS = 16
"""Characters that the counts and the cursor of a page may add to those of an empty one."""

LABEL = 200
"""Characters of a title or a heading that are always shown."""

_LABELS = frozenset({"title", "heading"})
_PLACES = frozenset({"uri", "url"})
_LONGEST_PLACE = 2_000  # characters of an address that are shown where it doesn't fit whole

_Item = TypeVar("_Item", bound=BaseModel)


_SHORTENED = (
    "Entries of which a part is left out: of a long title or heading, or, with more max_chars, of "
    "quotes, text or metadata."
)


class SearchPage(SearchResults):
    """Hits in order of falling score, as many as fit."""

    left_out: int = Field(
        default=0, description="Passages that were found but didn't fit into max_chars."
    )
    next_cursor: str | None = Field(
        default=None, description="Pass it as cursor to get the passages after these."
    )
    shortened: int = Field(default=0, description=_SHORTENED)


class CitePage(Support):
    """Quotes, best first, as many as fit."""

    left_out: int = Field(default=0, description="Quotes that didn't fit into max_chars.")
    shortened: int = Field(default=0, description=_SHORTENED)


class VerifyPage(Verifications):
    """What became of the first citations, as many as fit."""

    left_out: int = Field(
        default=0, description="Citations, the last ones, that weren't checked for want of room."
    )
    shortened: int = Field(default=0, description=_SHORTENED)


class DocumentsPage(BaseModel):
    """Documents in order of id, as many as fit."""

    model_config = ConfigDict(extra="forbid")

    documents: tuple[DocumentEntry, ...] = ()
    next_cursor: str | None = Field(
        default=None, description="Pass it as cursor to get the documents after these."
    )
    shortened: int = Field(default=0, description=_SHORTENED)


class SyncPage(BaseModel):
    """What a sync did, in numbers, and what it skipped."""

    model_config = ConfigDict(extra="forbid")

    added: int
    updated: int
    removed: int
    unchanged: int
    unsupported: int
    unsupported_types: dict[str, int] = Field(
        default_factory=dict,
        description="How many of the unsupported files have each suffix; the empty one is none.",
    )
    sensitive: int = Field(
        default=0, description="Files that by their names hold keys or passwords: not indexed."
    )
    ignored: int = Field(
        default=0, description="Files and folders that .ragignore or git's ignore files name."
    )
    encoded_passages: int
    seconds: float
    skipped: tuple[Skipped, ...] = ()
    left_out: int = Field(default=0, description="Skipped sources that didn't fit into max_chars.")
    shortened: int = Field(default=0, description=_SHORTENED)


class CollectionStatus(BaseModel):
    """A collection: its name, and what it holds, or why it can't be opened."""

    model_config = ConfigDict(extra="forbid")

    name: str
    status: Status | None = None
    error: str | None = None


class StatusPage(BaseModel):
    """The collections of the server, as many as fit."""

    model_config = ConfigDict(extra="forbid")

    collections: tuple[CollectionStatus, ...] = ()
    left_out: int = Field(default=0, description="Collections that didn't fit into max_chars.")
    shortened: int = Field(default=0, description=_SHORTENED)


def tool_result(value: BaseModel, *, view: str | None = None) -> CallToolResult:
    """Return `value` as structured content and as the same JSON in one text item.

    Parameters
    ----------
    view
        HTML for the citation viewer, if the host has one.
    """
    return CallToolResult(
        content=[TextContent(type="text", text=value.model_dump_json())],
        structured_content=value.model_dump(mode="json"),
        _meta=None if view is None else {VIEW: view},
    )


def offset(cursor: str | None) -> int:
    """Return how many hits precede the page that `cursor` asks for.

    Raises
    ------
    ToolError
        No search returned such a cursor.
    """
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal()) or int(cursor) > MAX_CURSOR:
        raise ToolError(
            f"cursor {cursor!r} doesn't come from a search; pass next_cursor of the last one"
        )
    return int(cursor)


def search_page(found: SearchResults, *, skip: int, limit: int, max_chars: int) -> SearchPage:
    """Return the hits from `skip` on that fit into `max_chars`, without their alignments.

    Raises
    ------
    ToolError
        Not even the first of them fits when it is shortened.
    """
    hits = [_unaligned(hit) for hit in found.results[skip : skip + limit]]
    page = SearchPage(**{**dict(found), "results": ()})
    kept = fitting(page, hits, max_chars, "passage", _shorter_hit)
    after = skip + len(kept)
    more = len(kept) < len(hits) or (len(hits) == limit and after <= MAX_CURSOR)
    return page.model_copy(
        update={
            "results": kept.items,
            "left_out": len(hits) - len(kept),
            "shortened": kept.shortened,
            "next_cursor": str(after) if more else None,
        }
    )


def cite_page(found: Support, *, max_chars: int) -> CitePage:
    """Return the quotes that fit into `max_chars`, without their alignments.

    Raises
    ------
    ToolError
        Not even the first of them fits when it is shortened.
    """
    citations = [_plain(citation) for citation in found.citations]
    page = CitePage(**{**dict(found), "citations": ()})
    kept = fitting(page, citations, max_chars, "quote", _shorter_citation)
    return page.model_copy(
        update={
            "citations": kept.items,
            "left_out": len(citations) - len(kept),
            "shortened": kept.shortened,
        }
    )


def verify_page(found: Iterator[Verification], *, given: int, max_chars: int) -> VerifyPage:
    """Return the verifications that fit into `max_chars`; ask `found` for no more than needed.

    Parameters
    ----------
    given
        How many citations are to be verified.

    Raises
    ------
    ToolError
        Not even the first of them fits.
    """
    kept = fitting(VerifyPage(), found, max_chars, "verification", _shorter_verification)
    return VerifyPage(
        verifications=kept.items, left_out=given - len(kept), shortened=kept.shortened
    )


def documents_page(found: Iterator[DocumentEntry], *, limit: int, max_chars: int) -> DocumentsPage:
    """Return the first `limit` documents as far as they fit into `max_chars`.

    The cursor is the id of the last one: it holds however the index changes.

    Raises
    ------
    ToolError
        Not even the first of them fits when it is shortened.
    """
    kept: _Kept[DocumentEntry] = _Kept()
    size = json_size(DocumentsPage()) + COUNTS
    cursor = None
    for whole in islice(found, limit + 1):
        own = len(json.dumps(whole.id, ensure_ascii=False))  # as cursor of this page
        entry = _shown(whole, max_chars - size - own - 1, max_chars, kept, _shorter_document)
        size += json_size(entry) + 1
        if len(kept) == limit or size + own > max_chars:
            if not kept:
                raise too_small("document", size + own)
            cursor = kept.items[-1].id
            break
        kept = kept.and_(entry, whole)
    return DocumentsPage(documents=kept.items, next_cursor=cursor, shortened=kept.shortened)


def fetched_page(
    engine: Engine, id: str, start: int, end: int | None, *, max_chars: int
) -> Fetched:
    """Return characters `start` to `end` of a document, or a passage, as far as they fit.

    The metadata says which they are, and where to go on in the document if there is more of it.

    Raises
    ------
    ToolError
        Not even one character fits.
    """
    fetched = _labelled(read(engine, id, start, end), max_chars)
    metadata = dict(fetched.metadata, next_start=fetched.metadata["end"])
    if json_size(fetched.model_copy(update={"text": "", "metadata": metadata})) > max_chars // 2:
        # The document's own metadata leave too little room for its text.
        metadata = {name: metadata[name] for name in _RANGE}
        fetched = _place_cut(fetched, max_chars)
    empty = json_size(fetched.model_copy(update={"text": "", "metadata": metadata}))
    text = json_cut(fetched.text, max_chars - empty)
    if fetched.text and not text:
        raise too_small("character with what belongs to it", empty + _MAX_ESCAPED)
    cut = len(text) < len(fetched.text)
    metadata["end"] = metadata["next_start"] = metadata["start"] + len(text)
    whole = metadata["end"] == metadata["total_characters"]
    if whole or not (cut or id == metadata["document_id"]):
        del metadata["next_start"]
    return fetched.model_copy(update={"text": text, "metadata": metadata})


def read(engine: Engine, id: str, start: int, end: int | None) -> Fetched:
    """Return what `Engine.fetch` does, for short ids too; an end beyond the text is its end.

    Raises
    ------
    ToolError
        Other words stand by now where a short id says.
    NotFoundError, InvalidQueryError
        As `Engine.fetch` does.
    """
    if ids.is_short(id):
        place = ids.resolve(engine, id)
        if not place.intact:
            raise ToolError(
                f"document {place.document_id} changed since {id} was given, and other words stand "
                "there now: search again, or fetch the document"
            )
        fetched = engine.fetch(f"{place.document_id}:{place.start}-{place.end}")
        return fetched.model_copy(update={"id": id})
    try:
        whole = engine.fetch(id, start=start)
    except NotFoundError:
        if (named := ids.document_of(engine, id)) == id:
            raise
        id = named
        whole = engine.fetch(id, start=start)
    if end is None or end >= whole.metadata["end"] or id != whole.metadata["document_id"]:
        return whole
    return engine.fetch(id, start=start, end=end)


def status_page(found: Iterator[CollectionStatus], *, known: int, max_chars: int) -> StatusPage:
    """Return the collections that fit into `max_chars`, of `known` ones.

    Raises
    ------
    ToolError
        Not even the first of them fits when it is shortened.
    """
    kept = fitting(StatusPage(), found, max_chars, "collection", _shorter_collection)
    return StatusPage(collections=kept.items, left_out=known - len(kept), shortened=kept.shortened)


def sync_page(report: SyncReport, *, max_chars: int) -> SyncPage:
    """Return a report in numbers, with the skipped sources that fit into `max_chars`."""
    page = SyncPage(
        added=len(report.added),
        updated=len(report.updated),
        removed=len(report.removed),
        unchanged=report.unchanged,
        unsupported=report.unsupported,
        unsupported_types=report.unsupported_types,
        sensitive=report.sensitive,
        ignored=report.ignored,
        encoded_passages=report.encoded_passages,
        seconds=round(report.seconds, 3),
    )
    # What is done is no error, however little of it can be told.
    kept = fitting(page, report.skipped, max_chars, None, _shorter_source)
    return page.model_copy(
        update={
            "skipped": kept.items,
            "left_out": len(report.skipped) - len(kept),
            "shortened": kept.shortened,
        }
    )


def label(text: str, most: int = LABEL) -> str:
    """Return a title or a heading, cut if it is longer than anybody reads.

    Examples
    --------
    >>> label("Boiling water"), label("ab" * 200, 5)
    ('Boiling water', 'abab…')
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


@dataclass(frozen=True)
class _Kept(Generic[_Item]):
    """The entries of a page, and how many of them aren't whole."""

    items: tuple[_Item, ...] = ()
    shortened: int = 0

    def __len__(self) -> int:
        return len(self.items)

    def and_(self, item: _Item, whole: _Item) -> _Kept[_Item]:
        return _Kept((*self.items, item), self.shortened + (item is not whole))


def fitting(
    empty: BaseModel,
    items: Iterable[_Item],
    max_chars: int,
    what: str | None,
    shorter: Sequence[_Cut[_Item]],
) -> _Kept[_Item]:
    """Return the first items that fit into the page `empty` of at most `max_chars`.

    The first one is shortened until it fits. If it can't be, that is an error, unless there is no
    word for `what` it is.
    """
    kept: _Kept[_Item] = _Kept()
    size = json_size(empty) + COUNTS
    for whole in items:
        item = _shown(whole, max_chars - size - 1, max_chars, kept, shorter)
        size += json_size(item) + 1
        if size > max_chars:
            if what and not kept:
                raise too_small(what, size)
            break
        kept = kept.and_(item, whole)
    return kept


def too_small(what: str, size: int) -> ToolError:
    """Return the error that says how much room the first entry of a page needs."""
    return ToolError(f"the first {what} takes {size} characters; pass max_chars={size} or more")


_Cut = Callable[[_Item, int], _Item]
"""Returns an entry cut so that it takes so many characters of JSON at most, if that is possible."""

_RANGE = (
    "document_id",
    "document_sha256",
    "media_type",
    "start",
    "end",
    "total_characters",
    "next_start",
)
"""What `fetch` says in the metadata of a text, beside the document's own."""


def _shown(
    item: _Item, room: int, max_chars: int, kept: _Kept[_Item], shorter: Sequence[_Cut[_Item]]
) -> _Item:
    """Return an entry as a page shows it: the first one shortened, step by step, to fit in `room`.

    A later one that doesn't fit begins the next page.
    """
    item = _labelled(item, max_chars)
    for cut in shorter if not kept else ():
        if json_size(item) <= room:
            break
        item = cut(item, room)
    return item


def _labelled(item: _Item, max_chars: int) -> _Item:
    """Return an entry with no title and no heading in it that takes much of a page."""
    most = max(LABEL, max_chars // 100)
    return _mapped(item, _LABELS, lambda text: label(text, most))


def _place_cut(item: _Item, room: int) -> _Item:
    """Return an entry with no address in it that is longer than those that browsers take."""
    most = max(LABEL, min(_LONGEST_PLACE, room // 8))
    return _mapped(item, _PLACES, lambda text: label(text, most))


def _mapped(item: _Item, names: frozenset[str], change: Callable[[str], str]) -> _Item:
    """Return an entry with the texts of these names changed, in what it holds as well."""
    update: dict[str, Any] = {}
    for name in type(item).model_fields:
        value = getattr(item, name)
        new: Any = value
        if name in names and isinstance(value, str):
            new = change(value)
        elif isinstance(value, BaseModel):
            new = _mapped(value, names, change)
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            mapped = tuple(_mapped(each, names, change) for each in value)
            if any(a is not b for a, b in zip(mapped, value, strict=True)):
                new = mapped
        if new is not value:
            update[name] = new
    return item.model_copy(update=update) if update else item


def _fewer_copies(hit: Hit, room: int) -> Hit:
    while hit.also_in and json_size(hit) > room:
        hit = hit.model_copy(update={"also_in": hit.also_in[:-1]})
    return hit


def _fewer_citations(hit: Hit, room: int) -> Hit:
    while hit.citations and json_size(hit) > room:
        hit = hit.model_copy(update={"citations": hit.citations[:-1]})
    return hit


def _less_text(hit: Hit, room: int) -> Hit:
    """Return a hit with the beginning of its text: its range says which part that is."""
    empty = json_size(hit.model_copy(update={"text": ""}))
    text = json_cut(hit.text, room - empty)
    return hit.model_copy(update={"text": text, "end": hit.start + len(text)})


def _small_metadata(item: _Item, room: int) -> _Item:
    """Return an entry without metadata that take more than half of the room."""
    without = _without_metadata(item, room)
    return without if json_size(item) - json_size(without) > room // 2 else item


def _without_metadata(item: _Item, room: int) -> _Item:
    return item.model_copy(update={"metadata": {}})


def _less_quote(citation: Citation, room: int) -> Citation:
    """Return a citation of the beginning of a quote, with the places that still hold."""
    empty = json_size(citation.model_copy(update={"quote": "", "suffix": ""}))
    quote = json_cut(citation.quote, room - empty)
    if len(quote) == len(citation.quote):
        return citation
    # Where the shorter quote ends isn't known; where it starts is.
    return citation.model_copy(
        update={
            "quote": quote,
            "end": citation.start + len(quote),
            "suffix": "",
            "lines": None,
            "columns": None,
            "boxes": (),
        }
    )


def _shorter_quote(found: Verification, room: int) -> Verification:
    around = json_size(found) - json_size(found.citation)
    citation = _less_quote(_place_cut(found.citation, room), room - around)
    return found.model_copy(update={"citation": citation, "detail": label(found.detail)})


def _fewer_roots(found: CollectionStatus, room: int) -> CollectionStatus:
    status = found.status
    while status is not None and status.roots and json_size(found) > room:
        status = status.model_copy(update={"roots": status.roots[: len(status.roots) // 2]})
        found = found.model_copy(update={"status": status})
    return found


def _shorter_error(found: CollectionStatus, room: int) -> CollectionStatus:
    return found.model_copy(update={"error": found.error and label(found.error)})


def _shorter_reason(skipped: Skipped, room: int) -> Skipped:
    return skipped.model_copy(update={"path": label(skipped.path), "reason": label(skipped.reason)})


_shorter_hit: Sequence[_Cut[Hit]] = (
    _place_cut,
    _small_metadata,
    _fewer_copies,
    _fewer_citations,
    _less_text,
    _without_metadata,
)
_shorter_citation: Sequence[_Cut[Citation]] = (_place_cut, _less_quote)
_shorter_verification: Sequence[_Cut[Verification]] = (_shorter_quote,)
_shorter_document: Sequence[_Cut[DocumentEntry]] = (_place_cut, _without_metadata)
_shorter_collection: Sequence[_Cut[CollectionStatus]] = (_fewer_roots, _shorter_error)
_shorter_source: Sequence[_Cut[Skipped]] = (_shorter_reason,)


_MAX_ESCAPED = 6
r"""Characters of JSON that one character takes at most: ``\u0000``."""


def json_cut(text: str, room: int) -> str:
    """Return the longest beginning of `text` that takes at most `room` characters of JSON."""

    def size(end: int) -> int:
        return len(json.dumps(text[:end], ensure_ascii=False)) - len('""')

    ends = range(min(len(text), max(0, room)) + 1)
    return text[: max(0, bisect_right(ends, room, key=size) - 1)]


def _unaligned(hit: Hit) -> Hit:
    return hit.model_copy(update={"citations": tuple(map(_plain, hit.citations))})


def _plain(citation: Citation) -> Citation:
    return citation.model_copy(update={"alignment": None})


def json_size(value: BaseModel) -> int:
    """Return how many characters of JSON a value takes."""
    return len(value.model_dump_json())
