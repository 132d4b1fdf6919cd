"""What gather does with cells, in plain NumPy: the reference for every faster kernel.

A cell is a centroid and the passages that hold it.
"""

from __future__ import annotations

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
