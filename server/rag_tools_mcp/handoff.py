"""Handing coroutines to an event loop that runs on another thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class Handoff:
    """Runs coroutines on `loop`, `at_once` at the same time, for whichever thread submits them.

    Unlike `asyncio.run_coroutine_threadsafe` it doesn't wake the other thread for each: waking
    gives that thread the interpreter, for 5 ms if it has work, and 200 calls in one turn of an
    event loop held that loop up for 0.6 s.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, at_once: int) -> None:
        self._loop, self._at_once = loop, at_once
        self._asked: deque[tuple[Coroutine[Any, Any, Any], Future[Any]]] = deque()
        self._woken = False
        self._running = 0

    def submit(self, asked: Coroutine[Any, Any, _Result]) -> Future[_Result]:
        """Return what will be the result; to cancel it cancels the coroutine."""
        answer: Future[_Result] = Future()
        self._asked.append((asked, answer))
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._wake)
        return answer

    def close(self) -> None:
        """Cancel what hasn't started, and start nothing more; on the thread of the loop."""
        self._at_once = 0
        while self._asked:
            asked, answer = self._asked.popleft()
            asked.close()
            answer.cancel()

    def _wake(self) -> None:
        self._woken = False  # before the queue is looked at: what comes later wakes again
        self._start()

    def _start(self) -> None:
        while self._asked and self._running < self._at_once:
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
