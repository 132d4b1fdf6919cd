"""Queries that wait to be encoded, collected so that the model takes them all in one run.

For event loops: `rag_tools.encode.encoder.Encoder.encode_queries` encodes what is there already.
"""

from __future__ import annotations

from collections import deque
from weakref import WeakKeyDictionary

from anyio import Lock
from anyio.lowlevel import RunVar

from rag_tools.encode.embeddings import Embeddings
from rag_tools.encode.encoder import Encoder
from rag_tools.offload import offload
from rag_tools.tracing import stage


async def encode(encoder: Encoder, text: str) -> Embeddings:
    """Do what `Encoder.encode_query` does, together with the queries of others that wait.

    Encoding waits its turn like everything that is run by `offload`. What arrives meanwhile, and
    while a batch is encoded, makes the next one; a query that finds nobody waiting starts at once.
    An error is raised for the query that it is about. A query that is cancelled leaves the batch.
    """
    try:
        batches = _batches.get()
    except LookupError:
        batches = WeakKeyDictionary()
        _batches.set(batches)
    with stage("rag_tools.encode"):
        return await batches.setdefault(encoder, _Batch()).encode(encoder, text)


class _Query:
    def __init__(self, text: str) -> None:
        self.text = text
        self.wanted = True
        self.found: Embeddings | Exception | None = None


class _Batch:
    """What waits for one encoder on one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[_Query] = deque()
        self._turn = Lock()

    async def encode(self, encoder: Encoder, text: str) -> Embeddings:
        query = _Query(text)
        self._waiting.append(query)
        try:
            # Whoever comes first encodes for all that wait by then. They find it done in turn.
            async with self._turn:
                if query.found is None:
                    await offload(lambda: _encode(encoder, self._take(query)))
        finally:
            query.wanted = False
        assert query.found is not None
        if isinstance(query.found, Exception):
            raise query.found
        return query.found

    def _take(self, query: _Query) -> list[_Query]:
        """Return what waits, and `query` in any case: asyncio can cancel whoever took it before.

        Called on a worker thread, while on the event loop more is appended.
        """
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        return [query, *(each for each in waiting if each.wanted and each is not query)]


def _encode(encoder: Encoder, queries: list[_Query]) -> None:
    try:
        found = encoder.encode_queries([query.text for query in queries])
    except Exception as error:  # whatever it is, it is raised where the query is awaited
        if len(queries) == 1:
            queries[0].found = error
        else:
            for query in queries:
                _encode(encoder, [query])
    else:
        for query, embeddings in zip(queries, found, strict=True):
            query.found = embeddings


# Of each event loop its own: a lock can't be shared between loops.
_batches: RunVar[WeakKeyDictionary[Encoder, _Batch]] = RunVar("rag_tools_batches")
