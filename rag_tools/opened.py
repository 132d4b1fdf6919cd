"""An open index: what the parts of an engine share.

These are its reader, its settings and its encoder, which is loaded when it is first needed. What
is done with them is in `searcher`, `indexer`, `documents` and `checking`, beside this module.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

from rag_tools import creation
from rag_tools.audit.log import AuditLog
from rag_tools.catalog.schema import FILE_NAME
from rag_tools.cite import support
from rag_tools.closing import Closing
from rag_tools.creation import IndexSettings
from rag_tools.disk import failures_named
from rag_tools.encode.batch import Batch
from rag_tools.encode.checkpoint import load_checkpoint
from rag_tools.encode.encoder import Encoder
from rag_tools.errors import AccessError, IndexMismatchError
from rag_tools.evidence.model import EvidenceModel
from rag_tools.index.search import Signals
from rag_tools.reader import Reader
from rag_tools.restricted import RestrictedReader, Scopes
from rag_tools.second_stage import SecondStage
from rag_tools.sources import Sources
from rag_tools.types import Principal


def open_index(
    directory: Path,
    *,
    checkpoint: str | Path | None = None,
    create: bool = False,
    asked: Mapping[str, int | None] | None = None,
    signals: Signals | None = None,
    evidence: str | Path | None = None,
    principal: Principal | None = None,
    audit: AuditLog | None = None,
    keep_versions: bool | Sequence[str] | None = None,
) -> OpenIndex:
    """Open the index in a directory.

    Parameters
    ----------
    directory
        `Engine.open` takes ``$RAG_TOOLS_INDEX`` by default, else ``.rag-tools`` in the working
        directory.
    checkpoint
        Directory or hub id of a ColBERT checkpoint. Default: the one that the index was made with;
        for a new index, the bundled one.
    create
        Make the index if there is none.
    asked
        What is fixed when the index is made: ``passage_tokens``, tokens per passage at most,
        default 180; ``bits`` per dimension of a residual, 4, 2 or 1, default 4; and ``dim``,
        dimensions of a token, default all. None leaves one to the index.
    signals, evidence
        Weights of the signals that `search` adds to MaxSim, and the directory of the model that its
        second stage reads passages with, see `SecondStage`; default: no second stage.
    principal, audit
        As whom to read; default: everything, as the owner. Where everything done with the engine is
        recorded; default: ``$RAG_TOOLS_AUDIT``, else nowhere.
    keep_versions
        Whether earlier versions of documents are kept from the next change on, or patterns as in a
        .gitignore of those whose are, see `VersionRules`. Stored with the index; default: as it was
        stored, and in a new index, no.

    Raises
    ------
    IndexNotFoundError
        If there is no index and `create` is false.
    IndexCorruptError, IndexVersionError
        If the directory contains something else, or an index of a newer format; nothing in it is
        changed.
    IndexAccessError
        If the index can't be read or made for another reason, such as a missing permission.
    IndexMismatchError
        If `checkpoint` or a value in `asked` differs from that which the index was made with.
    InvalidQueryError
        If a new index can't be made with these values.
    CheckpointError
        If the checkpoint can't be read.
    ConfigurationError
        If the variables of the environment for the audit log can't be used.
    """
    audit = audit or AuditLog.from_environment()
    asked = asked or {}
    with failures_named(directory):
        missing = not (directory / FILE_NAME).exists()
    if create and missing:
        creation.create(directory, checkpoint, **asked)
    reader = Reader(directory)
    try:
        with reader.view() as view:
            settings = IndexSettings.read(view)
        settings.require(directory, asked)
    except BaseException:
        reader.close()
        raise
    opened = OpenIndex(
        directory,
        reader,
        settings,
        checkpoint=checkpoint,
        signals=signals or Signals(),
        evidence=evidence,
        audit=audit and (audit if audit.index else audit.of(str(directory))),
        keep_versions=None if keep_versions is None else patterns(keep_versions),
    )
    return opened if principal is None else opened.as_(principal, closes=True)


def patterns(keep: bool | Sequence[str]) -> tuple[str, ...]:
    """Return the patterns of documents whose earlier versions are kept, see `VersionRules`."""
    return (("*",) if keep else ()) if isinstance(keep, bool) else tuple(keep)


class OpenIndex(Closing):
    """What belongs to one index. Safe to share between threads.

    Parameters
    ----------
    directory
        Directory of the index.
    reader
        Reads the index.
    settings
        Settings that were fixed when the index was made.
    checkpoint
        Directory or hub id of the checkpoint that the encoder is loaded from; None is the one that
        the index names, for which the network isn't used.
    signals
        Weights of the signals that a search adds to MaxSim.
    evidence
        Directory of the evidence model of the second stage; None leaves that stage out.
    audit
        Where what is done with the index is recorded; None: nowhere.
    keep_versions
        Patterns of the documents whose earlier versions are kept from the next change on; None: as
        the index says.
    """

    def __init__(
        self,
        directory: Path,
        reader: Reader,
        settings: IndexSettings,
        *,
        checkpoint: str | Path | None,
        signals: Signals,
        evidence: str | Path | None = None,
        audit: AuditLog | None = None,
        keep_versions: tuple[str, ...] | None = None,
    ) -> None:
        self.directory = directory
        self.audit = audit
        self.keep_versions = keep_versions
        self.reader = reader
        self.settings = settings
        self.signals = signals
        self.checkpoint = checkpoint
        self.evidence = evidence
        self.sources = Sources()
        self._scopes = Scopes()
        self._whole = self  # the index without restriction, which loads what is loaded
        self._closes = True
        self._second_stage: SecondStage | None = None
        self._loaded: tuple[Encoder, Batch] | None = None
        self._loading = threading.Lock()

    def as_(self, principal: Principal, *, closes: bool = False) -> OpenIndex:
        """Return the same index as a caller sees it. What was loaded is shared.

        Parameters
        ----------
        closes
            Whether closing it closes the index.

        Raises
        ------
        AccessError
            If this is a caller's view already, of another caller.
        """
        if self.principal == principal:
            return self
        if self.principal is not None:
            raise AccessError(
                "what one caller may read can't become what another may: use the engine without a "
                "principal"
            )
        seen = copy(self)
        seen._closes = closes
        seen.reader = RestrictedReader(self.reader, self._scopes, principal)
        return seen

    @property
    def principal(self) -> Principal | None:
        """The caller whose view of the index this is; None: all of it."""
        return self.reader.principal if isinstance(self.reader, RestrictedReader) else None

    @property
    def encoder(self) -> Encoder:
        """The encoder that the index was made with. Loading it takes about 100 ms, once.

        Raises
        ------
        CheckpointError
            If its checkpoint can't be read.
        IndexMismatchError
            If the checkpoint isn't the one that the index was made with.
        """
        return self._load()[0]

    @property
    def batch(self) -> Batch | None:
        """The queries that are waiting for the encoder; None until the encoder is loaded."""
        loaded = self._whole._loaded
        return None if loaded is None else loaded[1]

    def load_batch(self) -> Batch:
        """Load the encoder and return the queries that are waiting; raises what `encoder` does."""
        return self._load()[1]

    @property
    def options(self) -> dict[str, Any]:
        """With what the index was opened that isn't fixed in it."""
        return {
            "checkpoint": self.checkpoint,
            "signals": self.signals,
            "evidence": self.evidence,
            "principal": self.principal,
            "audit": self.audit,
            "keep_versions": self.keep_versions,
        }

    @property
    def second_stage(self) -> SecondStage | None:
        """What reads the best passages together with the query; None if nothing does.

        Raises
        ------
        CheckpointError
            If the evidence model can't be read.
        """
        if self.evidence is None:
            return None
        whole = self._whole
        with whole._loading:
            if whole._second_stage is None:
                whole._second_stage = SecondStage(EvidenceModel(Path(self.evidence)))
            return whole._second_stage

    def close(self) -> None:
        """End threads and helper processes, close the catalog's connections, unmap the files.

        A caller's view leaves that to the index that it is a view of, unless it came with it.
        """
        if not self._closes:
            return
        whole = self._whole
        whole.sources.close()
        if whole._second_stage is not None:
            whole._second_stage.model.close()
        whole.reader.close()

    def warm(self) -> None:
        """Load the encoder and map the segments; errors as for `encoder` and `Reader.view`."""
        self._load()
        _ = self.second_stage
        with self.reader.view():
            pass

    @property
    def calibrated(self) -> bool:
        """Whether the scores of support and confidence were fitted to an index like this one."""
        return support.calibration().fits(self.settings.as_json()) and self.signals == Signals()

    def _load(self) -> tuple[Encoder, Batch]:
        whole = self._whole
        with whole._loading:
            if whole._loaded is None:
                checkpoint = (
                    load_checkpoint(self.settings.checkpoint, network=False)
                    if self.checkpoint is None
                    else load_checkpoint(self.checkpoint)
                )
                if checkpoint.fingerprint != self.settings.fingerprint:
                    raise IndexMismatchError(
                        f"{self.directory} was built with the checkpoint "
                        f"{self.settings.checkpoint or 'bundled'!r}, and "
                        f"{checkpoint.name!r} gives other embeddings: name the checkpoint that it "
                        "was built with, or index into another directory"
                    )
                encoder = Encoder(checkpoint, dim=self.settings.dim)
                whole._loaded = encoder, Batch(encoder)
            return whole._loaded
