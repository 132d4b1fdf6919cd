"""The hot stages of a search, run by the fastest kernel of this machine.

Kernels are the native ones that were built (see ``native/kernel.h``) and ``numpy``, which is
`rag_tools.index.cells` and `rag_tools.index.maxsim`: what the stages mean, and what runs where no
compiler was found. Native kernels take the query in 16 bits and otherwise lose nothing: scores
are within 1e-5 of NumPy's, and the same whatever the instruction set or number of threads.

Which one runs, and on how many threads, is `rag_tools.index.dispatch`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rag_tools.index import cells
from rag_tools.index import maxsim as reference
from rag_tools.index.codebook import Codebook
from rag_tools.index.dispatch import kernel as _kernel
from rag_tools.index.dispatch import native as _native
from rag_tools.index.dispatch import threads as _threads
from rag_tools.index.segment import Segment


def centroid_scores(codebook: Codebook, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """See `rag_tools.index.cells.centroid_scores`."""
    kernel = _kernel()
    if kernel is None:
        return cells.centroid_scores(codebook, vectors)
    return kernel.centroid_scores(_codebook(codebook), _floats(vectors), _threads())


def nearest_cells(
    similarity: NDArray[np.float32], sizes: NDArray[np.int64], reach: int
) -> NDArray[np.int64]:
    """See `rag_tools.index.cells.nearest_cells`."""
    if _kernel() is None:
        return cells.nearest_cells(similarity, sizes, reach)
    return _native.nearest_cells(_floats(similarity), sizes, reach)


def credit(
    scores: NDArray[np.float32],
    segment: Segment,
    visited: NDArray[np.int64],
    gains: NDArray[np.float32],
) -> None:
    """See `rag_tools.index.cells.credit`."""
    if _kernel() is None:
        return cells.credit(scores, segment, visited, gains)
    return _native.credit(
        scores, segment.cells, segment.cell_offsets, segment.cell_passages, visited, gains
    )


def maxsim(
    segment: Segment,
    vectors: NDArray[np.float32],
    weights: NDArray[np.float32],
    positions: NDArray[np.intp],
) -> NDArray[np.float32]:
    """See `rag_tools.index.maxsim.maxsim`."""
    kernel = _kernel()
    if kernel is None:
        return reference.maxsim(segment, vectors, weights, positions)
    return kernel.maxsim(
        _segment(segment),
        _floats(vectors),
        _floats(weights),
        np.ascontiguousarray(positions, dtype=np.int64),
        _threads(),
    )


def similarities(
    segment: Segment, vectors: NDArray[np.float32], position: int
) -> NDArray[np.float32]:
    """See `rag_tools.index.maxsim.similarities`."""
    kernel = _kernel()
    if kernel is None:
        return reference.similarities(segment, vectors, position)
    return kernel.similarities(_segment(segment), _floats(vectors), position)


def _floats(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, dtype=np.float32)


def _codebook(codebook: Codebook) -> _native.Codebook:
    return _native.Codebook(
        codebook.quantized, codebook.scales, codebook.codec.values, codebook.codec.steps
    )


def _segment(segment: Segment) -> _native.Segment:
    return _native.Segment(
        _codebook(segment.codebook),
        segment.token_offsets,
        segment.centroids,
        segment.packed_codes,
        segment.inverse_norms.view(np.uint16),
    )
