"""Passages with their citations as LlamaIndex nodes."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import (
    NodeRelationship,
    NodeWithScore,
    ObjectType,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)

from rag_tools.engine import Engine
from rag_tools.offload import offload
from rag_tools.types import Filter, Hit

_SPAN_METADATA = ["source", "url", "document_sha256", "citations"]
"""What programs read: of no use to a language model or an embedding."""


class RagToolsRetriever(BaseRetriever):
    """Retrieves the passages that answer a query best, each with verbatim citations.

    A node's id is the passage's, its ``start_char_idx`` and ``end_char_idx`` are code points of
    the document's canonical text, and its source node is the document. The document's own
    metadata are kept; added to them are ``title`` and ``heading``, and, hidden from the language
    model and the embedding, ``source``, ``url``, ``document_sha256`` and ``citations``, a list of
    `rag_tools.Citation` as JSON.

    Any number of threads and tasks may share one. The asynchronous methods search on worker
    threads, so that the event loop stays free.

    Parameters
    ----------
    index
        Directory of an index, or an open engine; default: as `Engine.open` has it. What was opened
        from a directory is closed by ``retriever.engine.close()``.
    k
        At most so many passages.
    filter
        Restriction on documents, see `rag_tools.types.Filter`.
    callback_manager, verbose
        As every retriever of LlamaIndex has them.

    Attributes
    ----------
    engine
        The open engine.

    Raises
    ------
    IndexNotFoundError, IndexCorruptError, IndexVersionError
        If the index can't be opened.
    """

    def __init__(
        self,
        index: Engine | Path | str | None = None,
        *,
        k: int = 10,
        filter: Filter | None = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(callback_manager=callback_manager, verbose=verbose)
        self.engine = index if isinstance(index, Engine) else Engine.open(index)
        self.k = k
        self.filter = filter

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = self.engine.search(query_bundle.query_str, limit=self.k, filter=self.filter)
        return [NodeWithScore(node=_node(hit), score=hit.score) for hit in found.results]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await offload(lambda: self._retrieve(query_bundle))


def _node(hit: Hit) -> TextNode:
    return TextNode(
        id_=hit.id,
        text=hit.text,
        start_char_idx=hit.start,
        end_char_idx=hit.end,
        metadata={
            **deepcopy(hit.metadata),  # the engine keeps it, and pipelines like to change theirs
            "source": hit.uri,
            "title": hit.title,
            "heading": hit.heading or "",
            "url": hit.url,
            "document_sha256": hit.document_sha256,
            "citations": [citation.model_dump(mode="json") for citation in hit.citations],
        },
        excluded_llm_metadata_keys=list(_SPAN_METADATA),
        excluded_embed_metadata_keys=list(_SPAN_METADATA),
        relationships={
            NodeRelationship.SOURCE: RelatedNodeInfo(
                node_id=hit.document_id,
                node_type=ObjectType.DOCUMENT,
                hash=hit.document_sha256,
            )
        },
    )
