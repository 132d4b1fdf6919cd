"""Which addresses may be connected to: those of the public Internet, unless private ones may too.

A name is resolved once, here, and connections go to the very addresses that were checked. A server
that answers a second question with another address (DNS rebinding) gains nothing by it.
"""

from __future__ import annotations

import ipaddress
import socket

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
