"""The codebook: centroids of token embeddings, clustered separately for every vocabulary token.

Token-aware clustering follows TACHIOM (arXiv 2604.28142): an embedding is mostly determined by its
own token, so clustering within each token is far cheaper than clustering all embeddings, and its
centroids fit more closely. A centroid therefore implies a token id. FAISS runs the k-means.

A codebook only grows: centroids for new tokens are appended, and the ids of the others don't
change, so segments that were written earlier remain valid. It is stored in parts: one file for the
trained codebook, and one for each extension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from rag_tools.errors import IndexCorruptError
from rag_tools.index.arrayfile import ArrayFile, write_arrays
from rag_tools.index.dispatch import NUMPY, kernel_name, native, thread_count
from rag_tools.index.kmeans import kmeans, quantize
from rag_tools.index.residual import ResidualCodec, fit_gains, pack, unpack
from rag_tools.types import Progress

CODEBOOKS = "codebooks"
"""Folder of an index with the parts of its codebook."""

_KIND = "codebook"
# Number of centroids beyond one for each vocabulary token, per square root of the number of tokens:
# as in ColBERTv2. Twice as many gain 0.002 in recall@10, see docs/decisions.md.
_PER_ROOT = 16
# A centroid for fewer tokens than this saves no space and fits them by chance.
_LEAST_PER_CENTROID = 8
_UNSEEN = -2.0  # below any similarity
_CHUNK = 1 << 16  # tokens that a thread takes at a time, which limits temporary floats
_CODEC_LEAST = 20_000  # minimum number of tokens to train the codec on
# Mean squared norm of a residual, exponentially distributed: 0.19 to 0.34 in grown indexes.
_USUAL_ENERGY = 0.25
_CODEC_SAMPLE = 100_000  # tokens; 13 million residual values at 128 dimensions suffice


class _ByToken(NamedTuple):
    """Centroids sorted by token: their numbers, tokens, rows and scales."""

    order: NDArray[np.int32]
    owners: NDArray[np.int32]
    quantized: NDArray[np.int8]
    scales: NDArray[np.float32]


class _Groups(NamedTuple):
    """Embeddings grouped by token: group i is ``rows[starts[i]:starts[i + 1]]``.

    Its centroids are those from ``firsts[i]`` to ``lasts[i]`` in `_ByToken`.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    firsts: NDArray[np.int64]
    lasts: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
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
    energy
        Mean squared length of the residuals seen in training; None: an earlier release trained it.
    """

    quantized: NDArray[np.int8]
    scales: NDArray[np.float32]
    token_ids: NDArray[np.int32]
    codec: ResidualCodec
    energy: float | None = None

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
        n_tokens: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Codebook:
        """Cluster unit `vectors` per token and fit the residual codec.

        Every distinct token gets one centroid. `wanted_centroids` more are divided among tokens by
        their spread, the summed distance from their mean. Deterministic for a given `seed`.

        Parameters
        ----------
        vectors
            ``(n_tokens, dim)`` float16 or float32, unit rows.
        token_ids
            ``(n_tokens,)`` int32.
        n_tokens
            Number of tokens that the index has, if these are a sample of them.
        progress
            Called with the number of centroids made.
        """
        dim = vectors.shape[1]
        no_residuals = ResidualCodec.train(np.zeros((1, dim), np.float32), bits)
        empty = cls(
            np.zeros((0, dim), np.int8),
            np.zeros(0, np.float32),
            np.zeros(0, np.int32),
            no_residuals,
        )
        total = len(vectors) if n_tokens is None else n_tokens
        bare = empty.grow(vectors, token_ids, n_tokens=total, seed=seed, progress=progress)
        rng = np.random.default_rng(seed)
        sample = rng.permutation(len(vectors))[:_CODEC_SAMPLE]
        sampled = vectors[sample].astype(np.float32)
        residuals = sampled - bare.centroids[bare.assign(sampled, token_ids[sample])]
        energy = float(np.einsum("ij,ij->", residuals, residuals)) / max(len(residuals), 1)
        # In a small first batch, most tokens are their own centroids. Residuals are drawn as they
        # will be later, in place of those that don't exist yet.
        n_drawn = max(_CODEC_LEAST - len(sample), 0)
        drawn = rng.normal(size=(n_drawn, dim)).astype(np.float32)
        drawn *= np.sqrt(rng.exponential(_USUAL_ENERGY / dim, (n_drawn, 1))).astype(np.float32)
        residuals = np.concatenate([residuals, drawn])
        return replace(bare, codec=ResidualCodec.train(residuals, bits), energy=energy)

    def grow(
        self,
        vectors: NDArray[np.floating[Any]],
        token_ids: NDArray[np.int32],
        *,
        n_tokens: int,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Codebook:
        """Return a codebook with centroids appended where `vectors` lack them, or itself.

        New tokens get centroids, and an index that has outgrown its codebook gets further ones, up
        to `wanted_centroids`, where the residuals of these embeddings are large. Existing centroids
        don't change, so what was compressed with them remains valid.

        Parameters
        ----------
        vectors, token_ids
            The new embeddings and their tokens, as in `train`.
        n_tokens
            Number of tokens that the index will have, including these.
        progress
            Called with the number of centroids made.
        """
        distinct = len(np.unique(np.concatenate([self.token_ids, token_ids])))
        surplus = len(self) - len(np.unique(self.token_ids))
        extra = wanted_centroids(n_tokens) - surplus
        extra = min(max(extra, 0), len(vectors) // _LEAST_PER_CENTROID)
        if not extra and distinct == len(self) - surplus:
            return self
        quantized, scales, owners = _cluster(
            vectors,
            token_ids,
            self._similarity(vectors, token_ids),
            extra=extra,
            seed=seed,
            progress=progress,
        )
        if not len(owners):
            return self
        return replace(
            self,
            quantized=np.concatenate([self.quantized, quantized]),
            scales=np.concatenate([self.scales, scales]),
            token_ids=np.concatenate([self.token_ids, owners]),
        )

    def _similarity(
        self, vectors: NDArray[np.floating[Any]], token_ids: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """Return each embedding's similarity to its centroid; `_UNSEEN` if its token has none."""
        similarity = np.full(len(token_ids), _UNSEEN, np.float32)
        known = np.flatnonzero(np.isin(token_ids, self.token_ids))
        assigned = self.assign(vectors[known], token_ids[known])
        for first in range(0, len(known), _CHUNK):
            some = known[first : first + _CHUNK]
            similarity[some] = np.einsum(
                "ij,ij->i",
                vectors[some].astype(np.float32),
                self.centroids[assigned[first : first + _CHUNK]],
            )
        return similarity

    def assign(
        self, vectors: NDArray[np.floating[Any]], token_ids: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """Return the nearest centroid of each embedding among those of its token.

        Native kernels round the embeddings to 16 bits: among centroids whose similarities are
        within 2e-5 of each other, they may choose another one than NumPy. The choice doesn't depend
        on the number of threads.

        Raises
        ------
        KeyError
            If a token has no centroid: `grow` first.
        """
        missing = ~np.isin(token_ids, self.token_ids)
        if missing.any():
            raise KeyError(f"token {int(token_ids[np.argmax(missing)])} has no centroid")
        if kernel_name() == NUMPY:
            return self._assign(vectors, token_ids)
        step = self._assign_natively
        parts = _in_chunks(lambda chunk: step(vectors[chunk], token_ids[chunk]), len(token_ids))
        return np.concatenate(parts)

    def _assign(
        self, vectors: NDArray[np.floating[Any]], token_ids: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """`assign` in NumPy."""
        assigned = np.empty(len(token_ids), dtype=np.int32)
        groups = self._groups(token_ids)
        for start, end, first, last in zip(
            groups.starts[:-1], groups.starts[1:], groups.firsts, groups.lasts, strict=True
        ):
            rows = groups.rows[start:end]
            if last - first == 1:
                assigned[rows] = first
            else:
                candidates = self.centroids[self._by_token.order[first:last]]
                similarity = vectors[rows].astype(np.float32) @ candidates.T
                assigned[rows] = first + np.argmax(similarity, axis=1)
        return self._by_token.order[assigned]

    def _assign_natively(
        self, vectors: NDArray[np.floating[Any]], token_ids: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        by_token = self._by_token
        assigned = native.assign(
            kernel_name(),
            vectors.astype(np.float32),
            *self._groups(token_ids),
            by_token.quantized,
            by_token.scales,
        )
        return by_token.order[assigned]

    def encode(
        self, vectors: NDArray[np.floating[Any]], assigned: NDArray[np.int32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        """Return the packed residual codes and gains of embeddings, and inverse norms.

        Parameters
        ----------
        vectors
            ``(n, dim)`` float16 or float32.
        assigned
            ``(n,)`` int32: the centroid of each embedding.

        Returns
        -------
        tuple
            ``(n, groups, 4)`` uint8, see `residual.pack`, ``(n,)`` uint8 and ``(n,)`` float32.
            The native kernels return the same as NumPy.
        """
        step = self._encode if kernel_name() == NUMPY else self._encode_natively
        parts = _in_chunks(lambda chunk: step(vectors[chunk], assigned[chunk]), len(assigned))
        packed, gains, inverse_norms = zip(*parts, strict=True)
        return np.concatenate(packed), np.concatenate(gains), np.concatenate(inverse_norms)

    def _encode(
        self, vectors: NDArray[np.floating[Any]], assigned: NDArray[np.int32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        """`encode` in NumPy."""
        vectors = vectors.astype(np.float32)
        base = self.centroids[assigned]
        codes = self.codec.encode(vectors - base)
        return pack(codes, self.codec.bits), *fit_gains(vectors, base, self.codec.decode(codes))

    def _encode_natively(
        self, vectors: NDArray[np.floating[Any]], assigned: NDArray[np.int32]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]:
        return native.encode(
            vectors.astype(np.float32),
            assigned,
            self.quantized,
            self.scales,
            self.codec.values,
            self.codec.steps,
            self.codec.bits,
        )

    def decode(
        self,
        assigned: NDArray[np.integer[Any]],
        codes: NDArray[np.uint8],
        gains: NDArray[np.uint8],
        inverse_norms: NDArray[np.floating[Any]],
    ) -> NDArray[np.float32]:
        """Return the unit embeddings that the codes stand for, ``(n, dim)`` float32."""
        restored = self.codec.decode(unpack(codes, self.codec.bits, self.dim))
        restored *= gains[:, None].astype(np.float32)
        restored += self.quantized[assigned] * self.scales[assigned, None]
        restored *= inverse_norms[:, None].astype(np.float32)
        return restored

    @cached_property
    def _by_token(self) -> _ByToken:
        """The centroids sorted by token, so that those of a token are adjacent."""
        order = np.argsort(self.token_ids, kind="stable").astype(np.int32)
        return _ByToken(
            order,
            self.token_ids[order],
            np.ascontiguousarray(self.quantized[order]),
            np.ascontiguousarray(self.scales[order]),
        )

    def _groups(self, token_ids: NDArray[np.int32]) -> _Groups:
        rows = np.argsort(token_ids, kind="stable")
        tokens, starts = np.unique(token_ids[rows], return_index=True)
        owners = self._by_token.owners
        return _Groups(
            rows.astype(np.int64),
            np.append(starts, len(rows)).astype(np.int64),
            np.searchsorted(owners, tokens, side="left").astype(np.int64),
            np.searchsorted(owners, tokens, side="right").astype(np.int64),
        )

    def write(self, path: Path, *, first: int = 0) -> None:
        """Write the centroids from `first` on as one part."""
        write_arrays(
            path,
            _KIND,
            {
                "first": first,
                "bits": self.codec.bits,
                "energy": self.energy,
            },
            {
                "centroids": self.quantized[first:],
                "scales": self.scales[first:],
                "token_ids": self.token_ids[first:],
                "values": self.codec.values,
                "steps": self.codec.steps,
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
                    f"not {expected}: a part of the codebook is missing: "
                    "run 'rag-tools repair', or index again"
                )
            expected += len(file["token_ids"])
        return cls(
            _joined(files, "centroids"),
            _joined(files, "scales"),
            _joined(files, "token_ids"),
            ResidualCodec(head.meta["bits"], head["values"], head["steps"]),
            head.meta.get("energy"),
        )


_Result = TypeVar("_Result")


def _in_chunks(step: Callable[[slice], _Result], n_tokens: int) -> list[_Result]:
    """Return what `step` gives for each chunk of the tokens, run by all threads."""
    chunks = [slice(first, first + _CHUNK) for first in range(0, max(n_tokens, 1), _CHUNK)]
    with ThreadPoolExecutor(thread_count()) as pool:
        return list(pool.map(step, chunks))


def _joined(files: Sequence[ArrayFile], name: str) -> NDArray[Any]:
    return files[0][name] if len(files) == 1 else np.concatenate([file[name] for file in files])


def wanted_centroids(n_tokens: int) -> int:
    """Return the number of centroids for `n_tokens`, beyond one for each vocabulary token."""
    return int(_PER_ROOT * np.sqrt(n_tokens))


def _cluster(
    vectors: NDArray[np.floating[Any]],
    token_ids: NDArray[np.int32],
    similarity: NDArray[np.float32],
    *,
    extra: int,
    seed: int,
    progress: Progress | None,
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32]]:
    """Return new centroids: int8 rows, scales and owners, sorted by token.

    Parameters
    ----------
    similarity
        ``(n_tokens,)`` float32: similarity to the nearest existing centroid, or `_UNSEEN`.
    extra
        Number of centroids to make, beyond one for each token that has none.
    """
    order = np.argsort(token_ids, kind="stable")
    tokens, starts, counts = np.unique(token_ids[order], return_index=True, return_counts=True)
    ordered, similarity = vectors[order], similarity[order]
    unseen = similarity[starts] == _UNSEEN
    sums = np.add.reduceat(ordered, starts, axis=0, dtype=np.float64)
    means = (sums / counts[:, None]).astype(np.float32)
    # Summed distance (1 - similarity) to the nearest centroid, or to the one that a token will get.
    spread = np.where(
        unseen,
        counts * (1 - np.linalg.norm(means, axis=1)),
        np.add.reduceat(1 - similarity, starts, dtype=np.float64),
    ).clip(min=0)
    # The running sum is rounded down, which keeps the total: most tokens are due less than one.
    due = np.floor(np.cumsum(spread) * (extra / max(float(spread.sum()), 1e-12))).astype(np.intp)
    budgets = unseen + np.diff(due, prepend=0)
    budgets = np.minimum(budgets, np.maximum(counts // _LEAST_PER_CENTROID, unseen))

    def fit(index: int) -> NDArray[np.float32]:
        if unseen[index] and budgets[index] == 1:
            return means[index : index + 1]
        own = slice(starts[index], starts[index] + counts[index])
        return kmeans(ordered[own], similarity[own], int(budgets[index]), seed=seed)

    fitted = np.flatnonzero(budgets)
    made = np.cumsum(budgets)
    centroids = [np.zeros((0, vectors.shape[1]), np.float32)]
    with ThreadPoolExecutor(thread_count()) as pool:
        for index, rows in zip(fitted, pool.map(fit, fitted), strict=True):
            centroids.append(rows)
            if progress:
                progress("cluster", int(made[index]), int(made[-1]))
    return *quantize(np.concatenate(centroids)), np.repeat(tokens, budgets).astype(np.int32)
