"""How long the frameworks' adapters keep an event loop waiting under load: prints a table.

Usage: python benchmarks/adapters.py INDEX [--calls N]

That many calls are made at once: on one engine, and on one server, which is started for it. A task
that sleeps for a millisecond at a time notes how long it really took. ``pause`` is the longest time
that the loop let it wait, and ``of it`` what the loop's own thread computed in the longest such
stretch: the rest is other threads and programs. The frameworks start all calls in one turn of the
loop; a retriever that finds nothing shows what they need for that themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever as LangChainBase
from llama_index.core.base.base_retriever import BaseRetriever as LlamaIndexBase
from llama_index.core.schema import NodeWithScore, QueryBundle

from langchain_rag_tools import RagToolsRetriever as LangChainRetriever
from llama_index_rag_tools import RagToolsRetriever as LlamaIndexRetriever
from rag_tools.client import Client
from rag_tools.engine import Engine

QUESTIONS = (
    "how long may a line of code be?",
    "what does a decorator return?",
    "how is a wheel named?",
    "when is an iterator exhausted?",
)


class Load(NamedTuple):
    """What an event loop went through, in seconds."""

    total: float
    pause: float
    computed: float


class LangChainNothing(LangChainBase):
    """Finds nothing, at once."""

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:  # noqa: ANN401
        return []

    async def _aget_relevant_documents(self, query: str, **_: Any) -> list[Document]:  # noqa: ANN401
        return []


class LlamaIndexNothing(LlamaIndexBase):
    """Finds nothing, at once."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return []


async def measure(ask: Callable[[str], Awaitable[object]], calls: int) -> Load:
    """Return what `calls` calls of `ask` at once do to the event loop."""
    pauses = []

    async def watch() -> None:
        while True:
            wall, computed = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.001)
            pauses.append((time.perf_counter() - wall - 0.001, time.thread_time() - computed))

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.01)
    started = time.perf_counter()
    await asyncio.gather(*(ask(QUESTIONS[n % len(QUESTIONS)]) for n in range(calls)))
    total = time.perf_counter() - started
    await asyncio.sleep(0.01)
    watching.cancel()
    return Load(total, max(each for each, _ in pauses), max(each for _, each in pauses))


@contextmanager
def served(index: Path) -> Iterator[str]:
    """Serve an index; give the address."""
    command = [sys.executable, "-m", "rag_tools.cli.main", "serve", "--index", str(index)]
    process = subprocess.Popen(
        [*command, "--http", "127.0.0.1:0"], stderr=subprocess.PIPE, encoding="utf-8"
    )
    assert process.stderr is not None
    try:
        event: dict[str, Any] = {}
        while event.get("event") != "serving":
            event = json.loads(process.stderr.readline())
        # It must not wait for room in the pipe.
        Thread(target=process.stderr.read, daemon=True).start()
        yield f"http://127.0.0.1:{event['port']}/mcp"
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("--calls", type=int, default=200)
    options = parser.parse_args()
    with (
        Engine.open(options.index) as engine,
        served(options.index) as url,
        Client(url) as client,
    ):
        # Collecting what the frameworks' imports left takes 0.2 s, whoever's turn it is.
        gc.collect()
        gc.freeze()
        engine.warm()
        client.search(QUESTIONS[0])
        rows: dict[str, Callable[[str], Awaitable[object]]] = {
            "Engine.asearch": engine.asearch,
            "Client.asearch": client.asearch,
            "LangChain alone": LangChainNothing().ainvoke,
            "LangChain, engine": LangChainRetriever(index=engine).ainvoke,
            "LangChain, server": LangChainRetriever(index=client).ainvoke,
            "LlamaIndex alone": LlamaIndexNothing().aretrieve,
            "LlamaIndex, engine": LlamaIndexRetriever(engine).aretrieve,
            "LlamaIndex, server": LlamaIndexRetriever(client).aretrieve,
        }
        print(f"| {options.calls} calls at once | total s | pause ms | of it ms |")
        print("|---|---|---|---|")
        for name, ask in rows.items():
            asyncio.run(measure(ask, 4))  # imports and caches
            load = asyncio.run(measure(ask, options.calls))
            milliseconds = f"{load.pause * 1e3:.1f} | {load.computed * 1e3:.1f}"
            print(f"| {name} | {load.total:.2f} | {milliseconds} |", flush=True)


if __name__ == "__main__":
    main()
