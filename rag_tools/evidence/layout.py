"""How a question and a passage are laid out for the evidence model, token by token.

``[CLS] question [SEP] title > heading path, passage [SEP]``, at most `MAX_TOKENS` tokens. Training
and inference share this module, so that both see the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

MAX_TOKENS = 256
QUERY_TOKENS = 80
"""Most tokens of a question or claim; the rest of a longer one isn't read."""
CONTEXT_TOKENS = 40
"""Most tokens of title and headings; the last ones are kept."""

Ids = NDArray[np.int64]
Spans = NDArray[np.int32]


class Layout(NamedTuple):
    """One row of the model's input.

    Attributes
    ----------
    ids
        Shape ``(n_tokens,)``.
    segments
        Same shape: 0 for the question and its markers, 1 for context, passage and last marker.
    first
        Number of the passage's first token in the row.
    spans
        Shape ``(n_passage_tokens, 2)``: code points of the passage that its tokens stand for.
    """

    ids: Ids
    segments: Ids
    first: int
    spans: Spans


class Pieces(NamedTuple):
    """The tokens of a text and where they stand."""

    ids: Ids
    spans: Spans


class Composer:
    """Lays out pairs with a checkpoint's tokenizer.

    Parameters
    ----------
    tokenizer
        As `rag_tools.encode.session.load_tokenizer` returns it: a BERT's, that neither cuts nor
        pads.
    max_tokens
        Most tokens of a row.

    Raises
    ------
    ValueError
        The tokenizer has no ``[CLS]`` and ``[SEP]``, or `max_tokens` leaves no room for a passage.
    """

    def __init__(self, tokenizer: Tokenizer, max_tokens: int = MAX_TOKENS) -> None:
        begin, between = (tokenizer.token_to_id(marker) for marker in ("[CLS]", "[SEP]"))
        if begin is None or between is None:
            raise ValueError("the evidence model needs a tokenizer with [CLS] and [SEP]")
        if max_tokens < QUERY_TOKENS + CONTEXT_TOKENS + 16:
            raise ValueError(
                f"max_tokens {max_tokens} must be at least {QUERY_TOKENS + CONTEXT_TOKENS + 16}"
            )
        self._tokenizer = tokenizer
        self._begin, self._between = begin, between
        self._max_tokens = max_tokens

    def pieces(self, text: str) -> Pieces:
        """Return the tokens of a text, without markers."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        spans = np.array(encoding.offsets, np.int32).reshape(-1, 2)
        return Pieces(np.array(encoding.ids, np.int64), spans)

    def lay_out(self, query: Pieces, context: Pieces, passage: Pieces) -> Iterator[Layout]:
        """Yield the rows for a pair: one, or as many as a long passage needs.

        Each row has the question and the context, and the passage's tokens are in one row each. A
        passage without tokens has a row too.
        """
        asked = query.ids[:QUERY_TOKENS]
        around = context.ids[max(0, len(context.ids) - CONTEXT_TOKENS) :]
        room = self._max_tokens - 3 - len(asked) - len(around)
        lead = np.concatenate([[self._begin], asked, [self._between]])
        n_rows = max(1, -(-len(passage.ids) // room))
        size = -(-len(passage.ids) // n_rows)
        for row in range(n_rows):
            part = slice(row * size, (row + 1) * size)
            ids = np.concatenate([lead, around, passage.ids[part], [self._between]])
            segments = np.ones(len(ids), np.int64)
            segments[: len(lead)] = 0
            yield Layout(
                ids.astype(np.int64), segments, len(lead) + len(around), passage.spans[part]
            )


def owners(spans: Spans, units: Spans) -> NDArray[np.int64]:
    """Return for each token the number of the unit that it starts in, -1 for none.

    Parameters
    ----------
    spans
        Shape ``(n_tokens, 2)``.
    units
        Shape ``(n_units, 2)``, in order, not overlapping.
    """
    if not len(units) or not len(spans):
        return np.full(len(spans), -1, np.int64)
    starts = spans[:, 0]
    places = np.searchsorted(units[:, 0], starts, side="right") - 1
    inside = (places >= 0) & (starts < units[np.maximum(places, 0), 1]) & (spans[:, 1] > starts)
    return np.where(inside, places, -1).astype(np.int64)
