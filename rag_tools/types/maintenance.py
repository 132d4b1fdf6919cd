"""What maintenance reports: damage that was found, what was repaired, copied, exported."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rag_tools.types.reports import Skipped
from rag_tools.types.values import Value

DamageKind = Literal[
    "catalog", "setting", "codebook", "segment", "document", "version", "passage", "lexical"
]


class Damage(Value):
    """Something in an index that isn't as it was written.

    Attributes
    ----------
    kind
        The part of the index.
    name
        The file, the setting, or the id of the document; empty for the catalog as a whole.
    problem
        What is wrong with it.
    """

    kind: DamageKind
    name: str
    problem: str

    def __str__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"{self.kind}{name}: {self.problem}"


class CheckReport(Value):
    """What a check of an index found.

    Attributes
    ----------
    index
        Directory of the index.
    documents, segments
        How many were checked.
    damage
        What is damaged, the first thousand; empty if everything is as it was written.
    """

    index: str
    documents: int
    segments: int
    damage: tuple[Damage, ...] = ()


class RepairReport(Value):
    """What a repair did.

    Attributes
    ----------
    damage
        What was damaged.
    kept
        Number of documents that were kept as they were.
    encoded
        Ids of the documents whose text was intact, but not their embeddings: they were encoded
        anew.
    restructured
        Ids of the documents whose text was intact, but not their structure or their metadata. If
        they were synced from files, the next sync reads these again.
    lost
        Ids of the documents whose text is damaged. Files among them are read again by the next
        sync. A document of which not even the id can be read is counted by its key, as ``#7``.
    lost_versions
        How many earlier versions of documents couldn't be kept.
    """

    damage: tuple[Damage, ...] = ()
    kept: int = 0
    encoded: tuple[str, ...] = ()
    restructured: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    lost_versions: int = 0


class BackupReport(Value):
    """What a backup holds, and what was copied for it.

    Attributes
    ----------
    backup
        Directory of the backup.
    generation
        Number of the commit that the backup holds.
    documents
        Number of its documents.
    files, bytes
        Of the backup.
    copied_files, copied_bytes
        Those that this backup copied; the others were there already.
    """

    backup: str
    generation: int
    documents: int
    files: int
    bytes: int
    copied_files: int
    copied_bytes: int


class RestoreReport(Value):
    """What was restored.

    Attributes
    ----------
    index
        Directory of the index.
    generation
        Number of the commit that was restored.
    made
        When the backup was made, in ISO 8601.
    documents
        Number of its documents.
    """

    index: str
    generation: int
    made: str
    documents: int


class CompactReport(Value):
    """What compaction merged and how much room it freed.

    Attributes
    ----------
    segments_before, segments
        Number of segments before and afterwards.
    tombstones_before, tombstones
        Number of deleted passages that took space before and that take space afterwards.
    bytes_before, bytes
        Size of the index on disk.
    """

    segments_before: int
    segments: int
    tombstones_before: int
    tombstones: int
    bytes_before: int
    bytes: int


class TransferReport(Value):
    """What was exported or imported.

    Attributes
    ----------
    documents, passages
        How many, not counting what was skipped.
    encoded_passages
        Of an import: how many went through the encoder. The others brought their embeddings.
    skipped
        The lines that can't be imported, or the documents that can't be exported, with the reasons.
    """

    documents: int
    passages: int
    encoded_passages: int = 0
    skipped: tuple[Skipped, ...] = ()


class Quota(Value):
    """What an index may hold at most; None: there is no limit.

    Attributes
    ----------
    documents
        Number of documents.
    bytes
        Size of the index on disk.
    """

    documents: int | None = Field(default=None, ge=1)
    bytes: int | None = Field(default=None, ge=1)
