"""Reordering what any retriever found, and marking the words that matter in it."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from llama_index_rag_tools.nodes import RetrievedNode
from rag_tools.cite.quote import Quote
from rag_tools.errors import InvalidQueryError
from rag_tools.rerank import Reranker, quote_json


class RagToolsReranker(Reranker, BaseNodePostprocessor):
    """Orders nodes by MaxSim with the query and adds the quotes that carry the evidence.

    Works on nodes of any origin. Their score becomes the mean similarity per query token. Their
    metadata gain ``quotes``, best first and hidden from the language model and the embedding:
    ``start`` and ``end`` in code points of the node's text, ``quote``, which is that range of it,
    and ``score``. The hash of a text node stays what it was: see `RetrievedNode`.

    Parameters
    ----------
    checkpoint
        Directory or hub id of a ColBERT checkpoint; default: the bundled one.
    top_n
        At most so many nodes; default: all.

    Raises
    ------
    CheckpointError
        If the checkpoint can't be read.
    """

    @classmethod
    def class_name(cls) -> str:
        """Return the name that LlamaIndex stores for the class."""
        return "RagToolsReranker"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InvalidQueryError("nothing to rank the nodes for: give query_str or query_bundle")
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
