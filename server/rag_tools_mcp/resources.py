"""Documents as resources: their URIs, reading and completing them, and news of their changes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import anyio
import anyio.to_thread
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError
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
from rag_tools.types import Versions
from rag_tools_mcp.collections import Collections, Seen
from rag_tools_mcp.pages import read

TEMPLATE = "rag://{collection}/document/{id}{?start,end}"

MAX_CHARACTERS = 1_000_000
"""Of a document that is read whole: a resource can't say that it goes on."""

_COMPLETIONS = 100  # what the protocol allows
_INTERVAL = 0.5  # seconds from one look for changes to the next; a look takes 0.1 ms


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
    collections
        That change, through this process or another.
    seen
        Those that the caller of the current request may see; what it subscribes to is cut down to
        them.
    """

    def __init__(self, collections: Collections, seen: Seen) -> None:
        super().__init__()
        self._collections = collections
        self._seen = seen
        self._subscribers: set[object] = set()
        self._wanted = anyio.Event()

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """Register a listener, within the request of whoever listens."""
        names = self._seen().names
        subscriber = object()

        def permitted(event: ServerEvent) -> None:
            if _collection(event) in names:
                listener(event)

        leave = super().subscribe(permitted)

        def unsubscribe() -> None:
            self._subscribers.discard(subscriber)
            leave()

        self._subscribers.add(subscriber)
        self._wanted.set()
        return unsubscribe

    async def watch(self) -> None:
        """Look for changes as long as somebody wants to hear of them; until cancelled.

        The index itself is asked, so that it doesn't matter which worker, or which program, made
        a change.
        """
        while True:
            await self._wanted.wait()
            known: dict[str, Versions] = {}
            while self._subscribers:
                for name in self._collections.names:
                    with suppress(RagToolsError):  # the call that needs the index reports it
                        await self._look(name, known)
                await anyio.sleep(_INTERVAL)
            self._wanted = anyio.Event()

    async def _look(self, name: str, known: dict[str, Versions]) -> None:
        """Announce how a collection differs from what is known of it, and learn that."""
        old = known.get(name)
        new = await anyio.to_thread.run_sync(
            lambda: self._collections.engine(name).versions(old), abandon_on_cancel=True
        )
        known[name] = new
        if old is None or new is old:
            return
        for id, key in old.keys.items():
            if new.keys.get(id) != key:
                await self.publish(ResourceUpdated(document_uri(name, id)))
        if old.keys.keys() != new.keys.keys():
            await self.publish(_DocumentsChanged(name))


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
            text = read(seen().engine(collection), id, first, last).text
        except NotFoundError as error:
            raise ResourceNotFoundError(str(error)) from error
        except (RagToolsError, ToolError) as error:
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
