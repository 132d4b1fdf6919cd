"""A connection that a client can't keep open by doing nothing.

uvicorn limits how long a connection may be idle between requests, but neither how long the
headers of a request may take to arrive, nor how long a client may leave an answer unread.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

ENDLESS = "endless"
"""The key, in the state of a request, that marks an answer without an end.

It goes on until one side closes the connection.
"""


class Connection(H11Protocol):
    """HTTP/1.1 with two additional time limits, and a limit of connections per address.

    Parameters
    ----------
    header_seconds
        From the opening of the connection, or the first byte of a later request, to the end of
        the headers.
    stall_seconds
        For the client to read, once the buffers of the system are full.
    addresses
        Counts the connections of all addresses.
    """

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - uvicorn's
        header_seconds: float,
        stall_seconds: float,
        addresses: Addresses,
        **options: Any,  # noqa: ANN401 - uvicorn's
    ) -> None:
        super().__init__(*arguments, **options)
        self._addresses, self._address = addresses, ""
        self._header = _Deadline(self, header_seconds)
        self._stall = _Deadline(self, stall_seconds)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._header.start()
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._addresses.enter(self._address):
            transport.abort()  # an answer would cost more than it tells: the limit is a defence

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
        self._addresses.leave(self._address)
        self._header.stop()
        self._stall.stop()


class Addresses:
    """Counts the open connections of each address, so that none can shut the others out.

    Parameters
    ----------
    most
        Connections that one address may have open.
    trusted
        Addresses, or networks, of proxies: their connections are those of many clients.
    """

    def __init__(self, most: int, trusted: Sequence[str] = ()) -> None:
        self._most = most
        self._everyone = "*" in trusted
        self._trusted = [ip_network(each, strict=False) for each in trusted if _is_network(each)]
        self._open: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count a connection; return whether it may stay open."""
        self._open[address] += 1
        return self._open[address] <= self._most or self._is_trusted(address)

    def leave(self, address: str) -> None:
        """Forget a connection that was counted."""
        self._open[address] -= 1
        if self._open[address] <= 0:
            del self._open[address]

    def _is_trusted(self, address: str) -> bool:
        if self._everyone or not address:  # without an address: a socket of this machine
            return True
        try:
            known = ip_address(address)
        except ValueError:
            return False
        return any(known in network for network in self._trusted)


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:  # the name of a socket, or a star
        return False
    return True


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
