from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.evaluate.significance import SAMPLES, bootstrap, mean, randomisation

PAIR = np.array([0.1, 0.9, 0.4, 0.6, 0.2])
OTHER = np.array([0.0, 1.0, 0.3])


def every_resample(values: np.ndarray) -> np.ndarray:
    """The means of all samples with replacement, each as likely as any other."""
    return np.array([np.mean(drawn) for drawn in itertools.product(values, repeat=len(values))])


def every_sign(values: np.ndarray) -> np.ndarray:
    signs = itertools.product([-1, 1], repeat=len(values))
    return np.array([np.mean(np.multiply(values, each)) for each in signs])


def averages(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The mean of every pair of one of the first and one of the second."""
    return (first[:, None] + second[None, :]).ravel() / 2


@pytest.mark.parametrize("groups", [[PAIR], [PAIR, OTHER]])
def test_the_interval_is_that_of_all_resamples(groups):
    means = every_resample(groups[0])
    for values in groups[1:]:
        means = averages(means, every_resample(values))
    assert bootstrap(groups) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.02)
    assert bootstrap(groups).low < mean(groups) < bootstrap(groups).high


def test_data_sets_weigh_alike_whatever_their_size():
    assert mean([np.zeros(90), np.ones(10)]) == 0.5
    assert bootstrap([np.zeros(90), np.ones(10)]) == (0.5, 0.5)


@pytest.mark.parametrize(
    "groups",
    [
        [np.array([0.3, 0.1, 0.2, -0.05, 0.4, 0.15, -0.2])],
        [np.array([0.3, 0.1, 0.2, 0.05]), np.array([-0.1, 0.3, 0.2])],
        [np.array([0.5, -0.5, 0.25, 0.0])],
    ],
)
def test_p_is_the_share_of_all_signs(groups):
    means = every_sign(groups[0])
    for values in groups[1:]:
        means = averages(means, every_sign(values))
    expected = np.mean(np.abs(means) >= abs(mean(groups)) - 1e-12)
    assert randomisation(groups) == pytest.approx(expected, abs=0.02)


def test_p_is_small_for_a_difference_that_no_chance_makes_and_never_zero():
    assert randomisation([np.full(40, 0.1)]) == 1 / (SAMPLES + 1)
    assert randomisation([np.full(4, 0.1)]) == pytest.approx(2 / 16, abs=0.02)


def test_chance_alone_is_significant_as_often_as_it_should():
    generator = np.random.default_rng(5)
    found = [randomisation([generator.normal(size=30)], samples=200) for _ in range(400)]
    assert 0.02 < np.mean(np.array(found) <= 0.05) < 0.09


def test_the_seed_decides():
    assert bootstrap([PAIR], seed=3) == bootstrap([PAIR], seed=3)
    drawn = {randomisation([PAIR - 0.3], seed=seed) for seed in range(5)}
    assert len(drawn) > 1


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_p_is_a_share_and_the_direction_does_not_matter(values):
    differences = np.array(values)
    p = randomisation([differences], samples=100)
    assert 0 < p <= 1
    assert p == randomisation([-differences], samples=100)
    low, high = bootstrap([differences], samples=100)
    assert differences.min() - 1e-12 <= low <= high <= differences.max() + 1e-12
