"""A connection that a client can't keep open by doing nothing.

uvicorn limits how long a connection may be idle between requests, but neither how long the
headers of a request may take to arrive, nor how long a client may leave an answer unread.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

ENDLESS = "endless"
"""The key, in the state of a request, that marks an answer without an end.

It goes on until one side closes the connection.
"""


class Connection(H11Protocol):
    """HTTP/1.1 with two additional time limits.

    Parameters
    ----------
    header_seconds
        From the opening of the connection, or the first byte of a later request, to the end of
        the headers.
    stall_seconds
        For the client to read, once the buffers of the system are full.
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
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._header.start()

    def data_received(self, data: bytes) -> None:
        """Wait for the rest of the headers, unless they are complete."""
        super().data_received(data)
        # The rest of a request that was refused unread is discarded, within the same time limit.
        if self.conn.their_state is h11.IDLE or self.conn.our_state is h11.DONE:
            self._header.start()
        else:
            self._header.stop()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._stall.start()

    def resume_writing(self) -> None:
        """Stop waiting: the client has read."""
        super().resume_writing()
        self._stall.stop()

    def shutdown(self) -> None:
        """Finish the answer that is being sent, unless it has no end."""
        super().shutdown()
        if self.scope is not None and self.scope["state"].get(ENDLESS):
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop both timers."""
        super().connection_lost(exc)
        self._header.stop()
        self._stall.stop()


class _Deadline:
    """A timer that aborts a connection unless it is stopped in time."""

    def __init__(self, connection: Connection, seconds: float) -> None:
        self._connection, self._seconds = connection, seconds
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start the timer, unless it is running."""
        if self._timer is None:
            abort = self._connection.transport.abort
            self._timer = self._connection.loop.call_later(self._seconds, abort)

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
