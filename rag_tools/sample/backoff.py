"""Retry calls that fail for a while, without making matters worse.

A call to another machine fails now and then. Trying again at once, from every client at the same
moment, turns a hiccup into an outage. This module spreads retries out in time (exponential backoff
with full jitter), gives up after a deadline, and stops calling a service that keeps failing (a
circuit breaker).

This file is dedicated to the public domain (CC0-1.0).
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class GaveUp(Exception):
    """Raised when all attempts failed; ``__cause__`` is the last failure."""

    def __init__(self, attempts: int, seconds: float) -> None:
        super().__init__(f"gave up after {attempts} attempts in {seconds:.1f} s")
        self.attempts = attempts
        self.seconds = seconds


class CircuitOpen(Exception):
    """Raised instead of calling a service that failed too often of late."""


@dataclass(frozen=True)
class Policy:
    """How often and how long to try.

    Attributes
    ----------
    first_delay
        Upper bound of the delay before the first retry, in seconds.
    factor
        By how much the bound grows with every retry.
    max_delay
        The bound never grows beyond this, in seconds.
    deadline
        No retry starts later than this after the first attempt, in seconds.
    retry_on
        Exceptions that are worth another attempt. Anything else is raised at once: a request that
        is wrong stays wrong however often it is sent.
    """

    first_delay: float = 0.1
    factor: float = 2.0
    max_delay: float = 30.0
    deadline: float = 120.0
    retry_on: tuple[type[Exception], ...] = (ConnectionError, TimeoutError)

    def delays(self, rng: random.Random | None = None) -> Iterator[float]:
        """Yield the delay before each retry, without end.

        The delay is drawn uniformly between zero and the bound ("full jitter"), so that clients
        which failed together don't come back together.
        """
        rng = rng or random.Random()
        bound = self.first_delay
        while True:
            yield rng.uniform(0.0, bound)
            bound = min(bound * self.factor, self.max_delay)


def call_with_retries(
    function: Callable[[], R],
    policy: Policy = Policy(),
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> R:
    """Call `function` until it succeeds or the policy's deadline passes.

    Only use it for calls that may safely run twice: a call that timed out may have had its effect.
    `sleep` and `clock` are there for tests.
    """
    started = clock()
    for attempt, delay in enumerate(policy.delays(), start=1):
        try:
            return function()
        except policy.retry_on as error:
            elapsed = clock() - started
            if elapsed + delay > policy.deadline:
                raise GaveUp(attempt, elapsed) from error
            sleep(delay)
    raise AssertionError("delays never end")


def retry(policy: Policy = Policy()) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that every call of it is retried according to `policy`.

    >>> @retry(Policy(first_delay=0.05, deadline=5))
    ... def fetch(url): ...
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            return call_with_retries(lambda: function(*args, **kwargs), policy)

        return wrapper

    return decorate


class CircuitBreaker:
    """Stop calling a service after `threshold` failures in a row.

    The breaker is *closed* while calls go through. After too many failures it *opens*: calls fail
    at once with `CircuitOpen`, which gives the service time to recover. After `cooldown` seconds
    it lets one call through on trial: success closes it again, failure reopens it.
    """

    def __init__(
        self,
        threshold: int = 5,
        cooldown: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.threshold = threshold
        self.cooldown = cooldown
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether a call would be refused now."""
        return self._opened_at is not None and self._clock() - self._opened_at < self.cooldown

    def call(self, function: Callable[[], R]) -> R:
        """Call `function` unless the breaker is open."""
        if self.is_open:
            raise CircuitOpen(f"{self._failures} failures in a row")
        try:
            result = function()
        except Exception:
            self._failures += 1
            if self._failures >= self.threshold:
                self._opened_at = self._clock()
            raise
        self._failures = 0
        self._opened_at = None
        return result
