"""Reports on retrieval, over all queries: means, intervals and a comparison, as in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import PlainSerializer

from rag_tools.encode.checkpoint import Checkpoint
from rag_tools.evaluate import significance
from rag_tools.evaluate.measures import MEASURES
from rag_tools.evaluate.systems import Measured, PerQuery, Plan
from rag_tools.index.search import Quality, Signals
from rag_tools.types import Value

# More decimals than any sample of queries can distinguish.
Number = Annotated[float, PlainSerializer(lambda value: round(value, 6))]
Means = Mapping[str, Number]


class CheckpointId(Value):
    """Identity of a checkpoint: its name, and the fingerprint of its files."""

    name: str
    fingerprint: str


class CompressedIndex(Value):
    """Passages are scored as for users: in a compressed index, by `Engine.search`."""

    index: Literal["compressed"] = "compressed"
    bits: int
    dim: int
    quality: Quality
    signals: Signals


class FloatVectors(Value):
    """Every passage is scored on its unquantised embeddings, without an index."""

    index: Literal["none"] = "none"
    vectors: Literal["float32"] = "float32"
    dim: int
    signals: Signals


class Difference(Value):
    """How much higher a checkpoint's measure is than the other's; negative if it is lower.

    Attributes
    ----------
    mean
        Mean over the queries.
    interval
        95 % bounds of the mean, by the paired bootstrap.
    p
        Two-sided p-value of the paired randomisation test.
    """

    mean: Number
    interval: tuple[Number, Number]
    p: Number


class Comparison(Value):
    """A second checkpoint, its measures, and the differences from them."""

    checkpoint: CheckpointId
    measures: Means
    difference: Mapping[str, Difference]


class Evaluation(Value):
    """Retrieval on a data set, or unweighted means over several data sets.

    Attributes
    ----------
    dataset
        Name of the data set, or of the folder with several.
    split
        Name of the qrels; None if there are none, or several.
    documents, queries
        Total numbers.
    checkpoint
        The checkpoint that was measured.
    base
        Checkpoint of the dense baseline's pooled vectors; None if there is no such baseline.
    scoring
        How passages were scored: a compressed index, or float vectors without an index.
    measures
        Measures of our engine, by name in ir-measures' notation.
    intervals
        95 % bounds of each measure, by bootstrap over the queries.
    baselines
        Measures of ``bm25`` and ``dense``.
    comparison
        Comparison with a second checkpoint, if there was one.
    datasets
        The evaluations of the single data sets, if there are several.
    notes
        Sentences about the data.
    """

    dataset: str
    split: str | None
    documents: int
    queries: int
    checkpoint: CheckpointId
    base: CheckpointId | None
    scoring: CompressedIndex | FloatVectors
    measures: Means
    intervals: Mapping[str, tuple[Number, Number]]
    baselines: Mapping[str, Means]
    comparison: Comparison | None
    datasets: tuple[Evaluation, ...] = ()
    notes: tuple[str, ...] = ()


def summarise(name: str, measured: Sequence[Measured], plan: Plan, *, seed: int = 0) -> Evaluation:
    """Return the evaluation of a data set, or of several in the folder `name`.

    Parameters
    ----------
    seed
        Seed of the samples for intervals and tests: the same seed gives the same numbers.
    """
    if len(measured) == 1:
        name = measured[0].dataset.name
    splits = {each.dataset.split for each in measured}
    ours = _gathered([each.ours for each in measured])
    base = plan.base or plan.checkpoint
    return Evaluation(
        dataset=name,
        split=splits.pop() if len(splits) == 1 else None,
        documents=sum(len(each.dataset.corpus) for each in measured),
        queries=sum(len(each.dataset.queries) for each in measured),
        checkpoint=_id(plan.checkpoint),
        base=None if base.pooled_dim is None else _id(base),
        scoring=_scoring(plan),
        measures=_means(ours),
        intervals={key: significance.bootstrap(ours[key], seed=seed) for key in MEASURES},
        baselines={
            baseline: _means(_gathered([each.baselines[baseline] for each in measured]))
            for baseline in measured[0].baselines
        },
        comparison=_comparison(ours, measured, plan, seed),
        datasets=tuple(summarise(name, [each], plan, seed=seed) for each in measured)
        if len(measured) > 1
        else (),
        notes=tuple(note for each in measured for note in each.dataset.notes),
    )


_Gathered = Mapping[str, list[significance.Values]]
"""Measure → the values of each data set's queries."""


def _gathered(values: Sequence[PerQuery]) -> _Gathered:
    return {key: [each[key] for each in values] for key in MEASURES}


def _means(values: _Gathered) -> dict[str, float]:
    return {key: significance.mean(groups) for key, groups in values.items()}


def _comparison(
    ours: _Gathered, measured: Sequence[Measured], plan: Plan, seed: int
) -> Comparison | None:
    if plan.against is None:
        return None
    theirs = _gathered([each.against for each in measured if each.against is not None])
    difference = {}
    for key in MEASURES:
        groups = [a - b for a, b in zip(ours[key], theirs[key], strict=True)]
        difference[key] = Difference(
            mean=significance.mean(groups),
            interval=significance.bootstrap(groups, seed=seed),
            p=significance.randomisation(groups, seed=seed),
        )
    return Comparison(checkpoint=_id(plan.against), measures=_means(theirs), difference=difference)


def _scoring(plan: Plan) -> CompressedIndex | FloatVectors:
    dim = plan.dim or plan.checkpoint.dim
    if plan.exact:
        return FloatVectors(dim=dim, signals=plan.signals)
    return CompressedIndex(bits=plan.bits, dim=dim, quality=plan.quality, signals=plan.signals)


def _id(checkpoint: Checkpoint) -> CheckpointId:
    return CheckpointId(name=checkpoint.name, fingerprint=checkpoint.fingerprint)
