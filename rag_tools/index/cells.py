"""What gather does with cells, in plain NumPy: the reference for every faster kernel.

A cell is a centroid and the passages that hold it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.codebook import Codebook
from rag_tools.index.segment import Segment


def centroid_scores(codebook: Codebook, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the similarity of every query token to every centroid.

    Parameters
    ----------
    vectors
        ``(n_query_tokens, dim)`` float32, unit rows.

    Returns
    -------
    NDArray
        ``(n_query_tokens, n_centroids)`` float32.
    """
    return np.asarray(vectors @ codebook.centroids.T)


def in_bytes(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors as gather reads them: values in 127ths of the largest of their vector.

    It is enough to tell which centroids are near, at half the arithmetic.
    """
    largest = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), np.float32(1e-30))
    return np.asarray(np.rint(vectors / largest * 127) * (largest / 127))


def gather(
    similarity: NDArray[np.float32],
    weights: NDArray[np.float32],
    sizes: NDArray[np.int64],
    segments: Sequence[Segment],
    selected: Sequence[NDArray[np.bool_]],
    boosted: NDArray[np.int64],
    boosts: NDArray[np.float32],
    *,
    reach: int,
    wanted: int,
) -> NDArray[np.int64]:
    """Return the places of the `wanted` selected passages that look best by their centroids.

    Every query token visits cells in order of falling similarity until they hold `reach`
    passages. A passage takes the similarity of the first cell it is met in; one that isn't met
    is credited with the similarity at the frontier, an upper bound on what it missed
    (the missing-similarity estimate of WARP, Scheerer et al. 2025). Only what exceeds the
    frontier is summed, so a passage never met scores 0. Ties by place.

    Parameters
    ----------
    similarity
        ``(n_query_tokens, n_centroids)`` float32.
    weights
        ``(n_query_tokens,)`` float32.
    sizes
        ``(n_centroids,)`` int64: passages in each cell, over segments.
    selected
        ``(n_passages,)`` bool for each segment: those that may be returned.
    boosted, boosts
        ``(n, 2)`` distinct places and the ``(n,)`` float32 that they start with.

    Returns
    -------
    NDArray
        ``(n, 2)`` int64 places, rising: the number of the segment and the position.
    """
    scores = [np.zeros(len(segment), np.float32) for segment in segments]
    for number, segment_scores in enumerate(scores):
        here = boosted[:, 0] == number
        segment_scores[boosted[here, 1]] = boosts[here]
    for row, weight in zip(similarity, weights, strict=True):
        visited = nearest_cells(row, sizes, reach)
        gains = (row[visited] - row[visited[-1]]) * weight
        for segment, segment_scores in zip(segments, scores, strict=True):
            credit(segment_scores, segment, visited, gains)
    places = np.concatenate(
        [
            np.stack([np.full(np.count_nonzero(bitmap), number), np.flatnonzero(bitmap)], axis=1)
            for number, bitmap in enumerate(selected)
        ]
    )
    flat = np.concatenate([own[bitmap] for own, bitmap in zip(scores, selected, strict=True)])
    best = np.argsort(-flat, kind="stable")[:wanted]
    return places[np.sort(best)].astype(np.int64)


def nearest_cells(
    similarity: NDArray[np.float32], sizes: NDArray[np.int64], reach: int
) -> NDArray[np.int64]:
    """Return cells by falling similarity, ties by number, until they hold `reach` passages.

    Parameters
    ----------
    similarity
        ``(n_centroids,)`` float32 of one query token.
    sizes
        ``(n_centroids,)`` int64: passages in each cell.
    """
    most = min(1024, len(similarity))
    while True:
        top = np.argpartition(-similarity, most - 1)[:most]
        # Which of several equal ones argpartition leaves out is arbitrary: take them all.
        top = np.flatnonzero(similarity >= similarity[top].min())
        top = top[np.lexsort((top, -similarity[top]))]
        reached = np.cumsum(sizes[top])
        if reached[-1] >= reach or most == len(similarity):
            return top[: int(np.searchsorted(reached, reach)) + 1].astype(np.int64)
        most = min(4 * most, len(similarity))


def credit(
    scores: NDArray[np.float32],
    segment: Segment,
    visited: NDArray[np.int64],
    gains: NDArray[np.float32],
) -> None:
    """Add to each passage of a segment the gain of the first visited cell that holds it.

    Parameters
    ----------
    scores
        ``(n_passages,)`` float32, changed in place.
    visited
        ``(n,)`` int64 distinct cells.
    gains
        ``(n,)`` float32, falling.
    """
    cells, offsets = segment.cells, segment.cell_offsets
    at = np.minimum(np.searchsorted(cells, visited), len(cells) - 1)
    present = cells[at] == visited
    at, gains = at[present], gains[present]
    if not len(at):
        return
    sizes = (offsets[at + 1] - offsets[at]).astype(np.int64)
    ends = np.cumsum(sizes)
    rows = np.repeat(offsets[at].astype(np.int64) - (ends - sizes), sizes) + np.arange(ends[-1])
    # A passage's first cell is its best one: np.unique keeps the first occurrence.
    members, first = np.unique(segment.cell_passages[rows], return_index=True)
    scores[members] += np.repeat(gains, sizes)[first]
