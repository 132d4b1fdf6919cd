"""Measures of a run, through ir-measures (extra ``[evaluate]``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rag_tools.errors import ConfigurationError

if TYPE_CHECKING:
    from rag_tools.evaluate.dataset import Qrels

MEASURES = ("nDCG@10", "RR@10", "R@10", "R@100")

DEPTH = 100
"""Number of documents that a run lists for a query: as many as the deepest measure needs."""

Run = Mapping[str, Mapping[str, float]]
"""Query id → document id → score."""


def measure(
    qrels: Qrels, run: Run, measures: Sequence[str] = MEASURES
) -> dict[str, NDArray[np.float64]]:
    """Return each measure's value for every query.

    Parameters
    ----------
    measures
        Names in ir-measures' notation, such as ``nDCG@10``.

    Returns
    -------
    dict
        By name ``(n_queries,)`` float64 in the order of `qrels`; a query that the run lacks has
        zero.

    Raises
    ------
    ConfigurationError
        If ir-measures isn't installed.

    Examples
    --------
    >>> measure({"q": {"a": 1}, "r": {"b": 1}}, {"q": {"b": 2.0, "a": 1.0}}, ["RR@10"])
    {'RR@10': array([0.5, 0. ])}
    """
    try:
        import ir_measures
    except ImportError:
        raise ConfigurationError(
            "measuring needs ir-measures: pip install 'rag-tools[evaluate]'"
        ) from None
    numbers = {query: number for number, query in enumerate(qrels)}
    values = {name: np.zeros(len(numbers)) for name in measures}
    names = {ir_measures.parse_measure(name): name for name in measures}
    for found in ir_measures.iter_calc(list(names), qrels, run):
        values[names[found.measure]][numbers[found.query_id]] = found.value
    return values
