"""A connection that its client can't keep by doing nothing.

uvicorn limits how long a connection may be idle between requests, but neither how long the
headers of a request may take to arrive, nor how long a client may leave an answer unread.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

ENDLESS = "endless"
"""In the state of a request whose answer goes on until someone closes the connection."""


class Connection(H11Protocol):
    """HTTP/1.1 with two more time limits.

    Parameters
    ----------
    header_seconds
        From the opening of the connection, or the first byte of a later request, to the end of
        the headers.
    stall_seconds
        For the client to read what the system no longer takes on for it.
    """

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - uvicorn's
        header_seconds: float,
        stall_seconds: float,
        **options: Any,  # noqa: ANN401 - uvicorn's
    ) -> None:
        super().__init__(*arguments, **options)
        self._header = _Deadline(self, header_seconds)
        self._stall = _Deadline(self, stall_seconds)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._header.start()

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of the headers, unless these were all."""
        super().data_received(data)
        # A request that was refused unread is thrown away as it comes: for as long, no longer.
        if self.conn.their_state is h11.IDLE or self.conn.our_state is h11.DONE:
            self._header.start()
        else:
            self._header.stop()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._stall.start()

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        self._stall.stop()

    def shutdown(self) -> None:
        """Let the answer be finished, unless it has no end."""
        super().shutdown()
        if self.scope is not None and self.scope["state"].get(ENDLESS):
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        self._header.stop()
        self._stall.stop()


class _Deadline:
    """Aborts a connection unless it is stopped in time."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self._connection, self._seconds = connection, seconds
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to wait; one that waits goes on."""
        if self._timer is None:
            abort = self._connection.transport.abort
            self._timer = self._connection.loop.call_later(self._seconds, abort)

    def stop(self) -> None:
        """Wait no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
