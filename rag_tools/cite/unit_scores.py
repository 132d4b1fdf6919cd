"""What each unit of a passage is worth to a query: the one place where its score is composed.

The score of a unit is made of what its tokens say, of the passage that it stands in and of the
context that leads to it. Which units are quoted is decided in `rag_tools.cite.quote`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.types import Span
from rag_tools.units import Unit, UnitKind

# What a sentence's score is made of: MaxSim over its own tokens, how well its tokens match the
# query on average, which favours sentences that are about it throughout, and the score of the
# passage, which says what its pronouns mean. Chosen with the margins of `quote` by cross-validation
# over documents of four sets (``benchmarks/quote_constants.py``). IoU and recall on Chroma's
# chunking evaluation, first quote right on SQuAD, QED and everyday questions: 0.37, 0.24, 0.39 gave
# 0.434, 0.652, 0.713, 0.620, 0.380; these give 0.438, 0.642, 0.747, 0.627, 0.405.
OWN, MEAN, PASSAGE = 0.485, 0.09, 0.425

# What a heading's score is handicapped by: it repeats a question's words and doesn't answer it, nor
# need the first sentence below it.
# Not measured, the sets have no marked headings; larger than differences between sentences are.
HEADING_HANDICAP = 0.15

# What a unit gains if the evidence model is sure that it answers, see `rag_tools.second_stage`.
READ = 0.05

# Units whose words are alike from one to the next, and that say different things.
_ALIKE: frozenset[UnitKind] = frozenset({"row", "line"})

_SCORE_DECIMALS = 6


class TokenEvidence(NamedTuple):
    """What each token of a passage that can be quoted says to each query token.

    Attributes
    ----------
    starts
        First code point of each token, rising.
    similarities
        (n_query_tokens, n_tokens + 1), not below zero; the last column is zero, so that
        `n_tokens` is a valid end of a slice for `reduceat`.
    weights
        (n_query_tokens,) summing to 1.
    relevance
        Score of the whole passage, tokens that can't be quoted included.
    """

    starts: list[int]
    similarities: NDArray[np.float32]
    weights: NDArray[np.float32]
    relevance: float

    @classmethod
    def of(
        cls,
        spans: NDArray[np.int32],
        similarities: NDArray[np.float32],
        weights: NDArray[np.float32],
        relevance: float | None,
    ) -> TokenEvidence:
        """Return the evidence of a passage, from what `rag_tools.cite.quote.quotes` is given."""
        quotable = spans[:, 1] > spans[:, 0]
        padded = np.zeros((len(similarities), int(quotable.sum()) + 1), np.float32)
        np.maximum(similarities[:, quotable], 0, out=padded[:, :-1])
        total = weights.sum()
        shares = weights / total if total > 0 else np.full_like(weights, 1 / max(1, len(weights)))
        if relevance is None:
            relevance = float(shares @ similarities.max(axis=1, initial=0))
        return cls(spans[quotable, 0].tolist(), padded, shares, relevance)

    def holds(self, span: Span) -> bool:
        """Tell whether a token starts in `span`."""
        first, end = self._tokens(span)
        return first < end

    def scores(self, spans: Sequence[Span]) -> NDArray[np.float64]:
        """Return the score of each span, all of which hold a token: float64 (n_spans,)."""
        if not spans:
            return np.zeros(0)
        slices = self._slices(spans)
        sums = np.add.reduceat(self.weights @ self.similarities, slices)[::2]
        means = sums / np.subtract(slices[1::2], slices[::2])
        scores = OWN * self._maxsim(slices) + MEAN * means + PASSAGE * self.relevance
        # The last bits of a product depend on where in memory its factors are.
        return scores.astype(np.float64).round(_SCORE_DECIMALS)

    def maxsim(self, spans: Sequence[Span]) -> NDArray[np.float64]:
        """Return the weighted MaxSim of each span, all of which hold a token: (n_spans,)."""
        return self._maxsim(self._slices(spans)).astype(np.float64).round(_SCORE_DECIMALS)

    def best(self, spans: Sequence[Span]) -> NDArray[np.float64]:
        """Return each query token's best similarity in each span: (n_query_tokens, n_spans)."""
        return self._best(self._slices(spans)).astype(np.float64)

    def _best(self, slices: list[int]) -> NDArray[np.float32]:
        best: NDArray[np.float32] = np.maximum.reduceat(self.similarities, slices, axis=1)[:, ::2]
        return best

    def _maxsim(self, slices: list[int]) -> NDArray[np.float32]:
        return self.weights @ self._best(slices)

    def _slices(self, spans: Sequence[Span]) -> list[int]:
        return [border for span in spans for border in self._tokens(span)]

    def _tokens(self, span: Span) -> tuple[int, int]:
        """Return the range of tokens that start in `span`; `bisect` beats NumPy on so few."""
        return bisect_left(self.starts, span.start), bisect_left(self.starts, span.end)


def unit_scores(
    spans: Sequence[Span], units: Sequence[Unit], passage: TokenEvidence
) -> list[float]:
    """Return what each unit is ranked by: its score, if it isn't a row or an entry among others.

    Rows say the same of different things. The query tokens count for them that tell them apart,
    by how far the best of the rows stands out; together they score what they would score anyway.

    Parameters
    ----------
    spans
        Of each unit, without white space and marks at its ends; each holds a token.
    units
        Of the passage, in order.
    """
    scores = passage.scores(spans)
    for kind, run in groupby(range(len(units)), key=lambda place: units[place].kind):
        places = list(run)
        if kind in _ALIKE and len(places) > 1:
            best = passage.best([spans[place] for place in places])
            above = best - best.mean(axis=1, keepdims=True)  # (n_query_tokens, n_rows)
            spread = above.max(axis=1)
            apart = spread @ above / spread.sum() if spread.sum() else np.zeros(len(places))
            scores[places] = scores[places].mean() + OWN * apart
    return [float(score) for score in scores.round(_SCORE_DECIMALS)]


def read_gains(strengths: NDArray[np.float32]) -> list[float]:
    """Return what each unit gains by what the evidence model read in it, from 0 to `READ`.

    Parameters
    ----------
    strengths
        Of the units of one passage, see `rag_tools.evidence.model.Reading.strengths`.
    """
    powers = np.exp(strengths.astype(np.float64) - strengths.max())
    return [float(share) for share in (READ * powers / powers.sum()).round(_SCORE_DECIMALS)]


def inherited_score(context: Unit, score: float) -> float:
    """Return what the unit that a context leads to is worth for it."""
    return score - HEADING_HANDICAP * (context.kind == "heading")
