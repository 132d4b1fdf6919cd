"""Measures of a run, through ir-measures (extra ``[evaluate]``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag_tools.evaluate.dataset import Qrels

MEASURES = ("nDCG@10", "RR@10", "R@10", "R@100")

Run = Mapping[str, Mapping[str, float]]
"""Query id → document id → score."""


def measure(qrels: Qrels, run: Run, measures: Sequence[str] = MEASURES) -> dict[str, float]:
    """Return the mean of each measure over the queries of `qrels`.

    Parameters
    ----------
    measures
        Names in ir-measures' notation, such as ``nDCG@10``.

    Examples
    --------
    >>> measure({"q": {"a": 1}}, {"q": {"a": 2.0, "b": 1.0}}, ["RR@10"])
    {'RR@10': 1.0}
    """
    import ir_measures

    parsed = [ir_measures.parse_measure(name) for name in measures]
    results = ir_measures.calc_aggregate(parsed, qrels, run)
    return {name: float(results[item]) for name, item in zip(measures, parsed, strict=True)}
