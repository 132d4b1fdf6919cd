"""The stages of a search: gather, refine, rank; on a small selection, refine and rank.

``gather`` reads centroids and postings only and names the passages worth a closer look;
``score_signals`` scores them by everything but MaxSim; ``refine`` adds MaxSim, from the
residuals, where it can still matter; ``rank`` keeps the best. Of a selection that is small, see
`Effort`, everything is refined, so nothing is missed by construction.

A place, here and in the kernels, is the number of a segment in the snapshot and a position in it.

The score of a passage is MaxSim (Khattab and Zaharia 2020, section 3.1): for every query token
the best similarity to a token of the passage, summed with the query tokens' weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rag_tools.index import kernels
from rag_tools.index.snapshot import Selection, Snapshot
from rag_tools.tracing import stage

Quality = Literal["fast", "balanced", "exact"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of an index a search looks at: what `Quality` stands for.

    Attributes
    ----------
    scanned
        Largest selection, in tokens, that is scored whole: nothing can be missed.
    reach
        Passages that each query token reaches in gather, times the square root of the passages
        selected.
    refined
        Passages that gather hands to refine, at least.
    """

    scanned: float
    reach: float
    refined: int


# Recall@10 against a scan, MaxSim alone, and median time on one thread, of real questions:
#   10,000 passages (1 M tokens): 1024 reached and 256 refined 0.975 in 2.7 ms, 2048 and 512 0.996
#     in 4.5 ms, 4096 and 512 0.999 in 5.1 ms
#   46,500 passages (4.7 M tokens): 2048 and 256 0.938 in 4.1 ms, 4096 and 512 0.982 in 5.8 ms,
#     8192 and 256 0.988 in 5.6 ms, 8192 and 512 0.998 in 6.9 ms; a scan 113 ms
# Reaching costs less than refining. Against MaxSim on floats, 46,500 passages and 150 questions, of
# 4 bits and of 2: 5120 reached and 128 refined 0.935 in 2.2 ms, 0.910 in 2.0; 8192 and 128 0.954 in
# 2.5, 0.927 in 2.3; 8192 and 512 0.979 in 4.2, 0.943 in 3.9.
# What has to be reached grows with the index, about as the square root. A scan takes as long as
# the other stages at 200,000 tokens: 22 ms for a million.
EFFORTS: Mapping[Quality, Effort] = {
    "fast": Effort(100_000, 38, 128),
    "balanced": Effort(250_000, 38, 512),
    "exact": Effort(math.inf, 0, 0),
}

_SCORE_DECIMALS = 6
_TIE = 2 * 10.0**-_SCORE_DECIMALS  # scores further apart than this can't round to the same


@dataclass(frozen=True, slots=True)
class Signals:
    """Weights of what is added to MaxSim, all on the scale of a mean similarity.

    A fixed scale, rather than normalising over whatever was retrieved, makes a score comparable
    between searches and independent of filters. With the bundled checkpoint, exhaustive float
    scores, nDCG@10 on SQuAD / Cranfield / CoSQA: MaxSim alone 0.927 / 0.381 / 0.543, BM25 alone
    0.888 / 0.377 / 0.384, pooled alone 0.796 / 0.387 / 0.597; these weights 0.931 / 0.427 / 0.602,
    which is above each alone on each set. More of the pooled vector helps code and hurts SQuAD:
    with 0.5 of it 0.935 / 0.421 / 0.588, with 0.8 of it 0.930 / 0.429 / 0.604. BM25 squashed at 10
    instead of 40 and weighed 0.2 costs Cranfield 0.004. Weights, or a weight for each query, that
    were learned on 16 other collections came out below these on Cranfield and CoSQA (0.420, 0.571).

    Attributes
    ----------
    idf
        Exponent of a query token's inverse document frequency in its weight; 0 weighs all alike.
    pooled
        Weight of the cosine between the pooled vectors of query and passage.
    lexical
        Weight of BM25, squashed to [0, 1) so that a score of `BM25_HALF` counts half.
    """

    idf: float = 0.5
    pooled: float = 0.7
    lexical: float = 0.4

    def adapted(self, pieces_per_word: float) -> Signals:
        """Return the weights for a query that isn't in words that the encoder knows.

        The more pieces its words are cut into, the less do vectors tell and the more does BM25
        count: twice as much from 1.65 pieces a word on, three times from 2.05, never more than ten
        times. Queries of SQuAD, Cranfield and CoSQA have 1.08, 1.11 and 1.18; nDCG@10 of them, and
        of XQuAD in languages that the bundled checkpoint was not trained on (300 queries each):

        ==============  =====  =====  =====  =====  =====  =====  =====  =====  =====
        weight of BM25  SQuAD  Cranf  CoSQA  es     de     tr     el     ar     th
        ==============  =====  =====  =====  =====  =====  =====  =====  =====  =====
        0.4             0.912  0.426  0.608  0.942  0.923  0.872  0.693  0.401  0.222
        adapted         0.912  0.426  0.608  0.957  0.944  0.918  0.892  0.833  0.785
        BM25 alone      0.854  0.377  0.378  0.935  0.905  0.889  0.893  0.854  0.824
        ==============  =====  =====  =====  =====  =====  =====  =====  =====  =====
        """
        factor = 1 + _PER_PIECE * max(pieces_per_word - _KNOWN_PIECES, 0)
        return replace(self, lexical=self.lexical * min(factor, _LARGEST_FACTOR))

    def of_words(self, bm25: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what BM25 adds to MaxSim."""
        return (self.lexical * (bm25 / (bm25 + BM25_HALF))).astype(np.float32, copy=False)

    def of_pooled(self, cosines: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return what the cosines of pooled vectors add to MaxSim."""
        return self.pooled * cosines

    @property
    def ceiling(self) -> float:
        """The highest score there can be."""
        return 1 + self.pooled + self.lexical


BM25_HALF = 40.0

# Pieces a word of English has; what each more adds to the weight of BM25.
_KNOWN_PIECES, _PER_PIECE, _LARGEST_FACTOR = 1.25, 2.5, 10.0


@dataclass(frozen=True, slots=True)
class Query:
    """A query as the stages read it.

    Attributes
    ----------
    vectors
        ``(n_query_tokens, dim)`` float32, unit rows.
    weights
        ``(n_query_tokens,)`` float32, summing to 1.
    pooled
        ``(pooled_dim,)`` float32, unit, or None.
    lexical
        ``(n, 2)`` int64 places of the best passages by BM25, and their ``(n,)`` float32 scores.
    """

    vectors: NDArray[np.float32]
    weights: NDArray[np.float32]
    pooled: NDArray[np.float32] | None
    lexical: tuple[NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Match:
    """A passage found: where it stands and its score."""

    segment: int
    position: int
    score: float


def weigh(
    frequencies: NDArray[np.int64], n_passages: int, *, exponent: float
) -> NDArray[np.float32]:
    """Return query-token weights ``idf ** exponent``, summing to 1.

    Parameters
    ----------
    frequencies
        ``(n_query_tokens,)`` int64: passages that hold each token, of `n_passages`.
    """
    n = max(n_passages, 1)
    idf = np.log1p(np.maximum(n - frequencies, 0) + 0.5) - np.log(frequencies + 0.5)
    weights = np.maximum(idf, 0.05) ** exponent
    return np.asarray(weights / weights.sum(), dtype=np.float32)


def search(
    snapshot: Snapshot,
    query: Query,
    selection: Selection,
    *,
    limit: int,
    signals: Signals,
    effort: Effort = EFFORTS["balanced"],
) -> list[Match]:
    """Return the `limit` best selected passages and those that tie with the last, best first."""
    lexical = _lexical(snapshot, query, signals)
    if selection.n_tokens <= effort.scanned:
        places = selection.places()
    else:
        places = gather(snapshot, query, selection, lexical, limit=limit, effort=effort)
    priors = score_signals(snapshot, query, places, lexical, signals)
    with stage("rag_tools.refine"):
        scores = kernels.refine(
            list(snapshot.segments.values()),
            query.vectors,
            query.weights,
            places,
            priors,
            limit=limit,
            slack=_TIE,
        )
    return rank(snapshot, places, scores + priors, limit=limit)


@stage("rag_tools.gather")
def gather(
    snapshot: Snapshot,
    query: Query,
    selection: Selection,
    lexical: Lexical,
    *,
    limit: int,
    effort: Effort,
) -> NDArray[np.int64]:
    """Return the places of the passages that look best by their centroids and BM25."""
    assert snapshot.codebook is not None
    total = sum(len(segment) for segment in snapshot.segments.values())
    return kernels.gather(
        snapshot.codebook,
        query.vectors,
        query.weights,
        snapshot.cell_sizes,
        list(snapshot.segments.values()),
        [selection.bitmaps[id] for id in snapshot.segments],
        *lexical,
        # Of what is reached, a share as large as the selection's can be returned.
        reach=int(effort.reach * total / math.sqrt(max(selection.n_passages, 1))),
        wanted=max(effort.refined, 4 * limit),
    )


def score_signals(
    snapshot: Snapshot,
    query: Query,
    places: NDArray[np.int64],
    lexical: Lexical,
    signals: Signals,
) -> NDArray[np.float64]:
    """Return what the pooled and the lexical signal add to the MaxSim of each place."""
    scores = np.zeros(len(places))
    if query.pooled is not None and signals.pooled:
        for number, segment in enumerate(snapshot.segments.values()):
            low, high = np.searchsorted(places[:, 0], [number, number + 1])
            if segment.pooled is not None and low < high:
                rows, scales = (part[places[low:high, 1]] for part in segment.pooled)
                scores[low:high] = signals.of_pooled((rows @ query.pooled) * scales)
    listed, gains = lexical
    at = np.searchsorted(_keys(places), _keys(listed))
    found = at < len(places)
    found[found] = (places[at[found]] == listed[found]).all(axis=1)
    scores[at[found]] += gains[found]
    return scores


def rank(
    snapshot: Snapshot, places: NDArray[np.int64], scores: NDArray[np.float64], *, limit: int
) -> list[Match]:
    """Return the `limit` best, best first.

    Those that tie with the last come as well: which of them to keep is decided by id, which
    compaction doesn't change, and not by place.
    """
    # The last bits of a sum depend on what else was in the matrix product: equal passages
    # must score equal.
    scores = scores.round(_SCORE_DECIMALS)
    worst = np.partition(scores, -limit)[-limit] if limit < len(scores) else -np.inf
    best = np.flatnonzero(scores >= worst)
    best = best[np.argsort(-scores[best], kind="stable")]
    ids = list(snapshot.segments)
    return [
        Match(ids[number], position, score)
        for (number, position), score in zip(
            places[best].tolist(), scores[best].tolist(), strict=True
        )
    ]


Lexical = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Places that BM25 lists, ``(n, 2)`` numbers of segments and positions, and what it adds there."""


def _lexical(snapshot: Snapshot, query: Query, signals: Signals) -> Lexical:
    places, bm25 = query.lexical
    if not signals.lexical:
        return np.empty((0, 2), np.int64), np.empty(0, np.float32)
    numbers = np.searchsorted(np.fromiter(snapshot.segments, np.int64), places[:, 0])
    return np.stack([numbers, places[:, 1]], axis=1), signals.of_words(bm25)


def _keys(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number for each place, in the same order."""
    return (places[:, 0] << 32) + places[:, 1]
