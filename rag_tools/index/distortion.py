"""Measuring the loss of compression: stored tokens against their embeddings.

The loss is measured on a sample whenever a segment is made, and kept in the segment's header, so
that an index can report how exact it is. Nothing here changes what is stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.codebook import Codebook

# Numbers of passages and of queries in a sample; a query is the first tokens of a passage. It takes
# 30 ms to measure, and 50 s to encode the batch of 4096 passages that the sample stands for.
_PASSAGES = 200
_QUERIES = 8
_QUERY_TOKENS = 32
_TOKENS = 20_000  # in a sample of residuals


class Loss(NamedTuple):
    """The difference between stored tokens and their embeddings.

    Attributes
    ----------
    cosine
        Mean cosine between an embedding and its restored value.
    maxsim
        Mean absolute error of MaxSim, as a mean over query tokens.
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
    """Return the loss of compressing some passages, on an even sample; None without tokens.

    Parameters
    ----------
    vectors
        ``(n_tokens, dim)`` float16 or float32, unit rows: the embeddings.
    offsets, centroids, codes, gains, inverse_norms
        The compressed embeddings, as in `rag_tools.index.segment.Tokens`.
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


def residual_energy(
    codebook: Codebook, vectors: NDArray[np.floating[Any]], centroids: NDArray[np.int32]
) -> float | None:
    """Return the mean squared distance of embeddings from their centroids, on an even sample.

    None without embeddings. Compared with `Codebook.energy`, it tells how well a codebook fits what
    it wasn't trained on.
    """
    if not len(vectors):
        return None
    rows = _evenly(len(vectors), _TOKENS)
    residuals = vectors[rows].astype(np.float32) - codebook.centroids[centroids[rows]]
    return float(np.einsum("ij,ij->", residuals, residuals)) / len(rows)


def mean_energy(energies: Iterable[tuple[float | None, int]]) -> float | None:
    """Return the mean of energies, weighted by numbers of tokens; None if there are none."""
    known = [(energy, tokens) for energy, tokens in energies if energy is not None and tokens]
    total = sum(tokens for _, tokens in known)
    return sum(energy * tokens for energy, tokens in known) / total if total else None


def mean(losses: Iterable[tuple[Loss | None, int]]) -> Loss | None:
    """Return the mean of losses, weighted by numbers of tokens; None if there are none."""
    weighted = [(loss, tokens) for loss, tokens in losses if loss is not None and tokens]
    total = sum(tokens for _, tokens in weighted)
    if not total:
        return None
    return Loss(*(sum(loss[at] * n for loss, n in weighted) / total for at in range(2)))


def _evenly(n: int, wanted: int) -> NDArray[np.intp]:
    """Return at most `wanted` evenly spread numbers below `n`."""
    return np.unique(np.linspace(0, n - 1, wanted).astype(np.intp))
