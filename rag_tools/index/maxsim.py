"""MaxSim over a segment, in plain NumPy: the reference for every faster kernel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.segment import Segment

_RUN_TOKENS = 8192  # decoded at a time; 4 MB of floats at 128 dimensions stay in the cache


def maxsim(
    segment: Segment,
    vectors: NDArray[np.float32],
    weights: NDArray[np.float32],
    positions: NDArray[np.intp],
) -> NDArray[np.float32]:
    """Return the weighted MaxSim of each passage.

    Parameters
    ----------
    vectors
        ``(n_query_tokens, dim)`` float32, unit rows.
    weights
        ``(n_query_tokens,)`` float32.
    positions
        ``(n,)`` positions in the segment, in ascending order.

    Returns
    -------
    NDArray
        ``(n,)`` float32.
    """
    scores = np.empty(len(positions), dtype=np.float32)
    offsets = segment.token_offsets
    for low, high in _runs(positions, offsets):
        first, last = int(offsets[positions[low]]), int(offsets[positions[high - 1] + 1])
        similarity = vectors @ segment.vectors(first, last).T  # (n_query_tokens, last - first)
        starts = offsets[positions[low:high]] - first
        scores[low:high] = weights @ np.maximum.reduceat(similarity, starts, axis=1)
    return scores


def refine(
    segments: Sequence[Segment],
    vectors: NDArray[np.float32],
    weights: NDArray[np.float32],
    places: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Return the weighted MaxSim of passages in several segments.

    Parameters
    ----------
    places
        ``(n, 2)`` places in ascending order: numbers of segments and positions in them.

    Returns
    -------
    NDArray
        ``(n,)`` float32.
    """
    scores = np.empty(len(places), dtype=np.float32)
    for number in np.unique(places[:, 0]):
        here = places[:, 0] == number
        scores[here] = maxsim(segments[number], vectors, weights, places[here, 1])
    return scores


def similarities(
    segment: Segment, vectors: NDArray[np.float32], position: int
) -> NDArray[np.float32]:
    """Return the similarity of every query token to every token of one passage.

    Returns
    -------
    NDArray
        ``(n_query_tokens, n_passage_tokens)`` float32.
    """
    first, last = (int(end) for end in segment.token_offsets[position : position + 2])
    return np.asarray(vectors @ segment.vectors(first, last).T)


def _runs(positions: NDArray[np.intp], offsets: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield ranges of `positions` that are adjacent and have a limited number of tokens."""
    low = 0
    for high in range(1, len(positions) + 1):
        if (
            high == len(positions)
            or positions[high] != positions[high - 1] + 1
            or offsets[positions[high] + 1] - offsets[positions[low]] > _RUN_TOKENS
        ):
            yield low, high
            low = high
