"""Ranking texts that aren't indexed by MaxSim with a query, and quoting the evidence in them.

This is for passages that another retriever found. Every call encodes all texts; `rag_tools.engine`
searches an index, whose texts are encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, Field, PrivateAttr

from rag_tools.cite.quote import Quote, quotes
from rag_tools.encode.checkpoint import load_checkpoint
from rag_tools.encode.encoder import Encoder
from rag_tools.limits import check_query


class Ranked(NamedTuple):
    """A text with its score for a query.

    Attributes
    ----------
    position
        Position of the text in the sequence that was given.
    score
        Mean over the query's tokens of the best similarity to a token of the text, in [-1, 1].
        Scores for the same query can be compared, also between calls.
    quotes
        The parts of the text that are relevant to the query, best first; their spans are relative
        to the text.
    """

    position: int
    score: float
    quotes: tuple[Quote, ...]


def quote_json(quote: Quote, text: str) -> dict[str, Any]:
    """Return a quote of `text` as JSON: ``start``, ``end``, ``quote``, ``score``."""
    start, end = quote.span
    return {"start": start, "end": end, "quote": text[start:end], "score": quote.score}


def rerank(encoder: Encoder, query: str, texts: Sequence[str]) -> list[Ranked]:
    """Return the texts in descending order of MaxSim with `query`, ties in the order given.

    The score is exact: no quantisation, and all query tokens weigh alike, since a handful of
    texts says nothing about which words are rare. Cost: one pass of the encoder over each text.

    Raises
    ------
    InvalidQueryError
        If the query is blank, too long or isn't valid Unicode.
    """
    check_query(query)
    vectors = encoder.encode_query(query).vectors  # (n_query_tokens, dim)
    weights = np.full(len(vectors), 1 / len(vectors), np.float32)
    ranked = []
    passages = encoder.encode_passages((text, "") for text in texts)
    for position, (text, passage) in enumerate(zip(texts, passages, strict=True)):
        similarities = vectors @ passage.vectors.T  # (n_query_tokens, n_tokens)
        ranked.append(
            Ranked(
                position=position,
                score=float(weights @ similarities.max(axis=1)),
                quotes=tuple(quotes(text, passage.spans, similarities, weights)),
            )
        )
    return sorted(ranked, key=lambda item: (-item.score, item.position))


class Reranker(BaseModel):
    """Ranks texts with a loaded checkpoint and keeps the best.

    A pickle holds only the parameters, and unpickling loads the checkpoint again; copies share the
    loaded one.

    Parameters
    ----------
    checkpoint
        Directory or hub id of a ColBERT checkpoint. Default: the bundled one.
    top_n
        Maximum number of texts to return. Default: all.

    Raises
    ------
    CheckpointError
        If the checkpoint can't be read.
    """

    checkpoint: str | Path | None = None
    top_n: int | None = Field(default=None, ge=1)
    _encoder: Encoder = PrivateAttr()

    def model_post_init(self, _context: Any, /) -> None:  # noqa: ANN401 - pydantic's signature
        """Load the encoder."""
        self._encoder = Encoder(load_checkpoint(self.checkpoint))

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make an equal reranker, for pickling."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return _made, (type(self), given)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return a copy that shares the encoder, which never changes."""
        memo = {} if memo is None else memo
        memo[id(self._encoder)] = self._encoder
        return super().__deepcopy__(memo)

    def rank(self, query: str, texts: Sequence[str]) -> list[Ranked]:
        """Return the best `top_n` of the texts, as `rerank` ranks them.

        Raises
        ------
        InvalidQueryError
            If the query is blank, too long or isn't valid Unicode.
        """
        return rerank(self._encoder, query, texts)[: self.top_n]


def _made(kind: type[Reranker], given: dict[str, Any]) -> Reranker:
    return kind(**given)
