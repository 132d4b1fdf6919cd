"""An event loop on a thread of its own, and submitting coroutines to it."""

from __future__ import annotations

import asyncio
import atexit
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

_Result = TypeVar("_Result")
_Resource = TypeVar("_Resource")

_EXIT_SECONDS = 2.0  # for which a program waits at its end for workers that it didn't close


class ClosedError(Exception):
    """A coroutine was submitted to a worker that is closed."""


class Worker(Generic[_Resource]):
    """An event loop on a thread, with a resource that is open while the loop runs.

    It ends when it is closed, when it is garbage, and with the program. The thread is a daemon:
    otherwise a program that forgot to close a worker would never end. At its exit the program gives
    its workers two seconds to close their resources.

    Parameters
    ----------
    open
        Called on the thread; returns the resource.
    name
        The name of the thread.
    at_once
        The most coroutines that run at the same time.

    Attributes
    ----------
    resource
        The open resource.
    """

    def __init__(
        self,
        open: Callable[[], AbstractAsyncContextManager[_Resource]],
        *,
        name: str,
        at_once: int,
    ) -> None:
        # The thread has no reference to this object, which otherwise could never be garbage.
        started: Future[tuple[_Resource, Handoff, Callable[[], None]]] = Future()
        thread = threading.Thread(
            target=_work, args=(open, at_once, started), name=name, daemon=True
        )
        thread.start()
        self.resource, self._handoff, end = started.result()
        self._running = _Running(thread, end)
        _unclosed.add(self._running)
        weakref.finalize(self, self._running.end).atexit = False

    def submit(self, asked: Coroutine[Any, Any, _Result]) -> Future[_Result]:
        """Return the future result of a coroutine; cancelling it cancels the coroutine.

        Raises
        ------
        ClosedError
            If the worker is closed.
        """
        return self._handoff.submit(asked)

    def close(self) -> None:
        """Cancel what is running, close the resource and end the thread.

        Closing again has no effect.
        """
        self._running.end()
        self._running.thread.join()


@dataclass(frozen=True, eq=False)
class _Running:
    """The thread of a worker, and the function that makes it end."""

    thread: threading.Thread
    ask: Callable[[], None]

    def end(self) -> None:
        _unclosed.discard(self)
        self.ask()


_unclosed: set[_Running] = set()


@atexit.register
def _end_all() -> None:
    running = list(_unclosed)
    for each in running:
        each.end()
    deadline = time.monotonic() + _EXIT_SECONDS
    for each in running:
        each.thread.join(max(0.0, deadline - time.monotonic()))


def _work(
    open: Callable[[], AbstractAsyncContextManager[_Resource]],
    at_once: int,
    started: Future[tuple[_Resource, Handoff, Callable[[], None]]],
) -> None:
    """Run an event loop until the worker ends it."""
    loop = asyncio.new_event_loop()

    async def work() -> None:
        ending = asyncio.Event()

        def end() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(ending.set)

        async with open() as resource:
            handoff = Handoff(loop, at_once=at_once)
            started.set_result((resource, handoff, end))
            await ending.wait()
            handoff.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    try:
        loop.run_until_complete(work())
        loop.run_until_complete(loop.shutdown_asyncgens())
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)
    finally:
        # Not `asyncio.run`, which starts a thread at its end: a program that is exiting can't.
        loop.close()


class Handoff:
    """Runs coroutines that any thread submits on `loop`, at most `at_once` at the same time.

    Unlike `asyncio.run_coroutine_threadsafe` it doesn't wake the loop's thread for each coroutine.
    A thread that is woken gets the interpreter, for 5 ms if it has work: 200 calls in one turn of
    the caller's event loop blocked that loop for 0.6 s.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, at_once: int) -> None:
        self._loop, self._at_once = loop, at_once
        self._asked: deque[tuple[Coroutine[Any, Any, Any], Future[Any]]] = deque()
        self._woken = False
        self._closed = False
        self._running = 0

    def submit(self, asked: Coroutine[Any, Any, _Result]) -> Future[_Result]:
        """Return the future result of a coroutine; cancelling it cancels the coroutine.

        Raises
        ------
        ClosedError
            If it is closed.
        """
        if self._closed:
            asked.close()
            raise ClosedError
        answer: Future[_Result] = Future()
        self._asked.append((asked, answer))
        if self._closed:  # closed since, perhaps without noticing this coroutine
            self._drop()
        elif not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the loop has ended, which cancels what was submitted
                self._loop.call_soon_threadsafe(self._wake)
        return answer

    def close(self) -> None:
        """Cancel what hasn't started, and accept nothing more; called on the thread of the loop."""
        self._closed = True
        self._drop()

    def _drop(self) -> None:
        while self._asked:
            asked, answer = self._asked.popleft()
            asked.close()
            answer.cancel()

    def _wake(self) -> None:
        self._woken = (
            False  # before the queue is read: whatever is submitted later wakes the loop again
        )
        self._start()

    def _start(self) -> None:
        while self._asked and self._running < self._at_once and not self._closed:
            asked, answer = self._asked.popleft()
            self._running += 1
            task = self._loop.create_task(asked)
            task.add_done_callback(partial(self._finish, answer))
            answer.add_done_callback(partial(self._give_up, task))

    def _finish(self, answer: Future[_Result], task: asyncio.Task[_Result]) -> None:
        self._running -= 1
        self._start()
        if task.cancelled():
            answer.cancel()
        elif not answer.set_running_or_notify_cancel():
            return
        elif error := task.exception():
            answer.set_exception(error)
        else:
            answer.set_result(task.result())

    def _give_up(self, task: asyncio.Task[Any], answer: Future[Any]) -> None:
        if answer.cancelled() and not task.done():
            self._loop.call_soon_threadsafe(task.cancel)
