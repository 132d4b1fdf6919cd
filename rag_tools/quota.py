"""The quota of an index: how many documents it may hold, and how much room it may take."""

from __future__ import annotations

from pathlib import Path

from rag_tools.catalog.catalog import Catalog
from rag_tools.disk import bytes_on_disk
from rag_tools.errors import QuotaError
from rag_tools.types import Quota

SETTING = "quota"

# Bytes of a token beside its codes: centroid, gain, norm, span, and its share of the postings.
_TOKEN_BYTES = 16
_TEXT_FACTOR = 3  # the words of a text in the lexical postings, beside the text, compressed


def quota_of(catalog: Catalog) -> Quota:
    """Return the quota that is stored in an index."""
    return Quota.model_validate(catalog.setting(SETTING, {}))


class Room:
    """What is left of the quota of an index during a session of changes.

    Parameters
    ----------
    directory, catalog
        The index.
    token_bytes
        Bytes of the codes of a token.
    """

    def __init__(self, directory: Path, catalog: Catalog, *, token_bytes: float) -> None:
        self._directory, self._catalog = directory, catalog
        self._quota = quota_of(catalog)
        self._token_bytes = token_bytes + _TOKEN_BYTES
        self._new: set[str] = set()
        self.committed()

    def committed(self) -> None:
        """Count and measure the index again: after a commit."""
        self._new.clear()
        self._gathered = 0
        self._documents = self._catalog.counts().documents if self._quota.documents else 0
        self._bytes = bytes_on_disk(self._directory) if self._quota.bytes else 0

    def take(self, id: str, text_bytes: int, tokens: int) -> None:
        """Count a document that is to be added at the next commit.

        Parameters
        ----------
        text_bytes
            Size of what the catalog stores of it.
        tokens
            The most tokens that it can have.

        Raises
        ------
        QuotaError
            If it doesn't fit.
        """
        most = self._quota.documents
        new = id not in self._new and bool(most) and self._catalog.document_key(id) is None
        if most and new and self._documents + len(self._new) >= most:
            raise QuotaError(
                f"the index may hold {most:,} documents, and it does: delete some, or raise the "
                "quota (rag-tools quota --documents)"
            )
        size = int(_TEXT_FACTOR * text_bytes + tokens * self._token_bytes)
        if self._quota.bytes and self._bytes + self._gathered + size > self._quota.bytes:
            raise QuotaError(
                f"the index may take {self._quota.bytes:,} bytes, it takes {self._bytes:,}, and "
                f"this document may need {size:,}: delete documents and run 'rag-tools compact', "
                "or raise the quota (rag-tools quota --size)"
            )
        if new:
            self._new.add(id)
        self._gathered += size
