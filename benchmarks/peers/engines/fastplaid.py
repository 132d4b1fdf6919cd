"""fast-plaid: PLAID (arXiv 2205.09707) in Rust on torch, 4-bit residuals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from embeddings import Passages
from numpy.typing import NDArray

from engines import Index

ENVIRONMENT = "fast-plaid"
SMALL = False
# The second is the package's default.
_SEARCHES: list[dict[str, Any]] = [
    {"n_ivf_probe": 4, "n_full_scores": 1024},
    {"n_ivf_probe": 8, "n_full_scores": 4096},
    {"n_ivf_probe": 16, "n_full_scores": 4096},
    {"n_ivf_probe": 32, "n_full_scores": 8192},
]
INDEXES = {"4 bits": Index({"nbits": 4}, _SEARCHES), "2 bits": Index({"nbits": 2}, _SEARCHES)}


def build(passages: Passages, folder: Path, *, nbits: int) -> None:
    """Build with the package's defaults."""
    import torch
    from fast_plaid import search

    vectors = torch.from_numpy(passages.vectors)
    documents = list(torch.split(vectors, passages.sizes.tolist()))
    search.FastPlaid(index=str(folder / "index"), device="cpu").create(documents, nbits=nbits)


class Searcher:
    """A loaded index."""

    def __init__(self, folder: Path, threads: int) -> None:
        import torch
        from fast_plaid import search

        torch.set_num_threads(threads)
        self._torch = torch
        self._threads = threads
        self._index = search.FastPlaid(index=str(folder / "index"), device="cpu")

    def search(self, query: NDArray[np.float32], k: int, **settings: object) -> list[int]:
        """Search with torch's threads."""
        return self._search([query], k, n_processes=1, **settings)[0]

    def search_all(
        self, queries: list[NDArray[np.float32]], k: int, **settings: object
    ) -> list[list[int]]:
        """Search with as many workers as there are threads."""
        return self._search(queries, k, n_processes=self._threads, **settings)

    def _search(
        self, queries: list[NDArray[np.float32]], k: int, **settings: object
    ) -> list[list[int]]:
        tensors = [self._torch.from_numpy(np.ascontiguousarray(query)) for query in queries]
        found = self._index.search(tensors, top_k=k, show_progress=False, **settings)
        return [[passage for passage, _ in ranking] for ranking in found]


open_index = Searcher
