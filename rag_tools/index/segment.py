"""A segment: the immutable, memory-mapped index of a batch of passages.

The writer and the reader are side by side here; ``docs/format.md`` describes the fields. The tokens
of all passages follow each other, so a block of 16 tokens may contain the end of one passage and
the start of the next, and no space is lost to padding.

A segment knows its passages by position (0 … n_passages - 1). The catalog knows which documents
they belong to and which of them are live.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.arrayfile import ArrayFile, writing
from rag_tools.index.codebook import Codebook
from rag_tools.index.dispatch import NUMPY, kernel_name, native
from rag_tools.index.distortion import Loss, mean, mean_energy, measure, residual_energy
from rag_tools.index.residual import BLOCK_TOKENS, deinterleave, interleave

SEGMENTS = "segments"
"""Folder of an index with its segments."""

_KIND = "segment"
_RUN_TOKENS = 1 << 18  # copied at a time; 20 MB of codes
_ODD = 255  # spans with a step or length of at least this are in `odd_spans`


class Tokens(NamedTuple):
    """The compressed tokens of a run of passages.

    Attributes
    ----------
    offsets
        ``(n_passages + 1,)`` int64: where each passage's tokens start.
    centroids
        ``(n_tokens,)`` int32.
    codes
        ``(n_tokens, groups, 4)`` uint8: residual codes, see `residual.pack`.
    gains
        ``(n_tokens,)`` uint8: factors of the decoded residuals.
    inverse_norms
        ``(n_tokens,)`` float32.
    spans
        ``(n_tokens, 2)`` int32: code points of the passage.
    pooled
        ``(n_passages, pooled_dim)`` int8 and ``(n_passages,)`` float32 scales, or None.
    loss
        Loss of compression, measured on a sample; None if it wasn't measured.
    energy
        Residual energy, measured on a sample, likewise.
    """

    offsets: NDArray[np.int64]
    centroids: NDArray[np.int32]
    codes: NDArray[np.uint8]
    gains: NDArray[np.uint8]
    inverse_norms: NDArray[np.float32]
    spans: NDArray[np.int32]
    pooled: tuple[NDArray[np.int8], NDArray[np.float32]] | None
    loss: Loss | None = None
    energy: float | None = None


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
    token_ids
        ``(n_tokens,)`` int32.
    spans, offsets
        As in `Tokens`.
    pooled
        ``(n_passages, pooled_dim)`` float32, or None.
    """
    centroids = codebook.assign(vectors, token_ids)
    codes, gains, inverse_norms = codebook.encode(vectors, centroids)
    quantized = None
    if pooled is not None:
        scales = np.maximum(np.abs(pooled).max(axis=1), 1e-12).astype(np.float32) / 127
        quantized = (np.round(pooled / scales[:, None]).astype(np.int8), scales)
    loss = measure(codebook, vectors, offsets, centroids, codes, gains, inverse_norms)
    offsets = offsets.astype(np.int64)
    energy = residual_energy(codebook, vectors, centroids)
    return Tokens(offsets, centroids, codes, gains, inverse_norms, spans, quantized, loss, energy)


def write_segment(path: Path, runs: Iterable[Tokens], codebook: Codebook) -> None:
    """Write runs of passages, one after the other, as one segment: O(n_tokens).

    The codes of only one run are in memory at a time. For the other runs, 9 bytes per token and the
    pooled vectors are kept until the codes are written and the postings are made.
    """
    kept: dict[str, list[NDArray[Any]]] = {}
    losses: list[tuple[Loss | None, int]] = []
    energies: list[tuple[float | None, int]] = []

    def packed() -> Iterator[NDArray[np.uint8]]:
        n_tokens = 0
        for run in runs:
            for name, column in _columns(run, first=n_tokens).items():
                kept.setdefault(name, []).append(column)
            n_tokens += len(run.centroids)
            losses.append((run.loss, len(run.centroids)))
            energies.append((run.energy, len(run.centroids)))
            yield run.codes

    with writing(path, _KIND) as file:
        file.meta.update(bits=codebook.codec.bits, dim=codebook.dim)
        file.add("codes", _blocks(packed()))
        sizes, centroids = (np.concatenate(kept.pop(name)) for name in ("sizes", "centroids"))
        for name in list(kept):
            file.add(name, kept.pop(name))
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        file.add("token_offsets", [offsets])
        file.add("centroids", [_narrow(centroids, len(codebook))])
        cells, cell_offsets, members = _postings(centroids, offsets, len(codebook))
        file.add("cells", [cells])
        file.add("cell_offsets", [cell_offsets])
        file.add("cell_passages", [_narrow(members, len(sizes))])
        n_token_ids = int(codebook.token_ids.max(initial=-1)) + 1
        tokens, starts, _ = _postings(codebook.token_ids[centroids], offsets, n_token_ids)
        file.add("df_tokens", [tokens])
        file.add("df_counts", [np.diff(starts)])
        file.meta["loss"] = mean(losses)
        file.meta["energy"] = mean_energy(energies)


def _narrow(numbers: NDArray[np.integer[Any]], end: int) -> NDArray[np.unsignedinteger[Any]]:
    """Return numbers below `end` as uint16 if they fit, else as uint32."""
    return numbers.astype(np.uint16 if end <= 1 << 16 else np.uint32)


def _columns(run: Tokens, *, first: int) -> dict[str, NDArray[Any]]:
    """Return a run's columns besides the codes; `first` is the number of its first token."""
    steps, lengths, odd = _encode_spans(run.spans, run.offsets)
    columns = {
        "sizes": np.diff(run.offsets),
        "centroids": run.centroids,
        "gains": run.gains,
        "inverse_norms": run.inverse_norms.astype(np.float16),
        "span_steps": steps,
        "span_lengths": lengths,
        "odd_spans": np.column_stack([odd + first, run.spans[odd]]).astype(np.int64),
    }
    if run.pooled is not None:
        columns["pooled"], columns["pooled_scales"] = run.pooled
    return columns


def _blocks(packed: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Yield runs of packed codes as blocks; an incomplete block waits for the next run."""
    rest: NDArray[np.uint8] | None = None
    for codes in packed:
        codes = codes if rest is None else np.concatenate([rest, codes])
        whole = len(codes) // BLOCK_TOKENS * BLOCK_TOKENS
        yield interleave(codes[:whole])
        rest = codes[whole:]
    if rest is not None:
        yield interleave(rest)


def _encode_spans(
    spans: NDArray[np.int32], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.intp]]:
    """Return spans as steps and lengths, and the tokens whose step or length is too large.

    A step is the distance from the start of one token with characters to that of the next; a
    passage begins at 0. Tokens without characters, with the span (0, 0), have steps and lengths of
    0.
    """
    starts, lengths = spans[:, 0], spans[:, 1] - spans[:, 0]
    real = lengths > 0
    # Each token's step begins at the last token before it that has characters, in its passage.
    before = np.concatenate([[-1], np.where(real, np.arange(len(spans)), -1)])[:-1]
    before = np.maximum.accumulate(before)
    passage = np.repeat(offsets[:-1], np.diff(offsets))
    previous = np.where(before >= passage, starts[before], 0)
    steps = np.where(real, starts - previous, 0)
    odd = (steps < 0) | (steps >= _ODD) | (lengths >= _ODD) | (~real & (spans != 0).any(axis=1))
    steps = np.where(odd, _ODD, steps)
    return steps.astype(np.uint8), np.where(odd, 0, lengths).astype(np.uint8), np.flatnonzero(odd)


class Segment:
    """A mapped segment.

    Opening reads only the header; the operating system loads the arrays when they are read.

    Attributes
    ----------
    token_offsets
        ``(n_passages + 1,)`` int64: where each passage's tokens start.
    centroids
        ``(n_tokens,)`` uint16, or uint32 if there are too many.
    packed_codes
        ``(n_blocks, groups, 64)`` uint8: the residual codes as `residual.interleave` lays them
        out.
    gains
        ``(n_tokens,)`` uint8.
    inverse_norms
        ``(n_tokens,)`` float16.
    cells, cell_offsets, cell_passages
        Postings: the passages with the centroid ``cells[i]`` are
        ``cell_passages[cell_offsets[i]:cell_offsets[i + 1]]``, in ascending order; uint16, or
        uint32 if there are too many.
    document_frequencies
        Distinct token ids, and the number of passages that contain each.
    """

    def __init__(self, path: Path, codebook: Codebook) -> None:
        self.file = ArrayFile(path, _KIND)
        self.codebook = codebook
        self.token_offsets: NDArray[np.int64] = self.file["token_offsets"]
        self.cells: NDArray[np.uint32] = self.file["cells"]
        self.cell_offsets: NDArray[np.uint32] = self.file["cell_offsets"]
        self.cell_passages: NDArray[np.uint16] | NDArray[np.uint32] = self.file["cell_passages"]
        self.document_frequencies: tuple[NDArray[np.uint32], NDArray[np.uint32]] = (
            self.file["df_tokens"],
            self.file["df_counts"],
        )
        self.centroids: NDArray[np.uint16] | NDArray[np.uint32] = self.file["centroids"]
        self.packed_codes: NDArray[np.uint8] = self.file["codes"]
        self.gains: NDArray[np.uint8] = self.file["gains"]
        self.inverse_norms: NDArray[np.float16] = self.file["inverse_norms"]
        self._span_steps: NDArray[np.uint8] = self.file["span_steps"]
        self._span_lengths: NDArray[np.uint8] = self.file["span_lengths"]
        self._odd_spans: NDArray[np.int64] = self.file["odd_spans"]

    def __len__(self) -> int:
        return len(self.token_offsets) - 1

    @property
    def n_tokens(self) -> int:
        """Number of tokens of all passages."""
        return int(self.token_offsets[-1])

    @property
    def loss(self) -> Loss | None:
        """Loss of compression, measured on samples; None if it wasn't measured."""
        values = self.file.meta["loss"]
        return None if values is None else Loss(*values)

    @property
    def energy(self) -> float | None:
        """Residual energy, measured on samples; None if it wasn't measured."""
        energy: float | None = self.file.meta.get("energy")
        return energy

    @cached_property
    def pooled(self) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
        """``(n_passages, pooled_dim)`` int8 rows and their float32 scales, if stored."""
        if "pooled" not in self.file:
            return None
        return self.file["pooled"], self.file["pooled_scales"]

    def codes(self, first: int, last: int) -> NDArray[np.uint8]:
        """Return the packed residual codes of tokens `first` to `last`, ``(n, groups, 4)``."""
        block, end = first // BLOCK_TOKENS, -(-last // BLOCK_TOKENS)
        start = block * BLOCK_TOKENS
        return deinterleave(self.packed_codes[block:end])[first - start : last - start]

    def vectors(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the unit embeddings of tokens `first` to `last`, ``(n, dim)`` float32."""
        return self.codebook.decode(
            self.centroids[first:last],
            self.codes(first, last),
            self.gains[first:last],
            self.inverse_norms[first:last],
        )

    def token_ids(self, position: int | None = None) -> NDArray[np.int32]:
        """Return the vocabulary tokens of a passage, or of all, ``(n,)`` little-endian int32."""
        first, last = (
            (0, self.n_tokens)
            if position is None
            else map(int, self.token_offsets[position : position + 2])
        )
        return self.codebook.token_ids[self.centroids[first:last]].astype("<i4")

    def spans(self, position: int) -> NDArray[np.int32]:
        """Return the token spans of a passage, ``(n, 2)`` int32, relative to the passage."""
        return self._spans(position, position + 1)

    def _spans(self, low: int, high: int) -> NDArray[np.int32]:
        """Return the token spans of the passages from `low` to `high`."""
        offsets = self.token_offsets[low : high + 1]
        first, last = int(offsets[0]), int(offsets[-1])
        listed = self._odd_spans[slice(*np.searchsorted(self._odd_spans[:, 0], [first, last]))]
        return _decode_spans(
            self._span_steps[first:last],
            self._span_lengths[first:last],
            listed - np.array([first, 0, 0]),
            offsets - first,
        )

    def runs(self, positions: NDArray[np.intp]) -> Iterator[Tokens]:
        """Yield the tokens of passages at ascending positions, some passages at a time."""
        ends = np.cumsum(np.diff(self.token_offsets)[positions])
        borders = np.flatnonzero(np.diff(ends // _RUN_TOKENS)) + 1
        return (self.tokens(some) for some in np.split(positions, borders))

    def tokens(self, positions: NDArray[np.intp]) -> Tokens:
        """Return the compressed tokens of passages at ascending positions, without decoding."""
        low, high = (int(positions[0]), int(positions[-1]) + 1) if len(positions) else (0, 0)
        first, last = int(self.token_offsets[low]), int(self.token_offsets[high])
        chosen = np.zeros(high - low, dtype=np.bool_)
        chosen[positions - low] = True
        rows = np.repeat(chosen, np.diff(self.token_offsets[low : high + 1]))
        sizes = np.diff(self.token_offsets)[positions]
        pooled = self.pooled
        return Tokens(
            offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            centroids=self.centroids[first:last][rows].astype(np.int32),
            codes=self.codes(first, last)[rows],
            gains=self.gains[first:last][rows],
            inverse_norms=self.inverse_norms[first:last][rows].astype(np.float32),
            spans=self._spans(low, high)[rows],
            pooled=None if pooled is None else (pooled[0][positions], pooled[1][positions]),
            loss=self.loss,
            energy=self.energy,
        )


def _decode_spans(
    steps: NDArray[np.uint8],
    lengths: NDArray[np.uint8],
    odd: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> NDArray[np.int32]:
    """Undo `_encode_spans`; `odd` has rows of token, start, end."""
    at, odd_starts, odd_ends = odd.T
    walked = np.where(steps == _ODD, 0, steps).cumsum(dtype=np.int64)
    # Tokens at which the running sum of steps starts anew, and what to add to it from there: a
    # passage begins at 0, an odd token at its stored start.
    anchors = np.zeros(len(steps), dtype=np.int64)
    anew = np.zeros(len(steps), dtype=np.bool_)
    begins = offsets[:-1][np.diff(offsets) > 0]
    anchors[begins] = np.where(begins > 0, -walked[begins - 1], 0)
    anew[begins] = True
    real = odd_ends > odd_starts
    anchors[at[real]] = odd_starts[real] - walked[at[real]]
    anew[at[real]] = True
    latest = np.maximum.accumulate(np.where(anew, np.arange(len(steps)), 0))
    starts = np.where(lengths > 0, walked + anchors[latest], 0)
    spans = np.stack([starts, starts + lengths], axis=1).astype(np.int32)
    spans[at] = odd[:, 1:]
    return spans


def _postings(
    ids: NDArray[np.int32], offsets: NDArray[np.int64], n_ids: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the distinct ids, where the passages of each start, and the passages in order."""
    if kernel_name() == NUMPY:
        n_passages = len(offsets) - 1
        owner = np.repeat(np.arange(n_passages), np.diff(offsets))
        pairs = np.unique(ids.astype(np.int64) * max(n_passages, 1) + owner)
        of_id, passages = np.divmod(pairs, max(n_passages, 1))
        ends = np.searchsorted(of_id, np.arange(n_ids + 1)).astype(np.uint32)
    else:
        ends, passages = native.postings(ids, offsets, n_ids)
    present = np.flatnonzero(np.diff(ends))
    return (
        present.astype(np.uint32),
        np.append(ends[present], ends[-1:]).astype(np.uint32),
        passages.astype(np.uint32, copy=False),
    )
