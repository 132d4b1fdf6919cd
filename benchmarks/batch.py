"""What `Engine.search_batch` gains over a loop of `Engine.search`.

    python benchmarks/batch.py INDEX QUESTIONS [--threads 1,2]

QUESTIONS is a file with one question a line. Both find the same; seconds are those of the clock,
the best of three runs each, by turns.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from rag_tools.engine import Engine

_RUNS = 3


def main(
    index: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    questions: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    threads: Annotated[str, typer.Option(help="Numbers of them.")] = "1,2",
) -> None:
    """Print questions per second."""
    queries = questions.read_text(encoding="utf-8").split("\n")
    queries = [query for query in queries if query.strip()]
    for count in threads.split(","):
        os.environ["RAG_TOOLS_THREADS"] = count
        with Engine.open(index) as engine:
            engine.search(queries[0])
            loop, batch = [], []
            for _ in range(_RUNS):
                loop.append(_seconds(lambda: [engine.search(query) for query in queries]))
                batch.append(_seconds(lambda: engine.search_batch(queries)))
        print(
            f"{count} threads: a loop {len(queries) / min(loop):.1f}, "
            f"search_batch {len(queries) / min(batch):.1f} questions/s"
        )


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    typer.run(main)
