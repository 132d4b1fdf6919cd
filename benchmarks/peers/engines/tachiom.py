"""TACHIOM (arXiv 2604.28142): token-aware centroids, 32-byte product quantiser, HNSW."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from embeddings import Passages
from numpy.typing import NDArray

from engines import Index

ENVIRONMENT = "tachiom"
SMALL = False
# The first is the package's default. Without `alpha` every candidate is scored whole.
_SEARCHES: list[dict[str, Any]] = [
    {"k_centroids": 20, "k_docs_to_score": 500, "ef_search": 30, "alpha": 0.45},
    {"k_centroids": 10, "k_docs_to_score": 100, "ef_search": 20, "alpha": 0.45},
    {"k_centroids": 20, "k_docs_to_score": 200, "ef_search": 30, "alpha": 0.45},
    {"k_centroids": 40, "k_docs_to_score": 500, "ef_search": 60, "alpha": 0.45},
    {"k_centroids": 20, "k_docs_to_score": 500, "ef_search": 30, "alpha": None},
    {"k_centroids": 40, "k_docs_to_score": 1000, "ef_search": 60, "alpha": None},
    {"k_centroids": 80, "k_docs_to_score": 2000, "ef_search": 120, "alpha": None},
]
INDEXES = {"65,536 centroids": Index({"total_centroids": 65_536}, _SEARCHES)}


def build(passages: Passages, folder: Path, **settings: int) -> None:
    """Build as its documentation does."""
    import tachiom

    tachiom.Tachiom.build_from_arrays(
        passages.vectors.view(np.uint16),
        passages.token_ids.astype(np.uint32),
        passages.sizes.astype(np.int32),
        **settings,
    ).save(str(folder / "index.bin"))


class Searcher:
    """A loaded index."""

    def __init__(self, folder: Path, threads: int) -> None:
        import tachiom

        self._index = tachiom.Tachiom.load(str(folder / "index.bin"))
        self._threads = threads

    def search(self, query: NDArray[np.float32], k: int, **settings: object) -> NDArray[np.uint32]:
        """Search, on one thread: it has no other way for a single query."""
        return self._index.search(np.ascontiguousarray(query), k, **settings)[1]

    def search_all(
        self, queries: list[NDArray[np.float32]], k: int, **settings: object
    ) -> NDArray[np.uint32]:
        """Search with all threads, a query each."""
        offsets = np.cumsum([0, *(len(query) for query in queries)]).astype(np.uint64)
        return self._index.batch_search(
            np.concatenate(queries),
            len(queries),
            k,
            offsets=offsets,
            num_threads=self._threads,
            **settings,
        )[1]


open_index = Searcher
