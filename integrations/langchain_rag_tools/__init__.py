"""rag-tools for LangChain: a retriever, a vector store, a reranker, a tool, and cited answers.

These are adapters of `rag_tools.Engine` and `rag_tools.Client`; nothing here scores or quotes.
"""

from langchain_rag_tools.citations import annotate, numbered_quotes
from langchain_rag_tools.reranker import RagToolsReranker
from langchain_rag_tools.retrieved import RetrievedDocument
from langchain_rag_tools.retriever import RagToolsRetriever
from langchain_rag_tools.tool import search_tool
from langchain_rag_tools.vectorstore import RagToolsVectorStore

__all__ = [
    "RagToolsReranker",
    "RagToolsRetriever",
    "RagToolsVectorStore",
    "RetrievedDocument",
    "annotate",
    "numbered_quotes",
    "search_tool",
]
