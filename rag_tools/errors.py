"""The exceptions that rag-tools raises on purpose.

A message names the value that is wrong and the way out, so that a person can act on it without
reading code. Programming errors remain ``TypeError`` or ``ValueError``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rag_tools.types import Skipped


class RagToolsError(Exception):
    """Base class: catch it to catch everything rag-tools raises on purpose."""


class UnsupportedProcessorError(RagToolsError):
    """The processor lacks instructions that a dependency needs."""


class IngestError(RagToolsError):
    """A source can't become a document; the message says why."""


class UnsupportedFormatError(IngestError):
    """No loader reads this kind of file."""


class UnreadableFileError(IngestError):
    """The file can't be read, decoded or parsed."""


class NoTextError(UnreadableFileError):
    """The file isn't empty but contains no text that can be read, such as a scan."""


class FileTooLargeError(IngestError):
    """The file is larger than the configured limit."""


class QuotaError(IngestError):
    """The index would hold more with this document than its quota allows."""


class InvalidDocumentError(IngestError, ValueError):
    """The blocks of a document don't tile its text."""


class HeldError(IngestError):
    """A document is held, so it is neither changed nor deleted; release it first."""


class SkippedDocumentsError(IngestError, ValueError):
    """Some of several documents can't be indexed; the others were added.

    Attributes
    ----------
    added
        Ids of the documents that were added.
    skipped
        The other documents, with the reasons.
    """

    def __init__(self, added: tuple[str, ...], skipped: tuple[Skipped, ...]) -> None:
        reasons = "; ".join(each.reason for each in skipped[:3])
        more = f"; and {len(skipped) - 3} more" if len(skipped) > 3 else ""
        super().__init__(
            f"{len(skipped)} of {len(added) + len(skipped)} documents can't be indexed, the others "
            f"were added: {reasons}{more}"
        )
        self.added = added
        self.skipped = skipped


class CheckpointError(RagToolsError):
    """A checkpoint is missing, incomplete, or has an unknown layout."""


class IndexNotFoundError(RagToolsError):
    """There is no index in the directory."""


class IndexCorruptError(RagToolsError):
    """The directory isn't a rag-tools index, or one of its files is damaged or missing."""


class IndexAccessError(RagToolsError):
    """The index can't be read or written: a full disk, a missing permission, a failing device.

    The index isn't known to be damaged: what was committed is available once the cause is removed.
    """


class IndexVersionError(RagToolsError):
    """The index was written by a newer format version than this release reads."""


class IndexMismatchError(RagToolsError):
    """The index was built with another checkpoint or other settings than requested."""


class IndexLockedError(RagToolsError):
    """Another process is writing to the index."""


class AccessError(RagToolsError):
    """A caller asked for what is only for those who may read the whole index."""


class BackupError(RagToolsError):
    """A backup is missing, damaged, or can't be made or restored there."""


class TransferError(RagToolsError):
    """A file isn't an export of an index, or not one that this release reads."""


class NotFoundError(RagToolsError):
    """No document or passage has this id, or no collection has this name."""


class InvalidQueryError(RagToolsError):
    """The query, claim, filter or citation can't be used as given."""


class AuditError(RagToolsError):
    """The audit log can't be read or written; what can't be recorded isn't done."""


class DatasetError(RagToolsError):
    """An evaluation data set can't be read; the message names the file and the line."""


class ServerError(RagToolsError):
    """A server can't be reached, or refused a request; then the message is the server's."""


class ConfigurationError(RagToolsError):
    """A setting, an environment variable or a secret has a value that can't be used here."""


class HostError(RagToolsError):
    """The configuration of a program that starts the MCP server can't be read or changed."""


def fault(name: str, problem: str, error: Exception) -> str:
    """Return the reason for skipping a document after an unexpected error.

    Parameters
    ----------
    name
        Name of the document for a person.
    problem
        What failed.
    """
    if isinstance(error, MemoryError):
        return f"{name}: {problem}: it needs more memory than there is; split the document"
    return (
        f"{name}: {problem} ({type(error).__name__}: {error}); "
        "this is a fault of rag-tools, please report it with the document"
    )
