"""The report of a purge: what was erased, where it was looked for, and what was found."""

from __future__ import annotations

import hmac
from typing import Literal

from pydantic import Field

from rag_tools.audit.chain import canonical, digest
from rag_tools.types import Value


class Purged(Value):
    """A document that was purged: its id, the hash of its text, its passages, earlier versions."""

    id: str
    sha256: str
    passages: int
    versions: int = 0


class Scanned(Value):
    """A file in which traces were looked for."""

    path: str
    bytes: int


class Finding(Value):
    """A trace that is left: the file, what it is, and at which byte or in how many places."""

    path: str
    kind: str
    offset: int


class PurgeReport(Value):
    """What a purge did.

    Attributes
    ----------
    version
        Of rag-tools.
    time
        When, in UTC.
    index
        Directory of the index.
    documents
        What was purged.
    held
        Ids of documents that weren't purged because they are held.
    unknown
        Ids that no document has.
    queries
        Texts of queries that were erased from the audit log.
    backups
        Backups, and copies of the index, that held any of the documents and were purged too.
    traces
        How many byte strings, and runs of token ids, were looked for.
    files
        Where they were looked for.
    findings
        What is left.
    remarks
        What to do about it, and what else a person should know.
    signature
        HMAC-SHA-256 of everything else with the key of the audit log, or its SHA-256 if there is
        no key.
    signed
        Whether there was a key.
    """

    version: str
    time: str
    index: str
    documents: tuple[Purged, ...] = ()
    held: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    queries: int = 0
    backups: tuple[str, ...] = ()
    traces: int = 0
    files: tuple[Scanned, ...] = ()
    findings: tuple[Finding, ...] = ()
    remarks: tuple[str, ...] = ()
    signed: Literal["HMAC-SHA-256", "SHA-256"] = "SHA-256"
    signature: str = Field(default="")

    def sign(self, key: bytes | None) -> PurgeReport:
        """Return the report with its signature."""
        how = "SHA-256" if key is None else "HMAC-SHA-256"
        unsigned = self.model_copy(update={"signed": how, "signature": ""})
        return unsigned.model_copy(update={"signature": digest(_content(unsigned), key)})

    def holds(self, key: bytes | None) -> bool:
        """Tell whether the report is as it was signed."""
        unsigned = self.model_copy(update={"signature": ""})
        expected = digest(_content(unsigned), key if self.signed == "HMAC-SHA-256" else None)
        return hmac.compare_digest(self.signature, expected)


def _content(report: PurgeReport) -> bytes:
    return canonical(report.model_dump(mode="json"))
