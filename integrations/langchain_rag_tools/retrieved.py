"""The documents that a query found, which are equal if they are the same passage."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document

from rag_tools.frameworks import OF_THE_QUERY

_NOT_COMPARED = OF_THE_QUERY | {"score"}


class RetrievedDocument(Document):
    """A LangChain document that is equal to another one of the same passage, whatever the query.

    ``score``, ``citations``, ``confidence`` and ``quotes`` in the metadata depend on the query and
    are ignored when documents are compared. This lets ``MultiQueryRetriever`` and the like, which
    ask several questions or several retrievers, recognise a passage. Documents are hashable.
    LangChain serialises and restores them as plain documents.
    """

    def __eq__(self, other: object) -> bool:
        """Return whether the other document has the same id, text and metadata of the passage."""
        return isinstance(other, Document) and _passage(self) == _passage(other)

    def __hash__(self) -> int:
        """Return a hash of the id and the text only, since metadata may be changed."""
        return hash((self.id, self.page_content))

    @classmethod
    def lc_id(cls) -> list[str]:
        """Return the id of the class as which LangChain restores the document."""
        return Document.lc_id()


def _passage(document: Document) -> tuple[str | None, str, dict[str, Any]]:
    metadata = {
        name: value for name, value in document.metadata.items() if name not in _NOT_COMPARED
    }
    return document.id, document.page_content, metadata
