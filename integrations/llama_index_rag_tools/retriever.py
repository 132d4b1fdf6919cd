"""Passages with their citations as LlamaIndex nodes."""

from __future__ import annotations

from pathlib import Path

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle

from llama_index_rag_tools.nodes import to_node
from rag_tools.engine import Engine
from rag_tools.types import Filter, SearchResults
from rag_tools_mcp.client import Client, open_index


class RagToolsRetriever(BaseRetriever):
    """Retrieves the passages that answer a query best, each with verbatim citations.

    A node's id is the passage's, its ``start_char_idx`` and ``end_char_idx`` are code points of
    the document's canonical text, and its source node is the document. The document's own
    metadata are kept; added to them are ``title`` and ``heading``, and, hidden from the language
    model and the embedding, ``source``, ``url``, ``document_sha256``, ``citations``, a list of
    `rag_tools.Citation` as JSON, and ``confidence``, that of the search.

    A node's hash is that of the passage, whatever was asked: see `RetrievedNode`.

    Any number of threads and tasks may share one. The asynchronous methods leave the event loop
    free. A retriever is copied and pickled by what it was opened with: the copy opens the index, or
    connects to the server, anew.

    Parameters
    ----------
    index
        Directory of an index, http(s) URL of a server, or an open engine or client; default: as
        `Engine.open` has it. What was opened here is closed by ``retriever.engine.close()``.
    k
        At most so many passages.
    filter
        Restriction on documents, see `rag_tools.types.Filter`.
    callback_manager, verbose
        As every retriever of LlamaIndex has them.

    Attributes
    ----------
    engine
        What searches: the open engine, or the client of the server.

    Raises
    ------
    IndexNotFoundError, IndexCorruptError, IndexVersionError
        If the index can't be opened.
    ServerError
        If the server can't be reached.
    """

    def __init__(
        self,
        index: Engine | Client | Path | str | None = None,
        *,
        k: int = 10,
        filter: Filter | None = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(callback_manager=callback_manager, verbose=verbose)
        self.engine = open_index(index)
        self.k = k
        self.filter = filter

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(self.engine.search(query_bundle.query_str, limit=self.k, filter=self.filter))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return _nodes(
            await self.engine.asearch(query_bundle.query_str, limit=self.k, filter=self.filter)
        )


def _nodes(found: SearchResults) -> list[NodeWithScore]:
    return [
        NodeWithScore(node=to_node(hit, found.confidence), score=hit.score) for hit in found.results
    ]
