"""Reports on citations, over all questions of a set: means, intervals and tests, as in JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.evaluate.citation_measures import auroc, auroc_interval, calibration_error
from rag_tools.evaluate.report import Number
from rag_tools.evaluate.significance import bootstrap, randomisation
from rag_tools.types import Value

Values = Mapping[str, Sequence[float]]
"""Measure → its value for every question, in the same order for every system."""

_SUPPORTED = frozenset({"supported", "answerable"})
_UNSUPPORTED = frozenset({"not_supported", "unanswerable"})


class Verbatim(Value):
    """Number of citations, and of those that quote their document letter by letter."""

    citations: int
    exact: int


class Judgements(Value):
    """How the engine judges cases for which it is known whether there is evidence.

    Claims are judged by ``Support.score`` and ``verdict``, questions by
    ``SearchResults.confidence`` and ``low_confidence``.

    Attributes
    ----------
    auroc, auroc_interval
        Area under the ROC curve of the scores, supported or answerable cases against the others,
        with its 95 % bounds.
    calibration_error
        Expected calibration error of the same scores; None if they weren't fitted to the
        checkpoint.
    scores
        Label → mean score. Partially supported cases count in no other measure.
    verdicts
        Label → verdict → number of cases.
    """

    auroc: Number
    auroc_interval: tuple[Number, Number]
    calibration_error: Number | None
    scores: dict[str, Number]
    verdicts: dict[str, dict[str, int]]


class CitationReport(Value):
    """The measures on one set.

    Attributes
    ----------
    dataset
        Name of the set.
    questions
        Number of questions that were asked.
    measures
        Measure → mean of ``Engine.cite`` over the questions.
    intervals
        Measure → 95 % bounds of that mean, by bootstrap over the questions.
    baselines
        Baseline → measure → mean.
    p_values
        Baseline → measure → two-sided p-value of a paired randomisation test against
        ``Engine.cite``.
    judgements
        On claims, or on questions with and without an answer, if the set has both kinds.
    verbatim
        Counts of all citations in the run, including those of ``Engine.search``.
    """

    kind: Literal["citations"] = "citations"
    dataset: str
    questions: int
    measures: dict[str, Number]
    intervals: dict[str, tuple[Number, Number]]
    baselines: dict[str, dict[str, Number]]
    p_values: dict[str, dict[str, Number]]
    judgements: Judgements | None
    verbatim: Verbatim


class CitationReports(Value):
    """The measures on several sets."""

    datasets: tuple[CitationReport, ...]


class Judged(NamedTuple):
    """A claim or a question: its label, and how the engine judges it.

    Attributes
    ----------
    label
        ``supported``, ``partially_supported``, ``not_supported``; ``answerable``,
        ``unanswerable``.
    calibrated
        Whether the score was fitted to be a probability.
    """

    label: str
    score: float
    verdict: str
    calibrated: bool


def summarise(
    dataset: str,
    ours: Values,
    baselines: Mapping[str, Values],
    judged: Sequence[Judged],
    exact: Sequence[bool],
) -> CitationReport:
    """Return the report on one set.

    Parameters
    ----------
    exact
        For every citation, whether it quotes its document letter by letter.
    """
    arrays = _arrays(ours)
    others = {name: _arrays(values) for name, values in baselines.items()}
    return CitationReport(
        dataset=dataset,
        questions=max(map(len, arrays.values()), default=0),
        measures=_means(arrays),
        intervals={name: bootstrap([values]) for name, values in arrays.items()},
        baselines={baseline: _means(theirs) for baseline, theirs in others.items()},
        p_values={
            baseline: {name: randomisation([arrays[name] - theirs[name]]) for name in arrays}
            for baseline, theirs in others.items()
        },
        judgements=_judgements(judged),
        verbatim=Verbatim(citations=len(exact), exact=sum(exact)),
    )


def _arrays(values: Values) -> dict[str, NDArray[np.float64]]:
    return {name: np.array(each, np.float64) for name, each in values.items()}


def _means(arrays: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in arrays.items()}


def _judgements(judged: Sequence[Judged]) -> Judgements | None:
    told = [each for each in judged if each.label in _SUPPORTED | _UNSUPPORTED]
    scores = np.array([each.score for each in told])
    positive = np.array([each.label in _SUPPORTED for each in told], np.bool_)
    if positive.all() or not positive.any():
        return None
    labels = {label: [each for each in judged if each.label == label] for label in _labels(judged)}
    calibrated = all(each.calibrated for each in told)
    return Judgements(
        auroc=auroc(scores, positive),
        auroc_interval=auroc_interval(scores, positive),
        calibration_error=calibration_error(scores, positive) if calibrated else None,
        scores={label: fmean(each.score for each in cases) for label, cases in labels.items()},
        verdicts={
            label: dict(sorted(Counter(each.verdict for each in cases).items()))
            for label, cases in labels.items()
        },
    )


def _labels(judged: Sequence[Judged]) -> list[str]:
    return sorted({each.label for each in judged})
