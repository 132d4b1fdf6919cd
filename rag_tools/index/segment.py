"""A segment: the immutable, memory-mapped index of a batch of passages.

Writer and reader side by side; the fields are described in ``docs/format.md``. Tokens of all
passages stand one after the other, so a block of 16 may hold the end of one passage and the
start of the next, and nothing is lost to padding.

A segment knows its passages by position (0 … n_passages - 1). Which document they belong to and
which of them are live is the catalog's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.arrayfile import ArrayFile, write_arrays
from rag_tools.index.codebook import Codebook
from rag_tools.index.residual import BLOCK_TOKENS, pack, unpack

SEGMENTS = "segments"
"""Folder of an index that holds its segments."""

_KIND = "segment"
_LONG = 255  # a span of this many code points or more has its length in `long_spans`
_CHUNK = 1 << 16  # tokens quantised at a time: bounds the float temporaries


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a run of passages, decompressed no further than a reader needs.

    Attributes
    ----------
    offsets
        ``(n_passages + 1,)`` int64: where each passage's tokens start.
    token_ids
        ``(n_tokens,)`` int32.
    centroids
        ``(n_tokens,)`` int32.
    codes
        ``(n_tokens, dim)`` uint8 residual buckets.
    inverse_norms
        ``(n_tokens,)`` float32.
    spans
        ``(n_tokens, 2)`` int32: code points of the passage.
    pooled
        ``(n_passages, pooled_dim)`` int8 and ``(n_passages,)`` float32 scales, or None.
    """

    offsets: NDArray[np.int64]
    token_ids: NDArray[np.int32]
    centroids: NDArray[np.int32]
    codes: NDArray[np.uint8]
    inverse_norms: NDArray[np.float32]
    spans: NDArray[np.int32]
    pooled: tuple[NDArray[np.int8], NDArray[np.float32]] | None


def compress(
    codebook: Codebook,
    vectors: NDArray[np.floating[Any]],
    token_ids: NDArray[np.int32],
    spans: NDArray[np.int32],
    offsets: NDArray[np.int64],
    pooled: NDArray[np.float32] | None,
) -> Tokens:
    """Quantise the embeddings of a run of passages: O(n_tokens).

    Parameters
    ----------
    vectors
        ``(n_tokens, dim)`` float16 or float32, unit rows.
    token_ids, spans, offsets
        As in `Tokens`.
    pooled
        ``(n_passages, pooled_dim)`` float32, or None.
    """
    parts = [
        _quantize(codebook, vectors[first : first + _CHUNK], token_ids[first : first + _CHUNK])
        for first in range(0, len(vectors), _CHUNK)
    ]
    centroids, codes, inverse_norms = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    quantized = None
    if pooled is not None:
        scales = np.maximum(np.abs(pooled).max(axis=1), 1e-12).astype(np.float32) / 127
        quantized = (np.round(pooled / scales[:, None]).astype(np.int8), scales)
    return Tokens(offsets, token_ids, centroids, codes, inverse_norms, spans, quantized)


def _quantize(
    codebook: Codebook, vectors: NDArray[np.floating[Any]], token_ids: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.float32]]:
    exact = vectors.astype(np.float32)
    centroids = codebook.assign(exact, token_ids)
    base = codebook.centroids[centroids]
    codes = codebook.codec.encode(exact - base)
    restored = base + codebook.codec.decode(codes)
    norms = np.maximum(np.linalg.norm(restored, axis=1), 1e-6)
    return centroids, codes, np.asarray(1 / norms, dtype=np.float32)


def write_segment(path: Path, tokens: Tokens, codebook: Codebook) -> int:
    """Write a segment; return its bytes on disk."""
    starts = tokens.spans[:, 0]
    lengths = tokens.spans[:, 1] - starts
    long = np.flatnonzero(lengths >= _LONG)
    sizes = np.diff(tokens.offsets)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    cells, cell_offsets, members = _postings(tokens.centroids, owner)
    df_tokens, df_counts = _document_frequencies(tokens.token_ids, owner)
    arrays: dict[str, NDArray[Any]] = {
        "token_offsets": tokens.offsets.astype(np.int64),
        "centroids": tokens.centroids.astype(
            np.uint16 if len(codebook) <= np.iinfo(np.uint16).max else np.uint32
        ),
        "codes": pack(tokens.codes, codebook.codec.bits),
        "inverse_norms": tokens.inverse_norms.astype(np.float16),
        "span_starts": starts.astype(np.uint16),
        "span_lengths": np.minimum(lengths, _LONG).astype(np.uint8),
        "long_spans": np.stack([long, lengths[long]], axis=1).astype(np.int64),
        "cells": cells.astype(np.uint32),
        "cell_offsets": cell_offsets.astype(np.uint32),
        "cell_passages": members.astype(np.uint32),
        "df_tokens": df_tokens.astype(np.uint32),
        "df_counts": df_counts.astype(np.uint32),
    }
    if tokens.pooled is not None:
        arrays["pooled"], arrays["pooled_scales"] = tokens.pooled
    meta = {"bits": codebook.codec.bits, "dim": codebook.dim}
    return write_arrays(path, _KIND, meta, arrays)


class Segment:
    """A mapped segment.

    Opening reads the header alone; arrays are paged in by the operating system as they are
    touched.

    Attributes
    ----------
    token_offsets
        ``(n_passages + 1,)`` int64: where each passage's tokens start.
    centroids
        ``(n_tokens,)`` uint16, or uint32 if there are too many.
    packed_codes
        ``(n_blocks, groups, 64)`` uint8: the residual codes as `residual.pack` lays them out.
    inverse_norms
        ``(n_tokens,)`` float16.
    cells, cell_offsets, cell_passages
        Postings: passages that hold the centroid ``cells[i]`` are
        ``cell_passages[cell_offsets[i]:cell_offsets[i + 1]]``, rising.
    document_frequencies
        Distinct token ids and the number of passages that hold each.
    """

    def __init__(self, path: Path, codebook: Codebook) -> None:
        self.file = ArrayFile(path, _KIND)
        self.codebook = codebook
        self.token_offsets: NDArray[np.int64] = self.file["token_offsets"]
        self.cells: NDArray[np.uint32] = self.file["cells"]
        self.cell_offsets: NDArray[np.uint32] = self.file["cell_offsets"]
        self.cell_passages: NDArray[np.uint32] = self.file["cell_passages"]
        self.document_frequencies: tuple[NDArray[np.uint32], NDArray[np.uint32]] = (
            self.file["df_tokens"],
            self.file["df_counts"],
        )
        self.centroids: NDArray[np.uint16] | NDArray[np.uint32] = self.file["centroids"]
        self.packed_codes: NDArray[np.uint8] = self.file["codes"]
        self.inverse_norms: NDArray[np.float16] = self.file["inverse_norms"]
        self._span_starts: NDArray[np.uint16] = self.file["span_starts"]
        self._span_lengths: NDArray[np.uint8] = self.file["span_lengths"]

    def __len__(self) -> int:
        return len(self.token_offsets) - 1

    @property
    def n_tokens(self) -> int:
        """Tokens of all passages."""
        return int(self.token_offsets[-1])

    @cached_property
    def pooled(self) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
        """``(n_passages, pooled_dim)`` int8 rows and their float32 scales, if stored."""
        if "pooled" not in self.file:
            return None
        return self.file["pooled"], self.file["pooled_scales"]

    def codes(self, first: int, last: int) -> NDArray[np.uint8]:
        """Return the residual codes of tokens `first` to `last`, ``(n, dim)`` uint8."""
        block, end = first // BLOCK_TOKENS, -(-last // BLOCK_TOKENS)
        codes = unpack(self.packed_codes[block:end], self.codebook.codec.bits, self.codebook.dim)
        return codes[first - block * BLOCK_TOKENS : last - block * BLOCK_TOKENS]

    def vectors(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the unit embeddings of tokens `first` to `last`, ``(n, dim)`` float32."""
        codebook = self.codebook
        rows = self.centroids[first:last]
        restored = codebook.codec.decode(self.codes(first, last))
        restored += codebook.quantized[rows] * codebook.scales[rows, None]
        restored *= self.inverse_norms[first:last, None].astype(np.float32)
        return restored

    def spans(self, position: int) -> NDArray[np.int32]:
        """Return the token spans of a passage, ``(n, 2)`` int32, relative to the passage."""
        first, last = (int(end) for end in self.token_offsets[position : position + 2])
        return self._token_spans(first, last)

    def _token_spans(self, first: int, last: int) -> NDArray[np.int32]:
        starts = self._span_starts[first:last].astype(np.int32)
        lengths = self._span_lengths[first:last].astype(np.int32)
        if (lengths == _LONG).any():
            tokens, exact = self.file["long_spans"].T
            low, high = np.searchsorted(tokens, [first, last])
            lengths[tokens[low:high] - first] = exact[low:high]
        return np.stack([starts, starts + lengths], axis=1)

    def tokens(self, positions: NDArray[np.intp]) -> Tokens:
        """Return the compressed tokens of some passages, in that order, without decoding."""
        sizes = np.diff(self.token_offsets)[positions]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        rows = np.repeat(self.token_offsets[positions] - offsets[:-1], sizes)
        rows += np.arange(offsets[-1])
        centroids = self.centroids[rows].astype(np.int32)
        return Tokens(
            offsets=offsets,
            token_ids=self.codebook.token_ids[centroids],
            centroids=centroids,
            codes=self.codes(0, self.n_tokens)[rows],
            inverse_norms=self.inverse_norms[rows].astype(np.float32),
            spans=self._token_spans(0, self.n_tokens)[rows],
            pooled=None
            if self.pooled is None
            else (self.pooled[0][positions], self.pooled[1][positions]),
        )


def concatenate(parts: Sequence[Tokens]) -> Tokens:
    """Join runs of passages that share a codebook: O(n_tokens), nothing is re-quantised."""
    starts = np.cumsum([0, *(int(part.offsets[-1]) for part in parts)])
    offsets = [part.offsets[:-1] + start for part, start in zip(parts, starts, strict=False)]
    pooled = [part.pooled for part in parts if part.pooled is not None]
    return Tokens(
        offsets=np.concatenate([*offsets, starts[-1:]]).astype(np.int64),
        token_ids=np.concatenate([part.token_ids for part in parts]),
        centroids=np.concatenate([part.centroids for part in parts]),
        codes=np.concatenate([part.codes for part in parts]),
        inverse_norms=np.concatenate([part.inverse_norms for part in parts]),
        spans=np.concatenate([part.spans for part in parts]),
        pooled=(np.concatenate([p[0] for p in pooled]), np.concatenate([p[1] for p in pooled]))
        if len(pooled) == len(parts)
        else None,
    )


def _postings(
    centroids: NDArray[np.int32], owner: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return distinct cells, where each one's passages start, and the passages."""
    n_passages = int(owner[-1]) + 1 if len(owner) else 1
    pairs = np.unique(centroids.astype(np.int64) * n_passages + owner)
    cells, starts = np.unique(pairs // n_passages, return_index=True)
    return cells, np.concatenate([starts, [len(pairs)]]), pairs % n_passages


def _document_frequencies(
    token_ids: NDArray[np.int32], owner: NDArray[np.intp]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return distinct token ids and the number of passages that hold each."""
    tokens, starts, _ = _postings(token_ids, owner)
    return tokens, np.diff(starts)
