"""The hot stages of a search, run by the fastest kernel of this machine.

The kernels are the native ones that were built (see ``native/kernel.h``), and ``numpy``: the
functions of `rag_tools.index.cells` and `rag_tools.index.maxsim`, which define what the stages
compute and run where there was no compiler. Native kernels round the query to 16 bits and lose
nothing else: their scores are within 1e-5 of NumPy's, and are the same for every instruction set
and number of threads.

`rag_tools.index.dispatch` decides which kernel runs, and on how many threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from rag_tools.index import cells, maxsim
from rag_tools.index.cells import Gathering
from rag_tools.index.codebook import Codebook
from rag_tools.index.dispatch import kernel as _kernel
from rag_tools.index.dispatch import native as _native
from rag_tools.index.dispatch import thread_count
from rag_tools.index.segment import Segment


def centroid_scores(codebook: Codebook, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """See `rag_tools.index.cells.centroid_scores`."""
    kernel = _kernel()
    if kernel is None:
        return cells.centroid_scores(codebook, vectors)
    return kernel.centroid_scores(_codebook(codebook), _floats(vectors), thread_count())


def gather(given: Gathering) -> NDArray[np.int64]:
    """See `rag_tools.index.cells.gather`; this computes the similarities to centroids as well."""
    kernel = _kernel()
    if kernel is None:
        similarity = cells.centroid_scores(given.codebook, cells.in_bytes(given.vectors))
        return cells.gather(similarity, given)
    return kernel.gather(
        codebook=_codebook(given.codebook),
        vectors=_floats(given.vectors),
        weights=_floats(given.weights),
        sizes=given.sizes,
        segments=[_segment(segment) for segment in given.segments],
        selected=list(given.selected),
        boosted=np.ascontiguousarray(given.boosted),
        boosts=_floats(given.boosts),
        reach=given.reach,
        wanted=given.wanted,
        threads=thread_count(),
    )


def refine(
    segments: Sequence[Segment],
    vectors: NDArray[np.float32],
    weights: NDArray[np.float32],
    places: NDArray[np.int64],
    priors: NDArray[np.float64],
    *,
    limit: int,
    slack: float,
) -> NDArray[np.float32]:
    """Return the weighted MaxSim of each passage, see `rag_tools.index.maxsim.refine`.

    The score is minus infinity for a passage that is sure not to be among the best: one whose sum
    of MaxSim and prior is more than `slack` below the `limit` best sums. A kernel may tell so from
    a coarser, cheaper score and its error bound (`coarse_error` in ``native/search.cpp``).

    Parameters
    ----------
    priors
        ``(n,)`` float64: the other signals, which are added to MaxSim before ranking.
    limit
        Number of passages that the search returns.
    slack
        Difference below which two sums count as a tie.
    """
    kernel = _kernel()
    if kernel is None:
        return maxsim.refine(segments, vectors, weights, places)
    return kernel.refine(
        [_segment(segment) for segment in segments],
        _floats(vectors),
        _floats(weights),
        np.ascontiguousarray(places),
        priors,
        limit,
        slack,
        thread_count(),
    )


def similarities(
    segment: Segment, vectors: NDArray[np.float32], position: int
) -> NDArray[np.float32]:
    """See `rag_tools.index.maxsim.similarities`."""
    kernel = _kernel()
    if kernel is None:
        return maxsim.similarities(segment, vectors, position)
    return kernel.similarities(_segment(segment), _floats(vectors), position)


def _floats(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, dtype=np.float32)


def _codebook(codebook: Codebook) -> _native.Codebook:
    native = _codebooks.get(codebook)
    if native is None:
        codec = codebook.codec
        native = _codebooks[codebook] = _native.Codebook(
            codebook.quantized, codebook.scales, codec.values, codec.steps, codec.bits
        )
    return native


def _segment(segment: Segment) -> _native.Segment:
    native = _segments.get(segment)
    if native is None:
        native = _segments[segment] = _native.Segment(
            _codebook(segment.codebook),
            segment.token_offsets,
            segment.centroids,
            segment.packed_codes,
            segment.gains,
            segment.inverse_norms.view(np.uint16),
            segment.cells,
            segment.cell_offsets,
            segment.cell_passages,
        )
    return native


# Handing over the arrays takes 8 µs per segment. The native codebook keeps the copy that gather
# makes of the centroids in the order of a register's lanes: 7 MB and 3 ms for 54,000 centroids.
_codebooks: WeakKeyDictionary[Codebook, _native.Codebook] = WeakKeyDictionary()
_segments: WeakKeyDictionary[Segment, _native.Segment] = WeakKeyDictionary()
