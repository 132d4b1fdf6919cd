"""Scores of passages by a teacher, as `mine` and `teacher` share them. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
"""``(n_passages,)`` float32: of the passages of one query."""


class Teacher(Protocol):
    """Scores candidates for queries."""

    def __call__(self, queries: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[Scores]:
        """Return for each query the scores of its candidates, ``(n_candidates,)`` each."""


def normalised(scores: Scores) -> Scores:
    """Return scores with mean 0 and deviation 1; equal scores are all 0.

    Examples
    --------
    >>> normalised(np.array([1.0, 3.0], np.float32))
    array([-1.,  1.], dtype=float32)
    """
    deviation = scores.std()
    result: Scores = (scores - scores.mean()) / (deviation if deviation > 0 else 1)
    return result
