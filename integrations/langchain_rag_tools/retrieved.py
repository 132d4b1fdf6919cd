"""Documents that a query found, with what belongs to the passage apart from what it was asked."""

from __future__ import annotations

from typing import Any

from langchain_core.documents import Document

OF_THE_QUERY = frozenset({"score", "citations", "confidence", "quotes"})
"""Keys of a document's metadata that another query fills otherwise."""


class RetrievedDocument(Document):
    """A LangChain document that equals another one of the same passage, whichever query found it.

    ``score``, ``citations``, ``confidence`` and ``quotes`` in the metadata belong to the query, and
    are left out when documents are compared. Retrievers that ask several questions or several
    retrievers, such as ``MultiQueryRetriever``, recognise a passage by that. Documents can be
    members of a set. Serialised by LangChain, they come back as plain documents.
    """

    def __eq__(self, other: object) -> bool:
        """Tell whether the other document has the same id, text and metadata of the passage."""
        return isinstance(other, Document) and _passage(self) == _passage(other)

    def __hash__(self) -> int:
        """Return a hash of the id and the text: the metadata may be changed meanwhile."""
        return hash((self.id, self.page_content))

    @classmethod
    def lc_id(cls) -> list[str]:
        """Return the id under which LangChain reads back what it serialised: a document's."""
        return Document.lc_id()


def _passage(document: Document) -> tuple[str | None, str, dict[str, Any]]:
    metadata = {
        name: value for name, value in document.metadata.items() if name not in OF_THE_QUERY
    }
    return document.id, document.page_content, metadata
