"""The stages of a search: gather, refine and rank; on a small selection, refine and rank alone.

``gather`` reads only centroids and postings, and names the passages that are worth a closer look.
``score_signals`` scores these candidates by everything but MaxSim. ``refine`` adds MaxSim, computed
from the residuals, where it can still matter. ``rank`` keeps the best. If the selection is small
(see `Effort`), all of it is refined, so that nothing can be missed.

Passages are named by their places, see `rag_tools.index.snapshot`.

The score of a passage is MaxSim (Khattab and Zaharia 2020, section 3.1), to which the other signals
are added: for every query token the best similarity to a token of the passage, summed with the
weights of the query tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rag_tools.index import kernels
from rag_tools.index.cells import Gathering
from rag_tools.index.snapshot import Selection, Snapshot
from rag_tools.tracing import stage

Quality = Literal["fast", "balanced", "exact"]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of an index a search looks at; each `Quality` stands for one.

    Attributes
    ----------
    scanned
        Largest selection, in tokens, of which every passage is scored, so that none can be missed.
    reach
        Number of passages that each query token reaches in gather, as a multiple of the square
        root of the number of passages selected.
    refined
        Minimum number of passages that gather hands to refine.
    """

    scanned: float
    reach: float
    refined: int


# Recall@10 against a scan, for MaxSim alone, and median time on one thread, on real questions:
#   10,000 passages (1 M tokens): 1024 reached and 256 refined 0.975 in 2.7 ms, 2048 and 512 0.996
#     in 4.5 ms, 4096 and 512 0.999 in 5.1 ms
#   46,500 passages (4.7 M tokens): 2048 and 256 0.938 in 4.1 ms, 4096 and 512 0.982 in 5.8 ms,
#     8192 and 256 0.988 in 5.6 ms, 8192 and 512 0.998 in 6.9 ms; a scan 113 ms
# Reaching costs less than refining. Recall against MaxSim on floats, for 46,500 passages and 150
# questions, with 4 bits and with 2 bits: 5120 reached and 128 refined 0.935 in 2.2 ms and 0.910 in
# 2.0 ms; 8192 and 128 0.954 in 2.5 ms and 0.927 in 2.3 ms; 8192 and 512 0.979 in 4.2 ms and 0.943
# in 3.9 ms.
# The number of passages to reach grows with the index, about as its square root. A scan takes as
# long as the other stages at 200,000 tokens with AVX-512, which scans a million in 22 ms, and at
# 90,000 with AVX2, which takes 75 ms. With a limit much above that, whoever may read half of an
# index waits longer than its owner. At 238,000 tokens, gather finds what a scan finds: the same ten
# passages in the same order for 120 of 120 questions.
EFFORTS: Mapping[Quality, Effort] = {
    "fast": Effort(100_000, 38, 128),
    "balanced": Effort(100_000, 38, 512),
    "exact": Effort(math.inf, 0, 0),
}

_SCORE_DECIMALS = 6
_TIE = 2 * 10.0**-_SCORE_DECIMALS  # scores that differ by more can't be rounded to the same value


@dataclass(frozen=True, slots=True)
class Signals:
    """Weights of the signals that are added to MaxSim, all on the scale of a mean similarity.

    The scale is fixed, rather than normalised over the passages retrieved, so scores can be
    compared between searches and don't depend on filters. nDCG@10 on SQuAD / Cranfield / CoSQA,
    with the bundled checkpoint and exhaustive float scores: MaxSim alone 0.927 / 0.381 / 0.543,
    BM25 alone 0.888 / 0.377 / 0.384, the pooled vector alone 0.796 / 0.387 / 0.597, and these
    weights 0.931 / 0.427 / 0.602, which is better than each signal alone on each set. More weight
    on the pooled vector helps code and hurts SQuAD: a weight of 0.5 gives 0.935 / 0.421 / 0.588,
    and 0.8 gives 0.930 / 0.429 / 0.604. BM25 with `BM25_HALF` at 10 instead of 40 and a weight of
    0.2 costs 0.004 on Cranfield. Weights learned on 16 other collections, for all queries or for
    each query, were worse than these on Cranfield and CoSQA (0.420 and 0.571).

    Attributes
    ----------
    idf
        Exponent of the inverse document frequency in the weight of a query token; with 0, all
        tokens have the same weight.
    pooled
        Weight of the cosine between the pooled vectors of query and passage.
    lexical
        Weight of BM25, which is mapped to [0, 1): a score of `BM25_HALF` becomes one half.
    """

    idf: float = 0.5
    pooled: float = 0.7
    lexical: float = 0.4

    def adapted(self, pieces_per_word: float) -> Signals:
        """Return the weights for a query whose words the encoder may not know.

        The more pieces the words are split into, the less the vectors tell and the more BM25
        counts: twice as much at 1.65 pieces per word, three times at 2.05, and at most ten times.
        The queries of SQuAD, Cranfield and CoSQA have 1.08, 1.11 and 1.18 pieces per word. nDCG@10
        on them, and on XQuAD in languages that the bundled checkpoint was not trained on (300
        queries each):

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
        """The highest score that a passage can have."""
        return 1 + self.pooled + self.lexical


BM25_HALF = 40.0

# Pieces per word up to which a query counts as known, as English does; what each further piece adds
# to the weight of BM25, as a share; and the largest factor.
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
        ``(n, 2)`` int64 addresses of the best passages by BM25, and their ``(n,)`` float32 scores.
    """

    vectors: NDArray[np.float32]
    weights: NDArray[np.float32]
    pooled: NDArray[np.float32] | None
    lexical: tuple[NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Match:
    """A passage that was found: its address and its score."""

    segment: int
    position: int
    score: float


def weigh(
    frequencies: NDArray[np.int64], n_passages: int, *, exponent: float
) -> NDArray[np.float32]:
    """Return the weights of the query tokens, ``idf ** exponent``, scaled so that their sum is 1.

    Parameters
    ----------
    frequencies
        ``(n_query_tokens,)`` int64: number of passages that contain each token.
    n_passages
        Number of passages in all.
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
    """Return the `limit` best selected passages, best first, and those that tie with the last."""
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
    """Return the places of the passages that look best judged by their centroids and BM25."""
    assert snapshot.codebook is not None
    boosted, boosts = lexical
    return kernels.gather(
        Gathering(
            codebook=snapshot.codebook,
            vectors=query.vectors,
            weights=query.weights,
            sizes=snapshot.cell_sizes,
            segments=list(snapshot.segments.values()),
            selected=[selection.bitmaps[id] for id in snapshot.segments],
            boosted=boosted,
            boosts=boosts,
            # Only the selection's share of the passages that are reached can be returned.
            reach=int(effort.reach * snapshot.n_stored / math.sqrt(max(selection.n_passages, 1))),
            wanted=max(effort.refined, 4 * limit),
        )
    )


def score_signals(
    snapshot: Snapshot,
    query: Query,
    places: NDArray[np.int64],
    lexical: Lexical,
    signals: Signals,
) -> NDArray[np.float64]:
    """Return what the pooled and lexical signals add to MaxSim, for the passage at each place."""
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
    """Return the `limit` best passages, best first, and those that tie with the last.

    Which of those that tie are kept is decided later by id, because compaction changes places.
    """
    # The last bits of a sum depend on what else was in the matrix product, but equal passages must
    # have equal scores.
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
"""Places of the passages that BM25 lists, ``(n, 2)`` int64, and what it adds to their scores."""


def _lexical(snapshot: Snapshot, query: Query, signals: Signals) -> Lexical:
    """Return what BM25 lists by place instead of by address, weighted."""
    addresses, bm25 = query.lexical
    if not signals.lexical:
        return np.empty((0, 2), np.int64), np.empty(0, np.float32)
    numbers = np.searchsorted(np.fromiter(snapshot.segments, np.int64), addresses[:, 0])
    return np.stack([numbers, addresses[:, 1]], axis=1), signals.of_words(bm25)


def _keys(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number for each place; the numbers have the order of the places."""
    return (places[:, 0] << 32) + places[:, 1]
