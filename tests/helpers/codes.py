"""Residual codes that no data made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.residual import parts


def random_codes(rng: np.random.Generator, n: int, dim: int, bits: int) -> NDArray[np.uint8]:
    """Draw the codes of `n` tokens, each below two to the bits of its part."""
    every = [
        rng.integers(0, 1 << part.bits, (n, part.dims.stop - part.dims.start))
        for part in parts(dim, bits)
    ]
    return np.concatenate(every, axis=1).astype(np.uint8)
