"""The nouns of the public interface, as immutable values.

Positions are half-open ``[start, end)`` in Unicode code points of a document's canonical text.
``document.text[span.start:span.end]`` is the span's text, always. Nothing here reads files,
scores or stores. Every name is imported from here; the modules of this package divide them by
subject: `documents`, `access` to them, `results` of a search, `claims`, `reports`, those of
`maintenance`, and options for the `web`.
"""

from __future__ import annotations

from rag_tools.types.access import EVERYONE, AccessRules, Principal, check_labels
from rag_tools.types.claims import (
    CitedAnswer,
    Claim,
    Conflict,
    ConflictKind,
    Support,
    Verdict,
)
from rag_tools.types.documents import (
    MAX_LABEL_LENGTH,
    Block,
    BlockKind,
    Box,
    Document,
    DocumentEntry,
    Element,
    Fetched,
    Hidden,
    Page,
    Part,
    Passage,
    Recognised,
    SourceMap,
    Span,
    Versions,
    document_id,
    label,
)
from rag_tools.types.maintenance import (
    BackupReport,
    CheckReport,
    CompactReport,
    Damage,
    DamageKind,
    Quota,
    RepairReport,
    RestoreReport,
    TransferReport,
)
from rag_tools.types.reports import (
    Progress,
    Skipped,
    Status,
    SyncReport,
    Verification,
    Verifications,
    VerificationStatus,
    WatchState,
)
from rag_tools.types.results import (
    Aligned,
    Citation,
    Copy,
    Filter,
    Flag,
    FlagKind,
    Hit,
    Judgement,
    SearchResults,
)
from rag_tools.types.values import Metadata, Value
from rag_tools.types.web import WebOptions

__all__ = [
    "EVERYONE",
    "MAX_LABEL_LENGTH",
    "AccessRules",
    "Aligned",
    "BackupReport",
    "Block",
    "BlockKind",
    "Box",
    "CheckReport",
    "Citation",
    "CitedAnswer",
    "Claim",
    "CompactReport",
    "Conflict",
    "ConflictKind",
    "Copy",
    "Damage",
    "DamageKind",
    "Document",
    "DocumentEntry",
    "Element",
    "Fetched",
    "Filter",
    "Flag",
    "FlagKind",
    "Hidden",
    "Hit",
    "Judgement",
    "Metadata",
    "Page",
    "Part",
    "Passage",
    "Principal",
    "Progress",
    "Quota",
    "Recognised",
    "RepairReport",
    "RestoreReport",
    "SearchResults",
    "Skipped",
    "SourceMap",
    "Span",
    "Status",
    "Support",
    "SyncReport",
    "TransferReport",
    "Value",
    "Verdict",
    "Verification",
    "VerificationStatus",
    "Verifications",
    "Versions",
    "WatchState",
    "WebOptions",
    "check_labels",
    "document_id",
    "label",
]
