"""rag-tools, below the engine: no encoding, no other signals, every query token weighs alike."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from embeddings import Passages
from numpy.typing import NDArray

from engines import Index

ENVIRONMENT = None
SMALL = False
# By `quality`, and by what is under it: passages each query token reaches, passages refined.
_SEARCHES: list[dict[str, Any]] = [
    {"quality": "balanced"},
    {"quality": "fast"},
    {"reach": 1024, "refined": 64},
    {"reach": 2048, "refined": 128},
    {"reach": 5120, "refined": 128},
    {"reach": 8192, "refined": 96},
    {"reach": 8192, "refined": 128},
    {"reach": 8192, "refined": 192},
    {"reach": 12288, "refined": 256},
    {"reach": 8192, "refined": 1024},
    {"reach": 16384, "refined": 2048},
    {"quality": "exact"},
]
INDEXES = {"4 bits": Index({"bits": 4}, _SEARCHES), "2 bits": Index({"bits": 2}, _SEARCHES)}


def build(passages: Passages, folder: Path, *, bits: int) -> None:
    """Build as the product does, catalog included."""
    from replay import PART, write_index

    def part(number: int) -> Passages:
        first = number * PART
        return passages.take(np.arange(first, min(first + PART, len(passages))))

    write_index(folder, part, len(passages), bits=bits)


def index_bytes(folder: Path) -> int:
    """Return the bytes without the catalog: peers don't store documents."""
    import replay

    return replay.index_bytes(folder)


class Searcher:
    """A snapshot of the index."""

    def __init__(self, folder: Path, threads: int) -> None:
        from replay import passage_numbers

        from rag_tools.reader import Reader

        os.environ["RAG_TOOLS_THREADS"] = str(threads)
        self._threads = threads
        with Reader(folder).view() as view:
            self._snapshot = view.snapshot
        self._numbers = passage_numbers(folder)

    def search(self, query: NDArray[np.float32], k: int, **settings: object) -> list[int]:
        """Search through the stages."""
        matches = matches_of(self._snapshot, query, k, **settings)
        return [int(self._numbers[match.segment][match.position]) for match in matches]

    def search_all(
        self, queries: list[NDArray[np.float32]], k: int, **settings: object
    ) -> list[list[int]]:
        """Search with one thread a query."""
        os.environ["RAG_TOOLS_THREADS"] = "1"
        with ThreadPoolExecutor(self._threads) as pool:
            found = list(pool.map(lambda query: self.search(query, k, **settings), queries))
        os.environ["RAG_TOOLS_THREADS"] = str(self._threads)
        return found


def matches_of(
    snapshot: Any,  # noqa: ANN401 - imported late, see `engines`
    query: NDArray[np.float32],
    k: int,
    *,
    quality: str = "",
    reach: int = 0,
    refined: int = 0,
) -> list[Any]:
    """Return the `k` best matches by MaxSim alone, with a `quality` or with what is under it."""
    from rag_tools.index import search as stages

    asked = stages.Query(
        query,
        np.full(len(query), 1 / len(query), np.float32),
        None,
        (np.empty((0, 2), np.int64), np.empty(0, np.float32)),
    )
    by_root = reach / snapshot.n_passages**0.5
    effort = stages.EFFORTS[quality] if quality else stages.Effort(0, by_root, refined)
    return stages.search(
        snapshot,
        asked,
        snapshot.everything,
        limit=k,
        signals=stages.Signals(0, 0, 0),
        effort=effort,
    )[:k]


open_index = Searcher
