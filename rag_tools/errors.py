"""Every exception that rag-tools raises on purpose.

A message names the offending value and the way out, so that a person can act on it without
reading code. Programming errors stay ``TypeError`` or ``ValueError``.
"""

from __future__ import annotations


class RagToolsError(Exception):
    """Base class: catch it to catch everything rag-tools raises on purpose."""


class IngestError(RagToolsError):
    """A source can't become a document; the message says why."""


class UnsupportedFormatError(IngestError):
    """No loader reads this kind of file."""


class UnreadableFileError(IngestError):
    """The file can't be read, decoded or parsed."""


class FileTooLargeError(IngestError):
    """The file is larger than the configured limit."""


class CheckpointError(RagToolsError):
    """A checkpoint is missing, incomplete, or of a layout that isn't understood."""


class IndexNotFoundError(RagToolsError):
    """There is no index in the directory."""


class IndexCorruptError(RagToolsError):
    """The directory isn't a rag-tools index, or a file of it is damaged or missing."""


class IndexAccessError(RagToolsError):
    """The index can't be read or written: a full disk, a missing permission, a failing device.

    Nothing says that it is damaged: what was committed is there when the trouble is over.
    """


class IndexVersionError(RagToolsError):
    """The index was written by a newer format version than this release reads."""


class IndexMismatchError(RagToolsError):
    """The index was built with another checkpoint or other settings than those asked for."""


class IndexLockedError(RagToolsError):
    """Another process is writing to the index."""


class NotFoundError(RagToolsError):
    """No document or passage has this id, or no collection this name."""


class InvalidQueryError(RagToolsError):
    """The query, claim, filter or citation can't be used as given."""


class DatasetError(RagToolsError):
    """A data set to measure with can't be read; the message names the file and the line."""


class ServerError(RagToolsError):
    """A server can't be reached, or it refused what it was asked; the message is then its own."""


class ConfigurationError(RagToolsError):
    """A setting, an environment variable or a secret has a value that can't be used here."""


class HostError(RagToolsError):
    """The configuration of a program that starts the MCP server can't be read or changed."""
