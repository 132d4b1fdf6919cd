"""Reranking the nodes of any retriever, and quoting the evidence in them."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from llama_index_rag_tools.nodes import RetrievedNode
from rag_tools.cite.quote import Quote
from rag_tools.errors import InvalidQueryError
from rag_tools.rerank import Reranker, quote_json


class RagToolsReranker(Reranker, BaseNodePostprocessor):
    """Reranks nodes of any origin; see `rag_tools.rerank.Reranker` for the parameters.

    The nodes get the new score. Their metadata gain ``quotes``, hidden from the language model and
    the embedding, whose ``start`` and ``end`` are code points of the node's text. The hash of a
    text node doesn't change: see `RetrievedNode`.
    """

    @classmethod
    def class_name(cls) -> str:
        """Return the name under which LlamaIndex stores the class."""
        return "RagToolsReranker"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InvalidQueryError(
                "the nodes can't be ranked without a query: pass query_str or query_bundle"
            )
        texts = [node.get_content() for node in nodes]
        return [
            _scored(nodes[position], texts[position], score, quotes)
            for position, score, quotes in self.rank(query_bundle.query_str, texts)
        ]


def _scored(
    found: NodeWithScore, text: str, score: float, quotes: Sequence[Quote]
) -> NodeWithScore:
    node = found.node
    marked = [quote_json(quote, text) for quote in quotes]
    copy = node.model_copy(
        update={
            "metadata": {**node.metadata, "quotes": marked},
            "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, "quotes"],
            "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, "quotes"],
        }
    )
    if type(copy) is TextNode:  # whose hash covers all metadata
        copy = RetrievedNode.model_construct(_fields_set=None, **copy.__dict__)
    return NodeWithScore(node=copy, score=score)
