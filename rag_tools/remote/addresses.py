"""Which addresses may be connected to: those of the public Internet, unless private ones may too.

A name is resolved once, here, and the connection goes to the very address that was checked. A
server that answers a second question with another address (DNS rebinding) gains nothing by it.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore2

from rag_tools.errors import UnreadableFileError

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4 = ipaddress.IPv6Network("2002::/16")


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public Internet.

    Examples
    --------
    >>> [is_public(each) for each in ("1.1.1.1", "127.0.0.1", "169.254.169.254", "10.0.0.1")]
    [True, False, False, False]
    >>> [is_public(each) for each in ("::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "fd00::1")]
    [False, False, False, False]
    """
    found: _Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        found = _embedded(found) or found
    return found.is_global and not found.is_multicast


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 address end at."""
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _6TO4:
        return address.sixtofour
    return None


def resolve(host: str, port: int, *, allow_private: bool) -> list[str]:
    """Return the addresses of a host that may be connected to.

    Raises
    ------
    UnreadableFileError
        The host has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnreadableFileError(f"{host}: no address of it is known ({error})") from None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    allowed = [each for each in addresses if allow_private or is_public(each)]
    if not allowed:
        raise UnreadableFileError(
            f"{host}: {', '.join(addresses)} belongs to a private network; if you mean that, allow "
            "it (--allow-private, WebOptions.allow_private)"
        )
    return allowed


class GuardedBackend(httpcore2.NetworkBackend):
    """Connects to what `resolve` allows, until a deadline.

    Attributes
    ----------
    until
        Time, by `time.monotonic`, after which every operation fails.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self.until = float("inf")
        self._allow_private = allow_private
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address of a host that answers; errors as of `resolve`."""
        addresses = resolve(host, port, allow_private=self._allow_private)
        for number, address in enumerate(addresses, 1):
            try:
                stream = self._backend.connect_tcp(
                    address, port, self.left(timeout), local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if number == len(addresses):
                    raise
            else:
                return _Stream(stream, self)
        raise AssertionError("there is at least one address")

    def left(self, timeout: float | None) -> float:
        """Return how long an operation may take."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the time for this request is used up")
        return left if timeout is None else min(left, timeout)


class _Stream(httpcore2.NetworkStream):
    """A connection that is given up at the deadline, however slowly the other side sends."""

    def __init__(self, stream: httpcore2.NetworkStream, backend: GuardedBackend) -> None:
        self._stream = stream
        self._backend = backend

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._backend.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._backend.left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        left = self._backend.left(timeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._backend)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's signature
        return self._stream.get_extra_info(info)
