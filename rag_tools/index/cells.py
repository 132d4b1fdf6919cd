"""What gather does with cells, in plain NumPy: the reference for every faster kernel.

A cell is a centroid together with the passages that have a token assigned to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.codebook import Codebook
from rag_tools.index.segment import Segment


@dataclass(frozen=True, slots=True, eq=False)
class Gathering:
    """What gather is given: a query, the cells of an index, and how far to look.

    A place is the number of a segment in `segments` and a position in that segment.

    Attributes
    ----------
    codebook
        The centroids, shared by all segments.
    vectors
        ``(n_query_tokens, dim)`` float32, unit rows.
    weights
        ``(n_query_tokens,)`` float32.
    sizes
        ``(n_centroids,)`` int64: number of passages in each cell, over all segments.
    segments
        The segments of the snapshot.
    selected
        ``(n_passages,)`` bool for each segment: the passages that may be returned.
    boosted, boosts
        ``(n, 2)`` int64 distinct places, and the ``(n,)`` float32 scores that they start with.
    reach
        Number of passages that the cells visited for a query token hold together, at least.
    wanted
        Maximum number of passages to return.
    """

    codebook: Codebook
    vectors: NDArray[np.float32]
    weights: NDArray[np.float32]
    sizes: NDArray[np.int64]
    segments: Sequence[Segment]
    selected: Sequence[NDArray[np.bool_]]
    boosted: NDArray[np.int64]
    boosts: NDArray[np.float32]
    reach: int
    wanted: int


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
    """Return vectors as gather reads them: each value rounded to 127ths of its vector's largest.

    That is precise enough to tell which centroids are near, and halves the arithmetic.
    """
    largest = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), np.float32(1e-30))
    return np.asarray(np.rint(vectors / largest * 127) * (largest / 127))


def gather(similarity: NDArray[np.float32], given: Gathering) -> NDArray[np.int64]:
    """Return the places of the selected passages that look best by their centroids.

    Every query token visits cells in descending order of similarity until they hold
    `Gathering.reach` passages. A passage takes the similarity of the first cell in which it is
    met. A passage that isn't met is credited with the similarity at the frontier, an upper bound
    on what it missed (the missing-similarity estimate of WARP, Scheerer et al. 2025). Only what
    exceeds the frontier is summed, so a passage that is never met scores 0. Ties are broken by
    place.

    Parameters
    ----------
    similarity
        ``(n_query_tokens, n_centroids)`` float32: similarities of the query tokens, as `in_bytes`
        rounds them, to the centroids.
    given
        Everything else.

    Returns
    -------
    NDArray
        ``(n, 2)`` int64 places in ascending order, `Gathering.wanted` at most.
    """
    scores = [np.zeros(len(segment), np.float32) for segment in given.segments]
    for number, segment_scores in enumerate(scores):
        here = given.boosted[:, 0] == number
        segment_scores[given.boosted[here, 1]] = given.boosts[here]
    for row, weight in zip(similarity, given.weights, strict=True):
        visited = nearest_cells(row, given.sizes, given.reach)
        gains = (row[visited] - row[visited[-1]]) * weight
        for segment, segment_scores in zip(given.segments, scores, strict=True):
            credit(segment_scores, segment, visited, gains)
    places = np.concatenate(
        [
            np.stack([np.full(np.count_nonzero(bitmap), number), np.flatnonzero(bitmap)], axis=1)
            for number, bitmap in enumerate(given.selected)
        ]
    )
    flat = np.concatenate([own[bitmap] for own, bitmap in zip(scores, given.selected, strict=True)])
    best = np.argsort(-flat, kind="stable")[: given.wanted]
    return places[np.sort(best)].astype(np.int64)


def nearest_cells(
    similarity: NDArray[np.float32], sizes: NDArray[np.int64], reach: int
) -> NDArray[np.int64]:
    """Return the most similar cells, as many as it takes to reach `reach` passages; ties by number.

    Parameters
    ----------
    similarity
        ``(n_centroids,)`` float32: similarities of one query token.
    sizes
        ``(n_centroids,)`` int64: number of passages in each cell.
    reach
        Number of passages that the cells returned hold together, at least, if all cells hold that
        many.

    Returns
    -------
    NDArray
        ``(n,)`` int64 cells, the most similar first.
    """
    most = min(1024, len(similarity))
    while True:
        top = np.argpartition(-similarity, most - 1)[:most]
        # argpartition leaves out arbitrary ones of several equal cells: take all of them.
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
        ``(n,)`` int64 distinct cells, the most similar first.
    gains
        ``(n,)`` float32 gains of these cells, in descending order.
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
