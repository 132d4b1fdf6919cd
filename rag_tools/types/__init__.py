"""The nouns of the public interface, as immutable values.

Positions are half-open ``[start, end)`` in Unicode code points of a document's canonical text.
``document.text[span.start:span.end]`` is the span's text, always. Nothing here reads files,
scores or stores. Every name is imported from here; the modules of this package divide them by
subject: `documents`, `access` to them, `results` of a search, `claims`, and `reports`.
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
    SourceMap,
    Span,
    Versions,
    document_id,
    label,
)
from rag_tools.types.reports import (
    Progress,
    Skipped,
    Status,
    SyncReport,
    Verification,
    Verifications,
    VerificationStatus,
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

__all__ = [
    "EVERYONE",
    "MAX_LABEL_LENGTH",
    "AccessRules",
    "Aligned",
    "Block",
    "BlockKind",
    "Box",
    "Citation",
    "CitedAnswer",
    "Claim",
    "Conflict",
    "ConflictKind",
    "Copy",
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
    "SearchResults",
    "Skipped",
    "SourceMap",
    "Span",
    "Status",
    "Support",
    "SyncReport",
    "Value",
    "Verdict",
    "Verification",
    "VerificationStatus",
    "Verifications",
    "Versions",
    "check_labels",
    "document_id",
    "label",
]
