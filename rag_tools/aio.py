"""Reading an index from an event loop: queries that wait are encoded together.

Searches run on worker threads, as many at once as there are cores. What is to be made of a result,
such as a page of JSON, is made on the same thread: each call goes in at the top and comes out at
the bottom, and the event loop is free meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
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

# Of each event loop its own: a limiter can't be shared between loops.
_limiter: RunVar[CapacityLimiter] = RunVar("rag_tools_offload")


def take_turns(limiter: CapacityLimiter) -> None:
    """Let what this event loop offloads take turns with what else `limiter` limits."""
    _limiter.set(limiter)


async def offload(function: Callable[[], _Result]) -> _Result:
    """Run `function` on a worker thread and return its result.

    As many run at once as there are cores, the others wait their turn: a search is all
    computation, and threads beyond that only take the interpreter from each other and from the
    event loop. 200 searches at once on 2 busy cores: 0.8 s, the loop's longest pause 7 ms; with
    `asyncio.to_thread`, which runs 6 at once there: 0.9 s, 22 ms.
    """
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(available_cores())
        _limiter.set(limiter)
    return await to_thread.run_sync(function, limiter=limiter)


class AsyncEngine:
    """`search` and `cite` of an engine, to be awaited; `Engine.aio` is one.

    The first query to get a thread is encoded with all that wait by then: each comes out the same
    as alone, in less time. `then` makes something of the result on the worker thread.
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
        then: Callable[[SearchResults], _Result],
    ) -> _Result:
        """Return what `then` makes of the results of `Searcher.search`."""
        return await self._encoded(
            query,
            lambda encoded: then(
                self._searcher.search(
                    encoded, limit=limit, filter=filter, explain=explain, quality=quality
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
        """Return what `then` makes of the result of `Searcher.cite`."""
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
