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

from langchain_rag_tools.retrieved import RetrievedDocument
from rag_tools.engine import Engine
from rag_tools.types import Filter, Hit, SearchResults
from rag_tools_mcp.client import Client, open_index


class RagToolsRetriever(BaseRetriever):
    """Retrieves the passages that answer a query best, each with verbatim citations.

    Any number of threads and tasks may share one. The asynchronous methods leave the event loop
    free. A retriever is copied and pickled by what it was opened with: the copy opens the index, or
    connects to the server, anew.

    Parameters
    ----------
    index
        Directory of an index, http(s) URL of a server, or an open engine or client; default: as
        `Engine.open` has it. What was opened here is closed by ``retriever.engine.close()``.
    k
        At most so many passages; also an argument of `invoke` and `ainvoke`.
    filter
        Restriction on documents, see `rag_tools.types.Filter`; also an argument of `invoke` and
        `ainvoke`, which replaces this one.

    Raises
    ------
    IndexNotFoundError, IndexCorruptError, IndexVersionError
        If the index can't be opened.
    ServerError
        If the server can't be reached.
    """

    index: Engine | Client | Path | str | None = Field(default=None, validate_default=True)
    k: int = Field(default=10, ge=1)
    filter: Filter | None = None

    @field_validator("index", mode="before")
    @classmethod
    def _open(cls, index: Engine | Client | Path | str | None) -> Engine | Client:
        return open_index(index)

    @property
    def engine(self) -> Engine | Client:
        """What searches: the open engine, or the client of the server."""
        assert isinstance(self.index, Engine | Client)  # what `_open` made of it
        return self.index

    def search(
        self, query: str, *, k: int | None = None, filter: Filter | None = None
    ) -> SearchResults:
        """Return what `Engine.search` finds; the retriever's own `k` and `filter` by default.

        Raises
        ------
        InvalidQueryError
            If the query is blank, `k` isn't positive, or the filter can't be used.
        ServerError
            The same, if a server says so.
        """
        return self.engine.search(
            query,
            limit=self.k if k is None else k,
            filter=self.filter if filter is None else filter,
        )

    async def asearch(
        self, query: str, *, k: int | None = None, filter: Filter | None = None
    ) -> SearchResults:
        """Return what `search` does."""
        return await self.engine.asearch(
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
        return documents(await self.asearch(query, k=k, filter=filter))

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
    ``start_index`` and ``end_index`` (code points of the document's canonical text),
    ``citations``, a list of `rag_tools.Citation` as JSON, ``also_in``, the duplicates of the
    passage, and ``confidence``: that of the search, the same in all of its documents. Two
    documents are equal if they are the same passage, whatever was asked: see `RetrievedDocument`.
    """
    return [_document(hit, found.confidence) for hit in found.results]


def _document(hit: Hit, confidence: float | None) -> Document:
    return RetrievedDocument(
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
            "also_in": [copy.model_dump(mode="json") for copy in hit.also_in],
            "confidence": confidence,
        },
    )
