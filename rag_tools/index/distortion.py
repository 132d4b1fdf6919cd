"""What compression costs: stored tokens against the embeddings they were made from.

Measured whenever a segment is cut, on a sample, and kept in the segment's header, so that an
index can say how exact it is. Nothing here changes what is stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.codebook import Codebook

# Passages, and queries: the first tokens of some of the passages. 30 ms, where the batch of 4096
# passages that they stand for takes 50 s to encode.
_PASSAGES = 200
_QUERIES = 8
_QUERY_TOKENS = 32


class Loss(NamedTuple):
    """How far stored tokens are from the embeddings.

    Attributes
    ----------
    cosine
        Mean cosine of an embedding and what is restored of it.
    maxsim
        Mean absolute error of MaxSim, where a score is the mean over query tokens.
    """

    cosine: float
    maxsim: float


def measure(
    codebook: Codebook,
    vectors: NDArray[np.floating[Any]],
    offsets: NDArray[np.int64],
    centroids: NDArray[np.int32],
    codes: NDArray[np.uint8],
    gains: NDArray[np.uint8],
    inverse_norms: NDArray[np.float32],
) -> Loss | None:
    """Measure the loss of compressing a run of passages on an even sample; None of no tokens.

    Parameters
    ----------
    vectors
        ``(n_tokens, dim)`` float16 or float32, unit rows: what was compressed.
    offsets, centroids, codes, gains, inverse_norms
        What it was compressed to, as in `rag_tools.index.segment.Tokens`.
    """
    present = np.flatnonzero(np.diff(offsets))
    if not len(present):
        return None
    passages = present[_evenly(len(present), _PASSAGES)]
    rows = np.concatenate([np.arange(*offsets[p : p + 2]) for p in passages])
    exact = vectors[rows].astype(np.float32)
    restored = codebook.decode(centroids[rows], codes[rows], gains[rows], inverse_norms[rows])
    sizes = np.diff(offsets)[passages]
    starts = np.cumsum(sizes) - sizes
    asking = _evenly(len(passages), _QUERIES)
    errors = []
    for first, size in zip(starts[asking], sizes[asking], strict=True):
        query = exact[first : first + min(size, _QUERY_TOKENS)]  # (n_query_tokens, dim)
        scores = [
            np.maximum.reduceat(query @ tokens.T, starts, axis=1).mean(axis=0)
            for tokens in (exact, restored)
        ]
        errors.append(np.abs(scores[0] - scores[1]).mean())
    return Loss(
        cosine=float(np.einsum("ij,ij->i", exact, restored).mean()),
        maxsim=float(np.mean(errors)),
    )


def mean(losses: Iterable[tuple[Loss | None, int]]) -> Loss | None:
    """Return the mean of losses by the tokens each stands for; None of nothing measured."""
    weighted = [(loss, tokens) for loss, tokens in losses if loss is not None and tokens]
    total = sum(tokens for _, tokens in weighted)
    if not total:
        return None
    return Loss(*(sum(loss[at] * n for loss, n in weighted) / total for at in range(2)))


def _evenly(n: int, wanted: int) -> NDArray[np.intp]:
    """Return at most `wanted` numbers below `n`, evenly spread."""
    return np.unique(np.linspace(0, n - 1, wanted).astype(np.intp))
