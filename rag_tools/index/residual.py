"""The residual codec: what is left of a token embedding after its centroid, in a few bits.

ColBERTv2 (Santhanam et al. 2022, section 3.3) stores a token as its nearest centroid and a
residual, each dimension of which falls into one of 2^b buckets. Here, shape and gain are separate:
a residual is first divided by its own length, and each dimension by its spread, so that one table
of bucket values serves all tokens and dimensions. It fits a SIMD register and doesn't depend on
data; the spread is multiplied into the query, and the gain of a token is a byte. The table is int8,
so a kernel that never decompresses to floats is as exact as this module. The leading dimensions,
which hold the most in checkpoints that order them, have twice the bits.

Centroids are in `codebook`, and files in `segment`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BITS = (4, 2, 1)
"""The possible bits per dimension of a residual code; see `parts` for exceptions."""

BLOCK_TOKENS = 16
"""Tokens per block: the 32-bit lanes of a 512-bit register."""

_DEVIATION = 46
"""Steps of a value per standard deviation; the largest value, 2.73 deviations, fits int8."""

# The optimal values for a normal distribution (Max 1960), in steps: a residual without its length
# has nearly this distribution. They leave 0.0095, 0.1175 and 0.3634 of the variance.
_VALUES = {
    4: [-126, -95, -74, -58, -43, -30, -18, -6, 6, 18, 30, 43, 58, 74, 95, 126],
    2: [-69, -21, 21, 69],
    1: [-37, 37],
}

_GAINS_PER_LENGTH = 128  # gain of a residual of length 1; no residual is longer than 2
_NO_DEVIATION = 1e-30  # of a residual that is zero
_LEAST_SPREAD = 1 / 8  # of the mean; a dimension that hardly varies yet may do so later


@dataclass(frozen=True, slots=True)
class ResidualCodec:
    """Encodes the shapes of residuals.

    Attributes
    ----------
    bits
        Bits per dimension: 4, 2 or 1.
    values
        ``(2, 16)`` int8: the values of the buckets in ascending order, in units of `steps`, for the
        leading dimensions and for the others (see `parts`); zero after the last bucket.
    steps
        ``(dim,)`` float32: the embedding units of one step of `values`, per dimension, at a gain
        of 1.
    """

    bits: int
    values: NDArray[np.int8]
    steps: NDArray[np.float32]

    @classmethod
    def train(cls, residuals: NDArray[np.float32], bits: int) -> ResidualCodec:
        """Fit the steps to the spread of `residuals`; only the ratios of dimensions matter.

        Parameters
        ----------
        residuals
            ``(n, dim)`` float32.
        bits
            4, 2 or 1.
        """
        spread = residuals.std(axis=0, dtype=np.float64)
        spread = np.maximum(spread, max(_LEAST_SPREAD * float(spread.mean()), 1e-6))
        length = _GAINS_PER_LENGTH * np.linalg.norm(spread)
        return cls(
            bits=bits,
            values=_tables(bits),
            steps=(spread / (length * _DEVIATION)).astype(np.float32),
        )

    def encode(self, residuals: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the bucket of every dimension, ``(n, dim)`` uint8.

        The length of a residual doesn't matter.
        """
        scaled = residuals / self.steps
        squares = np.einsum("ij,ij->i", scaled, scaled, dtype=np.float64)
        deviation = np.sqrt(squares / max(residuals.shape[1], 1)) / _DEVIATION
        scaled /= np.maximum(deviation, _NO_DEVIATION).astype(np.float32)[:, None]
        codes = np.empty(residuals.shape, dtype=np.uint8)
        for part, table in zip(parts(residuals.shape[1], self.bits), self.values, strict=True):
            values = table[: 1 << part.bits].astype(np.float32)
            cutoffs = (values[1:] + values[:-1]) / 2
            codes[:, part.dims] = np.searchsorted(cutoffs, scaled[:, part.dims], side="right")
        return codes

    def decode(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the residuals that `codes` stand for at a gain of 1, ``(n, dim)`` float32."""
        restored = np.empty(codes.shape, dtype=np.float32)
        for part, table in zip(parts(codes.shape[1], self.bits), self.values, strict=True):
            restored[:, part.dims] = table[codes[:, part.dims]]
        return restored * self.steps


def fit_gains(
    vectors: NDArray[np.float32], base: NDArray[np.float32], shapes: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the gains for which ``base + gain * shape`` is closest in direction to the vectors.

    Stored embeddings are scaled to unit length, so only the direction matters: least squares over
    both the base and the shape.

    Parameters
    ----------
    vectors, base, shapes
        ``(n, dim)`` float32: embeddings, their centroids, their residuals decoded.

    Returns
    -------
    tuple
        ``(n,)`` uint8 gains, and ``(n,)`` float32 inverse norms of those sums.
    """

    def products(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(np.einsum("ij,ij->i", left, right, dtype=np.float64))

    with_base, with_shape = products(vectors, base), products(vectors, shapes)
    of_base, of_shape = products(base, base), products(shapes, shapes)
    across = products(base, shapes)
    along_base = with_base * of_shape - with_shape * across
    along_shape = with_shape * of_base - with_base * across
    usable = (along_shape > 0) & (along_base > 0)
    gains = np.where(usable, along_shape, 0) / np.where(usable, along_base, 1)
    gains = np.rint(np.minimum(gains, 255))
    squares = of_base + 2 * gains * across + gains * gains * of_shape
    inverse_norms = 1 / np.maximum(np.sqrt(np.maximum(squares, 0)), 1e-6)
    return gains.astype(np.uint8), inverse_norms.astype(np.float32)


class Part(NamedTuple):
    """A range of dimensions whose codes have the same number of bits."""

    dims: slice
    bits: int


def parts(dim: int, bits: int) -> tuple[Part, Part]:
    """Return the leading dimensions, with twice the bits, and the others.

    A quarter of the dimensions lead, rounded down to whole groups of `pack`. With four bits, there
    are no leading dimensions.
    """
    group = 4 * (8 // min(2 * bits, 4))
    leading = dim // 4 // group * group if bits < 4 else 0
    return Part(slice(0, leading), min(2 * bits, 4)), Part(slice(leading, dim), bits)


def _tables(bits: int) -> NDArray[np.int8]:
    tables = np.zeros((2, 16), dtype=np.int8)
    for table, part in zip(tables, parts(0, bits), strict=True):
        table[: 1 << part.bits] = _VALUES[part.bits]
    return tables


def pack(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Pack the codes of each token into bytes, those of the leading dimensions first.

    With ``n = 8 // bits`` codes per byte, byte ``[token, group, j]`` of a part holds in its i-th
    lowest `bits` bits the code of the part's dimension ``4 * n * group + 4 * i + j``. A shift and a
    mask of four bytes then leave four neighbouring dimensions: the operand of a four-way byte dot
    product.

    Parameters
    ----------
    codes
        ``(n_tokens, dim)`` uint8 below two to the bits of their `parts`.

    Returns
    -------
    NDArray
        ``(n_tokens, groups, 4)`` uint8; dimensions beyond the end have code 0.
    """
    packed = [_pack(codes[:, part.dims], part.bits) for part in parts(codes.shape[1], bits)]
    return np.concatenate(packed, axis=1)


def _pack(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    per_byte = 8 // bits
    n_tokens, dim = codes.shape
    groups = -(-dim // (4 * per_byte))
    padded = np.zeros((n_tokens, groups * 4 * per_byte), dtype=np.uint8)
    padded[:, :dim] = codes
    lanes = padded.reshape(n_tokens, groups, per_byte, 4)
    packed = np.zeros((n_tokens, groups, 4), dtype=np.uint8)
    for index in range(per_byte):
        packed |= lanes[:, :, index, :] << np.uint8(index * bits)
    return packed


def unpack(packed: NDArray[np.uint8], bits: int, dim: int) -> NDArray[np.uint8]:
    """Undo `pack`: ``(n_tokens, groups, 4)`` → ``(n_tokens, dim)`` codes."""
    leading, others = parts(dim, bits)
    border = leading.dims.stop * leading.bits // 32  # groups are 32 bits of a token
    return np.concatenate(
        [
            _unpack(packed[:, :border], leading.bits),
            _unpack(packed[:, border:], others.bits)[:, : dim - leading.dims.stop],
        ],
        axis=1,
    )


def _unpack(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    per_byte = 8 // bits
    n_tokens, groups, _ = packed.shape
    codes = np.empty((n_tokens, groups, per_byte, 4), dtype=np.uint8)
    mask = np.uint8((1 << bits) - 1)
    for index in range(per_byte):
        codes[:, :, index, :] = (packed >> np.uint8(index * bits)) & mask
    return codes.reshape(n_tokens, groups * per_byte * 4)


def interleave(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay packed tokens out in blocks of 16 for SIMD: one 64-byte load is a group of 16 tokens.

    Parameters
    ----------
    packed
        ``(n_tokens, groups, 4)`` uint8.

    Returns
    -------
    NDArray
        ``(n_blocks, groups, 64)`` uint8: byte ``[block, group, 4 * token + j]`` is that of token
        ``16 * block + token``; tokens beyond the end are zero.
    """
    n_tokens, groups, _ = packed.shape
    blocks = -(-n_tokens // BLOCK_TOKENS)
    padded = np.zeros((blocks * BLOCK_TOKENS, groups, 4), dtype=np.uint8)
    padded[:n_tokens] = packed
    # A group of a token moves as one 32-bit word.
    words = padded.view(np.uint32).reshape(blocks, BLOCK_TOKENS, groups)
    return np.ascontiguousarray(words.transpose(0, 2, 1)).view(np.uint8)


def deinterleave(blocks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo `interleave`: ``(n_blocks, groups, 64)`` → ``(n_blocks * 16, groups, 4)``."""
    n_blocks, groups, _ = blocks.shape
    words = blocks.view(np.uint32).transpose(0, 2, 1)
    return np.ascontiguousarray(words).view(np.uint8).reshape(n_blocks * BLOCK_TOKENS, groups, 4)
