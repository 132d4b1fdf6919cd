"""Results cut to the size that a tool may return."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, TextContent
from pydantic import BaseModel, Field

from rag_tools.types import Fetched, Hit, SearchResults

if TYPE_CHECKING:
    from rag_tools.engine import Engine

MAX_CURSOR = 1_000
"""Hits that may precede a page."""

MAX_TEXT = 50_000
"""Characters of a document that one fetch returns: some 12,000 tokens."""


class SearchPage(SearchResults):
    """Hits in order of falling score, as many as fit."""

    left_out: int = Field(
        default=0, description="Passages that were found but didn't fit into max_chars."
    )
    next_cursor: str | None = Field(
        default=None, description="Pass it as cursor to get the passages after these."
    )


def tool_result(value: BaseModel) -> CallToolResult:
    """Return `value` as structured content and as the same JSON in one text item."""
    content = value.model_dump(mode="json")
    return CallToolResult(
        content=[TextContent(type="text", text=_json(content))], structured_content=content
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
    """Return the hits from `skip` on whose JSON fits into `max_chars` characters.

    Raises
    ------
    ToolError
        Not even the first of them fits.
    """
    hits = found.results[skip : skip + limit]
    kept: list[Hit] = []
    # What stands around the hits, with room for the two counts.
    size = len(_json(SearchPage(query=found.query).model_dump(mode="json"))) + 16
    for hit in hits:
        size += len(_json(hit.model_dump(mode="json"))) + 1
        if size > max_chars:
            break
        kept.append(hit)
    if hits and not kept:
        raise ToolError(f"the first passage takes {size} characters; pass max_chars={size} or more")
    after = skip + len(kept)
    more = len(kept) < len(hits) or (len(hits) == limit and after <= MAX_CURSOR)
    return SearchPage(
        query=found.query,
        results=tuple(kept),
        left_out=len(hits) - len(kept),
        next_cursor=str(after) if more else None,
    )


def fetched_page(engine: Engine, id: str, start: int, end: int | None) -> Fetched:
    """Return characters `start` to `end` of a document, or a passage, at most `MAX_TEXT`.

    The metadata of a document says where to go on if there is more of it.
    """
    fetched = engine.fetch(id, start=start, end=end)
    text, metadata = fetched.text[:MAX_TEXT], dict(fetched.metadata)
    metadata["end"] = metadata["start"] + len(text)
    if metadata["end"] < metadata["total_characters"] and id == metadata["document_id"]:
        metadata["next_start"] = metadata["end"]
    return fetched.model_copy(update={"text": text, "metadata": metadata})


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
