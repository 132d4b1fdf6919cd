"""Passages with their citations as LangChain documents."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from pydantic import Field, field_validator

from rag_tools.engine import Engine
from rag_tools.offload import offload
from rag_tools.types import Filter, Hit, SearchResults


class RagToolsRetriever(BaseRetriever):
    """Retrieves the passages that answer a query best, each with verbatim citations.

    Any number of threads and tasks may share one. The asynchronous methods search on worker
    threads, so that the event loop stays free.

    Parameters
    ----------
    index
        Directory of an index, or an open engine; default: as `Engine.open` has it. What was opened
        from a directory is closed by ``retriever.engine.close()``.
    k
        At most so many passages; also an argument of `invoke` and `ainvoke`.
    filter
        Restriction on documents, see `rag_tools.types.Filter`; also an argument of `invoke` and
        `ainvoke`, which replaces this one.

    Raises
    ------
    IndexNotFoundError, IndexCorruptError, IndexVersionError
        If the index can't be opened.
    """

    index: Engine | Path | str | None = Field(default=None, validate_default=True)
    k: int = Field(default=10, ge=1)
    filter: Filter | None = None

    @field_validator("index", mode="before")
    @classmethod
    def _open(cls, index: Engine | Path | str | None) -> Engine:
        return index if isinstance(index, Engine) else Engine.open(index)

    @property
    def engine(self) -> Engine:
        """The open engine."""
        assert isinstance(self.index, Engine)  # what `_open` made of it
        return self.index

    def search(
        self, query: str, *, k: int | None = None, filter: Filter | None = None
    ) -> SearchResults:
        """Return what `Engine.search` finds; the retriever's own `k` and `filter` by default.

        Raises
        ------
        InvalidQueryError
            If the query is blank, `k` isn't positive, or the filter can't be used.
        """
        return self.engine.search(
            query,
            limit=self.k if k is None else k,
            filter=self.filter if filter is None else filter,
        )

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: Filter | None = None,
    ) -> list[Document]:
        return documents(self.search(query, k=k, filter=filter))

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        filter: Filter | None = None,
    ) -> list[Document]:
        return await offload(lambda: documents(self.search(query, k=k, filter=filter)))

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:  # noqa: ANN401
        return LangSmithRetrieverParams(
            ls_retriever_name="rag_tools",
            ls_vector_store_provider="rag_tools",
            ls_embedding_provider="rag_tools",
        )


def documents(found: SearchResults) -> list[Document]:
    """Return hits as LangChain documents, in their order.

    The id is the passage's. The document's own metadata are kept; added to them are ``source``,
    ``title``, ``heading``, ``url``, ``score``, ``document_id``, ``document_sha256``,
    ``start_index`` and ``end_index`` (code points of the document's canonical text), and
    ``citations``, a list of `rag_tools.Citation` as JSON.
    """
    return [_document(hit) for hit in found.results]


def _document(hit: Hit) -> Document:
    return Document(
        id=hit.id,
        page_content=hit.text,
        metadata={
            **deepcopy(hit.metadata),  # the engine keeps it, and chains like to change theirs
            "source": hit.uri,
            "title": hit.title,
            "heading": hit.heading,
            "url": hit.url,
            "score": hit.score,
            "document_id": hit.document_id,
            "document_sha256": hit.document_sha256,
            "start_index": hit.start,
            "end_index": hit.end,
            "citations": [citation.model_dump(mode="json") for citation in hit.citations],
        },
    )
