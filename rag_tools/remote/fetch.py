"""Fetching a page: http and https only, within limits of size, time and redirects."""

from __future__ import annotations

import mimetypes
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import httpcore2
import httpx2

from rag_tools.closing import Closing
from rag_tools.errors import FileTooLargeError, UnreadableFileError
from rag_tools.ingest.html_encoding import as_page
from rag_tools.ingest.load import supported
from rag_tools.remote.connecting import GuardedBackend
from rag_tools.remote.urls import LONGEST_URL, normal_url

AGENT = "rag-tools"
"""The name by which a site's robots.txt can refuse what is fetched."""

_REDIRECTS = 5
_SECONDS = 120.0  # for a page, whatever its size
_SILENCE = 30.0  # seconds without anything from the server
_FEED_TYPES = frozenset({"application/atom+xml", "application/rdf+xml", "application/rss+xml"})
_PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml"})
_FAILURES = (
    *(httpx2.HTTPError, httpx2.InvalidURL),
    *(httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.ProtocolError),
)
_UNTOLD = frozenset({"", "application/octet-stream", "binary/octet-stream"})


class Response(NamedTuple):
    """What a server answered.

    Attributes
    ----------
    url
        After redirects.
    status
        200, 304 (the page hasn't changed), or another that isn't a redirect.
    body
        Empty unless the status is 200 and there is a loader for the type.
    name
        A name whose suffix tells the type.
    etag, modified
        Validators for the next request, ``""`` if the server gave none.
    robots
        The header ``X-Robots-Tag``.
    """

    url: str
    status: int
    body: bytes = b""
    name: str = ""
    etag: str = ""
    modified: str = ""
    robots: str = ""


class Fetcher(Closing):
    """Fetches pages over connections that it keeps; not shared between threads.

    Parameters
    ----------
    allow_private
        Whether addresses of private networks may be connected to.
    max_bytes
        Of a page.
    """

    def __init__(self, *, allow_private: bool, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._backend = GuardedBackend(allow_private=allow_private)
        self._client = httpx2.Client(
            transport=_Transport(self._backend),
            trust_env=False,  # a proxy would connect to what isn't checked here
            timeout=_SILENCE,
            headers={"User-Agent": f"{AGENT} (https://pypi.org/project/rag-tools)"},
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(
        self, url: str, *, etag: str = "", modified: str = "", max_bytes: int | None = None
    ) -> Response:
        """Return what is at a URL.

        Parameters
        ----------
        url
            Of http or https.
        etag, modified
            Validators of an earlier response: if the page hasn't changed, the status is 304.
        max_bytes
            If it is less than that of the fetcher.

        Raises
        ------
        UnreadableFileError
            The server can't be reached or not in time, has an address that isn't allowed, or
            redirects elsewhere than to http and https, or too often.
        FileTooLargeError
            The page is larger than allowed.
        """
        headers = {}
        if etag:
            headers["If-None-Match"] = etag
        if modified:
            headers["If-Modified-Since"] = modified
        limit = min(self._max_bytes, max_bytes or self._max_bytes)
        self._backend.until = time.monotonic() + _SECONDS
        asked = url
        for _ in range(_REDIRECTS + 1):
            try:
                with self._client.stream("GET", url, headers=headers) as answer:
                    if not answer.has_redirect_location:
                        return self._response(url, answer, limit)
                    location = answer.headers.get("location", "")
            except _FAILURES as error:
                reason = str(error) or type(error).__name__
                raise UnreadableFileError(f"{url}: can't be fetched ({reason})") from None
            target = normal_url(location, url)
            if target is None:
                raise UnreadableFileError(
                    f"{asked}: redirects to {location[:200]!r}, which isn't fetched"
                )
            url = target
        raise UnreadableFileError(f"{asked}: redirects more than {_REDIRECTS} times")

    def _response(self, url: str, answer: httpx2.Response, limit: int) -> Response:
        kind, charset = _content_type(answer.headers.get("content-type", ""))
        name = file_name(url, kind)
        body = b""
        is_read = supported(PurePosixPath(name)) or name.endswith(".xml.gz")
        if answer.status_code == 200 and is_read:
            body = b"".join(self._chunks(url, answer, limit))
            if charset and (kind.startswith("text/") or kind in _PAGE_TYPES):
                body = _decoded(body, charset)
        return Response(
            url,
            answer.status_code,
            body,
            name,
            answer.headers.get("etag", "")[:LONGEST_URL],
            answer.headers.get("last-modified", "")[:LONGEST_URL],
            answer.headers.get("x-robots-tag", ""),
        )

    def _chunks(self, url: str, answer: httpx2.Response, limit: int) -> Iterator[bytes]:
        size = 0
        for chunk in answer.iter_bytes():
            size += len(chunk)
            if size > limit:
                raise FileTooLargeError(
                    f"{url}: more than {limit:,} bytes; raise the limit (--max-file-size, "
                    "max_bytes)"
                )
            yield chunk


def file_name(url: str, kind: str) -> str:
    """Return a name for a page whose suffix tells its type.

    Parameters
    ----------
    url
        Of the page.
    kind
        Its media type, without parameters; ``""`` if the server doesn't say.

    Examples
    --------
    >>> file_name("https://example.org/a/guide.php", "text/html")
    'guide.php.html'
    >>> file_name("https://example.org/", "application/pdf")
    'index.pdf'
    >>> file_name("https://example.org/notes.md", "text/plain")
    'notes.md'
    """
    name = PurePosixPath(unquote(urlsplit(url).path)).name or "index"
    suffix = PurePosixPath(name).suffix.lower()
    if kind in _PAGE_TYPES:
        return name if suffix in (".html", ".htm", ".xhtml") else f"{name}.html"
    if suffix and (kind in _UNTOLD or kind.startswith("text/")) and supported(PurePosixPath(name)):
        return name
    if kind in _FEED_TYPES:
        return name if suffix == ".xml" else f"{name}.xml"
    guessed = ".txt" if kind == "text/plain" else mimetypes.guess_extension(kind) or ""
    if not guessed or suffix == guessed or mimetypes.guess_type(name)[0] == kind:
        return name
    return f"{name}{guessed}"


def _content_type(header: str) -> tuple[str, str]:
    message = Message()
    message["Content-Type"] = header or "application/octet-stream"
    charset = message.get_content_charset() or ""
    return message.get_content_type(), charset


def _decoded(body: bytes, charset: str) -> bytes:
    """Return a text in UTF-8, marked as such, if the server says that it is in another encoding."""
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        try:
            return as_page(body.decode(charset, "replace"))
        except (LookupError, UnicodeError, ValueError):
            return body
    return body


class _Transport(httpx2.BaseTransport):
    """Sends requests over a pool of connections that a `GuardedBackend` makes."""

    def __init__(self, backend: GuardedBackend) -> None:
        self._pool = httpcore2.ConnectionPool(
            ssl_context=httpx2.create_ssl_context(),
            max_connections=4,
            keepalive_expiry=30.0,
            network_backend=backend,
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request."""
        answer = self._pool.handle_request(
            httpcore2.Request(
                method=request.method,
                url=httpcore2.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.read(),
                extensions=request.extensions,
            )
        )
        return httpx2.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


class _Body(httpx2.SyncByteStream):
    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()
