"""A page, a sitemap or a feed → the pages to index."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from rag_tools.errors import FileTooLargeError, IngestError
from rag_tools.remote.fetch import Fetcher, Response
from rag_tools.remote.links import listing, outgoing
from rag_tools.remote.robots import Robots
from rag_tools.remote.urls import same_host
from rag_tools.types import Skipped, WebOptions

_MOST_BYTES = 256 * 1024 * 1024  # of all pages of a crawl
_MOST_LISTINGS = 100  # sitemaps of a crawl
_GONE = frozenset({404, 410})
_HTML = (".html", ".htm", ".xhtml")
_LISTS = (".xml", ".xml.gz")


@dataclass(frozen=True)
class Remembered:
    """What is known of a page from the last time.

    Attributes
    ----------
    url
        After redirects.
    links
        Where it leads, of what was followed.
    """

    url: str
    etag: str = ""
    modified: str = ""
    links: tuple[str, ...] = ()


class Page(NamedTuple):
    """A page to index.

    Attributes
    ----------
    asked
        The URL that led to it.
    response
        Its body is empty if the page hasn't changed (status 304).
    """

    asked: str
    response: Response


@dataclass
class Crawl:
    """What was found.

    Attributes
    ----------
    pages
        By their URLs after redirects.
    gone
        URLs of pages that no longer exist.
    remembered
        What to know the next time, by the URL that led to each page.
    skipped
        What couldn't be fetched, and why.
    complete
        Whether everything was reached, so that what wasn't is no longer linked.
    """

    pages: dict[str, Page] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    remembered: dict[str, Remembered] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    complete: bool = True


def crawl(
    root: str,
    options: WebOptions,
    *,
    max_bytes: int,
    remembered: Mapping[str, Remembered],
    is_known: Callable[[str], bool],
    progress: Callable[[int], None],
) -> Crawl:
    """Collect the pages that a root leads to.

    Parameters
    ----------
    root
        URL of a page, a sitemap or a feed, in its usual form.
    options
        How far to go.
    max_bytes
        Of a page.
    remembered
        What was known the last time.
    is_known
        Tells whether a page, by its URL after redirects, is indexed: only then the server may
        answer that it hasn't changed.
    progress
        Called with the number of pages so far.
    """
    with Fetcher(allow_private=options.allow_private, max_bytes=max_bytes) as fetcher:
        robots = Robots(fetcher, delay=options.delay)
        walk = _Walk(root, options, fetcher, robots, remembered, is_known)
        while walk.step():
            progress(len(walk.found.pages))
        return walk.found


class _Walk:
    """One crawl, breadth first."""

    def __init__(
        self,
        root: str,
        options: WebOptions,
        fetcher: Fetcher,
        robots: Robots,
        remembered: Mapping[str, Remembered],
        is_known: Callable[[str], bool],
    ) -> None:
        self.found = Crawl()
        self._root = root
        self._host = root
        self._options = options
        self._fetcher = fetcher
        self._robots = robots
        self._remembered = remembered
        self._is_known = is_known
        self._waiting: deque[tuple[str, int]] = deque([(root, 0)])
        self._seen = {root}
        self._listings = 0
        self._bytes = 0

    def step(self) -> bool:
        """Handle the next URL; tell whether there was one."""
        if not self._waiting:
            return False
        url, depth = self._waiting.popleft()
        if len(self.found.pages) >= self._options.max_pages or self._bytes > _MOST_BYTES:
            self._stop(url)
            return False
        try:
            if self._robots.allows(url):
                self._visit(url, depth)
            else:
                self._skip(url, "the site's robots.txt doesn't allow it")
        except IngestError as error:
            self._skip(url, str(error))
            self.found.complete &= isinstance(error, FileTooLargeError)
        return True

    def _visit(self, url: str, depth: int) -> None:
        self._robots.wait(url)
        before = self._remembered.get(url)
        if before and self._is_known(before.url):
            response = self._fetcher.get(url, etag=before.etag, modified=before.modified)
        else:
            before = None
            response = self._fetcher.get(url)
        if url == self._root:
            self._host = response.url
        elif not same_host(response.url, self._host):
            return
        if response.url != url and not self._robots.allows(response.url):
            self._skip(response.url, "the site's robots.txt doesn't allow it")
        elif response.status in _GONE:
            self.found.gone |= {url, response.url}
            if url == self._root:
                self._skip(url, f"the server answers {response.status}")
                self.found.complete = False
        elif response.status == 304 and before:
            self._keep(url, response._replace(url=before.url), list(before.links), depth)
        elif response.status == 200:
            self._read(url, response, depth)
        else:
            self._skip(url, f"the server answers {response.status}")
            self.found.complete = False

    def _read(self, url: str, response: Response, depth: int) -> None:
        self._bytes += len(response.body)
        if response.name.lower().endswith(_LISTS) and self._list(url, response, depth):
            return
        links: list[str] = []
        index = "noindex" not in response.robots.lower()
        if response.name.lower().endswith(_HTML):
            out = outgoing(response.body, response.url, response.name)
            links = out.links if depth < self._options.depth else []
            index = index and out.may_index
        links = [each for each in links if same_host(each, self._host)]
        if index:
            self._keep(url, response, links, depth)
        else:
            self._skip(url, "the page asks not to be indexed")
            self._follow(links, depth + 1)

    def _list(self, url: str, response: Response, depth: int) -> bool:
        """Follow a sitemap or a feed; tell whether the response is one."""
        listed = listing(response.body, response.url)
        if listed is None:
            return False
        self._listings += 1
        near = [each for each in listed.pages if same_host(each, self._host)]
        if far := len(listed.pages) - len(near):
            self._skip(url, f"{far:,} of the pages that it lists are of other hosts")
        self._follow(near, depth)
        if self._listings < _MOST_LISTINGS:
            self._follow([each for each in listed.listings if same_host(each, self._host)], depth)
        return True

    def _keep(self, url: str, response: Response, links: list[str], depth: int) -> None:
        self.found.remembered[url] = Remembered(
            response.url, response.etag, response.modified, tuple(links)
        )
        self.found.pages.setdefault(response.url, Page(url, response))
        self._follow(links, depth + 1)

    def _follow(self, links: list[str], depth: int) -> None:
        for link in links:
            if link not in self._seen and len(self._seen) < 100 * self._options.max_pages:
                self._seen.add(link)
                self._waiting.append((link, depth))

    def _stop(self, url: str) -> None:
        left = len(self._waiting) + 1
        self._skip(url, f"{left:,} pages and more weren't fetched: allow more (--max-pages)")
        self.found.complete = False

    def _skip(self, url: str, reason: str) -> None:
        self.found.skipped.append(Skipped(path=url, reason=reason))
