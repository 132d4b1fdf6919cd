"""Named indexes, opened behind the protocol's back so that it can answer at once.

What a caller may see is decided elsewhere; `Collections.only` is how it is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from copy import copy
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from rag_tools.errors import ConfigurationError, NotFoundError, RagToolsError

if TYPE_CHECKING:
    from rag_tools.engine import Engine

DEFAULT_NAME = "default"
"""What the collection of a server with one unnamed index is called."""

# The name is the host of its documents' URIs: clients may change the case of a host.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class Collections:
    """Named indexes: each is opened once, by whoever needs it first.

    A failure isn't remembered: once the user has built an index, the next call opens it. If an
    index is deleted and built anew, the next call opens the new one.

    Parameters
    ----------
    directories
        Name to directory of an index; None is the default index. The order is kept.

    Raises
    ------
    ConfigurationError
        There is none, or a name can't be part of a URI.
    """

    def __init__(self, directories: Mapping[str, Path | None]) -> None:
        if not directories:
            raise ConfigurationError("a server needs an index: name its directory")
        for name in directories:
            if not _NAME.fullmatch(name):
                raise ConfigurationError(
                    f"{name!r} can't name a collection: use up to 64 lower-case letters, digits, "
                    "'-' and '_', a letter or digit first"
                )
        self._openings = {name: _Opening(directory) for name, directory in directories.items()}
        self._stopping = Event()

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order given."""
        return tuple(self._openings)

    def only(self, names: Collection[str] | None) -> Collections:
        """Return those of the collections that are called `names`; None: all of them.

        To the result, the others don't exist. It shares the opened indexes.
        """
        if names is None:
            return self
        seen = copy(self)
        seen._openings = {name: each for name, each in self._openings.items() if name in names}
        return seen

    def resolve(self, name: str | None = None) -> str:
        """Return the name of a collection; None stands for the only one.

        Raises
        ------
        NotFoundError
            There is no such collection, or none was named where there are several.
        """
        if name is None and len(self.names) == 1:
            return self.names[0]
        if name in self._openings:
            return name
        if not self.names:
            raise NotFoundError("there is no collection that you may read")
        known = ", ".join(self.names)
        if name is None:
            raise NotFoundError(f"name the collection: {known}")
        raise NotFoundError(f"there is no collection {name!r}: choose from {known}")

    def engine(self, name: str | None = None) -> Engine:
        """Return the engine of a collection with its model loaded; wait for it if it isn't yet.

        Parameters
        ----------
        name
            None stands for the only collection.

        Raises
        ------
        RagToolsError
            There is no such collection, or its index can't be opened; the message says what to
            do.
        """
        return self._openings[self.resolve(name)].engine()

    def opened(self, name: str | None = None) -> Engine | None:
        """Return what `engine` does if that needs no waiting, else None.

        Raises
        ------
        NotFoundError
            There is no such collection.
        """
        return self._openings[self.resolve(name)].opened()

    def start(self) -> None:
        """Begin to open the indexes, one after the other, on another thread."""
        self._stopping.clear()
        Thread(target=self._open_all, name="open-indexes").start()

    def close(self) -> None:
        """Close what was opened; wait for what is being opened."""
        self._stopping.set()
        for opening in self._openings.values():
            opening.close()

    def _open_all(self) -> None:
        for opening in self._openings.values():
            if self._stopping.is_set():
                return
            # The call that needs the engine meets the same error and reports it.
            with suppress(RagToolsError):
                opening.engine()


Seen = Callable[[], Collections]
"""Called within a request: the collections that its caller may see."""


class _Opening:
    """An engine that is opened once."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._lock = Lock()
        self._engine: Engine | None = None

    def engine(self) -> Engine:
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

    def opened(self) -> Engine | None:
        engine = self._engine
        return engine if engine is not None and not engine.replaced else None

    def close(self) -> None:
        with self._lock:
            if self._engine is not None:
                self._engine.close()
                self._engine = None
