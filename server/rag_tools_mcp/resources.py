"""Documents as resources: their URIs, reading and completing them, and news of their changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import anyio.to_thread
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.server.mcpserver.resources import ResourceSecurity
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
)
from mcp.types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)

from rag_tools.errors import NotFoundError, RagToolsError
from rag_tools.types import SyncReport
from rag_tools_mcp.collections import Collections, Seen

TEMPLATE = "rag://{collection}/document/{id}{?start,end}"

MAX_CHARACTERS = 1_000_000
"""Of a document that is read whole: a resource can't say that it goes on."""

_COMPLETIONS = 100  # what the protocol allows


def document_uri(collection: str, id: str) -> str:
    """Return the URI of a document as a resource.

    Examples
    --------
    >>> document_uri("notes", "a/b c")
    'rag://notes/document/a%2Fb%20c'
    """
    return f"rag://{collection}/document/{quote(id, safe='')}"


@dataclass(frozen=True)
class _DocumentsChanged(ResourcesListChanged):
    """Documents were added to a collection or removed from it."""

    collection: str


class Changes(InMemorySubscriptionBus):
    """Who wants to hear of changes, and may: clients of revision 2026-07-28 can subscribe.

    Parameters
    ----------
    seen
        The collections that the caller of the current request may see; what it subscribes to is
        cut down to them.
    """

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self._seen = seen

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Register a listener, within the request of whoever listens."""
        names = self._seen().names

        def permitted(event: ServerEvent) -> None:
            if _collection(event) in names:
                listener(event)

        return super().subscribe(permitted)

    async def announce(self, collection: str, report: SyncReport) -> None:
        """Tell subscribers what a sync changed."""
        for id in (*report.updated, *report.removed):
            await self.publish(ResourceUpdated(document_uri(collection, id)))
        if report.added or report.removed:
            await self.publish(_DocumentsChanged(collection))


def _collection(event: ServerEvent) -> str | None:
    """Return the collection that an event is about."""
    if isinstance(event, _DocumentsChanged):
        return event.collection
    return urlsplit(event.uri).netloc if isinstance(event, ResourceUpdated) else None


def add_resources(server: MCPServer[None], seen: Seen) -> None:
    """Let clients read documents by URI, and complete ids and names of collections."""

    @server.resource(
        TEMPLATE,
        name="document",
        title="Document",
        description="The text of a document, or its characters from start to before end.",
        # An id is a key of the catalog, never a path.
        security=ResourceSecurity(exempt_params={"id"}),
    )
    def document(
        context: Context[Any, Any],
        collection: str,
        id: str,
        start: str = "0",
        end: str | None = None,
    ) -> str:
        try:
            first, last = int(start), None if end is None else int(end)
        except ValueError:
            raise ResourceNotFoundError("start and end count characters") from None
        try:
            text = seen().engine(collection).fetch(id, start=first, end=last).text
        except NotFoundError as error:
            raise ResourceNotFoundError(str(error)) from error
        except RagToolsError as error:
            raise ResourceError(str(error)) from error
        if len(text) > MAX_CHARACTERS:
            raise ResourceError(
                f"{len(text)} characters are too many to be read at once: "
                f"add ?start=0&end={MAX_CHARACTERS} to the URI, and so on"
            )
        return text

    @server.completion()  # type: ignore[no-untyped-call, untyped-decorator]
    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion | None:
        collections = seen()
        if argument.name == "collection":
            names = [name for name in collections.names if name.startswith(argument.value)]
            return _completion(names)
        if isinstance(ref, ResourceTemplateReference) and argument.name == "id":
            given = (context.arguments if context else None) or {}
            return await anyio.to_thread.run_sync(
                _ids, collections, given.get("collection"), argument.value
            )
        return None


def _ids(collections: Collections, collection: str | None, text: str) -> Completion:
    try:
        engine = collections.engine(collection)
        return _completion(list(engine.document_ids(text, limit=_COMPLETIONS + 1)))
    except RagToolsError:  # there is nothing to choose from, and a hint is no place to say why
        return _completion([])


def _completion(values: list[str]) -> Completion:
    return Completion(values=values[:_COMPLETIONS], has_more=len(values) > _COMPLETIONS)
