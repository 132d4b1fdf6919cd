"""What the tests of the framework adapters share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

_Answer = TypeVar("_Answer")

ROOT = Path(__file__).parents[2]

QUESTIONS = [
    "at what temperature does water boil on a mountain?",
    "why are there two high tides a day?",
    "how do bees tell where flowers are?",
    "sort a list by swapping neighbours",
]


async def storm(ask: Callable[[str], Awaitable[_Answer]], calls: int) -> tuple[list[_Answer], int]:
    """Ask `calls` questions at once; return the answers, and how often the event loop had a turn.

    A loop that the searches ran on would have none between them.
    """
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    counting = asyncio.create_task(count())
    await asyncio.sleep(0)
    answers = await asyncio.gather(*(ask(QUESTIONS[n % len(QUESTIONS)]) for n in range(calls)))
    counting.cancel()
    return answers, turns
