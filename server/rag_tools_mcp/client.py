"""An index wherever it is: opened here, or read from a server over streamable HTTP.

The MCP SDK is imported by the first `Client`, so that `open_index` costs nothing for a directory.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import anyio
from pydantic import BaseModel, ValidationError

from rag_tools.closing import Closing
from rag_tools.errors import ConfigurationError, InvalidQueryError, ServerError
from rag_tools.types import (
    Citation,
    CitedAnswer,
    Fetched,
    Filter,
    Hit,
    SearchResults,
    Status,
    Support,
    Verification,
)
from rag_tools_mcp.handoff import ClosedError, Worker
from rag_tools_mcp.limits import RETRY_AFTER

if TYPE_CHECKING:
    import mcp
    from mcp.types import DiscoverResult

    from rag_tools.engine import Engine

_Result = TypeVar("_Result")
_Value = TypeVar("_Value", bound=BaseModel)

MAX_HITS = 1_000
"""Hits that a search of a `Client` returns, at most."""

_PAGE = 100  # hits that the server returns at once, at most
# Of a result's JSON: few calls, each with a result of less than the server's 4 MiB, since it holds
# the JSON twice.
_MAX_CHARS = 400_000
_CONNECTIONS = 8  # calls at once: the server by default takes on 16 of one caller
_PATIENCE = 60.0  # seconds during which what a busy server refuses is asked again


def open_index(index: Engine | Client | Path | str | None = None) -> Engine | Client:
    """Return what reads an index: an engine for a directory, a client for an http(s) URL.

    Parameters
    ----------
    index
        What is open already is returned as it is; None: as `Engine.open` has it.

    Raises
    ------
    IndexNotFoundError, IndexCorruptError, IndexVersionError
        If the index can't be opened.
    ServerError
        If the server can't be reached.
    """
    if _is_url(index):
        return Client(index)
    if index is None or isinstance(index, Path | str):
        from rag_tools.engine import Engine

        return Engine.open(index)
    return index


def open_to_write(index: Engine | Path | str | None = None) -> Engine:
    """Return the engine of a directory, whose index is made if there is none.

    Raises
    ------
    ConfigurationError
        If `index` is a server's, which can only be read.
    IndexCorruptError, IndexVersionError
        If the index can't be opened.
    """
    if _is_url(index) or isinstance(index, Client):
        raise ConfigurationError(f"{index} can only be read: name the directory of an index")
    if index is None or isinstance(index, Path | str):
        from rag_tools.engine import Engine

        return Engine.open(index, create=True)
    return index


class Client(Closing):
    """The reading methods of `rag_tools.Engine`, answered by a server: ``rag-tools serve --http``.

    Results are those of the engine. Safe to share between threads and event loops: requests are
    made on a thread of the client's own, each for itself, so that one that fails harms no other
    and a server that was restarted is found again. What a busy server refuses is asked again for a
    minute. The methods that start with ``a`` are to be awaited and leave the event loop free. A
    context manager. A client is copied and pickled by what it was made with, so that a pickled one
    holds the token: keep it as safe.

    Parameters
    ----------
    url
        The endpoint, as ``http://127.0.0.1:8931/mcp``.
    token
        Sent as bearer token.
    collection
        The collection to read, where the server has several.

    Raises
    ------
    ServerError
        If the server can't be reached or doesn't speak MCP.
    """

    def __init__(
        self, url: str, *, token: str | None = None, collection: str | None = None
    ) -> None:
        import httpx2

        self.url = url
        self.collection = collection
        self._token = token
        self._era: tuple[str, DiscoverResult | None] = ("auto", None)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._worker = Worker(
            lambda: httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=300)),
            name="rag-tools-client",
            at_once=_CONNECTIONS,
        )
        try:
            # What the first request negotiated, no other has to.
            self._era = self._submit(self._request(_era)).result()
        except BaseException:
            self.close()
            raise

    def __str__(self) -> str:
        return self.url

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what connects to the same server again."""
        made = functools.partial(Client, self.url, token=self._token, collection=self.collection)
        return made, ()

    def close(self) -> None:
        """Close the connections; calls that are under way are cancelled.

        A client that isn't closed ends with the program, or when nothing refers to it any more.
        """
        self._worker.close()

    def search(self, query: str, *, limit: int = 10, filter: Filter | None = None) -> SearchResults:
        """Return what `Engine.search` does; `limit` is `MAX_HITS` at most.

        Raises
        ------
        InvalidQueryError
            If the limit is out of range.
        ServerError
            If the server refuses the query, or can't be reached. All methods raise it.
        """
        return self._submit(self._search(query, limit, filter)).result()

    async def asearch(
        self, query: str, *, limit: int = 10, filter: Filter | None = None
    ) -> SearchResults:
        """Return what `search` does."""
        return await asyncio.wrap_future(self._submit(self._search(query, limit, filter)))

    def cite(self, claim: str, *, limit: int = 8, filter: Filter | None = None) -> Support:
        """Return what `Engine.cite` does; `limit` is 50 at most."""
        return self._submit(self._cite(claim, limit, filter)).result()

    async def acite(self, claim: str, *, limit: int = 8, filter: Filter | None = None) -> Support:
        """Return what `cite` does."""
        return await asyncio.wrap_future(self._submit(self._cite(claim, limit, filter)))

    def cite_answer(self, answer: str, *, filter: Filter | None = None) -> CitedAnswer:
        """Return what `Engine.cite_answer` does: the server is asked about each statement."""
        from rag_tools.cite.claims import QUOTES, cited_answer

        return cited_answer(answer, lambda claim: self.cite(claim, limit=QUOTES, filter=filter))

    def fetch(self, id: str, *, start: int = 0, end: int | None = None) -> Fetched:
        """Return what `Engine.fetch` does."""
        return self._submit(self._fetch(id, start, end)).result()

    async def afetch(self, id: str, *, start: int = 0, end: int | None = None) -> Fetched:
        """Return what `fetch` does."""
        return await asyncio.wrap_future(self._submit(self._fetch(id, start, end)))

    def verify(self, citation: Citation | Mapping[str, Any]) -> Verification:
        """Return what `Engine.verify` does: sources are read where the server runs."""
        return self._submit(self._verify(citation)).result()

    async def averify(self, citation: Citation | Mapping[str, Any]) -> Verification:
        """Return what `verify` does."""
        return await asyncio.wrap_future(self._submit(self._verify(citation)))

    def status(self) -> Status:
        """Return what `Engine.status` does."""
        return self._submit(self._status()).result()

    async def astatus(self) -> Status:
        """Return what `status` does."""
        return await asyncio.wrap_future(self._submit(self._status()))

    def _submit(self, asked: Coroutine[Any, Any, _Result]) -> Future[_Result]:
        try:
            return self._worker.submit(asked)
        except ClosedError:
            raise ServerError(f"{self.url}: this client was closed; make another") from None

    # -- on the client's thread ------------------------------------------------------------------

    async def _search(self, query: str, limit: int, filter: Filter | None) -> SearchResults:
        from rag_tools_mcp.pages import SearchPage

        if not 1 <= limit <= MAX_HITS:
            raise InvalidQueryError(f"limit {limit}: a server is asked for 1 to {MAX_HITS} hits")
        hits: list[Hit] = []
        cursor = None
        while True:
            page = await self._call(
                SearchPage,
                "search",
                query=query,
                limit=min(limit - len(hits), _PAGE),
                filter=filter,
                cursor=cursor,
                detail="full",
                max_chars=_MAX_CHARS,
            )
            hits += page.results
            cursor = page.next_cursor
            if cursor is None or len(hits) >= limit:
                found = page.model_dump(include={"query", "confidence", "low_confidence"})
                return SearchResults(**found, results=tuple(hits))

    async def _cite(self, claim: str, limit: int, filter: Filter | None) -> Support:
        from rag_tools_mcp.pages import CitePage

        page = await self._call(
            CitePage,
            "cite",
            claim=claim,
            limit=limit,
            filter=filter,
            detail="full",
            max_chars=_MAX_CHARS,
        )
        if page.left_out:
            raise InvalidQueryError(f"limit {limit}: the quotes are too long for one answer")
        return Support.model_validate(page.model_dump(exclude={"left_out", "shortened"}))

    async def _fetch(self, id: str, start: int, end: int | None) -> Fetched:
        async def read(id: str, start: int, end: int | None) -> Fetched:
            return await self._call(
                Fetched, "fetch", id=id, start=start, end=end, max_chars=_MAX_CHARS
            )

        fetched = await read(id, start, end)
        text, metadata = fetched.text, dict(fetched.metadata)
        document = metadata["document_id"]
        if id != document:
            end = int(id.rpartition("-")[2])  # a passage has its own range
        wanted = metadata["total_characters"] if end is None else end
        while metadata["end"] < wanted:
            more = await read(document, metadata["end"], wanted)
            text += more.text
            metadata["end"] = more.metadata["end"]
        metadata.pop("next_start", None)
        return fetched.model_copy(update={"text": text, "metadata": metadata})

    async def _verify(self, citation: Citation | Mapping[str, Any]) -> Verification:
        from rag_tools_mcp.pages import VerifyPage

        given = citation.model_dump(mode="json") if isinstance(citation, Citation) else citation
        page = await self._call(
            VerifyPage, "verify", citation=given, detail="full", max_chars=_MAX_CHARS
        )
        return page.verifications[0]

    async def _status(self) -> Status:
        from rag_tools_mcp.pages import StatusPage

        page = await self._call(StatusPage, "status", max_chars=_MAX_CHARS)
        found = page.collections
        chosen = [each for each in found if self.collection in (None, each.name)]
        if len(chosen) != 1:
            raise ServerError(f"name the collection: {', '.join(each.name for each in found)}")
        if chosen[0].status is None:
            raise ServerError(f"{self.url}: {chosen[0].error}")
        return chosen[0].status

    async def _call(self, kind: type[_Value], tool: str, **arguments: object) -> _Value:
        """Return what a tool returns, as a `kind`."""
        from mcp.types import CallToolRequest, CallToolRequestParams, CallToolResult, TextContent

        if self.collection is not None and tool != "status":
            arguments["collection"] = self.collection
        given = {name: value for name, value in arguments.items() if value is not None}
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=given))
        deadline = anyio.current_time() + _PATIENCE
        while True:
            # Not `call_tool`, which compares the result with the tool's schema: it would have to
            # ask for that first, and the result is validated here.
            result = await self._request(
                lambda client: client.session.send_request(request, CallToolResult)
            )
            pause = (result.meta or {}).get(RETRY_AFTER)
            if pause is None or anyio.current_time() + pause > deadline:
                break
            await anyio.sleep(pause)
        if result.is_error:
            (item,) = result.content
            raise ServerError(item.text if isinstance(item, TextContent) else str(item))
        try:
            return kind.model_validate(result.structured_content)
        except ValidationError as error:
            raise ServerError(f"{self.url}: {tool} returned something else: {error}") from error

    async def _request(self, ask: Callable[[mcp.Client], Awaitable[_Result]]) -> _Result:
        """Return what the server answers, or raise a `ServerError` that says why it doesn't."""
        import httpx2
        import mcp
        from mcp.client.streamable_http import streamable_http_client
        from mcp.shared.exceptions import MCPError

        transport = streamable_http_client(
            self.url, http_client=self._worker.resource, max_sse_event_size=None
        )
        mode, known = self._era
        try:
            async with mcp.Client(transport, mode=mode, prior_discover=known, cache=None) as client:
                return await ask(client)
        except* MCPError as errors:
            refused = ServerError(f"{self.url}: {_reasons(errors)}")
        except* (httpx2.HTTPError, httpx2.InvalidURL) as errors:
            refused = ServerError(
                f"{self.url} can't be reached: {_reasons(errors)}; start the server with "
                "rag-tools serve --http, or correct the address"
            )
        raise refused


async def _era(client: mcp.Client) -> tuple[str, DiscoverResult | None]:
    """Return the version of the protocol that was negotiated, and what the server said of itself.

    With a server of the time before that could be known, every request has to negotiate.
    """
    known = client.session.discover_result
    return ("legacy" if known is None else client.protocol_version), known


def _reasons(errors: BaseExceptionGroup[BaseException]) -> str:
    """Return what the errors say, each once."""
    return "; ".join(dict.fromkeys(str(error) or type(error).__name__ for error in _leaves(errors)))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _is_url(index: object) -> TypeGuard[str]:
    return isinstance(index, str) and index.startswith(("http://", "https://"))
