"""What sites allow to be fetched, and how fast (RFC 9309)."""

from __future__ import annotations

import time
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

from rag_tools.errors import IngestError, UnreadableFileError
from rag_tools.remote.fetch import AGENT, Fetcher

_MOST_BYTES = 500 * 1024  # as RFC 9309 allows
_LONGEST_DELAY = 30.0  # seconds between requests that a site may ask for


class Robots:
    """The rules of each site, which are read when the first page of it is wanted.

    Parameters
    ----------
    fetcher
        Reads ``robots.txt``.
    delay
        Seconds between two requests to a site, unless it asks for more.
    """

    def __init__(self, fetcher: Fetcher, *, delay: float) -> None:
        self._fetcher = fetcher
        self._delay = delay
        self._rules: dict[str, RobotFileParser | IngestError] = {}
        self._last: dict[str, float] = {}

    def allows(self, url: str) -> bool:
        """Tell whether a page may be fetched.

        Raises
        ------
        IngestError
            The rules of its site can't be fetched, so that nothing may be.
        """
        return self._of(url).can_fetch(AGENT, url)

    def wait(self, url: str) -> None:
        """Wait until the site of a page may be asked again."""
        site = urlsplit(url).netloc
        asked = self._of(url).crawl_delay(AGENT)
        delay = max(self._delay, min(float(asked or 0), _LONGEST_DELAY))
        left = self._last.get(site, float("-inf")) + delay - time.monotonic()
        if left > 0:
            time.sleep(left)
        self._last[site] = time.monotonic()

    def _of(self, url: str) -> RobotFileParser:
        parts = urlsplit(url)
        site = f"{parts.scheme}://{parts.netloc}"
        if site not in self._rules:
            try:
                self._rules[site] = self._read(f"{site}/robots.txt")
            except IngestError as error:
                self._rules[site] = error
        rules = self._rules[site]
        if isinstance(rules, IngestError):
            raise rules
        return rules

    def _read(self, url: str) -> RobotFileParser:
        answer = self._fetcher.get(url, max_bytes=_MOST_BYTES)
        if answer.status >= 500:
            raise UnreadableFileError(f"{url}: the server answers {answer.status}")
        rules = RobotFileParser(url)
        found = answer.body if answer.status == 200 else b""  # there are no rules
        rules.parse(found.decode("utf-8", "replace").splitlines())
        return rules
