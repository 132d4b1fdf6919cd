"""Reports: what a check of citations or a sync found, what an index holds, how work advances."""

from __future__ import annotations

from typing import Literal, Protocol

from pydantic import Field

from rag_tools.types.history import DocumentVersion
from rag_tools.types.results import Citation
from rag_tools.types.values import Value

VerificationStatus = Literal["exact", "moved", "stale", "missing"]


class Verification(Value):
    """What became of a citation.

    Attributes
    ----------
    status
        ``exact``: the quote stands at its offsets. ``moved``: the same words stand elsewhere, or,
        of a citation without `document_sha256`, with other white space or quotation marks, divided
        at a line end, or with the mark-up that rendering takes away.
        ``stale``: the document changed and the words are gone. ``missing``: there is no such
        document, or its text never held the words.
    checked
        What was read: the source itself where reachable, else the indexed text.
    citation
        The citation as it should read now (``exact`` and ``moved``), else as given.
    detail
        One sentence for a person.
    version
        Of a ``stale`` or ``missing`` quote: the earlier version of the document in which it stands,
        if the index keeps it; the latest, or that which was cited. Without its provenance.
    """

    status: VerificationStatus
    checked: Literal["source", "index"]
    citation: Citation
    detail: str
    version: DocumentVersion | None = None


class Verifications(Value):
    """What became of several citations, in the order given."""

    verifications: tuple[Verification, ...] = ()


class Skipped(Value):
    """A source that was left out, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class SyncReport(Value):
    """What a sync did.

    Attributes
    ----------
    added, updated, removed
        Ids, in the order they were handled.
    unchanged
        Files that were indexed before and are the same.
    unsupported
        Files that were left out because no loader reads them.
    unsupported_types
        How many of them there are of each type, the most common first: a suffix in lower case,
        ``""`` for files without one, ``special`` for FIFOs, sockets and the like. ``other`` is
        the number of all types after the first twelve.
    sensitive
        Files that were left out because by their names they hold keys, passwords or tokens.
        Patterns of ``include`` that name them bring them in.
    ignored
        Files and folders that were left out because ``.ragignore`` or git's ignore files name
        them; a folder counts once, whatever is in it.
    skipped
        What can't be read or parsed, and why; held documents whose files changed or are gone.
    expired
        Documents that had expired and were purged; they are among those removed.
    retired
        Files that were left out because their documents were purged or have expired. One that is
        named by itself is indexed again.
    hidden
        Documents of those added and updated that hold text which their readers don't see; passages
        with such text are flagged.
    left_out_characters
        Of the documents added and updated: what they don't show and what isn't in their texts, such
        as comments and hidden elements of a page.
    undivided
        Source files that were divided by their lines rather than by function and class, because
        the grammars of the extra ``[code]`` aren't installed: how many of each suffix.
    encoded_passages
        How many passages went through the encoder.
    seconds
        How long it took.
    """

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchanged: int = 0
    unsupported: int = 0
    unsupported_types: dict[str, int] = Field(default_factory=dict)
    sensitive: int = 0
    ignored: int = 0
    skipped: tuple[Skipped, ...] = ()
    expired: int = 0
    retired: int = 0
    hidden: int = 0
    left_out_characters: int = 0
    undivided: dict[str, int] = Field(default_factory=dict)
    encoded_passages: int = 0
    seconds: float = 0.0


class WatchState(Value):
    """What keeps an index up to date, and how it fares.

    Attributes
    ----------
    process
        Id of the process.
    events, polling
        Whether it waits for changes, and whether it looks at every file for that.
    every
        Seconds between syncs that happen anyway; None: there are none.
    synced
        When the last sync ended, in ISO 8601; None: none has yet.
    added, updated, removed, skipped
        What the last sync did.
    failures, error
        How many syncs in a row failed, and why the last one did.
    next
        When the next sync happens if nothing changes; None: it doesn't.
    """

    process: int
    events: bool = False
    polling: bool = False
    every: float | None = None
    synced: str | None = None
    added: int = 0
    updated: int = 0
    removed: int = 0
    skipped: int = 0
    failures: int = 0
    error: str | None = None
    next: str | None = None


class Status(Value):
    """What an index holds and how it was built.

    For a caller with a principal: of the documents that they may read, see `rag_tools.status`.

    Attributes
    ----------
    dim, bits
        Dimensions of a stored token, and bits of each.
    passages, tokens, segments
        Passages that can be found; tokens and segments as they are stored, tombstones included.
    tombstones
        Passages that were deleted and still take space.
    versions
        Earlier versions of documents, see `VersionRules`.
    drift
        How much farther the latest quarter of the tokens is from its centroids than what the
        codebook was trained on was: 1 if it is of the same kind. None if it wasn't measured.
    centroids
        Of the codebook.
    cosine
        Mean cosine of a token's embedding and what is stored of it, on samples; None if the index
        is empty.
    maxsim_error
        Mean absolute error of MaxSim, as a mean over query tokens, of stored passages against
        their embeddings, on the same samples.
    generation
        Number of the commit.
    bytes
        Of the whole index on disk.
    kernel
        What runs the hot stages of a search: an instruction set, or ``numpy``.
    watch
        What keeps the index up to date; None: no process does.
    """

    index: str
    format_version: int
    checkpoint: str
    dim: int
    bits: int
    passage_tokens: int
    roots: tuple[str, ...]
    documents: int
    passages: int
    tokens: int
    segments: int
    tombstones: int
    centroids: int
    cosine: float | None
    maxsim_error: float | None
    generation: int
    bytes: int
    kernel: str
    watch: WatchState | None = None
    versions: int = 0
    drift: float | None = None


class Progress(Protocol):
    """Called as long work advances: `stage`, units `done`, units in `total` (0: not known).

    A stage's `done` doesn't fall. What is counted depends on the stage: ``scan``, files looked at;
    ``index``, expected characters of text, of a total that stays the same; ``encode``, passages;
    ``cluster``, centroids; ``search``, queries; ``questions``, questions.
    """

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note."""
