"""What a tool does beside its work: it reports progress, and ends when its call is cancelled.

A tool runs on a worker thread, which nothing can interrupt. `report` and `cancellable` are the
places at which a cancelled call ends; a search takes milliseconds and needs no such place.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import anyio.from_thread
import anyio.to_thread
from mcp.server.mcpserver import Context

from rag_tools_mcp.collections import Collections

if TYPE_CHECKING:
    from rag_tools.engine import Engine

Call = Context[Any, Any]
"""The call of a tool, as the SDK hands it to the function."""

OPENING = "opening the index"
_REPORT_SECONDS = 0.1

_Item = TypeVar("_Item")


def open_engine(context: Call, seen: Collections, collection: str | None) -> Engine:
    """Return the engine of a collection, from a worker thread, and report that it is opened."""
    report(context, 0, None, OPENING)
    return seen.engine(collection)


async def opened(context: Call, seen: Collections, collection: str | None) -> Engine:
    """Return what `open_engine` does, on the event loop.

    It needs a worker thread only for an index that isn't open yet.
    """
    if _follows(context):
        await context.report_progress(0, None, OPENING)
    engine = seen.opened(collection)
    if engine is None:
        engine = await anyio.to_thread.run_sync(seen.engine, collection)
    return engine


def report(context: Call, done: float, total: float | None, message: str) -> None:
    """Send progress, if the client asked for it with this call; called on a worker thread.

    If the client has cancelled the call, this raises the exception that ends it without an answer.
    """
    anyio.from_thread.check_cancelled()
    if _follows(context):
        anyio.from_thread.run(context.report_progress, done, total, message)


def _follows(context: Call) -> bool:
    """Tell whether the client may have asked for progress.

    Over HTTP the request says so. A call whose client didn't ask needn't wait for the event loop,
    which is busy under load.
    """
    request = context.request_context
    return request.request is None or "progress_token" in (request.meta or {})


class Steps:
    """Sends the engine's progress on, ten times a second at most.

    The number that is sent rises through all stages, as the protocol demands.
    """

    def __init__(self, context: Call) -> None:
        self._context = context
        self._steps = 0
        self._sent = time.monotonic()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report `done` of `total` steps of a stage; a total of 0 is unknown."""
        anyio.from_thread.check_cancelled()
        self._steps += 1
        if time.monotonic() - self._sent >= _REPORT_SECONDS:
            self._sent = time.monotonic()
            of = f" of {total}" if total else ""
            report(self._context, self._steps, None, f"{stage}: {done}{of}")


def cancellable(items: Iterator[_Item]) -> Iterator[_Item]:
    """Return the items, and end between two of them if the client has cancelled the call."""
    for item in items:
        anyio.from_thread.check_cancelled()
        yield item
