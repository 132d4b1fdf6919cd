"""The usual form of URLs, by which pages are told apart."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit, urlunsplit

LONGEST_URL = 2000
"""Most characters of a URL that is fetched, or of what a server says about a page."""

_PORTS = {"http": 80, "https": 443}


def normal_url(url: str, base: str = "") -> str | None:
    """Return the usual form of a URL without its fragment; None if it isn't one of the web.

    Examples
    --------
    >>> normal_url("../b?q#top", "HTTP://Example.org:80/a/c")
    'http://example.org/b?q'
    >>> normal_url("mailto:ada@example.org") is None
    True
    """
    try:
        parts = urlsplit(urljoin(base, url.strip()))
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not host or parts.username is not None or len(url) > LONGEST_URL:
        return None
    if re.search(r"[\s\0-\x1f]", host):
        return None
    host = f"[{host}]" if ":" in host else host
    place = host if port in (None, _PORTS[scheme]) else f"{host}:{port}"
    path = parts.path.replace(" ", "%20") or "/"
    return urlunsplit((scheme, place, path, parts.query.replace(" ", "%20"), ""))


def same_host(one: str, other: str) -> bool:
    """Tell whether two URLs lead to the same host and port, by http or by https."""
    first, second = urlsplit(one), urlsplit(other)
    if first.hostname != second.hostname:
        return False
    return first.port == second.port or first.port is second.port is None
