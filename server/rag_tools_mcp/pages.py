"""Results cut to the size that a tool may return.

`max_chars` always counts the JSON of the structured content. What is shown to a person beside it,
in `_meta`, doesn't reach the model and isn't counted.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, TextContent
from pydantic import BaseModel, ConfigDict, Field

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
from rag_tools_mcp.viewer import VIEW

if TYPE_CHECKING:
    from rag_tools.engine import Engine

MAX_CURSOR = 1_000
"""Hits that may precede a page."""

_COUNTS = 16
"""Characters that the counts and the cursor of a page may add to those of an empty one."""

_Item = TypeVar("_Item", bound=BaseModel)


class SearchPage(SearchResults):
    """Hits in order of falling score, as many as fit."""

    left_out: int = Field(
        default=0, description="Passages that were found but didn't fit into max_chars."
    )
    next_cursor: str | None = Field(
        default=None, description="Pass it as cursor to get the passages after these."
    )


class CitePage(Support):
    """Quotes, best first, as many as fit."""

    left_out: int = Field(default=0, description="Quotes that didn't fit into max_chars.")


class VerifyPage(Verifications):
    """What became of the first citations, as many as fit."""

    left_out: int = Field(
        default=0, description="Citations, the last ones, that weren't checked for want of room."
    )


class DocumentsPage(BaseModel):
    """Documents in order of id, as many as fit."""

    model_config = ConfigDict(extra="forbid")

    documents: tuple[DocumentEntry, ...] = ()
    next_cursor: str | None = Field(
        default=None, description="Pass it as cursor to get the documents after these."
    )


class SyncPage(BaseModel):
    """What a sync did, in numbers, and what it skipped."""

    model_config = ConfigDict(extra="forbid")

    added: int
    updated: int
    removed: int
    unchanged: int
    unsupported: int
    encoded_passages: int
    seconds: float
    skipped: tuple[Skipped, ...] = ()
    left_out: int = Field(default=0, description="Skipped sources that didn't fit into max_chars.")


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
        Not even the first of them fits.
    """
    hits = [_unaligned(hit) for hit in found.results[skip : skip + limit]]
    page = SearchPage(**{**dict(found), "results": ()})
    kept = _fitting(page, hits, max_chars, "passage")
    after = skip + len(kept)
    more = len(kept) < len(hits) or (len(hits) == limit and after <= MAX_CURSOR)
    return page.model_copy(
        update={
            "results": tuple(kept),
            "left_out": len(hits) - len(kept),
            "next_cursor": str(after) if more else None,
        }
    )


def cite_page(found: Support, *, max_chars: int) -> CitePage:
    """Return the quotes that fit into `max_chars`, without their alignments.

    Raises
    ------
    ToolError
        Not even the first of them fits.
    """
    citations = [_plain(citation) for citation in found.citations]
    page = CitePage(**{**dict(found), "citations": ()})
    kept = _fitting(page, citations, max_chars, "quote")
    left_out = len(citations) - len(kept)
    return page.model_copy(update={"citations": tuple(kept), "left_out": left_out})


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
    kept = _fitting(VerifyPage(), found, max_chars, "verification")
    return VerifyPage(verifications=tuple(kept), left_out=given - len(kept))


def documents_page(found: Iterator[DocumentEntry], *, limit: int, max_chars: int) -> DocumentsPage:
    """Return the first `limit` documents as far as they fit into `max_chars`.

    The cursor is the id of the last one: it holds however the index changes.

    Raises
    ------
    ToolError
        Not even the first of them fits.
    """
    kept: list[DocumentEntry] = []
    size = _size(DocumentsPage())
    for entry in islice(found, limit + 1):
        size += _size(entry) + 1
        with_cursor = size + len(json.dumps(entry.id, ensure_ascii=False))
        if len(kept) == limit or with_cursor > max_chars:
            if not kept:
                raise _too_small("document", with_cursor)
            return DocumentsPage(documents=tuple(kept), next_cursor=kept[-1].id)
        kept.append(entry)
    return DocumentsPage(documents=tuple(kept))


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
    fetched = engine.fetch(id, start=start, end=end)
    metadata = dict(fetched.metadata, next_start=fetched.metadata["end"])
    empty = _size(fetched.model_copy(update={"text": "", "metadata": metadata}))
    text = _cut(fetched.text, max_chars - empty)
    if fetched.text and not text:
        raise _too_small("character with what belongs to it", empty + _MAX_ESCAPED)
    cut = len(text) < len(fetched.text)
    metadata["end"] = metadata["next_start"] = metadata["start"] + len(text)
    whole = metadata["end"] == metadata["total_characters"]
    if whole or not (cut or id == metadata["document_id"]):
        del metadata["next_start"]
    return fetched.model_copy(update={"text": text, "metadata": metadata})


def status_page(found: Iterator[CollectionStatus], *, known: int, max_chars: int) -> StatusPage:
    """Return the collections that fit into `max_chars`, of `known` ones.

    Raises
    ------
    ToolError
        Not even the first of them fits.
    """
    kept = _fitting(StatusPage(), found, max_chars, "collection")
    return StatusPage(collections=tuple(kept), left_out=known - len(kept))


def sync_page(report: SyncReport, *, max_chars: int) -> SyncPage:
    """Return a report in numbers, with the skipped sources that fit into `max_chars`."""
    page = SyncPage(
        added=len(report.added),
        updated=len(report.updated),
        removed=len(report.removed),
        unchanged=report.unchanged,
        unsupported=report.unsupported,
        encoded_passages=report.encoded_passages,
        seconds=round(report.seconds, 3),
    )
    kept = _fitting(page, report.skipped, max_chars, None)  # what is done is no error
    return page.model_copy(
        update={"skipped": tuple(kept), "left_out": len(report.skipped) - len(kept)}
    )


def _fitting(
    empty: BaseModel, items: Iterable[_Item], max_chars: int, what: str | None
) -> Sequence[_Item]:
    """Return the first items that fit into the page `empty` of at most `max_chars`.

    If not even one does, that is an error, unless there is no word for `what` it is.
    """
    kept: list[_Item] = []
    size = _size(empty) + _COUNTS
    for item in items:
        size += _size(item) + 1
        if size > max_chars:
            if what and not kept:
                raise _too_small(what, size)
            break
        kept.append(item)
    return kept


def _too_small(what: str, size: int) -> ToolError:
    return ToolError(f"the first {what} takes {size} characters; pass max_chars={size} or more")


_MAX_ESCAPED = 6
r"""Characters of JSON that one character takes at most: ``\u0000``."""


def _cut(text: str, room: int) -> str:
    """Return the longest beginning of `text` that takes at most `room` characters of JSON."""

    def size(end: int) -> int:
        return len(json.dumps(text[:end], ensure_ascii=False)) - len('""')

    ends = range(min(len(text), max(0, room)) + 1)
    return text[: max(0, bisect_right(ends, room, key=size) - 1)]


def _unaligned(hit: Hit) -> Hit:
    return hit.model_copy(update={"citations": tuple(map(_plain, hit.citations))})


def _plain(citation: Citation) -> Citation:
    return citation.model_copy(update={"alignment": None})


def _size(value: BaseModel) -> int:
    return len(value.model_dump_json())
