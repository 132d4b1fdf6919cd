"""How much callers may ask of one worker: requests over time, and calls at once."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# That every core must have been free, together, for a whole burst to be let in again.
_BURST_SECONDS = 1.0

# Of a core's time, from one refused call that may be made again to the next: some four searches. A
# refusal takes 1 to 2 ms of a core, so those of a lasting crowd take a fortieth.
_APART_SECONDS = 0.1

_SOONEST_SECONDS = 1.0

LATEST_SECONDS = 10.0
"""The longest that anybody is told to stay away: connections stay open for longer."""

_CALLERS = 10_000  # that are remembered; who is forgotten starts afresh


class Rate:
    """A token bucket for each caller: `per_minute` requests at once, refilled over a minute."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._clock = per_minute, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, caller: str) -> float:
        """Take one request; return 0, or the seconds to wait if the bucket is empty."""
        now = self._clock()
        left, since = self._buckets.pop(caller, (float(self._size), now))
        left = min(self._size, left + (now - since) * self._size / 60)
        admitted = left >= 1
        self._buckets[caller] = (left - admitted, now)
        if len(self._buckets) > _CALLERS:
            self._buckets.popitem(last=False)
        return 0.0 if admitted else (1 - left) * 60 / self._size


class BusyError(Exception):
    """There are as many calls as may be; the message says whose.

    Attributes
    ----------
    retry
        Seconds after which the call may be made again.
    """

    def __init__(self, message: str, retry: float) -> None:
        super().__init__(message)
        self.retry = retry


class Gate:
    """Counts the calls that run or wait, of each caller and together.

    Many may come at once, as when an agent asks ten questions in one turn. What must stay short is
    the queue that stands for longer, or every call would wait through all of it. Those that find it
    full are told to come back one after the other: were all told the same, a crowd would spend the
    server's time on being refused.

    Parameters
    ----------
    running
        Calls that run at once: the cores.
    waiting
        That may wait for one, besides.
    burst
        That may wait after a second in which the cores were free, as agents leave between turns;
        after a shorter time, its share: a moment's rest under lasting load lets no crowd in.
    per_caller
        That one caller may have inside.
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
        self._then = clock()  # when that was reckoned
        self._return = 0.0  # when the last one that was refused may come back

    @property
    def total(self) -> int:
        """Calls that run or wait."""
        return self._total

    @contextmanager
    def enter(self, caller: str) -> Iterator[None]:
        """Count a call for the length of a ``with`` block.

        Raises
        ------
        BusyError
            There are too many already.
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
        """Return the seconds after which one more of those that are refused may come back."""
        now = self._clock()
        after = self._return + _APART_SECONDS / self._running
        self._return = min(max(after, now + _SOONEST_SECONDS), now + LATEST_SECONDS)
        return round(self._return - now, 3)

    def _earn(self) -> None:
        """Let more calls wait for the time that cores have been free."""
        now = self._clock()
        free = max(0, self._running - self._total) / self._running
        earned = free * (now - self._then) / _BURST_SECONDS * self._most_more
        self._more, self._then = min(self._most_more, self._more + earned), now
