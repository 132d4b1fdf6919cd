"""What the tests of the framework adapters share."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from serving import served

_Answer = TypeVar("_Answer")

ROOT = Path(__file__).parents[1]

SERVER = "http://127.0.0.1:8931/mcp"  # in the documentation

QUESTIONS = [
    "at what temperature does water boil on a mountain?",
    "why are there two high tides a day?",
    "how do bees tell where flowers are?",
    "sort a list by swapping neighbours",
]


def run_document(
    name: str, index: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Run the Python blocks of a document in `folder`, on `index`; return what they defined.

    A server of the index stands where the document says that one runs.
    """
    shutil.copytree(index, folder / ".rag-tools")
    monkeypatch.chdir(folder)
    monkeypatch.delenv("RAG_TOOLS_INDEX", raising=False)
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert blocks
    namespace: dict[str, Any] = {}
    with served(index) as url:
        for block in blocks:
            exec(compile(block.replace(SERVER, url), name, "exec"), namespace)
    return namespace


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
