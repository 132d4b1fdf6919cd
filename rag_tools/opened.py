"""An index that is open: what the parts of an engine share.

Its reader, its settings and its encoder, which is loaded when it is first needed. What is done
with them is in `searcher`, `indexer`, `documents` and `checking`, beside this module.
"""

from __future__ import annotations

import threading
from pathlib import Path

from rag_tools.cite import support
from rag_tools.creation import IndexSettings
from rag_tools.encode.batch import Batch
from rag_tools.encode.checkpoint import load_checkpoint
from rag_tools.encode.encoder import Encoder
from rag_tools.errors import IndexMismatchError
from rag_tools.index.search import Signals
from rag_tools.reader import Reader


class OpenIndex:
    """What belongs to one index, safe to share between threads.

    Parameters
    ----------
    directory
        The index.
    reader
        Of it.
    settings
        What it was made with.
    checkpoint
        Where the checkpoint is that its encoder is loaded from; None: the bundled one.
    signals
        Weights of the signals added to MaxSim in a search.
    """

    def __init__(
        self,
        directory: Path,
        reader: Reader,
        settings: IndexSettings,
        *,
        checkpoint: str | Path | None,
        signals: Signals,
    ) -> None:
        self.directory = directory
        self.reader = reader
        self.settings = settings
        self.signals = signals
        self.checkpoint = checkpoint
        self._loaded: tuple[Encoder, Batch] | None = None
        self._loading = threading.Lock()

    @property
    def encoder(self) -> Encoder:
        """The encoder that the index was made with; loading it takes some 100 ms, once.

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
        """The queries that wait for the encoder; None until it is loaded."""
        return None if self._loaded is None else self._loaded[1]

    def load_batch(self) -> Batch:
        """Return the queries that wait, once the encoder is loaded; errors as of `encoder`."""
        return self._load()[1]

    @property
    def calibrated(self) -> bool:
        """Whether scores of support and confidence were fitted to an index like this one."""
        return support.calibration().fits(self.settings.as_json()) and self.signals == Signals()

    def _load(self) -> tuple[Encoder, Batch]:
        with self._loading:
            if self._loaded is None:
                checkpoint = load_checkpoint(self.checkpoint)
                if checkpoint.fingerprint != self.settings.fingerprint:
                    raise IndexMismatchError(
                        f"{self.directory} was built with checkpoint "
                        f"{self.settings.checkpoint or 'bundled'!r}, and "
                        f"{checkpoint.name!r} gives other embeddings: name the one it was built "
                        "with, or index into another directory"
                    )
                encoder = Encoder(checkpoint, dim=self.settings.dim)
                self._loaded = encoder, Batch(encoder)
            return self._loaded
