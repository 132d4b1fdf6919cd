"""Named indexes, opened in the background while the protocol already answers.

Which of them a caller may see, and as whom, is decided elsewhere; `Collections.only` enforces it.
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
from rag_tools.types import Principal

if TYPE_CHECKING:
    from rag_tools.audit.log import AuditLog
    from rag_tools.engine import Engine

DEFAULT_NAME = "default"
"""The name of the collection of a server with one unnamed index."""

# The name is the host part of its documents' URIs, whose case clients may change.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


class Collections:
    """Named indexes, each opened once, when it is first needed.

    A failure isn't remembered: once the user has built an index, the next call opens it. If an
    index was deleted and rebuilt, the next call opens the new one.

    Parameters
    ----------
    directories
        The directories of the indexes by name; None is the default directory. The order is kept.
    audit
        Where what is done with them is recorded; None: where the environment says, or nowhere.

    Attributes
    ----------
    principal
        The caller whose engines these are; None: they see all documents.

    Raises
    ------
    ConfigurationError
        If there are none, or a name can't be part of a URI.
    """

    def __init__(
        self, directories: Mapping[str, Path | None], audit: AuditLog | None = None
    ) -> None:
        if not directories:
            raise ConfigurationError("a server needs at least one index: give its directory")
        for name in directories:
            if not _NAME.fullmatch(name):
                raise ConfigurationError(
                    f"{name!r} is not a valid name of a collection: use up to 64 lower-case "
                    f"letters, "
                    "digits, '-' and '_', and begin with a letter or digit"
                )
        self._openings = {
            name: _Opening(directory, audit and audit.of(name))
            for name, directory in directories.items()
        }
        self._stopping = Event()
        self.principal: Principal | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order given."""
        return tuple(self._openings)

    def only(
        self, names: Collection[str] | None, principal: Principal | None = None
    ) -> Collections:
        """Return the collections as a caller sees them, who shares the open indexes.

        Parameters
        ----------
        names
            The collections that exist for the caller; None: all of them.
        principal
            Decides which documents exist for the caller; None: all of them.
        """
        seen = copy(self)
        seen.principal = principal
        if names is not None:
            seen._openings = {name: each for name, each in self._openings.items() if name in names}
        return seen

    def resolve(self, name: str | None = None) -> str:
        """Return the name of a collection, checked; None stands for the only one.

        Raises
        ------
        NotFoundError
            If there is no such collection, or there are several and none was named.
        """
        if name is None and len(self.names) == 1:
            return self.names[0]
        if name in self._openings:
            return name
        if not self.names:
            raise NotFoundError(
                "there is no collection that you may read: ask the server's operator for access"
            )
        known = ", ".join(self.names)
        if name is None:
            raise NotFoundError(f"there are several collections: choose one of {known}")
        raise NotFoundError(f"there is no collection {name!r}: choose from {known}")

    def engine(self, name: str | None = None) -> Engine:
        """Return the engine of a collection with its model loaded, waiting until it is.

        Parameters
        ----------
        name
            None stands for the only collection.

        Raises
        ------
        RagToolsError
            If there is no such collection, or its index can't be opened; the message says what
            to do.
        """
        return self._seen(self._openings[self.resolve(name)].engine())

    def writable(self, name: str | None = None) -> Engine:
        """Return the engine that changes a collection: it sees all documents. Errors as `engine`.

        What it returns isn't for callers with a principal.
        """
        return self._openings[self.resolve(name)].engine()

    def opened(self, name: str | None = None) -> Engine | None:
        """Return the engine of a collection if it is open, otherwise None.

        Raises
        ------
        NotFoundError
            If there is no such collection.
        """
        engine = self._openings[self.resolve(name)].opened()
        return None if engine is None else self._seen(engine)

    def _seen(self, engine: Engine) -> Engine:
        return engine if self.principal is None else engine.as_(self.principal)

    def start(self) -> None:
        """Start to open the indexes one after the other, on another thread."""
        self._stopping.clear()
        Thread(target=self._open_all, name="open-indexes").start()

    def close(self) -> None:
        """Close the indexes, after the one that is being opened."""
        self._stopping.set()
        for opening in self._openings.values():
            opening.close()

    def _open_all(self) -> None:
        for opening in self._openings.values():
            if self._stopping.is_set():
                return
            # The call that needs the engine gets the same error and reports it.
            with suppress(RagToolsError):
                opening.engine()


Seen = Callable[[], Collections]
"""Called within a request; returns the collections that its caller may see."""


class _Opening:
    """An index that is opened when it is first needed."""

    def __init__(self, directory: Path | None, audit: AuditLog | None) -> None:
        self._directory, self._audit = directory, audit
        self._lock = Lock()
        self._engine: Engine | None = None

    def engine(self) -> Engine:
        with self._lock:
            if self._engine is not None and self._engine.replaced:
                self._engine.close()
                self._engine = None
            if self._engine is None:
                # This imports NumPy and ONNX Runtime. At the top, it would delay the list of
                # tools, for which the client waits.
                from rag_tools.engine import Engine

                engine = Engine.open(self._directory, audit=self._audit)
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
