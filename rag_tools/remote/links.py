"""What pages, sitemaps and feeds lead to."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any, NamedTuple
from urllib.parse import urljoin

from lxml import etree, html

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.archive import local, parse_xml
from rag_tools.ingest.html_encoding import decode_page
from rag_tools.remote.urls import normal_url

_MOST_LINKS = 10_000
_MOST_UNPACKED = 64 * 1024 * 1024
_GZIP = b"\x1f\x8b"


class Listing(NamedTuple):
    """A sitemap or a feed: the pages that it lists, and other sitemaps."""

    pages: list[str]
    listings: list[str]


class Outgoing(NamedTuple):
    """What a page says to those who collect pages.

    Attributes
    ----------
    links
        Where it leads, in order, each once.
    may_index
        Whether it may be indexed; a page can forbid it with ``<meta name="robots">``.
    """

    links: list[str]
    may_index: bool = True


def listing(body: bytes, url: str) -> Listing | None:
    """Return what a sitemap or a feed (RSS, Atom, RDF) lists; None if it is neither.

    Raises
    ------
    UnreadableFileError
        It is packed, and damaged or too large.
    """
    if body.startswith(_GZIP):
        body = _unpacked(body, url)
    if not body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return None
    try:
        root = parse_xml(body)
    except etree.XMLSyntaxError:
        return None
    kind = local(root)
    if kind == "sitemapindex":
        return Listing([], _urls((_child(each, "loc") for each in root), url))
    if kind == "urlset":
        return Listing(_urls((_child(each, "loc") for each in root), url), [])
    if kind in ("rss", "RDF"):
        items = (each for each in root.iter("{*}item"))
        return Listing(_urls((_child(each, "link") for each in items), url), [])
    if kind == "feed":
        return Listing(_urls((_alternate(each) for each in root.iter("{*}entry")), url), [])
    return None


def outgoing(body: bytes, url: str, name: str) -> Outgoing:
    """Return what a page of HTML leads to."""
    try:
        page = decode_page(body, name).replace("\0", "")
        parser = html.HTMLParser(encoding="utf-8", huge_tree=True)
        root = html.document_fromstring(page.encode("utf-8", "replace"), parser=parser)
    except (UnreadableFileError, etree.ParserError, ValueError):
        return Outgoing([])
    base = next((each.get("href") for each in root.iter("base") if each.get("href")), "")
    rules = {
        word.strip().lower()
        for each in root.iter("meta")
        if (each.get("name") or "").lower() == "robots"
        for word in (each.get("content") or "").split(",")
    }
    links: list[str] = []
    if not rules & {"nofollow", "none"}:
        found = (
            each.get("href")
            for each in root.iter("a", "area")
            if "nofollow" not in (each.get("rel") or "").lower().split()
        )
        links = _urls(found, urljoin(url, base))
    return Outgoing(links, not rules & {"noindex", "none"})


def _unpacked(body: bytes, url: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as packed:
            data = packed.read(_MOST_UNPACKED + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise UnreadableFileError(f"{url}: damaged ({error})") from None
    if len(data) > _MOST_UNPACKED:
        raise UnreadableFileError(f"{url}: unpacks to more than {_MOST_UNPACKED:,} bytes")
    return data


def _child(element: Any, name: str) -> str:  # noqa: ANN401 - lxml has no types
    return next(((each.text or "") for each in element if local(each) == name), "")


def _alternate(entry: Any) -> str:  # noqa: ANN401
    links = [each for each in entry if local(each) == "link" and each.get("href")]
    shown = [each for each in links if each.get("rel", "alternate") == "alternate"]
    return str(next((each.get("href") for each in shown), ""))


def _urls(found: Any, base: str) -> list[str]:  # noqa: ANN401
    kept: dict[str, None] = {}
    for each in found:
        url = normal_url(each, base) if each and each.strip() else None
        if url:
            kept[url] = None
            if len(kept) >= _MOST_LINKS:
                break
    return list(kept)
