"""Limits on the callers of one worker: requests per minute, and calls at the same time."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# The time for which all cores must have been free before a whole burst is admitted again.
_BURST_SECONDS = 1.0

# A core's time between the repetitions of two refused calls, about four searches. Refusing a call
# takes 1 to 2 ms of a core, so that under lasting load refusals take a fortieth of the time.
_APART_SECONDS = 0.1

_SOONEST_SECONDS = 1.0

LATEST_SECONDS = 10.0
"""The longest time after which a refused call is to be repeated.

Connections stay open for longer than that.
"""

_CALLERS = 10_000  # that are remembered; a forgotten one starts with a full bucket


class Rate:
    """A token bucket for each caller: `per_minute` requests, refilled over a minute."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._clock = per_minute, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, caller: str) -> float:
        """Count one request; return 0, or the seconds to wait if the bucket is empty."""
        now = self._clock()
        left, since = self._buckets.pop(caller, (float(self._size), now))
        left = min(self._size, left + (now - since) * self._size / 60)
        admitted = left >= 1
        self._buckets[caller] = (left - admitted, now)
        if len(self._buckets) > _CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if admitted else (1 - left) * 60 / self._size


class BusyError(Exception):
    """The limit of calls is reached; the message says which.

    Attributes
    ----------
    retry
        Seconds after which the call may be made again.
    """

    def __init__(self, message: str, retry: float) -> None:
        super().__init__(message)
        self.retry = retry


class Gate:
    """Counts the calls that run or wait, for each caller and in total.

    Many calls may arrive at once, as when an agent asks ten questions in one turn. But a permanent
    queue must be short, since every call waits for all those before it. Calls that find the queue
    full are told to come back at different times: otherwise they would all come back together, and
    refusing them would take up the server's time.

    Parameters
    ----------
    running
        Calls that run at the same time: the number of cores.
    waiting
        Calls that may wait permanently.
    burst
        Calls that may wait after the cores were free for a second, as between an agent's turns.
        After a shorter time it is proportionally fewer, so that a short pause under lasting load
        doesn't admit a whole burst.
    per_caller
        Calls that one caller may have running or waiting.
    """

    def __init__(
        self,
        running: int,
        *,
        waiting: int,
        burst: int,
        per_caller: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._running, self._waiting = running, waiting
        self._per_caller, self._clock = per_caller, clock
        self._inside: Counter[str] = Counter()
        self._total = 0
        self._most_more = max(0, burst - waiting)
        self._more = float(self._most_more)  # calls that may wait beyond `waiting`
        self._then = clock()  # when that was computed
        self._return = 0.0  # when the last refused call may be repeated

    @property
    def total(self) -> int:
        """The number of calls that run or wait."""
        return self._total

    @contextmanager
    def enter(self, caller: str) -> Iterator[None]:
        """Count a call for the duration of a ``with`` block.

        Raises
        ------
        BusyError
            If there are too many calls already.
        """
        self._earn()
        if self._inside[caller] >= self._per_caller:
            raise BusyError(f"you have {self._per_caller} calls running", _SOONEST_SECONDS)
        beyond = self._total >= self._running + self._waiting
        if beyond and self._more < 1:
            raise BusyError(f"{self._total} calls are running or waiting", self._turn())
        self._more -= beyond
        self._inside[caller] += 1
        self._total += 1
        try:
            yield
        finally:
            self._earn()
            self._total -= 1
            self._inside[caller] -= 1
            if not self._inside[caller]:
                del self._inside[caller]

    def _turn(self) -> float:
        """Return the seconds after which one more refused call may be repeated."""
        now = self._clock()
        after = self._return + _APART_SECONDS / self._running
        self._return = min(max(after, now + _SOONEST_SECONDS), now + LATEST_SECONDS)
        return round(self._return - now, 3)

    def _earn(self) -> None:
        """Admit more waiting calls in proportion to the time for which cores were free."""
        now = self._clock()
        free = max(0, self._running - self._total) / self._running
        earned = free * (now - self._then) / _BURST_SECONDS * self._most_more
        self._more, self._then = min(self._most_more, self._more + earned), now
