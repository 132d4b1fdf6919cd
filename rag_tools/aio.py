"""Searching from an event loop: waiting queries are encoded together.

Searches run on worker threads, one per core at a time, and leave the event loop free. Work on a
result, such as making a page of JSON, is done on the same thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from rag_tools.cores import available_cores
from rag_tools.encode.embeddings import EncodedQuery
from rag_tools.index.search import Quality
from rag_tools.limits import check_query
from rag_tools.opened import OpenIndex
from rag_tools.searcher import Searcher
from rag_tools.types import Filter, SearchResults, Support

_Result = TypeVar("_Result")

# Each event loop has its own limiter, because limiters can't be shared between loops.
_limiter: RunVar[CapacityLimiter] = RunVar("rag_tools_offload")


def take_turns(limiter: CapacityLimiter) -> None:
    """Make `limiter` limit what this event loop offloads, together with its other uses."""
    _limiter.set(limiter)


async def offload(function: Callable[[], _Result]) -> _Result:
    """Run `function` on a worker thread and return its result.

    One function per core runs at a time, and the others wait for their turn. A search only
    computes, so further threads would just compete for the interpreter with each other and with
    the event loop. On 2 busy cores, 200 simultaneous searches took 0.8 s, and the loop's longest
    pause was 7 ms; with `asyncio.to_thread`, which runs 6 threads there, 0.9 s and 22 ms.
    """
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(available_cores())
        _limiter.set(limiter)
    return await to_thread.run_sync(function, limiter=limiter)


class AsyncEngine:
    """Awaitable `search` and `cite` of an engine; available as `Engine.aio`.

    When a query gets a thread, it is encoded together with all queries that are waiting then. The
    results are the same as one by one, in less time. `then` processes a result on the worker
    thread.
    """

    def __init__(self, opened: OpenIndex, searcher: Searcher) -> None:
        self._opened, self._searcher = opened, searcher

    async def search(
        self,
        query: str,
        *,
        limit: int = 10,
        filter: Filter | None = None,
        explain: bool = False,
        quality: Quality = "balanced",
        facets: Sequence[str] = (),
        then: Callable[[SearchResults], _Result],
    ) -> _Result:
        """Return what `then` returns for the results of `Searcher.search`."""
        return await self._encoded(
            query,
            lambda encoded: then(
                self._searcher.search(
                    encoded,
                    limit=limit,
                    filter=filter,
                    explain=explain,
                    quality=quality,
                    facets=facets,
                )
            ),
        )

    async def cite(
        self,
        claim: str,
        *,
        limit: int = 8,
        filter: Filter | None = None,
        explain: bool = False,
        quality: Quality = "balanced",
        then: Callable[[Support], _Result],
    ) -> _Result:
        """Return what `then` returns for the result of `Searcher.cite`."""
        return await self._encoded(
            claim,
            lambda encoded: then(
                self._searcher.cite(
                    encoded, limit=limit, filter=filter, explain=explain, quality=quality
                )
            ),
        )

    async def _encoded(self, query: str, work: Callable[[EncodedQuery], _Result]) -> _Result:
        """Run `work` on a worker thread, with the query encoded."""
        check_query(query)
        batch = self._opened.batch
        if batch is None:
            batch = await offload(self._opened.load_batch)
        with batch.join(query) as waiting:
            return await offload(lambda: work(EncodedQuery(query, waiting.embeddings())))
