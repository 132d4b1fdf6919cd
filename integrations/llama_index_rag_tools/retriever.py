"""Passages with their citations as LlamaIndex nodes."""

from __future__ import annotations

from pathlib import Path

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import MetadataFilters

from llama_index_rag_tools.filters import to_filter
from llama_index_rag_tools.nodes import to_node
from rag_tools.client import Client, open_index
from rag_tools.engine import Engine
from rag_tools.types import Filter, Principal, SearchResults


class RagToolsRetriever(BaseRetriever):
    """Retrieves the passages that best answer a query, each with verbatim citations.

    The id of a node is that of the passage, ``start_char_idx`` and ``end_char_idx`` are code points
    of the document's canonical text, and the source node is the document. The metadata are those of
    `rag_tools.frameworks`; what only programs use is hidden from the language model and the
    embedding. The hash of a node doesn't depend on the query: see `RetrievedNode`.

    A retriever may be shared between threads and tasks. The asynchronous methods don't block the
    event loop. A retriever is copied and pickled as the arguments it was made with: the copy opens
    the index, or connects to the server, again.

    Parameters
    ----------
    index
        What `rag_tools.open_index` takes: the directory of an index, the http(s) URL of a server,
        or an open engine or client. To close what the retriever opened, call
        ``retriever.engine.close()``.
    principal
        As whom to read the index, see `rag_tools.Engine.as_`; default: as its owner.
    k
        The most passages to return.
    filter
        Which documents to search: a `rag_tools.types.Filter`, or LlamaIndex's `MetadataFilters`.
    callback_manager, verbose
        As for every retriever of LlamaIndex.

    Attributes
    ----------
    engine
        The open engine, or the client of the server.

    Raises
    ------
    RagToolsError
        If the index can't be opened, as by `rag_tools.open_index`.
    """

    def __init__(
        self,
        index: Engine | Client | Path | str | None = None,
        *,
        principal: Principal | None = None,
        k: int = 10,
        filter: Filter | MetadataFilters | None = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(callback_manager=callback_manager, verbose=verbose)
        self.engine = open_index(index, principal)
        self.k = k
        self.filter = to_filter(filter)

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
