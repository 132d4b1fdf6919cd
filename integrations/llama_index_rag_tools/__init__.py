"""rag-tools for LlamaIndex: a retriever, an index, a reranker, and a query engine that cites.

These are adapters of `rag_tools.Engine` and `rag_tools.Client`; nothing here scores or quotes.
"""

from llama_index_rag_tools.index import RagToolsIndex
from llama_index_rag_tools.nodes import RetrievedNode
from llama_index_rag_tools.query_engine import CitedResponse, SpanCitationQueryEngine
from llama_index_rag_tools.reranker import RagToolsReranker
from llama_index_rag_tools.retriever import RagToolsRetriever

__all__ = [
    "CitedResponse",
    "RagToolsIndex",
    "RagToolsReranker",
    "RagToolsRetriever",
    "RetrievedNode",
    "SpanCitationQueryEngine",
]
