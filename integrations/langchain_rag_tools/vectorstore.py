"""LangChain's vector store interface over an index, for `langchain_core.indexing.index`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import run_in_executor
from langchain_core.vectorstores import VectorStore

from rag_tools.engine import Engine
from rag_tools.errors import NotFoundError
from rag_tools.types import Document as Indexed
from rag_tools.types import Filter, Hit, Metadata, SourceMap, document_id
from rag_tools_mcp.client import open_to_write


class RagToolsVectorStore(VectorStore):
    """Adds, deletes and searches documents of an index; `RagToolsRetriever` adds citations.

    There is no need to split documents first. One that fits a passage comes back as it was
    added. Of a longer one come the passages that match: their id is ``DOCUMENT_ID:START-END`` and
    ``start_index`` stands in their metadata.

    Metadata must be JSON; ``source`` and ``title`` become the document's.

    Parameters
    ----------
    index
        Directory of an index, made if there is none, or an open engine; default: as `Engine.open`
        has it. What was opened here is closed by ``store.engine.close()``.

    Attributes
    ----------
    engine
        The open engine.

    Raises
    ------
    IndexCorruptError, IndexVersionError
        If the index can't be opened.
    ConfigurationError
        If it is a server's, which can only be read.
    """

    def __init__(self, index: Engine | Path | str | None = None) -> None:
        self.engine = open_to_write(index)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        index: Engine | Path | str | None = None,
        **kwargs: object,
    ) -> Self:
        """Return a store on `index` to which the texts were added.

        Raises
        ------
        TypeError
            If there are other arguments.
        ValueError
            If an embedding is given: the index encodes with its own checkpoint.
        """
        _refuse("from_texts", kwargs)
        if embedding is not None:
            raise ValueError(
                f"embedding {type(embedding).__name__}: pass None, the index encodes with its own "
                "checkpoint"
            )
        store = cls(index)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def add_documents(
        self,
        documents: list[Document],
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int | None = None,
        **kwargs: object,
    ) -> list[str]:
        """Add documents, replacing those with the same ids; return their ids.

        Calls from several threads take turns.

        Parameters
        ----------
        ids
            Default: the documents' own. One without an id gets one from its content, so that
            adding it again changes nothing.
        batch_size
            Ignored: LangChain passes one, and `Engine.add` needs none.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        TypeError
            If there are other arguments.
        ValueError
            If there aren't as many ids as documents.
        """
        _refuse("add_documents", kwargs)
        given = [document.id for document in documents] if ids is None else ids
        added = [_indexed(document, id) for document, id in zip(documents, given, strict=True)]
        return list(self.engine.add(added))

    def delete(self, ids: list[str] | None = None, **kwargs: object) -> bool:
        """Delete documents; unknown ids are ignored.

        Raises
        ------
        IndexLockedError
            If another process is writing.
        TypeError
            If there are other arguments.
        ValueError
            If `ids` is None.
        """
        _refuse("delete", kwargs)
        if ids is None:
            raise ValueError("ids is None: name the documents, or delete the index's directory")
        self.engine.delete(ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents, or passages, that have these ids, in their order."""
        return list(self._get(ids))

    def similarity_search(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: object
    ) -> list[Document]:
        """Return the documents and passages that answer `query` best.

        Parameters
        ----------
        k
            At most so many.
        filter
            Restriction on documents, see `rag_tools.types.Filter`.

        Raises
        ------
        InvalidQueryError
            If the query is blank, `k` isn't positive, or the filter can't be used.
        TypeError
            If there are other arguments.
        """
        _refuse("similarity_search", kwargs)
        found = self.similarity_search_with_score(query, k, filter)
        return [document for document, _ in found]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter | None = None
    ) -> list[tuple[Document, float]]:
        """Return what `similarity_search` does, with scores; higher is better."""
        found = self.engine.search(query, limit=k, filter=filter)
        return [(_found(hit), hit.score) for hit in found.results]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, *args: object, **kwargs: object
    ) -> list[Document]:
        """Raise `NotImplementedError`, which says what to use instead."""
        raise NotImplementedError(
            "rag-tools doesn't offer maximal marginal relevance (mmr): use "
            "search_type='similarity', which returns no passage twice, with a larger k"
        )

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, **kwargs: object
    ) -> list[Document]:
        """Raise `NotImplementedError`, which says what to use instead."""
        raise NotImplementedError(
            "rag-tools encodes queries itself: pass the text of the query to similarity_search"
        )

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, filter: Filter | None = None, **kwargs: object
    ) -> list[tuple[Document, float]]:
        """Return what `similarity_search` does, with the evidence in each from 0 to 1.

        It is the score of the best quote in the passage. What a better passage, which overlaps this
        one, quotes already counts there only.
        """
        _refuse("similarity_search_with_relevance_scores", kwargs)
        found = self.engine.search(query, limit=k, filter=filter)
        return [(_found(hit), _evidence(hit)) for hit in found.results]

    async def _asimilarity_search_with_relevance_scores(
        self,
        query: str,
        k: int = 4,
        **kwargs: Any,  # noqa: ANN401
    ) -> list[tuple[Document, float]]:
        return await run_in_executor(
            None, self._similarity_search_with_relevance_scores, query, k, **kwargs
        )

    def _get(self, ids: Sequence[str]) -> Iterator[Document]:
        for id in ids:
            with suppress(NotFoundError):
                fetched = self.engine.fetch(id)
                whole = self.engine.document(fetched.metadata["document_id"])
                start = None if id == whole.id else fetched.metadata["start"]
                yield _returned(id, fetched.text, whole.metadata, start)


def _refuse(method: str, unknown: Mapping[str, object]) -> None:
    """Raise if there are arguments that only LangChain's signature allows."""
    if unknown:
        raise TypeError(f"{method} has no argument {', '.join(unknown)}")


def _indexed(document: Document, id: str | None) -> Indexed:
    """Return what is indexed for a document."""
    metadata = document.metadata
    if not id:
        content = [document.page_content, metadata]
        id = document_id(json.dumps(content, sort_keys=True, ensure_ascii=False))
    source = str(metadata.get("source") or "")
    return Indexed(
        id=id,
        text=document.page_content,
        uri=source or f"langchain:{id}",
        # Encoded with every passage: no name at all says more than one made of an id.
        title=str(metadata.get("title") or source.rstrip("/").rsplit("/", 1)[-1]),
        # The text was extracted, so that its lines needn't be those of the source.
        source_map=SourceMap(),
        metadata=metadata,
    )


def _found(hit: Hit) -> Document:
    """Return a hit: the document as added if the passage is all of it, else the passage."""
    if hashlib.sha256(hit.text.encode("utf-8")).hexdigest() == hit.document_sha256:
        return _returned(hit.document_id, hit.text, hit.metadata, None)
    return _returned(hit.id, hit.text, hit.metadata, hit.start)


def _evidence(hit: Hit) -> float:
    """Return the score of the best quote in a hit, from 0 to 1."""
    best = max((citation.score for citation in hit.citations), default=0.0)
    return min(1.0, max(0.0, best))


def _returned(id: str, text: str, metadata: Metadata, start: int | None) -> Document:
    # The engine keeps the metadata, and chains like to change theirs.
    own = deepcopy(metadata) | ({} if start is None else {"start_index": start})
    return Document(id=id, page_content=text, metadata=own)
