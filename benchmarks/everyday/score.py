"""What is counted: right quotes and passages, how well a number separates, and paired tests."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from math import comb

from corpus import Text

HELD = 0.8
"""Share of a gold unit's characters that a quote or passage has to hold."""
ROOM = 60
"""Characters that a quote may have beyond twice the length of the gold unit."""
RESAMPLES = 10_000


def holds(text: Text, units: Iterable[str], start: int, end: int) -> bool:
    """Tell whether a range of a document holds enough of one of the gold units."""
    return any(text.covered(unit, start, end) >= HELD for unit in units)


def quotes(text: Text, units: Iterable[str], start: int, end: int) -> bool:
    """Tell whether a range holds enough of a gold unit and isn't much longer than it."""
    length = _length(text.text[start:end])
    return any(
        length <= 2 * _length(unit) + ROOM and text.covered(unit, start, end) >= HELD
        for unit in units
    )


def auroc(higher: Sequence[float], lower: Sequence[float]) -> float:
    """Return how often a value of `higher` exceeds one of `lower`; ties count one half."""
    if not higher or not lower:
        return float("nan")
    won = sum((a > b) + (a == b) / 2 for a in higher for b in lower)
    return won / (len(higher) * len(lower))


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided p of the exact McNemar test."""
    changed = gained + lost
    tail = sum(comb(changed, k) for k in range(min(gained, lost) + 1)) / 2**changed
    return min(1.0, 2 * tail)


def difference(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Return the mean of new less old and its 95 % bootstrap interval, from (old, new)."""
    steps = [new - old for old, new in pairs]
    chance = random.Random(20261130)
    means = sorted(sum(chance.choices(steps, k=len(steps))) / len(steps) for _ in range(RESAMPLES))
    mean = sum(steps) / len(steps)
    return mean, means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES) - 1]


def _length(text: str) -> int:
    return len(" ".join(text.split()))
