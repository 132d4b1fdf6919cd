"""Measures of the citations for one question, and of scores that tell whether it is supported.

These are pure functions; reading data and asking questions are done elsewhere. The measure of a
data set is the mean over its questions (macro average), except for `auroc` and
`calibration_error`, which need all questions at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.types import Document

BINS = 10
SAMPLES = 1000  # of a bootstrap; each of them sorts all scores


class Range(NamedTuple):
    """Code points ``[start, end)`` of a document."""

    document_id: str
    start: int
    end: int

    def of(self, document: Document) -> str:
        """Return the characters of its document that the range covers."""
        return document.text[self.start : self.end]

    def overlaps(self, other: Range) -> bool:
        """Tell whether two ranges share a character."""
        return (
            self.document_id == other.document_id
            and self.start < other.end
            and other.start < self.end
        )

    def within(self, other: Range) -> bool:
        """Tell whether all of the range lies in another."""
        return (
            self.document_id == other.document_id
            and other.start <= self.start
            and self.end <= other.end
        )


class Overlap(NamedTuple):
    """Overlap of the quoted characters with those of the gold evidence."""

    precision: float
    recall: float
    iou: float


def overlap(quoted: Sequence[Range], gold: Sequence[Range]) -> Overlap:
    """Return precision, recall and intersection over union, as Chroma's evaluation counts them.

    The unit is the character, though the measures are known as token-wise. With the gold ranges
    G, the ranges quoted Q and the characters C that are in both,

    - precision is ``|C| / sum(len(q) for q in Q)``,
    - recall is ``|C| / |G|``,
    - IoU is ``|C| / (sum(len(q) for q in Q) + |G| - |C|)``.

    Text that is quoted twice, for example by overlapping passages, counts once as found and twice
    as quoted. Their code looks at as many retrieved ranges as there are chunks with gold evidence,
    or at a fixed number; here all quotes count. If gold ranges overlapped, which they don't in any
    of their questions, their recall would count characters twice.

    References
    ----------
    Smith and Troynikov 2024, "Evaluating chunking strategies for retrieval"; the code is
    ``_scores_from_dataset_and_retrievals`` in ``evaluation_framework/base_evaluation.py`` of
    github.com/brandonstarxel/chunking_evaluation.

    Examples
    --------
    >>> overlap([Range("a", 0, 10), Range("a", 5, 15)], [Range("a", 0, 5), Range("a", 20, 25)])
    Overlap(precision=0.25, recall=0.5, iou=0.2)
    """
    wanted = _characters(gold)
    found = len(wanted & _characters(quoted))
    paid = sum(each.end - each.start for each in quoted)
    return Overlap(
        precision=found / paid if paid else 0.0,
        recall=found / len(wanted) if wanted else 0.0,
        iou=found / (paid + len(wanted) - found) if paid or wanted else 0.0,
    )


def _characters(ranges: Iterable[Range]) -> set[tuple[str, int]]:
    return {(each.document_id, position) for each in ranges for position in range(*each[1:])}


def holds_answer(quote: str, answers: Iterable[str], *, budget: int | None = None) -> bool:
    """Tell whether a quote of at most `budget` characters contains an answer, letter by letter.

    Examples
    --------
    >>> holds_answer("It began in October 1973.", ["1973", "in October"], budget=30)
    True
    >>> holds_answer("It began in October 1973.", ["1973"], budget=20)
    False
    """
    return (budget is None or len(quote) <= budget) and any(answer in quote for answer in answers)


class SetOverlap(NamedTuple):
    """Overlap of a set of sentences with the gold set that it matches best."""

    precision: float
    recall: float
    f1: float


def sentence_overlap(
    predicted: Collection[Range], gold_sets: Iterable[Collection[Range]]
) -> SetOverlap:
    """Return precision, recall and F1 against the gold set with the best F1, the first of equals.

    ``F1 = 2 |P & G| / (|P| + |G|)`` of the predicted sentences P and a gold set G.

    Examples
    --------
    >>> one, two, three = (Range("a", start, start + 9) for start in (0, 10, 20))
    >>> sentence_overlap({one, two}, [{two, three}, {one}])
    SetOverlap(precision=0.5, recall=1.0, f1=0.6666666666666666)
    """
    best = SetOverlap(0.0, 0.0, 0.0)
    for gold in map(set, gold_sets):
        found = len(gold.intersection(predicted))
        if found and (f1 := 2 * found / (len(predicted) + len(gold))) > best.f1:
            best = SetOverlap(found / len(predicted), found / len(gold), f1)
    return best


def auroc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve.

    The chance that a positive scores above a negative, both drawn at random; a tie is half
    (Mann and Whitney's U over the number of pairs).

    Parameters
    ----------
    scores
        ``(n,)`` float64.
    positive
        ``(n,)`` bool, with at least one of each value.

    Raises
    ------
    ValueError
        If all cases are positive, or none is.

    Examples
    --------
    >>> auroc(np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False]))
    0.875
    """
    n_positive = int(positive.sum())
    n_pairs = n_positive * (len(positive) - n_positive)
    if not n_pairs:
        raise ValueError(f"{n_positive} of {len(positive)} are positive: both kinds are needed")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # from 1; ties share their mean
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / n_pairs)


def auroc_interval(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], *, seed: int = 0
) -> tuple[float, float]:
    """Return 95 % bounds of `auroc`, by bootstrap within positives and within negatives."""
    generator = np.random.default_rng(seed)
    kinds = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    sampled = []
    for _ in range(SAMPLES):
        drawn = np.concatenate([generator.choice(kind, len(kind)) for kind in kinds])
        sampled.append(auroc(scores[drawn], positive[drawn]))
    low, high = np.percentile(sampled, [2.5, 97.5])
    return float(low), float(high)


def calibration_error(
    scores: NDArray[np.float64],
    positive: NDArray[np.bool_],
    weights: NDArray[np.float64] | None = None,
    *,
    bins: int = BINS,
) -> float:
    """Return the expected calibration error (Guo et al. 2017, section 2).

    Scores are sorted into bins of equal width; the error is the mean over bins, weighted by the
    scores in them, of the distance between the mean score and the share that is positive.

    Parameters
    ----------
    scores
        ``(n,)`` float64 in [0, 1]: the chance of being positive. A bin holds its lower border,
        the last one both.
    positive
        ``(n,)`` bool.
    weights
        ``(n,)`` float64: how much each score counts; default: all alike.

    Examples
    --------
    >>> calibration_error(np.array([0.75, 0.75, 0.25, 0.25]), np.array([True, True, False, True]))
    0.25
    """
    numbers = np.minimum((scores * bins).astype(np.int64), bins - 1)
    weights = np.ones(len(scores)) if weights is None else weights
    distance = np.bincount(numbers, weights * (scores - positive), minlength=bins)
    return float(np.abs(distance).sum() / weights.sum())
