"""The codebook: centroids of token embeddings, clustered separately for every vocabulary token.

Token-aware clustering follows TACHIOM (arXiv 2604.28142): a contextual embedding is mostly its
own token's, so clustering within each token is far cheaper than clustering everything and its
centroids fit closer. A centroid therefore implies a token id.

A codebook only grows: tokens it has never seen get centroids appended, and the ids of the others
stay, so segments written earlier remain valid. It is stored as parts, one file for what was
trained and one for each extension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_tools.errors import IndexCorruptError
from rag_tools.index.arrayfile import ArrayFile, write_arrays
from rag_tools.index.residual import ResidualCodec

CODEBOOKS = "codebooks"
"""Folder of an index that holds the parts of its codebook."""

_KIND = "codebook"
# Enough to place a centroid (1 / 64 of the spread is left in its mean); more only costs time.
_POINTS_PER_CENTROID = 64
# A centroid of fewer tokens than this saves no space over its residuals and fits by chance.
_MIN_TOKENS_PER_CENTROID = 8
_ITERATIONS = 8
_CODEC_SAMPLE = 100_000  # tokens: 13 million residual values at 128 dimensions are plenty


@dataclass(frozen=True)
class Codebook:
    """Centroids and the residual codec that goes with them.

    Attributes
    ----------
    quantized
        ``(n_centroids, dim)`` int8 rows; a centroid is its row times its scale.
    scales
        ``(n_centroids,)`` float32.
    token_ids
        ``(n_centroids,)`` int32: the vocabulary token each centroid belongs to.
    codec
        Fitted to the residuals seen in training.
    trained_tokens
        How many token embeddings the codebook was trained on.
    residual_energy
        Mean squared norm of the residuals seen in training: the yardstick of drift.
    """

    quantized: NDArray[np.int8]
    scales: NDArray[np.float32]
    token_ids: NDArray[np.int32]
    codec: ResidualCodec
    trained_tokens: int
    residual_energy: float

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def dim(self) -> int:
        """Dimensions of an embedding."""
        return int(self.quantized.shape[1])

    @cached_property
    def centroids(self) -> NDArray[np.float32]:
        """``(n_centroids, dim)`` float32, unpacked on first use."""
        return self.quantized.astype(np.float32) * self.scales[:, None]

    @classmethod
    def train(
        cls,
        vectors: NDArray[np.floating[Any]],
        token_ids: NDArray[np.int32],
        *,
        bits: int = 4,
        seed: int = 0,
    ) -> Codebook:
        """Cluster unit `vectors` per token and fit the residual codec.

        Every distinct token has one centroid. ``16 * sqrt(n_tokens)`` more (ColBERTv2's number)
        go to tokens in proportion to their spread, the summed squared distance from their mean:
        on 419,000 tokens of SQuAD and Cranfield these 8,500 halve the residual energy, from 0.44
        to 0.23. Deterministic for a `seed`.

        Parameters
        ----------
        vectors
            ``(n_tokens, dim)`` float16 or float32, unit rows.
        token_ids
            ``(n_tokens,)`` int32.
        """
        quantized, scales, owners = _cluster(vectors, token_ids, seed=seed)
        bare = cls(quantized, scales, owners, _no_codec(vectors.shape[1], bits), len(vectors), 0.0)
        sample = np.random.default_rng(seed).permutation(len(vectors))[:_CODEC_SAMPLE]
        sampled = vectors[sample].astype(np.float32)
        residuals = sampled - bare.centroids[bare.assign(sampled, token_ids[sample])]
        return cls(
            quantized,
            scales,
            owners,
            ResidualCodec.train(residuals, bits),
            len(vectors),
            float(np.mean(np.einsum("ij,ij->i", residuals, residuals))),
        )

    def extend(
        self, vectors: NDArray[np.floating[Any]], token_ids: NDArray[np.int32], *, seed: int = 0
    ) -> Codebook:
        """Return a codebook with centroids appended for the tokens it lacks, or itself."""
        unseen = ~np.isin(token_ids, self.token_ids)
        if not unseen.any():
            return self
        quantized, scales, owners = _cluster(vectors[unseen], token_ids[unseen], seed=seed)
        return Codebook(
            np.concatenate([self.quantized, quantized]),
            np.concatenate([self.scales, scales]),
            np.concatenate([self.token_ids, owners]),
            self.codec,
            self.trained_tokens,
            self.residual_energy,
        )

    def assign(
        self, vectors: NDArray[np.float32], token_ids: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """Return the nearest centroid of each embedding among those of its token.

        Raises
        ------
        KeyError
            If a token has no centroid: `extend` first.
        """
        by_token = np.argsort(self.token_ids, kind="stable").astype(np.int32)
        owners = self.token_ids[by_token]
        order = np.argsort(token_ids, kind="stable")
        tokens, starts = np.unique(token_ids[order], return_index=True)
        firsts = np.searchsorted(owners, tokens, side="left")
        lasts = np.searchsorted(owners, tokens, side="right")
        if (firsts == lasts).any():
            raise KeyError(f"token {int(tokens[np.argmax(firsts == lasts)])} has no centroid")
        assigned = np.empty(len(token_ids), dtype=np.int32)
        for rows, first, last in zip(np.split(order, starts[1:]), firsts, lasts, strict=True):
            candidates = by_token[first:last]
            if len(candidates) == 1:
                assigned[rows] = candidates[0]
            else:
                similarity = vectors[rows] @ self.centroids[candidates].T
                assigned[rows] = candidates[np.argmax(similarity, axis=1)]
        return assigned

    def write(self, path: Path, *, first: int = 0) -> int:
        """Write the centroids from `first` on as one part; return the bytes written."""
        return write_arrays(
            path,
            _KIND,
            {
                "first": first,
                "bits": self.codec.bits,
                "trained_tokens": self.trained_tokens,
                "residual_energy": self.residual_energy,
            },
            {
                "centroids": self.quantized[first:],
                "scales": self.scales[first:],
                "token_ids": self.token_ids[first:],
                "cutoffs": self.codec.cutoffs,
                "values": self.codec.values,
                "steps": self.codec.steps,
                "spread": self.codec.spread,
            },
        )

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Codebook:
        """Open a codebook from its parts, in order. One part is mapped, several are joined."""
        files = [ArrayFile(path, _KIND) for path in paths]
        head = files[0]
        expected = 0
        for file in files:
            if file.meta["first"] != expected:
                raise IndexCorruptError(
                    f"{file.path} continues at centroid {file.meta['first']}, "
                    f"not {expected}: a part of the codebook is missing; index again"
                )
            expected += len(file["token_ids"])
        return cls(
            _joined(files, "centroids"),
            _joined(files, "scales"),
            _joined(files, "token_ids"),
            ResidualCodec(
                head.meta["bits"], head["cutoffs"], head["values"], head["steps"], head["spread"]
            ),
            head.meta["trained_tokens"],
            head.meta["residual_energy"],
        )


def _joined(files: Sequence[ArrayFile], name: str) -> NDArray[Any]:
    return files[0][name] if len(files) == 1 else np.concatenate([file[name] for file in files])


def _no_codec(dim: int, bits: int) -> ResidualCodec:
    ones = np.ones(dim, dtype=np.float32)
    return ResidualCodec(
        bits, np.zeros((1 << bits) - 1, np.float32), np.zeros(1 << bits, np.int8), ones, ones
    )


def _cluster(
    vectors: NDArray[np.floating[Any]], token_ids: NDArray[np.int32], *, seed: int
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32]]:
    """Cluster per token; return int8 rows, scales and owners, sorted by token."""
    order = np.argsort(token_ids, kind="stable")
    tokens, starts, counts = np.unique(token_ids[order], return_index=True, return_counts=True)
    ordered = vectors[order]
    sums = np.add.reduceat(ordered, starts, axis=0, dtype=np.float64)
    means = (sums / counts[:, None]).astype(np.float32)
    budgets = _budgets(counts, means, extra=int(16 * np.sqrt(len(vectors))))
    centroids = [
        means[index : index + 1]
        if budget == 1
        else _kmeans(ordered[start : start + count], budget, seed=seed)
        for index, (start, count, budget) in enumerate(zip(starts, counts, budgets, strict=True))
    ]
    owners = np.repeat(tokens, [len(rows) for rows in centroids]).astype(np.int32)
    rows = np.concatenate(centroids)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    scales = (np.abs(rows).max(axis=1) / 127).astype(np.float32)
    return np.round(rows / scales[:, None]).astype(np.int8), scales, owners


def _budgets(
    counts: NDArray[np.intp], means: NDArray[np.float32], *, extra: int
) -> NDArray[np.intp]:
    """Centroids per token: one each, the rest in proportion to the spread."""
    spread = counts * np.maximum(1.0 - np.einsum("ij,ij->i", means, means), 0.0)
    share = np.floor(extra * spread / max(float(spread.sum()), 1e-12))
    most = np.maximum(counts // _MIN_TOKENS_PER_CENTROID, 1)
    return np.asarray(np.minimum(1 + share.astype(np.intp), most))


def _kmeans(vectors: NDArray[np.floating[Any]], k: int, *, seed: int) -> NDArray[np.float32]:
    """Spherical k-means (Dhillon and Modha 2001): unit centroids of the largest cosines.

    A centroid that loses all its points restarts at the point that is worst off.
    """
    order = np.random.default_rng(seed).permutation(len(vectors))
    points = vectors[order[: k * _POINTS_PER_CENTROID]].astype(np.float32)
    centroids = points[:k].copy()
    for _ in range(_ITERATIONS):
        similarity = points @ centroids.T  # (n_points, k)
        nearest = similarity.argmax(axis=1)
        by_centroid = np.argsort(nearest, kind="stable")
        held, starts = np.unique(nearest[by_centroid], return_index=True)
        centroids[held] = np.add.reduceat(points[by_centroid], starts, axis=0)
        lost = np.setdiff1d(np.arange(k), held)
        centroids[lost] = points[np.argsort(similarity.max(axis=1), kind="stable")[: len(lost)]]
        centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
    return centroids
