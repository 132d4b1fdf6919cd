"""Kernels that score every passage: NumPy, torch, maxsim-cpu and NumKong, each the fastest way."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from embeddings import Passages
from numpy.typing import NDArray

from engines import Index

Scorer = Callable[[NDArray[np.float32]], NDArray[np.float32]]

ENVIRONMENT = "kernels"
SMALL = True
INDEXES = {
    name: Index({"kernel": name}, [{}])
    for name in ("numpy", "torch", "maxsim-cpu", "numkong float32", "numkong float16")
}


def build(passages: Passages, folder: Path, *, kernel: str) -> None:
    """Save the vectors in the kernel's type."""
    dtype = np.float16 if kernel.endswith("float16") else np.float32
    np.save(folder / "vectors.npy", passages.vectors.astype(dtype))
    np.save(folder / "offsets.npy", passages.offsets)
    (folder / "kernel").write_text(kernel)


class Searcher:
    """Vectors in memory."""

    def __init__(self, folder: Path, threads: int) -> None:
        vectors, offsets = np.load(folder / "vectors.npy"), np.load(folder / "offsets.npy")
        kernel, _, _ = (folder / "kernel").read_text().partition(" ")
        self._score = _KERNELS[kernel](vectors, offsets, threads)

    def search(self, query: NDArray[np.float32], k: int) -> NDArray[np.intp]:
        """Score all, keep the best."""
        scores = self._score(query)
        best = np.argpartition(-scores, min(k, len(scores) - 1))[:k]
        return best[np.argsort(-scores[best], kind="stable")]


open_index = Searcher


def _numpy(vectors: NDArray[np.float32], offsets: NDArray[np.int64], threads: int) -> Scorer:
    def score(query: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.maximum.reduceat(query @ vectors.T, offsets[:-1], axis=1).sum(axis=0)

    return score


def _torch(vectors: NDArray[np.float32], offsets: NDArray[np.int64], threads: int) -> Scorer:
    import torch

    torch.set_num_threads(threads)
    tokens, sizes = torch.from_numpy(vectors), np.diff(offsets)
    # Passages of about one length together: padding costs a few per cent, and no mask is needed
    # if a passage is padded with its own first token. With 14 query tokens on one thread this takes
    # 10.7 ms for 1,000 passages, the product the other way round 20.6, segment_reduce 18.2,
    # scatter_reduce 11.3.
    order = np.argsort(sizes, kind="stable")
    groups = []
    for positions in np.array_split(order, max(len(order) // 32, 1)):
        columns = np.arange(sizes[positions].max())
        columns = np.where(columns < sizes[positions, None], columns, 0)
        groups.append(tokens[torch.from_numpy(offsets[positions, None] + columns)])

    @torch.inference_mode()
    def score(query: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = torch.from_numpy(np.ascontiguousarray(query))
        scores = np.empty(len(order), np.float32)
        scores[order] = torch.cat([(rows @ g.mT).amax(dim=2).sum(dim=1) for g in groups]).numpy()
        return scores

    return score


def _maxsim_cpu(vectors: NDArray[np.float32], offsets: NDArray[np.int64], threads: int) -> Scorer:
    import maxsim_cpu

    documents = np.split(vectors, offsets[1:-1])

    def score(query: NDArray[np.float32]) -> NDArray[np.float32]:
        # Its scores of longer queries are wrong.
        pieces = [query[first : first + 32] for first in range(0, len(query), 32)]
        scored = [
            maxsim_cpu.maxsim_scores_variable(np.ascontiguousarray(piece), documents)
            for piece in pieces
        ]
        return np.sum(scored, axis=0, dtype=np.float32)

    return score


def _numkong(
    vectors: NDArray[np.float32] | NDArray[np.float16], offsets: NDArray[np.int64], threads: int
) -> Scorer:
    import numkong

    dtype = "f16" if vectors.dtype == np.float16 else "f32"
    documents = [
        numkong.maxsim_pack(rows, dtype=dtype) for rows in np.split(vectors, offsets[1:-1])
    ]
    bounds = np.linspace(0, len(documents), threads + 1).astype(int)
    shares = [documents[low:high] for low, high in pairwise(bounds)]
    pool = ThreadPoolExecutor(threads)

    def score(query: NDArray[np.float32]) -> NDArray[np.float32]:
        packed = numkong.maxsim_pack(query.astype(vectors.dtype), dtype=dtype)

        def run(share: list[object]) -> list[float]:
            return [numkong.maxsim_packed(packed, document) for document in share]

        shared = pool.map(run, shares) if threads > 1 else map(run, shares)
        # It returns a sum of distances.
        return -np.fromiter(chain.from_iterable(shared), np.float32, len(documents))

    return score


_KERNELS = {"numpy": _numpy, "torch": _torch, "maxsim-cpu": _maxsim_cpu, "numkong": _numkong}
