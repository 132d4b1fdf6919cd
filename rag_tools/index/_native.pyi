"""The native kernels; the sources are in ``native/``. Use them through `rag_tools.index.kernels`.

Arrays must have the types given and be C-contiguous: nothing is converted, for that would copy
a mapped file. A disagreement in shape raises ValueError, an index that points outside another
array IndexError.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

def available() -> list[str]:
    """Return the instruction sets that were built and that this processor has, fastest first."""

def missing_instructions() -> list[str]:
    """Return what the second level of x86-64 has and this processor lacks; nothing elsewhere."""

class Codebook:
    """The arrays of a codebook."""

    def __init__(
        self,
        quantized: NDArray[np.int8],
        scales: NDArray[np.float32],
        values: NDArray[np.int8],
        steps: NDArray[np.float32],
        bits: int,
    ) -> None: ...

class Segment:
    """The arrays of a segment; inverse norms are the bits of float16."""

    def __init__(
        self,
        codebook: Codebook,
        token_offsets: NDArray[np.int64],
        centroids: NDArray[np.uint16] | NDArray[np.uint32],
        codes: NDArray[np.uint8],
        gains: NDArray[np.uint8],
        inverse_norms: NDArray[np.uint16],
        cells: NDArray[np.uint32],
        cell_offsets: NDArray[np.uint32],
        cell_passages: NDArray[np.uint16] | NDArray[np.uint32],
    ) -> None: ...

class Kernel:
    """One instruction set; ValueError if this machine hasn't got it."""

    def __init__(self, name: str) -> None: ...
    @property
    def name(self) -> str: ...
    def centroid_scores(
        self, codebook: Codebook, vectors: NDArray[np.float32], threads: int
    ) -> NDArray[np.float32]: ...
    def gather(
        self,
        codebook: Codebook,
        vectors: NDArray[np.float32],
        weights: NDArray[np.float32],
        sizes: NDArray[np.int64],
        segments: list[Segment],
        selected: list[NDArray[np.bool_]],
        boosted: NDArray[np.int64],
        boosts: NDArray[np.float32],
        reach: int,
        wanted: int,
        threads: int,
    ) -> NDArray[np.int64]: ...
    def refine(
        self,
        segments: list[Segment],
        vectors: NDArray[np.float32],
        weights: NDArray[np.float32],
        places: NDArray[np.int64],
        priors: NDArray[np.float64],
        limit: int,
        slack: float,
        threads: int,
    ) -> NDArray[np.float32]: ...
    def similarities(
        self, segment: Segment, vectors: NDArray[np.float32], position: int
    ) -> NDArray[np.float32]: ...

def assign(
    kernel: str,
    vectors: NDArray[np.float32],
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    firsts: NDArray[np.int64],
    lasts: NDArray[np.int64],
    quantized: NDArray[np.int8],
    scales: NDArray[np.float32],
) -> NDArray[np.int32]:
    """Return the nearest centroid of each embedding among those of its group."""

def encode(
    vectors: NDArray[np.float32],
    nearest: NDArray[np.int32],
    quantized: NDArray[np.int8],
    scales: NDArray[np.float32],
    values: NDArray[np.int8],
    steps: NDArray[np.float32],
    bits: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
    """Return packed residual codes, ``(n, groups, 4)``, gains and inverse norms."""

def postings(
    ids: NDArray[np.int32], token_offsets: NDArray[np.int64], n_ids: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return where the passages of each id start, ``(n_ids + 1,)``, and the passages, rising."""

class Postings:
    """The arrays of a segment's lexical postings; numbers may be uint8, uint16 or uint32."""

    def __init__(
        self,
        terms: NDArray[np.uint8],
        term_offsets: NDArray[np.uint32],
        posting_offsets: NDArray[np.uint32],
        block_offsets: NDArray[np.uint32],
        block_last: NDArray[np.uint32],
        block_places: NDArray[np.uint32],
        block_frequency: NDArray[np.uint32],
        block_ratio: NDArray[np.float32],
        passages: NDArray[np.unsignedinteger[Any]],
        frequencies: NDArray[np.unsignedinteger[Any]],
        places: NDArray[np.unsignedinteger[Any]],
        lengths: NDArray[np.unsignedinteger[Any]],
    ) -> None: ...

class TermLists:
    """The passages that hold each of some phrases; see `rag_tools.index.lexical`."""

    def __init__(self, segments: list[Postings], phrases: list[list[bytes]]) -> None: ...
    def counts(self, live: list[NDArray[np.bool_] | None]) -> list[int]:
        """Return how many passages hold each phrase, of those marked; None: of all."""

    def best(
        self,
        numbers: list[int],
        weights: list[float],
        mean: float,
        selected: list[NDArray[np.bool_]],
        limit: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the places and scores of the best passages, see `rag_tools.index.lexical.bm25`.

        Raises
        ------
        ValueError
            If the arrays are damaged.
        """
