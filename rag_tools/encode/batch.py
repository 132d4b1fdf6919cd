"""Collecting the queries that wait for a thread, so that the model encodes them in one run.

The first of them to get a thread encodes for all that wait by then; the others find it done when
their turn comes. `rag_tools.encode.encoder.Encoder.encode_queries` encodes what is there already.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Lock

from rag_tools.encode.embeddings import Embeddings
from rag_tools.encode.encoder import Encoder
from rag_tools.tracing import stage


class Batch:
    """The queries that wait for one encoder. Safe to use from several threads and event loops.

    Parameters
    ----------
    encoder
        Encoder for the queries.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._lock = Lock()
        self._waiting: dict[WaitingQuery, None] = {}  # in order

    def __len__(self) -> int:
        return len(self._waiting)

    @contextmanager
    def join(self, text: str) -> Iterator[WaitingQuery]:
        """Add a query, which can be encoded with others during a ``with`` block."""
        query = WaitingQuery(self, text)
        with self._lock:
            self._waiting[query] = None
        try:
            yield query
        finally:
            with self._lock:
                self._waiting.pop(query, None)

    def encode(self, query: WaitingQuery) -> None:
        """Encode all waiting queries, unless another thread encodes `query` or has encoded it."""
        with self._lock:
            if query not in self._waiting:
                return
            queries = list(self._waiting)
            self._waiting.clear()
        self._encode(queries)

    def _encode(self, queries: list[WaitingQuery]) -> None:
        try:
            found = self._encoder.encode_queries([query.text for query in queries])
        except Exception as error:  # any error is raised again by the query's `embeddings`
            if len(queries) == 1:
                queries[0].found.set_exception(error)
            else:
                for query in queries:
                    self._encode([query])
        else:
            for query, embeddings in zip(queries, found, strict=True):
                query.found.set_result(embeddings)


class WaitingQuery:
    """A query in a batch."""

    def __init__(self, batch: Batch, text: str) -> None:
        self.text = text
        self.found: Future[Embeddings] = Future()
        self._batch = batch

    @stage("rag_tools.encode")
    def embeddings(self) -> Embeddings:
        """Return what `Encoder.encode_query` does, to the bit; call it on a worker thread.

        An error is raised only for the query that caused it.
        """
        self._batch.encode(self)
        return self.found.result()
