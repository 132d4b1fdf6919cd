"""Training the codebook anew on what is stored, when it no longer fits what was added since.

Embeddings are decoded, clustered again, and coded by the new codebook; nothing is encoded again.
Each time costs precision: the error of the codes is added once more, as `recoded` counts it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.codebook import Codebook
from rag_tools.index.distortion import Loss, mean_energy, residual_energy
from rag_tools.index.segment import Segment, Tokens, compress

MOST_DRIFT = 2.0
"""Above this drift, training anew is worth its time.

Measured on embeddings of a made-up topic that replaces another, where a search looks at few
passages: at a drift of 3.1, recall@10 is 0.21 instead of 0.58. Where documents are only added, the
codebook grows for them, the drift is below 1, and training anew gains nothing.
"""
_LEAST_TOKENS = 250_000  # every passage of a smaller index is scored, so that none is missed

_RECENT = 0.25  # share of the tokens that are the latest ones
_SAMPLE = 1 << 19  # tokens to train on, at 256 bytes each with the bundled checkpoint
_CHUNK = 1 << 16  # tokens that are decoded at a time
_RARE = 16  # tokens at most of each kind that no even sample of a segment holds


def drift(codebook: Codebook | None, segments: Mapping[int, Segment]) -> float | None:
    """Return how much farther the latest tokens are from their centroids than those trained on.

    It is the residual energy of the latest segments that hold a quarter of all tokens, divided by
    that of the codebook's training: 1 if what is added is like what there was. None if it wasn't
    measured.

    Parameters
    ----------
    segments
        By their ids, which rise.
    """
    if codebook is None or not codebook.energy:
        return None
    wanted = _RECENT * sum(segment.n_tokens for segment in segments.values())
    latest: list[tuple[float | None, int]] = []
    for _, segment in sorted(segments.items(), reverse=True):
        if sum(tokens for _, tokens in latest) >= wanted and latest:
            break
        latest.append((segment.energy, segment.n_tokens))
    energy = mean_energy(latest)
    return None if energy is None else energy / codebook.energy


def worth_retraining(codebook: Codebook | None, segments: Mapping[int, Segment]) -> bool:
    """Tell whether searches would find more if the codebook were trained anew."""
    found = drift(codebook, segments)
    large = sum(segment.n_tokens for segment in segments.values()) >= _LEAST_TOKENS
    return large and found is not None and found > MOST_DRIFT


def retrained(codebook: Codebook, stored: Iterable[tuple[Segment, NDArray[np.intp]]]) -> Codebook:
    """Return a codebook trained on an even sample of stored tokens: O(sample), 128 MB of it.

    Parameters
    ----------
    stored
        Segments, and the positions of their live passages.
    """
    parts = [(segment, _rows(segment, positions)) for segment, positions in stored]
    total = sum(len(rows) for _, rows in parts)
    step = max(1, -(-total // _SAMPLE))
    sampled: list[tuple[NDArray[np.float16], NDArray[np.int32]]] = []
    seen = np.zeros(int(codebook.token_ids.max(initial=-1)) + 1, np.int64)
    for segment, rows in parts:
        ids = segment.token_ids()[rows]
        chosen = np.zeros(len(rows), np.bool_)
        chosen[::step] = True
        seen += np.bincount(ids[chosen], minlength=len(seen))
        # Every token needs a centroid, also one that the even sample leaves out.
        rare = np.flatnonzero((seen[ids] == 0) & ~chosen)
        rare = rare[np.argsort(ids[rare], kind="stable")]
        kinds, starts, sizes = np.unique(ids[rare], return_index=True, return_counts=True)
        rank = np.arange(len(rare)) - np.repeat(starts, sizes)
        chosen[rare[rank < _RARE]] = True
        seen[kinds] += 1
        sampled += _decoded(segment, rows[chosen])
    return Codebook.train(
        np.concatenate([vectors for vectors, _ in sampled]),
        np.concatenate([ids for _, ids in sampled]),
        bits=codebook.codec.bits,
        n_tokens=total,
    )


def recoded(old: Codebook, new: Codebook, runs: Iterable[Tokens]) -> Iterator[Tokens]:
    """Yield runs of tokens coded by another codebook, which has centroids for all of them."""
    for run in runs:
        vectors = old.decode(run.centroids, run.codes, run.gains, run.inverse_norms)
        token_ids = old.token_ids[run.centroids]
        fresh = compress(new, vectors, token_ids, run.spans, run.offsets, None)
        yield fresh._replace(
            pooled=run.pooled,
            loss=_together(run.loss, fresh.loss),
            energy=residual_energy(new, vectors, fresh.centroids),
        )


def _together(before: Loss | None, after: Loss | None) -> Loss | None:
    """Return the loss of coding twice, as errors add up that don't depend on each other."""
    if before is None or after is None:
        return after
    return Loss(before.cosine * after.cosine, math.hypot(before.maxsim, after.maxsim))


def _rows(segment: Segment, positions: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the numbers of the tokens of passages."""
    live = np.zeros(len(segment), np.bool_)
    live[positions] = True
    return np.flatnonzero(np.repeat(live, np.diff(segment.token_offsets)))


def _decoded(
    segment: Segment, rows: NDArray[np.intp]
) -> list[tuple[NDArray[np.float16], NDArray[np.int32]]]:
    ids: NDArray[Any] = segment.token_ids()
    found = []
    for first in range(0, segment.n_tokens, _CHUNK):
        some = rows[(rows >= first) & (rows < first + _CHUNK)]
        if len(some):
            vectors = segment.vectors(first, min(first + _CHUNK, segment.n_tokens))
            found.append((vectors[some - first].astype(np.float16), ids[some]))
    return found
