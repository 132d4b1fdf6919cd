"""Results of the encoder: a vector, a token id and a character span for each kept token.

How they are made is `rag_tools.encode.encoder`; how they are stored is `rag_tools.index`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Token embeddings of a text, in the order of its tokens.

    Attributes
    ----------
    vectors
        Shape ``(n_tokens, dim)``, float32, rows of unit length.
    token_ids
        Shape ``(n_tokens,)``, int32, ids of the checkpoint's vocabulary.
    spans
        Shape ``(n_tokens, 2)``, int32: half-open code points of the encoded text. Markers,
        ``[MASK]`` expansion and context tokens stand outside the text and have ``(0, 0)``.
    pooled
        Shape ``(pooled_dim,)``, float32, unit length: the text as one vector. None if the
        checkpoint has no such output.
    """

    vectors: NDArray[np.float32]
    token_ids: NDArray[np.int32]
    spans: NDArray[np.int32]
    pooled: NDArray[np.float32] | None

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.token_ids)


class EncodedQuery(NamedTuple):
    """A query or claim with its embeddings, for when encoding and searching are separate."""

    text: str
    embeddings: Embeddings
