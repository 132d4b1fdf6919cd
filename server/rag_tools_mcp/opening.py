"""Opening the index in the background, so that the protocol can answer at once."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING

from rag_tools.errors import RagToolsError

if TYPE_CHECKING:
    from rag_tools.engine import Engine


class Opening:
    """An engine that is opened once, by whoever needs it first.

    A failure isn't remembered: once the user has built the index, the next call opens it. If the
    index is deleted and built anew, the next call opens the new one.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._lock = Lock()
        self._engine: Engine | None = None

    def start(self) -> None:
        """Begin to open the engine on another thread."""
        Thread(target=self._try, name="open-index").start()

    def engine(self) -> Engine:
        """Return the engine with its model loaded; wait for it if it isn't yet.

        Raises
        ------
        RagToolsError
            The index can't be opened; the message says what to do.
        """
        with self._lock:
            if self._engine is not None and self._engine.replaced:
                self._engine.close()
                self._engine = None
            if self._engine is None:
                # Imports NumPy and ONNX Runtime: here, not at the top, so that it doesn't keep
                # the client waiting for the list of tools.
                from rag_tools.engine import Engine

                engine = Engine.open(self._directory)
                try:
                    engine.warm()
                except BaseException:
                    engine.close()
                    raise
                self._engine = engine
            return self._engine

    def close(self) -> None:
        """Close the engine if it was opened; wait for it if it is being opened."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()
                self._engine = None

    def _try(self) -> None:
        # The call that needs the engine meets the same error and reports it.
        with suppress(RagToolsError):
            self.engine()
