"""Saved token embeddings, as every engine and its environment reads them: NumPy alone.

`embed.py` writes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

QUERIES = "queries.npz"


@dataclass(frozen=True)
class Passages:
    """Embeddings of passages, one after the other.

    Attributes
    ----------
    vectors
        ``(n_tokens, dim)`` float16, unit rows.
    token_ids
        ``(n_tokens,)`` int32.
    spans
        ``(n_tokens, 2)`` int32.
    sizes
        ``(n_passages,)`` int64: tokens of each passage.
    pooled
        ``(n_passages, pooled_dim)`` float32.
    """

    vectors: NDArray[np.float16]
    token_ids: NDArray[np.int32]
    spans: NDArray[np.int32]
    sizes: NDArray[np.int64]
    pooled: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """``(n_passages + 1,)`` int64: where each passage's tokens start."""
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)

    def take(self, positions: NDArray[np.intp]) -> Passages:
        """Return some of the passages, in the order given."""
        sizes = self.sizes[positions]
        ends = np.cumsum(sizes)
        rows = np.repeat(self.offsets[positions] - (ends - sizes), sizes)
        rows += np.arange(ends[-1] if len(ends) else 0)
        return Passages(
            self.vectors[rows],
            self.token_ids[rows],
            self.spans[rows],
            sizes,
            self.pooled[positions],
        )


def count_passages(folder: Path) -> int:
    """Return how many passages are saved."""
    n = 0
    for path in _parts(folder):
        with np.load(path) as part:
            n += len(part["sizes"])
    return n


def stream_passages(folder: Path, *, limit: int | None = None) -> Iterator[Passages]:
    """Yield the passages file by file: all, or `limit` of them spread evenly over the corpora."""
    total = count_passages(folder)
    chosen = np.arange(total)
    if limit is not None and limit < total:
        chosen = chosen[np.linspace(0, total - 1, limit).astype(np.intp)]
    first = 0
    for path in _parts(folder):
        with np.load(path) as part:
            passages = Passages(
                part["vectors"],
                part["token_ids"].astype(np.int32),
                part["spans"],
                part["sizes"].astype(np.int64),
                part["pooled"],
            )
        low, high = np.searchsorted(chosen, [first, first + len(passages)])
        if low < high:
            yield passages.take(chosen[low:high] - first)
        first += len(passages)


def read_passages(folder: Path, *, limit: int | None = None) -> Passages:
    """Return what `stream_passages` yields as one."""
    return join(list(stream_passages(folder, limit=limit)))


def join(parts: list[Passages]) -> Passages:
    """Return passages one after the other."""
    return Passages(
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.token_ids for part in parts]),
        np.concatenate([part.spans for part in parts]),
        np.concatenate([part.sizes for part in parts]),
        np.concatenate([part.pooled for part in parts]),
    )


def read_queries(folder: Path) -> list[NDArray[np.float32]]:
    """Return the embeddings of the queries, ``(n_query_tokens, dim)`` each, in mixed order.

    They are saved corpus by corpus; mixed, so that the first few stand for all.
    """
    with np.load(folder / QUERIES) as saved:
        queries = np.split(saved["vectors"], np.cumsum(saved["sizes"])[:-1])
    return [queries[row] for row in np.random.default_rng(0).permutation(len(queries))]


def _parts(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("part-*.npz"))
    if not paths:
        raise SystemExit(f"{folder} holds no part-*.npz: make them with embed.py")
    return paths
