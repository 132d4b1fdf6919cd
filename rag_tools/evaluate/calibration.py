"""Calibrating scores so that they are probabilities: logistic regression, and held-out scores.

Cases are weighted, so that a data set with many cases doesn't outweigh one with few.
`rag_tools.evaluate.citation_measures` measures the quality of scores, and `rag_tools.cite.support`
uses the fitted weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FOLDS = 5
_RIDGE = 1.0  # on standardised features
_STEPS = 50


class Model(NamedTuple):
    """A logistic regression in the units of the features, ``(n_features,)`` float64 `weights`."""

    intercept: float
    weights: Floats

    def __call__(self, features: Floats) -> Floats:
        """Return the probability of each row of `features`, ``(n, n_features)``."""
        return 1 / (1 + np.exp(-(self.intercept + features @ self.weights)))


def fit(features: Floats, labels: NDArray[np.bool_], weights: Floats) -> Model:
    """Fit a logistic regression by Newton's method, with a ridge on standardised features.

    Parameters
    ----------
    features
        ``(n, n_features)``.
    labels, weights
        ``(n,)``.
    """
    mean = np.average(features, axis=0, weights=weights)
    spread = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weights)) + 1e-9
    columns = np.column_stack([np.ones(len(features)), (features - mean) / spread])
    ridge = np.diag([0.0, *[_RIDGE] * features.shape[1]])
    parameters = np.zeros(columns.shape[1])
    for _ in range(_STEPS):
        scores = 1 / (1 + np.exp(-(columns @ parameters)))
        gradient = columns.T @ (weights * (labels - scores)) - ridge @ parameters
        curvature = (columns * (weights * scores * (1 - scores))[:, None]).T @ columns + ridge
        step = np.linalg.solve(curvature, gradient)
        parameters = parameters + step
        if np.abs(step).max() < 1e-9:
            break
    slopes = parameters[1:] / spread
    return Model(float(parameters[0] - slopes @ mean), slopes)


def held_out(
    features: Floats, labels: NDArray[np.bool_], weights: Floats, groups: Sequence[str]
) -> Floats:
    """Return the score of every case by a model fitted to the other `FOLDS` - 1 folds.

    Parameters
    ----------
    groups
        Cases with the same name, such as those of one document, are in the same fold.
    """
    names = sorted(set(groups))
    np.random.default_rng(0).shuffle(names)
    fold = {name: number % FOLDS for number, name in enumerate(names)}
    folds = np.array([fold[group] for group in groups])
    scores = np.zeros(len(labels))
    for number in range(FOLDS):
        inside = folds == number
        model = fit(features[~inside], labels[~inside], weights[~inside])
        scores[inside] = model(features[inside])
    return scores
