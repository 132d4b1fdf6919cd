"""Runs that score every passage on unquantised embeddings, as a yardstick for the index.

The passages, the signals and their weights are those of `Engine.search`; there is no index, so
nothing is missed and nothing is rounded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import tee

import numpy as np
from numpy.typing import NDArray

from rag_tools.creation import DEFAULT_PASSAGE_TOKENS
from rag_tools.encode.embeddings import Embeddings
from rag_tools.encode.encoder import Encoder
from rag_tools.evaluate.dataset import Dataset
from rag_tools.evaluate.measures import DEPTH, Run
from rag_tools.index import lexical
from rag_tools.index.search import Signals, weigh
from rag_tools.ingest.chunk import chunk
from rag_tools.types import Document, Progress

Vectors = NDArray[np.float32]
Owners = NDArray[np.int64]
"""``(n_passages,)`` numbers of the passages' documents in the corpus, in ascending order."""

_TOGETHER = 64  # queries scored together: enough rows for a fast matrix product
_SIMILARITIES = 8_000_000  # computed at a time: 32 MB


@dataclass(frozen=True)
class Pooled:
    """Every passage as one vector: ``(n_passages, pooled_dim)`` float32, and its owner."""

    vectors: Vectors
    owners: Owners


@dataclass(frozen=True)
class Passages:
    """The encoded passages of a corpus.

    Attributes
    ----------
    texts
        Of the passages.
    owners
        Their documents.
    vectors
        ``(n_tokens, dim)`` float32, unit rows, in a temporary file.
    offsets
        ``(n_passages + 1,)`` int64: passage i has the tokens ``offsets[i]:offsets[i + 1]``.
    frequencies
        ``(vocabulary_size,)`` int64: number of passages that contain each token of the vocabulary.
    pooled
        Pooled vectors; None if the checkpoint has none.
    """

    texts: list[str]
    owners: Owners
    vectors: Vectors
    offsets: NDArray[np.int64]
    frequencies: NDArray[np.int64]
    pooled: Pooled | None


def documents(dataset: Dataset) -> Iterator[Document]:
    """Yield a data set's corpus as it is indexed, every document under its own id."""
    for id, text in dataset.corpus.items():
        # The title is empty, because the id must not become a part of the encoded text.
        yield Document(uri=f"dataset:{id}", id=id, text=text, title="")


def encode(dataset: Dataset, encoder: Encoder, *, progress: Progress | None = None) -> Passages:
    """Split a corpus into the passages that an index has by default, and encode them."""
    texts, owners, sizes, pooled = [], [], [0], []
    frequencies = np.zeros(encoder.checkpoint.vocabulary_size, np.int64)
    with tempfile.TemporaryFile() as file:
        for owner, text, embeddings in _encoded(dataset, encoder):
            texts.append(text)
            owners.append(owner)
            sizes.append(len(embeddings))
            frequencies[np.unique(embeddings.token_ids)] += 1
            file.write(embeddings.vectors.tobytes())
            if embeddings.pooled is not None:
                pooled.append(embeddings.pooled)
            if progress:
                progress("encode", len(texts), 0)
        shape = (sum(sizes), embeddings.vectors.shape[1])
        vectors = np.memmap(file, np.float32, mode="r", shape=shape)
    owned = np.array(owners, np.int64)
    return Passages(
        texts=texts,
        owners=owned,
        vectors=vectors,
        offsets=np.cumsum(sizes),
        frequencies=frequencies,
        pooled=Pooled(np.stack(pooled), owned) if pooled else None,
    )


def pool(dataset: Dataset, encoder: Encoder, *, progress: Progress | None = None) -> Pooled:
    """Encode a corpus and keep only the pooled vectors, which the checkpoint must have."""
    vectors, owners = [], []
    for owner, _, embeddings in _encoded(dataset, encoder):
        assert embeddings.pooled is not None
        vectors.append(embeddings.pooled)
        owners.append(owner)
        if progress:
            progress("encode", len(owners), 0)
    return Pooled(np.stack(vectors), np.array(owners, np.int64))


def run_dense(pooled: Pooled, encoder: Encoder, dataset: Dataset) -> Run:
    """Return a run by the cosine of pooled vectors; a document scores as its best passage.

    Parameters
    ----------
    encoder
        Encoder of the same checkpoint as `pooled`.
    """
    run: dict[str, dict[str, float]] = {}
    for queries in _batches(dataset):
        vectors = np.stack([_pooled(encoder.encode_query(text)) for text in queries.values()])
        run |= _ranked(dataset, list(queries), vectors @ pooled.vectors.T, pooled.owners)
    return run


def run_maxsim(
    passages: Passages,
    encoder: Encoder,
    dataset: Dataset,
    *,
    signals: Signals,
    progress: Progress | None = None,
) -> Run:
    """Return a run by MaxSim and the other signals; a document scores as its best passage.

    Parameters
    ----------
    encoder
        The encoder that encoded `passages`.
    """
    words = lexical.in_memory(passages.texts)
    run: dict[str, dict[str, float]] = {}
    for queries in _batches(dataset):
        encoded = [encoder.encode_query(text) for text in queries.values()]
        scores = _maxsim(passages, encoded, signals)  # (n_queries, n_passages)
        if passages.pooled is not None and signals.pooled:
            vectors = np.stack(list(map(_pooled, encoded)))
            scores += signals.of_pooled(vectors @ passages.pooled.vectors.T)
        if signals.lexical:
            for row, text, query in zip(scores, queries.values(), encoded, strict=True):
                keys, bm25 = _bm25(words, passages, text, query)
                adapted = signals.adapted(encoder.pieces_per_word(text, query))
                row[keys] += adapted.of_words(bm25)
        run |= _ranked(dataset, list(queries), scores, passages.owners)
        if progress:
            progress("search", len(run), len(dataset.queries))
    return run


def _encoded(dataset: Dataset, encoder: Encoder) -> Iterator[tuple[int, str, Embeddings]]:
    """Yield the number of each passage's document, the passage's text and its embeddings."""
    cut = (
        (number, document.text[passage.start : passage.end])
        for number, document in enumerate(documents(dataset))
        for passage in chunk(document, encoder, passage_tokens=DEFAULT_PASSAGE_TOKENS)
    )
    # The encoder is a few passages ahead: `tee` holds those.
    passages, ahead = tee(cut)
    found = encoder.encode_passages((text, "") for _, text in ahead)
    for (number, text), embeddings in zip(passages, found, strict=True):
        yield number, text, embeddings


def _batches(dataset: Dataset) -> Iterator[dict[str, str]]:
    queries = list(dataset.queries.items())
    for first in range(0, len(queries), _TOGETHER):
        yield dict(queries[first : first + _TOGETHER])


def _maxsim(passages: Passages, queries: Sequence[Embeddings], signals: Signals) -> Vectors:
    """Return ``(n_queries, n_passages)`` float32: the weighted MaxSim of each pair."""
    vectors = np.concatenate([query.vectors for query in queries])
    weights = [
        weigh(passages.frequencies[query.token_ids], len(passages.texts), exponent=signals.idf)
        for query in queries
    ]
    weight = np.concatenate(weights)[:, None]
    first_rows = np.cumsum([0, *map(len, queries)])[:-1]
    offsets = passages.offsets
    scores = np.empty((len(queries), len(passages.texts)), np.float32)
    for low, high in _blocks(offsets, _SIMILARITIES // len(vectors)):
        first, last = offsets[low], offsets[high]
        similarity = vectors @ passages.vectors[first:last].T  # (n_query_tokens, last - first)
        best = np.maximum.reduceat(similarity, offsets[low:high] - first, axis=1)
        scores[:, low:high] = np.add.reduceat(weight * best, first_rows, axis=0)
    return scores


def _blocks(offsets: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of at least one passage, with a limited number of tokens together."""
    low = 0
    while low < len(offsets) - 1:
        beyond = int(np.searchsorted(offsets, offsets[low] + most, side="right"))
        high = max(beyond - 1, low + 1)
        yield low, high
        low = high


def _bm25(
    stored: lexical.Collection, passages: Passages, text: str, query: Embeddings
) -> tuple[list[int], Vectors]:
    """Return the numbers of the passages that BM25 lists, and their scores."""
    frequencies = passages.frequencies[query.token_ids]
    words = lexical.telling_words(text, query.spans, frequencies, len(passages.texts))
    listed = lexical.listed(stored, words, limit=lexical.LISTED)
    return [key for key, _ in listed], np.array([score for _, score in listed], np.float32)


def _pooled(embeddings: Embeddings) -> Vectors:
    assert embeddings.pooled is not None
    return embeddings.pooled


def _ranked(
    dataset: Dataset, queries: Sequence[str], scores: Vectors, owners: Owners
) -> dict[str, dict[str, float]]:
    """Return the best documents of each query from ``(n_queries, n_passages)`` scores."""
    ids = list(dataset.corpus)
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    best = np.maximum.reduceat(scores, starts, axis=1)  # (n_queries, n_documents with passages)
    order = np.argsort(-best, axis=1, kind="stable")[:, :DEPTH]
    return {
        query: {ids[owners[starts[at]]]: float(best[row, at]) for at in order[row]}
        for row, query in enumerate(queries)
    }
