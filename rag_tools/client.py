"""Reading an index that a server has, over MCP's streamable HTTP, as if it were open here.

The MCP SDK and its HTTP client are imported by the first `Client`: to open a directory with
`open_index` needs neither.
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
from rag_tools.handoff import ClosedError, Worker
from rag_tools.instants import milliseconds, shown
from rag_tools.types import (
    Citation,
    CitedAnswer,
    Fetched,
    Filter,
    Hit,
    Moment,
    Principal,
    SearchResults,
    Status,
    Support,
    Verification,
)
from rag_tools.wire.results import RETRY_AFTER, CitePage, SearchPage, StatusPage, VerifyPage

if TYPE_CHECKING:
    import mcp
    from mcp.types import DiscoverResult

    from rag_tools.engine import Engine

_Result = TypeVar("_Result")
_Value = TypeVar("_Value", bound=BaseModel)

MAX_HITS = 1_000
"""The most hits that a search of a `Client` returns."""

_PAGE = 100  # the most hits that the server returns at once
# Large, so that few calls are needed, and small enough for the server's limit of 4 MiB: a result
# contains its JSON twice.
_MAX_CHARS = 400_000
_CONNECTIONS = 8  # calls at once; by default the server accepts 16 from one caller
_PATIENCE = 60.0  # seconds for which calls that a busy server refuses are repeated


def open_index(
    index: Engine | Client | Path | str | None = None, principal: Principal | None = None
) -> Engine | Client:
    """Open an index to read it: an engine for a directory, a client for an http(s) URL.

    Parameters
    ----------
    index
        A directory or a URL. An engine or client is returned as it is. None: the default
        directory of `Engine.open`.
    principal
        As whom to read it, see `Engine.as_`; default: everything that the engine or the token of a
        client may read.

    Raises
    ------
    AccessError
        If the engine already reads as another principal.
    ConfigurationError
        If a package that `Client` needs isn't installed, or a principal is given for a server.
    IndexNotFoundError, IndexCorruptError, IndexVersionError
        If the index can't be opened.
    ServerError
        If the server can't be reached.
    """
    if principal is not None and (_is_url(index) or isinstance(index, Client)):
        raise ConfigurationError(
            "a server takes the principal from the token: leave it out, and give the client's token"
        )
    if _is_url(index):
        return Client(index)
    if index is None or isinstance(index, Path | str):
        from rag_tools.engine import Engine

        return Engine.open(index, principal=principal)
    if principal is None or isinstance(index, Client):
        return index
    return index.as_(principal)


def open_to_write(index: Engine | Path | str | None = None) -> Engine:
    """Open the index in a directory to change it; it is created if there is none.

    Raises
    ------
    ConfigurationError
        If `index` is a server, which can only be read.
    IndexCorruptError, IndexVersionError
        If the index can't be opened.
    """
    if _is_url(index) or isinstance(index, Client):
        raise ConfigurationError(
            f"{index} is a server, which can only be read: pass the directory of an index"
        )
    if index is None or isinstance(index, Path | str):
        from rag_tools.engine import Engine

        return Engine.open(index, create=True)
    return index


class Client(Closing):
    """The reading methods of `rag_tools.Engine`, answered by a server (``rag-tools serve --http``).

    The results are those of the engine. Methods whose names start with ``a`` are coroutines and
    don't block the event loop. A client is a context manager.

    A client may be shared between threads and event loops: it makes its requests on a thread of its
    own. Requests are independent, so that the failure of one doesn't affect the others and a server
    may be restarted. A call that a busy server refuses is repeated for up to a minute.

    A client is copied and pickled as the arguments it was made with. A pickled client therefore
    contains the token and must be kept secret.

    Parameters
    ----------
    url
        The endpoint, such as ``http://127.0.0.1:8931/mcp``.
    token
        The bearer token to send.
    collection
        The collection to read, if the server has several.

    Raises
    ------
    ConfigurationError
        If a package that the client needs isn't installed.
    ServerError
        If the server can't be reached or doesn't speak MCP.
    """

    def __init__(
        self, url: str, *, token: str | None = None, collection: str | None = None
    ) -> None:
        try:
            import httpx2
            import mcp.client.streamable_http  # noqa: F401 - needed by every request
        except ImportError as error:
            raise ConfigurationError(
                f"a client needs the package {error.name}, which is not installed: install "
                "rag-tools with its dependencies (pip install rag-tools)"
            ) from None

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
            # The first request negotiates the version of the protocol for all of them.
            self._era = self._submit(self._request(_era)).result()
        except BaseException:
            self.close()
            raise

    def __str__(self) -> str:
        return self.url

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the function and arguments that make a client of the same server."""
        made = functools.partial(Client, self.url, token=self._token, collection=self.collection)
        return made, ()

    def close(self) -> None:
        """Close the connections and cancel the calls that are running.

        A client that isn't closed ends when it is garbage, or else with the program.
        """
        self._worker.close()

    def search(self, query: str, *, limit: int = 10, filter: Filter | None = None) -> SearchResults:
        """Return the same as `Engine.search`; `limit` is at most `MAX_HITS`.

        Raises
        ------
        InvalidQueryError
            If the limit is out of range.
        ServerError
            If the server refuses the call or can't be reached. Every method may raise it.
        """
        return self._submit(self._search(query, limit, filter)).result()

    async def asearch(
        self, query: str, *, limit: int = 10, filter: Filter | None = None
    ) -> SearchResults:
        """Return the same as `search`."""
        return await asyncio.wrap_future(self._submit(self._search(query, limit, filter)))

    def cite(self, claim: str, *, limit: int = 8, filter: Filter | None = None) -> Support:
        """Return the same as `Engine.cite`; `limit` is at most 50."""
        return self._submit(self._cite(claim, limit, filter)).result()

    async def acite(self, claim: str, *, limit: int = 8, filter: Filter | None = None) -> Support:
        """Return the same as `cite`."""
        return await asyncio.wrap_future(self._submit(self._cite(claim, limit, filter)))

    def cite_answer(self, answer: str, *, filter: Filter | None = None) -> CitedAnswer:
        """Return the same as `Engine.cite_answer`, by one call for each statement."""
        from rag_tools.cite.claims import QUOTES, cited_answer

        return cited_answer(answer, lambda claim: self.cite(claim, limit=QUOTES, filter=filter))

    def fetch(
        self, id: str, *, start: int = 0, end: int | None = None, as_of: Moment | None = None
    ) -> Fetched:
        """Return the same as `Engine.fetch`."""
        return self._submit(self._fetch(id, start, end, as_of)).result()

    async def afetch(
        self, id: str, *, start: int = 0, end: int | None = None, as_of: Moment | None = None
    ) -> Fetched:
        """Return the same as `fetch`."""
        return await asyncio.wrap_future(self._submit(self._fetch(id, start, end, as_of)))

    def verify(self, citation: Citation | Mapping[str, Any]) -> Verification:
        """Return the same as `Engine.verify`; the server reads the sources."""
        return self._submit(self._verify(citation)).result()

    async def averify(self, citation: Citation | Mapping[str, Any]) -> Verification:
        """Return the same as `verify`."""
        return await asyncio.wrap_future(self._submit(self._verify(citation)))

    def status(self) -> Status:
        """Return the same as `Engine.status`."""
        return self._submit(self._status()).result()

    async def astatus(self) -> Status:
        """Return the same as `status`."""
        return await asyncio.wrap_future(self._submit(self._status()))

    def _submit(self, asked: Coroutine[Any, Any, _Result]) -> Future[_Result]:
        try:
            return self._worker.submit(asked)
        except ClosedError:
            raise ServerError(f"the client of {self.url} is closed: make a new one") from None

    # -- on the client's thread ------------------------------------------------------------------

    async def _search(self, query: str, limit: int, filter: Filter | None) -> SearchResults:
        if not 1 <= limit <= MAX_HITS:
            raise InvalidQueryError(f"limit is {limit}: choose from 1 to {MAX_HITS} hits")
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
            raise InvalidQueryError(
                f"limit is {limit}: the quotes are too long for one answer, choose a lower limit"
            )
        return Support.model_validate(page.model_dump(exclude={"left_out", "shortened", "notice"}))

    async def _fetch(self, id: str, start: int, end: int | None, as_of: Moment | None) -> Fetched:
        moment: dict[str, str] = {}  # which earlier servers don't know
        if as_of is not None:
            moment["as_of"] = as_of if isinstance(as_of, str) else shown(milliseconds(as_of))

        async def read(id: str, start: int, end: int | None) -> Fetched:
            return await self._call(
                Fetched, "fetch", id=id, start=start, end=end, max_chars=_MAX_CHARS, **moment
            )

        fetched = await read(id, start, end)
        text, metadata = fetched.text, dict(fetched.metadata)
        document = metadata["document_id"]
        if id != document:
            end = int(id.rpartition("-")[2])  # the id of a passage contains its range
        wanted = metadata["total_characters"] if end is None else end
        while metadata["end"] < wanted:
            more = await read(document, metadata["end"], wanted)
            text += more.text
            metadata["end"] = more.metadata["end"]
        for name in ("next_start", "notice"):
            metadata.pop(name, None)
        return fetched.model_copy(update={"text": text, "metadata": metadata})

    async def _verify(self, citation: Citation | Mapping[str, Any]) -> Verification:
        given = citation.model_dump(mode="json") if isinstance(citation, Citation) else citation
        page = await self._call(
            VerifyPage, "verify", citation=given, detail="full", max_chars=_MAX_CHARS
        )
        return page.verifications[0]

    async def _status(self) -> Status:
        page = await self._call(StatusPage, "status", max_chars=_MAX_CHARS)
        found = page.collections
        chosen = [each for each in found if self.collection in (None, each.name)]
        if len(chosen) != 1:
            raise ServerError(
                "the server has several collections, or none of this name: choose a collection "
                "from " + ", ".join(each.name for each in found)
            )
        if chosen[0].status is None:
            raise ServerError(f"{self.url}: {chosen[0].error}")
        return chosen[0].status

    async def _call(self, kind: type[_Value], tool: str, **arguments: object) -> _Value:
        """Call a tool and return its result as a `kind`."""
        from mcp.types import CallToolRequest, CallToolRequestParams, CallToolResult, TextContent

        if self.collection is not None and tool != "status":
            arguments["collection"] = self.collection
        given = {name: value for name, value in arguments.items() if value is not None}
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=given))
        deadline = anyio.current_time() + _PATIENCE
        while True:
            # Not `call_tool`, which would first ask for the tool's schema to compare the result
            # with; the result is validated here.
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
            raise ServerError(
                f"{self.url} is not a server of a compatible version: {tool} returned an "
                f"unexpected "
                f"result: {error}"
            ) from error

    async def _request(self, ask: Callable[[mcp.Client], Awaitable[_Result]]) -> _Result:
        """Return the server's answer to one request, or raise a `ServerError` with the reason."""
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
    """Return the negotiated version of the protocol, and the server's description of itself.

    A server of an older version has no such description: every request then negotiates anew.
    """
    known = client.session.discover_result
    return ("legacy" if known is None else client.protocol_version), known


def _reasons(errors: BaseExceptionGroup[BaseException]) -> str:
    """Return the distinct messages of the errors."""
    return "; ".join(dict.fromkeys(str(error) or type(error).__name__ for error in _leaves(errors)))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _is_url(index: object) -> TypeGuard[str]:
    return isinstance(index, str) and index.startswith(("http://", "https://"))
