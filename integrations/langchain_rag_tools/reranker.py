"""Reranking the documents of any retriever, and quoting the evidence in them."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document

from langchain_rag_tools.retrieved import RetrievedDocument
from rag_tools.cite.quote import Quote
from rag_tools.rerank import Reranker, quote_json


class RagToolsReranker(Reranker, BaseDocumentCompressor):
    """Reranks documents of any origin; see `rag_tools.rerank.Reranker` for the parameters.

    The documents' metadata gain ``score`` and ``quotes``, whose ``start`` and ``end`` are code
    points of ``page_content``. Neither counts when documents are compared: see
    `RetrievedDocument`.
    """

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return copies of the documents in order of descending score.

        Raises
        ------
        InvalidQueryError
            If the query is blank.
        """
        texts = [document.page_content for document in documents]
        return [
            _scored(documents[position], score, quotes)
            for position, score, quotes in self.rank(query, texts)
        ]


def _scored(document: Document, score: float, quotes: Sequence[Quote]) -> Document:
    found = [quote_json(quote, document.page_content) for quote in quotes]
    metadata = {**document.metadata, "score": score, "quotes": found}
    return RetrievedDocument(id=document.id, page_content=document.page_content, metadata=metadata)
