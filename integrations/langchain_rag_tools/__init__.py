"""rag-tools for LangChain: a retriever, a vector store, a reranker and a tool for agents.

Adapters over `rag_tools.Engine`, which does the retrieval; nothing here scores or cites.
"""

from langchain_rag_tools.reranker import RagToolsReranker
from langchain_rag_tools.retriever import RagToolsRetriever
from langchain_rag_tools.tool import search_tool
from langchain_rag_tools.vectorstore import RagToolsVectorStore

__all__ = ["RagToolsReranker", "RagToolsRetriever", "RagToolsVectorStore", "search_tool"]
