"""Significance of measures: intervals by bootstrap, and paired tests by randomisation.

Both treat the queries as a sample (Smucker, Allan and Carterette 2007). Values come in groups,
one for each data set; the statistic is the mean of the groups' means, so every data set weighs
alike, and queries are drawn, or signs changed, inside their group. One data set is one group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLES = 10_000
_BLOCK = 1000  # samples at a time: 8 MB for a thousand queries

Values = NDArray[np.float64]


class Interval(NamedTuple):
    """Bounds that contain the mean with a confidence of 95 %."""

    low: float
    high: float


def mean(groups: Sequence[Values]) -> float:
    """Return the mean of the groups' means."""
    return float(np.mean([values.mean() for values in groups]))


def bootstrap(groups: Sequence[Values], *, seed: int = 0, samples: int = SAMPLES) -> Interval:
    """Return the percentile interval of `mean` over samples of queries drawn with replacement.

    Parameters
    ----------
    groups
        ``(n_queries,)`` each: a measure, or the differences between two systems (the paired
        bootstrap).

    Examples
    --------
    >>> bootstrap([np.array([0.5, 0.5, 0.5])])
    Interval(low=0.5, high=0.5)
    """

    def means(generator: np.random.Generator, values: Values, n: int) -> Values:
        drawn = generator.integers(len(values), size=(n, len(values)))
        return np.asarray(values[drawn].mean(axis=1))

    low, high = np.percentile(_sampled(groups, means, seed, samples), [2.5, 97.5])
    return Interval(float(low), float(high))


def randomisation(differences: Sequence[Values], *, seed: int = 0, samples: int = SAMPLES) -> float:
    """Return the two-sided p of Fisher's paired randomisation test.

    If two systems were equally good, the sign of each query's difference would be random. The
    p-value is the share of samples with random signs whose mean is at least as far from zero as
    the observed mean. The observation counts as a sample, so p is at least ``1 / (samples + 1)``.

    Parameters
    ----------
    differences
        ``(n_queries,)`` each: the measure of one system minus that of the other.

    Examples
    --------
    >>> randomisation([np.zeros(3)])
    1.0
    """

    def means(generator: np.random.Generator, values: Values, n: int) -> Values:
        signs = 2 * generator.integers(2, size=(n, len(values)), dtype=np.int8) - 1
        return np.asarray(signs @ values / len(values))

    found = np.abs(_sampled(differences, means, seed, samples))
    # Sums in another order differ in the last bits, which must not break ties with the observation.
    extreme = np.count_nonzero(found >= abs(mean(differences)) - 1e-12)
    return float((1 + extreme) / (1 + samples))


def _sampled(
    groups: Sequence[Values],
    means: Callable[[np.random.Generator, Values, int], Values],
    seed: int,
    samples: int,
) -> Values:
    """Return ``(samples,)`` means of the groups' sampled means."""
    generator = np.random.default_rng(seed)
    blocks = [min(_BLOCK, samples - first) for first in range(0, samples, _BLOCK)]
    return np.concatenate(
        [np.mean([means(generator, values, n) for values in groups], axis=0) for n in blocks]
    )
