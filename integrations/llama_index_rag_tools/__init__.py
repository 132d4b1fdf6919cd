"""rag-tools for LlamaIndex: a retriever and a reranker.

Adapters over `rag_tools.Engine`, which does the retrieval; nothing here scores or cites.
"""

from llama_index_rag_tools.reranker import RagToolsReranker
from llama_index_rag_tools.retriever import RagToolsRetriever

__all__ = ["RagToolsReranker", "RagToolsRetriever"]
