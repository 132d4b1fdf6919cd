"""The hot stages of a search, run by the fastest kernel of this machine.

Kernels are the native ones that were built (see ``native/kernel.h``) and ``numpy``, which is
`rag_tools.index.cells` and `rag_tools.index.maxsim`: what the stages mean, and what runs where no
compiler was found. Native kernels take the query in 16 bits and otherwise lose nothing: scores
are within 1e-5 of NumPy's, and the same whatever the instruction set or number of threads.

``RAG_TOOLS_KERNEL`` names the kernel to use. ``RAG_TOOLS_THREADS`` is how many threads a large
search may use; all the process may run on if unset.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import cache
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from rag_tools.cores import available_cores
from rag_tools.errors import ConfigurationError
from rag_tools.index import cells, maxsim
from rag_tools.index.codebook import Codebook
from rag_tools.index.segment import Segment

try:
    import rag_tools.index._native as _native
except ModuleNotFoundError:
    # Installed without a compiler; `kernel_name` says so.
    _native = None  # type: ignore[assignment]

_NUMPY = "numpy"


def kernel_names() -> list[str]:
    """Return the kernels that can run here, fastest first."""
    return [*(() if _native is None else _native.available()), _NUMPY]


def kernel_name() -> str:
    """Return the kernel in use: ``avx512vnni``, ``avx2``, ``neon``, ``scalar`` or ``numpy``.

    Raises
    ------
    ConfigurationError
        If ``RAG_TOOLS_KERNEL`` names one that can't run here.
    """
    names = kernel_names()
    name = os.environ.get("RAG_TOOLS_KERNEL") or names[0]
    if name not in names:
        raise ConfigurationError(
            f"RAG_TOOLS_KERNEL={name}: this machine and build have {', '.join(names)}"
        )
    return name


def thread_count() -> int:
    """Return how many threads a large search of this thread may use.

    Raises
    ------
    ConfigurationError
        If ``RAG_TOOLS_THREADS`` isn't a positive number.
    """
    if getattr(_own, "one_thread", False):
        return 1
    value = os.environ.get("RAG_TOOLS_THREADS")
    if not value:
        return available_cores()
    if not value.isdecimal() or int(value) < 1:
        raise ConfigurationError(f"RAG_TOOLS_THREADS={value}: give a number from 1 on")
    return int(value)


def use_one_thread() -> None:
    """Run what this thread searches from now on without helpers: it is one of several."""
    _own.one_thread = True


_own = threading.local()


def centroid_scores(codebook: Codebook, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """See `rag_tools.index.cells.centroid_scores`."""
    kernel = _kernel()
    if kernel is None:
        return cells.centroid_scores(codebook, vectors)
    return kernel.centroid_scores(_codebook(codebook), _floats(vectors), thread_count())


def gather(
    codebook: Codebook,
    vectors: NDArray[np.float32],
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
    """See `rag_tools.index.cells.gather`; this computes the similarities to centroids too."""
    kernel = _kernel()
    if kernel is None:
        similarity = cells.centroid_scores(codebook, vectors)
        return cells.gather(
            similarity,
            weights,
            sizes,
            segments,
            selected,
            boosted,
            boosts,
            reach=reach,
            wanted=wanted,
        )
    return kernel.gather(
        _codebook(codebook),
        _floats(vectors),
        _floats(weights),
        sizes,
        [_segment(segment) for segment in segments],
        list(selected),
        np.ascontiguousarray(boosted),
        _floats(boosts),
        reach,
        wanted,
        thread_count(),
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

    Or minus infinity where MaxSim plus prior is more than `slack` below the `limit` best such
    sums: a kernel may find that out by a coarser, cheaper score and its bound (`coarse_error` in
    ``native/search.cpp``), and leave it at that.

    Parameters
    ----------
    priors
        ``(n,)`` float64: what is added to MaxSim before ranking.
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


def _kernel() -> _native.Kernel | None:
    name = kernel_name()
    return None if name == _NUMPY else _named(name)


@cache
def _named(name: str) -> _native.Kernel:
    return _native.Kernel(name)


def _floats(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, dtype=np.float32)


def _codebook(codebook: Codebook) -> _native.Codebook:
    return _native.Codebook(
        codebook.quantized, codebook.scales, codebook.codec.values, codebook.codec.steps
    )


def _segment(segment: Segment) -> _native.Segment:
    native = _segments.get(segment)
    if native is None:
        native = _segments[segment] = _native.Segment(
            _codebook(segment.codebook),
            segment.token_offsets,
            segment.centroids,
            segment.packed_codes,
            segment.inverse_norms.view(np.uint16),
            segment.cells,
            segment.cell_offsets,
            segment.cell_passages,
        )
    return native


# Handing over the arrays takes 8 µs a segment.
_segments: WeakKeyDictionary[Segment, _native.Segment] = WeakKeyDictionary()
