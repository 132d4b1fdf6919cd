"""Passages with their citations as LangChain documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams
from pydantic import Field, ValidationInfo, field_validator

from langchain_rag_tools.filters import to_filter
from langchain_rag_tools.retrieved import RetrievedDocument
from rag_tools.client import Client, open_index
from rag_tools.engine import Engine
from rag_tools.frameworks import hit_metadata
from rag_tools.types import Filter, Hit, Principal, SearchResults


class RagToolsRetriever(BaseRetriever):
    """Retrieves the passages that best answer a query, each with verbatim citations.

    A retriever may be shared between threads and tasks. The asynchronous methods don't block the
    event loop. A retriever is copied and pickled as the arguments it was made with: the copy opens
    the index, or connects to the server, again.

    Parameters
    ----------
    index
        What `rag_tools.open_index` takes: the directory of an index, the http(s) URL of a server,
        or an open engine or client. To close what the retriever opened, call
        ``retriever.engine.close()``.
    principal
        As whom to read the index, see `rag_tools.Engine.as_`; default: as its owner.
    k
        The most passages to return; also an argument of `invoke` and `ainvoke`.
    filter
        Which documents to search, see `rag_tools.types.Filter`; LangChain's operators (``$gte`` and
        the like) are read too. As an argument of `invoke` and `ainvoke` it replaces this one.

    Raises
    ------
    RagToolsError
        If the index can't be opened, as by `rag_tools.open_index`.
    """

    principal: Principal | None = None  # before the index, which is opened with it
    index: Engine | Client | Path | str | None = Field(default=None, validate_default=True)
    k: int = Field(default=10, ge=1)
    filter: Filter | None = None

    @field_validator("index", mode="before")
    @classmethod
    def _open(
        cls, index: Engine | Client | Path | str | None, info: ValidationInfo
    ) -> Engine | Client:
        return open_index(index, info.data.get("principal"))

    @property
    def engine(self) -> Engine | Client:
        """The open engine, or the client of the server."""
        assert isinstance(self.index, Engine | Client)  # which `_open` ensures
        return self.index

    def search(
        self, query: str, *, k: int | None = None, filter: Filter | None = None
    ) -> SearchResults:
        """Return the results of `Engine.search`; `k` and `filter` default to the retriever's own.

        Raises
        ------
        InvalidQueryError
            If the query is blank, `k` isn't positive, or the filter can't be used.
        ServerError
            If the index is a server's, in the same cases.
        """
        return self.engine.search(
            query,
            limit=self.k if k is None else k,
            filter=to_filter(self.filter if filter is None else filter),
        )

    async def asearch(
        self, query: str, *, k: int | None = None, filter: Filter | None = None
    ) -> SearchResults:
        """Return the same as `search`."""
        return await self.engine.asearch(
            query,
            limit=self.k if k is None else k,
            filter=to_filter(self.filter if filter is None else filter),
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
    """Return hits as LangChain documents, in the same order.

    The id of each is that of the passage. The metadata are those of `rag_tools.frameworks`, with
    ``score``, ``document_id``, and ``start_index`` and ``end_index`` in code points of the
    document's canonical text. Two documents are equal if they are the same passage, whatever the
    query: see `RetrievedDocument`.
    """
    return [_document(hit, found.confidence) for hit in found.results]


def _document(hit: Hit, confidence: float | None) -> Document:
    return RetrievedDocument(
        id=hit.id,
        page_content=hit.text,
        metadata={
            **hit_metadata(hit, confidence),
            "score": hit.score,
            "document_id": hit.document_id,
            "start_index": hit.start,
            "end_index": hit.end,
        },
    )
