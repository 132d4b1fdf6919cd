"""The nouns of the public interface, as immutable values.

Positions are half-open ``[start, end)`` in Unicode code points of a document's canonical text.
``document.text[span.start:span.end]`` is the span's text, always. Nothing here reads files,
scores or stores. Every name is imported from here; the modules of this package divide them by
subject: `documents`, `results` of a search, `claims`,
`reports`, and options for the `web`.
"""

from __future__ import annotations

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
    Hit,
    Judgement,
    SearchResults,
)
from rag_tools.types.values import Metadata, Value
from rag_tools.types.web import WebOptions

__all__ = [
    "MAX_LABEL_LENGTH",
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
    "Hit",
    "Judgement",
    "Metadata",
    "Page",
    "Part",
    "Passage",
    "Progress",
    "Recognised",
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
    "WebOptions",
    "document_id",
    "label",
]
