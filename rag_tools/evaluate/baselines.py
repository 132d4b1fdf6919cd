"""Baselines for citations: whole passages, and the best sentence by simpler methods.

Every baseline gets the passages that the same search found. A sentence is encoded and scored
without the text around it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_tools.encode.embeddings import Embeddings
from rag_tools.encode.encoder import Encoder
from rag_tools.evaluate.citation_measures import Range
from rag_tools.evaluate.evidence import EvidenceSet
from rag_tools.index import lexical
from rag_tools.types import Hit

Scores = NDArray[np.floating[Any]]

WHOLE_PASSAGES = (1, 5)
_KEPT = 4096  # encoded sentences: 60 MB at 30 tokens of 128 dimensions


class Baselines:
    """The baselines on one set.

    Parameters
    ----------
    evidence
        The set; BM25 takes its statistics from all sentences of the set.
    encoder
        Encoder of the checkpoint that is measured.
    """

    def __init__(self, evidence: EvidenceSet, encoder: Encoder) -> None:
        self._encoder = encoder
        self._documents = evidence.documents
        self._sentences: list[Range] = []
        self._borders: dict[str, tuple[int, list[int], list[int]]] = {}
        for id in evidence.documents:
            spans = evidence.sentences[id]
            starts, ends = [span.start for span in spans], [span.end for span in spans]
            self._borders[id] = len(self._sentences), starts, ends
            self._sentences += (Range(id, *span) for span in spans)
        self._lexical = lexical.in_memory(map(self._text, range(len(self._sentences))))
        self._encoded = lru_cache(maxsize=_KEPT)(self._encode)
        self._scores = {"sentence_bm25": self._bm25, "sentence_maxsim": self._maxsim}
        if encoder.checkpoint.pooled_dim:
            self._scores["sentence_dense"] = self._dense

    def quote(self, question: str, hits: Sequence[Hit]) -> dict[str, list[Range]]:
        """Return the quotes of each baseline for a question, best first.

        Parameters
        ----------
        hits
            What was found for it, best first. Candidates are the sentences that
            these passages touch; of equal ones the first is best.

        Returns
        -------
        dict
            ``passages_1`` and ``passages_5``; ``sentence_bm25``, ``sentence_maxsim`` and, if the
            checkpoint has pooled vectors, ``sentence_dense``.
        """
        passages = [Range(hit.document_id, hit.start, hit.end) for hit in hits]
        quoted = {f"passages_{n}": passages[:n] for n in WHOLE_PASSAGES}
        keys = list(dict.fromkeys(key for passage in passages for key in self._touching(passage)))
        query = self._encoder.encode_query(question)
        for name, score in self._scores.items():
            best = keys[int(score(question, query, keys).argmax())] if keys else None
            quoted[name] = [] if best is None else [self._sentences[best]]
        return quoted

    def _touching(self, passage: Range) -> range:
        """Return the keys of the sentences that share a character with a passage."""
        first, starts, ends = self._borders[passage.document_id]
        low, high = bisect_right(ends, passage.start), bisect_left(starts, passage.end)
        return range(first + low, first + high)

    def _text(self, key: int) -> str:
        sentence = self._sentences[key]
        return sentence.of(self._documents[sentence.document_id])

    def _encode(self, key: int) -> Embeddings:
        return self._encoder.encode_passage(self._text(key))

    def _bm25(self, question: str, query: Embeddings, keys: Sequence[int]) -> Scores:
        words = (word.of(question) for word in lexical.words(question))
        scores = dict(lexical.listed(self._lexical, words, limit=len(self._sentences)))
        return np.array([scores.get(key, 0.0) for key in keys])

    def _dense(self, question: str, query: Embeddings, keys: Sequence[int]) -> Scores:
        pooled = np.array([self._encoded(key).pooled for key in keys])  # (n, pooled_dim) float32
        return np.asarray(pooled @ np.asarray(query.pooled))

    def _maxsim(self, question: str, query: Embeddings, keys: Sequence[int]) -> Scores:
        similarities = (query.vectors @ self._encoded(key).vectors.T for key in keys)
        return np.array([each.max(axis=1).sum() for each in similarities])
