"""Reordering what any retriever found, and marking the words that matter in it."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document

from langchain_rag_tools.retrieved import RetrievedDocument
from rag_tools.cite.quote import Quote
from rag_tools.rerank import Reranker, quote_json


class RagToolsReranker(Reranker, BaseDocumentCompressor):
    """Orders documents by MaxSim with the query and adds the quotes that carry the evidence.

    Works on documents of any origin. Their metadata gain ``score``, the mean similarity per
    query token, and ``quotes``, best first: ``start`` and ``end`` in code points of
    ``page_content``, ``quote``, which is that range of it, and ``score``. Neither takes part when
    documents are compared: see `RetrievedDocument`.

    Parameters
    ----------
    checkpoint
        Directory or hub id of a ColBERT checkpoint; default: the bundled one.
    top_n
        At most so many documents; default: all.

    Raises
    ------
    CheckpointError
        If the checkpoint can't be read.
    """

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the documents in order of falling score; those given aren't changed.

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
