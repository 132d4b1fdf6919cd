"""Results cut to the size that a tool may return, with every field: what programs read.

`max_chars` counts the JSON of the structured content. What a person is shown beside it, in `_meta`,
doesn't reach the model and isn't counted. What models read is made by `rag_tools.wire.compact`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from mcp.types import CallToolResult, TextContent
from pydantic import BaseModel

from rag_tools.errors import InvalidQueryError, NotFoundError
from rag_tools.types import (
    Citation,
    DocumentEntry,
    Facet,
    Fetched,
    Hit,
    SearchResults,
    Skipped,
    Support,
    SyncReport,
    Verification,
)
from rag_tools.wire import ids
from rag_tools.wire.fitting import (
    COUNTS,
    MAX_ESCAPED,
    Cut,
    Fitted,
    fitted_facets,
    fitting,
    json_cut,
    json_size,
    label,
    shown,
    too_small,
    with_short_addresses,
    with_short_labels,
)
from rag_tools.wire.results import (
    MAX_CURSOR,
    NOTICE,
    UNTRUSTED,
    CitePage,
    CollectionStatus,
    DocumentsPage,
    SearchPage,
    StatusPage,
    SyncPage,
    VerifyPage,
)
from rag_tools_mcp.viewer import VIEW

if TYPE_CHECKING:
    from rag_tools.engine import Engine

_Item = TypeVar("_Item", bound=BaseModel)

_RANGE = (
    "document_id",
    "document_sha256",
    "media_type",
    "since",
    "until",
    "start",
    "end",
    "total_characters",
    "next_start",
    "notice",
    "flags",
)
"""What `fetch` adds to the document's own metadata."""


def tool_result(value: BaseModel, *, view: str | None = None) -> CallToolResult:
    """Return `value` as structured content and as the same JSON in one text item.

    Parameters
    ----------
    view
        HTML for the citation viewer, if the host shows it.
    """
    return CallToolResult(
        content=[TextContent(type="text", text=value.model_dump_json())],
        structured_content=value.model_dump(mode="json"),
        _meta={UNTRUSTED: True} | ({} if view is None else {VIEW: view}),
    )


def offset(cursor: str | None) -> int:
    """Return the number of hits before the page that `cursor` asks for.

    Raises
    ------
    InvalidQueryError
        If no search returned such a cursor.
    """
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal()) or int(cursor) > MAX_CURSOR:
        raise InvalidQueryError(
            f"cursor {cursor!r} wasn't returned by a search: pass next_cursor of the previous one"
        )
    return int(cursor)


def search_page(found: SearchResults, *, skip: int, limit: int, max_chars: int) -> SearchPage:
    """Return the hits from number `skip` on that fit into `max_chars`, without their alignments.

    Raises
    ------
    InvalidQueryError
        If the first of them doesn't fit even when it is shortened.
    """
    hits = [_unaligned(hit) for hit in found.results[skip : skip + limit]]
    facets = fitted_facets(found.facets, max_chars)
    page = SearchPage(**{**dict(found), "results": (), "facets": facets})
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
    InvalidQueryError
        If the first of them doesn't fit even when it is shortened.
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
    """Return the verifications that fit into `max_chars`; `found` is read only as far as needed.

    Parameters
    ----------
    given
        The number of citations that are to be verified.

    Raises
    ------
    InvalidQueryError
        If the first of them doesn't fit even when it is shortened.
    """
    kept = fitting(VerifyPage(), found, max_chars, "verification", _shorter_verification)
    return VerifyPage(
        verifications=kept.items, left_out=given - len(kept), shortened=kept.shortened
    )


def documents_page(
    found: Iterator[DocumentEntry], *, limit: int, max_chars: int, facets: Sequence[Facet] = ()
) -> DocumentsPage:
    """Return the first `limit` documents, or as many of them as fit into `max_chars`.

    The cursor is the id of the last document, so that it stays valid when the index changes.

    Raises
    ------
    InvalidQueryError
        If the first of them doesn't fit even when it is shortened.
    """
    kept: Fitted[DocumentEntry] = Fitted()
    counted = fitted_facets(facets, max_chars) or None
    size = json_size(DocumentsPage(facets=counted)) + COUNTS
    cursor = None
    for whole in islice(found, limit + 1):
        own = len(json.dumps(whole.id, ensure_ascii=False))  # as the cursor of this page
        entry = shown(whole, max_chars - size - own - 1, max_chars, kept, _shorter_document)
        size += json_size(entry) + 1
        if len(kept) == limit or size + own > max_chars:
            if not kept:
                raise too_small("document", size + own)
            cursor = kept.items[-1].id
            break
        kept = kept.with_entry(entry, whole)
    return DocumentsPage(
        documents=kept.items, facets=counted, next_cursor=cursor, shortened=kept.shortened
    )


def fetched_page(
    engine: Engine,
    id: str,
    start: int,
    end: int | None,
    *,
    as_of: str | None = None,
    max_chars: int,
) -> Fetched:
    """Return as much as fits of a passage, or of the characters `start` to `end` of a document.

    The metadata give the range, and where the document continues if there is more of it.

    Raises
    ------
    InvalidQueryError
        If `max_chars` leaves no room for a single character.
    """
    fetched = with_short_labels(read(engine, id, start, end, as_of=as_of), max_chars)
    metadata = dict(fetched.metadata, notice=NOTICE, next_start=fetched.metadata["end"])
    if json_size(fetched.model_copy(update={"text": "", "metadata": metadata})) > max_chars // 2:
        # The document's own metadata would leave too little room for its text.
        metadata = {name: metadata[name] for name in _RANGE if name in metadata}
        fetched = with_short_addresses(fetched, max_chars)
    empty = json_size(fetched.model_copy(update={"text": "", "metadata": metadata}))
    text = json_cut(fetched.text, max_chars - empty)
    if fetched.text and not text:
        raise too_small("character and its metadata", empty + MAX_ESCAPED)
    cut = len(text) < len(fetched.text)
    metadata["end"] = metadata["next_start"] = metadata["start"] + len(text)
    whole = metadata["end"] == metadata["total_characters"]
    if whole or not (cut or id == metadata["document_id"]):
        del metadata["next_start"]
    return fetched.model_copy(update={"text": text, "metadata": metadata})


def read(
    engine: Engine, id: str, start: int, end: int | None, *, as_of: str | None = None
) -> Fetched:
    """Return what `Engine.fetch` does, for short ids too; an end past the text means its end.

    Raises
    ------
    InvalidQueryError
        If a short id is given and its place now holds other words.
    NotFoundError, InvalidQueryError
        As by `Engine.fetch`.
    """
    if ids.is_short(id):
        place = ids.resolve(engine, id)
        if not place.intact and as_of is None:
            raise InvalidQueryError(
                f"document {place.document_id} changed after {id} was returned, and this place now "
                "holds other words: search again, or fetch the document"
            )
        passage = f"{place.document_id}:{place.start}-{place.end}"
        fetched = engine.fetch(passage, as_of=as_of)
        return fetched.model_copy(update={"id": id})
    try:
        whole = engine.fetch(id, start=start, as_of=as_of)
    except NotFoundError:
        if (named := ids.document_of(engine, id)) == id:
            raise
        id = named
        whole = engine.fetch(id, start=start, as_of=as_of)
    if end is None or end >= whole.metadata["end"] or id != whole.metadata["document_id"]:
        return whole
    return engine.fetch(id, start=start, end=end, as_of=as_of)


def status_page(found: Iterator[CollectionStatus], *, known: int, max_chars: int) -> StatusPage:
    """Return as many of the `known` collections as fit into `max_chars`.

    Raises
    ------
    InvalidQueryError
        If the first of them doesn't fit even when it is shortened.
    """
    kept = fitting(StatusPage(), found, max_chars, "collection", _shorter_collection)
    return StatusPage(collections=kept.items, left_out=known - len(kept), shortened=kept.shortened)


def sync_page(report: SyncReport, *, max_chars: int) -> SyncPage:
    """Return the numbers of a report, and as many skipped sources as fit into `max_chars`."""
    page = SyncPage(
        added=len(report.added),
        updated=len(report.updated),
        removed=len(report.removed),
        unchanged=report.unchanged,
        unsupported=report.unsupported,
        unsupported_types=report.unsupported_types,
        sensitive=report.sensitive,
        ignored=report.ignored,
        hidden=report.hidden,
        left_out_characters=report.left_out_characters,
        encoded_passages=report.encoded_passages,
        seconds=round(report.seconds, 3),
    )
    # The sync succeeded, so that it is no error if no skipped source fits.
    kept = fitting(page, report.skipped, max_chars, None, _shorter_source)
    return page.model_copy(
        update={
            "skipped": kept.items,
            "left_out": len(report.skipped) - len(kept),
            "shortened": kept.shortened,
        }
    )


def _fewer_copies(hit: Hit, room: int) -> Hit:
    while hit.also_in and json_size(hit) > room:
        hit = hit.model_copy(update={"also_in": hit.also_in[:-1]})
    return hit


def _fewer_citations(hit: Hit, room: int) -> Hit:
    while hit.citations and json_size(hit) > room:
        hit = hit.model_copy(update={"citations": hit.citations[:-1]})
    return hit


def _less_text(hit: Hit, room: int) -> Hit:
    """Return a hit with the beginning of its text, and the range of that."""
    empty = json_size(hit.model_copy(update={"text": ""}))
    text = json_cut(hit.text, room - empty)
    return hit.model_copy(update={"text": text, "end": hit.start + len(text)})


def _small_metadata(item: _Item, room: int) -> _Item:
    """Return an entry without its metadata if they take more than half of the room."""
    without = _without_metadata(item, room)
    return without if json_size(item) - json_size(without) > room // 2 else item


def _without_metadata(item: _Item, room: int) -> _Item:
    return item.model_copy(update={"metadata": {}})


def _less_quote(citation: Citation, room: int) -> Citation:
    """Return a citation of the beginning of a quote, without the places that no longer apply."""
    empty = json_size(citation.model_copy(update={"quote": "", "suffix": ""}))
    quote = json_cut(citation.quote, room - empty)
    if len(quote) == len(citation.quote):
        return citation
    # The line and page where the shorter quote ends aren't known.
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
    citation = _less_quote(with_short_addresses(found.citation, room), room - around)
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


_shorter_hit: Sequence[Cut[Hit]] = (
    with_short_addresses,
    _small_metadata,
    _fewer_copies,
    _fewer_citations,
    _less_text,
    _without_metadata,
)
_shorter_citation: Sequence[Cut[Citation]] = (with_short_addresses, _less_quote)
_shorter_verification: Sequence[Cut[Verification]] = (_shorter_quote,)
_shorter_document: Sequence[Cut[DocumentEntry]] = (with_short_addresses, _without_metadata)
_shorter_collection: Sequence[Cut[CollectionStatus]] = (_fewer_roots, _shorter_error)
_shorter_source: Sequence[Cut[Skipped]] = (_shorter_reason,)


def _unaligned(hit: Hit) -> Hit:
    return hit.model_copy(update={"citations": tuple(map(_plain, hit.citations))})


def _plain(citation: Citation) -> Citation:
    return citation.model_copy(update={"alignment": None})
