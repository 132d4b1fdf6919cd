"""The stages of a search: gather, refine, rank; or, on a small selection, scan and rank.

``gather`` reads centroids and postings only and names the passages worth a closer look;
``refine`` scores them from their residuals; ``rank`` adds the other signals and keeps the best.
Below `SCAN_TOKENS` everything selected is refined, so nothing is missed by construction.

The score of a passage is MaxSim (Khattab and Zaharia 2020, section 3.1): for every query token
the best similarity to a token of the passage, summed with the query tokens' weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.kernels import centroid_scores, credit, maxsim, nearest_cells
from rag_tools.index.snapshot import Selection, Snapshot
from rag_tools.tracing import stage

SCAN_TOKENS = 1_000_000
"""Largest selection, in tokens, that is scored whole: 9 ms for 8 query tokens (AVX-512, 2 threads)
against 3 ms through gather, and nothing can be missed."""

# Passages each query token reaches in gather, and passages that gather hands to refine. Recall@10
# against a scan, 36,000 passages (3.5 M tokens), 16 questions, and median time: 1024 and 512 gives
# 0.956 in 2.7 ms, 4096 and 256 gives 1.0 in 3.0 ms, 4096 and 512 gives 1.0 in 3.4 ms; a scan takes
# 33 ms.
_REACH = 4096
_REFINED = 512
_SCORE_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Signals:
    """Weights of what is added to MaxSim, all on the scale of a mean similarity.

    A fixed scale, rather than normalising over whatever was retrieved, makes a score comparable
    between searches and independent of filters. With the bundled checkpoint, exhaustive float
    scores, nDCG@10 on SQuAD / Cranfield / CoSQA: MaxSim alone 0.919 / 0.376 / 0.542, these weights
    0.928 / 0.416 / 0.584, z-normalised fusion of the same signals 0.932 / 0.418 / 0.563,
    BM25 alone 0.878 / 0.377 / 0.384, pooled alone 0.783 / 0.389 / 0.599. The optimum is flat:
    0.3 to 0.6 and 0.1 to 0.3 are within 0.01 on each.

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
    pooled: float = 0.4
    lexical: float = 0.2


BM25_HALF = 10.0


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
    snapshot: Snapshot, token_ids: NDArray[np.int32], *, exponent: float
) -> NDArray[np.float32]:
    """Return query-token weights ``idf ** exponent``, summing to 1.

    Parameters
    ----------
    token_ids
        ``(n_query_tokens,)`` int32.
    """
    frequencies = snapshot.document_frequencies(token_ids)
    n = max(snapshot.n_passages, 1)
    idf = np.log1p(np.maximum(n - frequencies, 0) + 0.5) - np.log(frequencies + 0.5)
    weights = np.maximum(idf, 0.05) ** exponent
    return np.asarray(weights / weights.sum(), dtype=np.float32)


def search(
    snapshot: Snapshot, query: Query, selection: Selection, *, limit: int, signals: Signals
) -> list[Match]:
    """Return the `limit` best selected passages and those that tie with the last, best first."""
    candidates = {id: np.flatnonzero(bitmap) for id, bitmap in selection.items() if bitmap.any()}
    n_tokens = sum(
        int(np.diff(snapshot.segments[id].token_offsets)[positions].sum())
        for id, positions in candidates.items()
    )
    if n_tokens > SCAN_TOKENS:
        candidates = gather(snapshot, query, selection, wanted=max(_REFINED, 4 * limit))
    return rank(snapshot, query, refine(snapshot, query, candidates), limit=limit, signals=signals)


@stage("rag_tools.gather")
def gather(
    snapshot: Snapshot, query: Query, selection: Selection, *, wanted: int
) -> dict[int, NDArray[np.intp]]:
    """Return the `wanted` passages that look best by their centroids alone.

    Every query token visits cells in order of falling similarity until it has reached enough
    passages. A passage takes the similarity of the first cell it is met in; one that isn't met
    is credited with the similarity at the frontier, an upper bound on what it missed
    (the missing-similarity estimate of WARP, Scheerer et al. 2025). Passages that BM25 favours
    are added.

    Returns
    -------
    dict
        Segment id → rising positions.
    """
    assert snapshot.codebook is not None
    similarity = centroid_scores(snapshot.codebook, query.vectors)
    selected = sum(int(np.count_nonzero(bitmap)) for bitmap in selection.values())
    total = sum(len(segment) for segment in snapshot.segments.values())
    reach = int(_REACH * total / max(selected, 1))
    scores = {id: np.zeros(len(segment), np.float32) for id, segment in snapshot.segments.items()}
    for row, weight in zip(similarity, query.weights, strict=True):
        cells = nearest_cells(row, snapshot.cell_sizes, reach)
        frontier = row[cells[-1]]
        gains = (row[cells] - frontier) * weight
        for id, segment in snapshot.segments.items():
            credit(scores[id], segment, cells, gains)
    ids = np.concatenate([np.full(int(selection[id].sum()), id) for id in selection])
    positions = np.concatenate([np.flatnonzero(selection[id]) for id in selection])
    flat = np.concatenate([scores[id][selection[id]] for id in selection])
    best = np.argsort(-flat, kind="stable")[:wanted]
    places, _ = query.lexical
    return {
        id: np.union1d(
            positions[best][ids[best] == id], places[places[:, 0] == id, 1][:wanted]
        ).astype(np.intp)
        for id in selection
    }


@stage("rag_tools.refine")
def refine(
    snapshot: Snapshot, query: Query, candidates: dict[int, NDArray[np.intp]]
) -> dict[int, tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Return the candidates with their MaxSim scores, from the residuals."""
    return {
        id: (positions, maxsim(snapshot.segments[id], query.vectors, query.weights, positions))
        for id, positions in candidates.items()
        if len(positions)
    }


def rank(
    snapshot: Snapshot,
    query: Query,
    scored: dict[int, tuple[NDArray[np.intp], NDArray[np.float32]]],
    *,
    limit: int,
    signals: Signals,
) -> list[Match]:
    """Add the pooled and the lexical signal to MaxSim and return the best `limit`, best first.

    Those that tie with the last come as well: which of them to keep is decided by id, which
    compaction doesn't change, and not by place.
    """
    matches: list[tuple[float, int, int]] = []
    for id, (positions, scores) in scored.items():
        total = scores.astype(np.float64)
        pooled = snapshot.segments[id].pooled
        if pooled is not None and query.pooled is not None and signals.pooled:
            rows, scales = pooled
            total += signals.pooled * ((rows[positions] @ query.pooled) * scales[positions])
        if signals.lexical:
            total += signals.lexical * _lexical(query, id, positions)
        # The last bits of a sum depend on what else was in the matrix product: equal passages
        # must score equal.
        total = total.round(_SCORE_DECIMALS)
        worst = np.partition(total, -limit)[-limit] if limit < len(total) else -np.inf
        best = np.flatnonzero(total >= worst)
        matches += [(-float(total[row]), id, int(positions[row])) for row in best]
    matches.sort()
    worst = matches[limit - 1][0] if limit < len(matches) else np.inf
    return [Match(id, position, -score) for score, id, position in matches if score <= worst]


def _lexical(query: Query, segment: int, positions: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return squashed BM25 of rising `positions`; 0 for what BM25 didn't list."""
    places, bm25 = query.lexical
    here = places[:, 0] == segment
    scores = np.zeros(len(positions))
    at = np.searchsorted(positions, places[here, 1])
    found = at < len(positions)
    found[found] = positions[at[found]] == places[here, 1][found]
    scores[at[found]] = (bm25[here] / (bm25[here] + BM25_HALF))[found]
    return scores
