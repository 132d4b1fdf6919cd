"""Cite-exact retrieval for LLM agents.

Everything goes through `Engine`; its results are the values of `rag_tools.types`. The names in
``__all__`` are public: ``docs/stability.md`` says what that promises. They are imported on first
use, so that ``import rag_tools`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag_tools.audit.log import AuditLog
    from rag_tools.client import Client, open_index
    from rag_tools.encode.checkpoint import load_checkpoint
    from rag_tools.engine import Engine
    from rag_tools.errors import (
        AccessError,
        AuditError,
        BackupError,
        CheckpointError,
        ConfigurationError,
        DatasetError,
        FileTooLargeError,
        HeldError,
        HostError,
        IndexAccessError,
        IndexCorruptError,
        IndexLockedError,
        IndexMismatchError,
        IndexNotFoundError,
        IndexVersionError,
        IngestError,
        InvalidDocumentError,
        InvalidQueryError,
        NoTextError,
        NotFoundError,
        QuotaError,
        RagToolsError,
        ServerError,
        SkippedDocumentsError,
        TransferError,
        UnreadableFileError,
        UnsupportedFormatError,
        UnsupportedProcessorError,
    )
    from rag_tools.index.search import Quality, Signals
    from rag_tools.types import (
        AccessRules,
        Aligned,
        Block,
        Box,
        Citation,
        CitedAnswer,
        Claim,
        Document,
        DocumentEntry,
        DocumentVersion,
        Element,
        Fetched,
        Filter,
        Flag,
        Hidden,
        Hit,
        Judgement,
        Page,
        Part,
        Principal,
        Progress,
        Provenance,
        SearchResults,
        Skipped,
        SourceMap,
        Span,
        Status,
        Support,
        SyncReport,
        Verification,
        Verifications,
        VersionRules,
        WebOptions,
    )

__all__ = [
    "AccessError",
    "AccessRules",
    "Aligned",
    "AuditError",
    "AuditLog",
    "BackupError",
    "Block",
    "Box",
    "CheckpointError",
    "Citation",
    "CitedAnswer",
    "Claim",
    "Client",
    "ConfigurationError",
    "DatasetError",
    "Document",
    "DocumentEntry",
    "DocumentVersion",
    "Element",
    "Engine",
    "Fetched",
    "FileTooLargeError",
    "Filter",
    "Flag",
    "HeldError",
    "Hidden",
    "Hit",
    "HostError",
    "IndexAccessError",
    "IndexCorruptError",
    "IndexLockedError",
    "IndexMismatchError",
    "IndexNotFoundError",
    "IndexVersionError",
    "IngestError",
    "InvalidDocumentError",
    "InvalidQueryError",
    "Judgement",
    "NoTextError",
    "NotFoundError",
    "Page",
    "Part",
    "Principal",
    "Progress",
    "Provenance",
    "Quality",
    "QuotaError",
    "RagToolsError",
    "SearchResults",
    "ServerError",
    "Signals",
    "Skipped",
    "SkippedDocumentsError",
    "SourceMap",
    "Span",
    "Status",
    "Support",
    "SyncReport",
    "TransferError",
    "UnreadableFileError",
    "UnsupportedFormatError",
    "UnsupportedProcessorError",
    "Verification",
    "Verifications",
    "VersionRules",
    "WebOptions",
    "__version__",
    "load_checkpoint",
    "open_index",
]

__version__ = "0.1.0"

# Where a name is defined, if it is neither an error nor one of the types.
_MODULES = {
    "AuditLog": "audit.log",
    "Client": "client",
    "Engine": "engine",
    "Quality": "index.search",
    "Signals": "index.search",
    "load_checkpoint": "encode.checkpoint",
    "open_index": "client",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _MODULES.get(name) or ("errors" if name.endswith("Error") else "types")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return __all__
