"""Bringing an index up to date with pages of the web.

All pages are fetched first, since each may lead to others; a page that its server says hasn't
changed is neither sent nor read again.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from rag_tools.catalog.rows import Known, SourceState
from rag_tools.errors import InvalidQueryError
from rag_tools.ingest.properties import iso_time
from rag_tools.intake import Finish, Intake, Planned, Source
from rag_tools.meter import Meter
from rag_tools.remote.urls import normal_url
from rag_tools.types import Metadata, WebOptions
from rag_tools.writer import Writer

if TYPE_CHECKING:
    from rag_tools.remote.crawl import Crawl, Page, Remembered

_OPTIONS, _PAGES = "web", "pages"  # fields of what is stored with a root


def is_page_root(root: str) -> bool:
    """Tell whether a root is a URL of the web."""
    return root.lower().startswith(("http://", "https://"))


def page_root(url: str) -> str:
    """Return a URL as roots are stored.

    Raises
    ------
    InvalidQueryError
        It isn't one, or contains a user name.
    """
    found = normal_url(url)
    if found is None:
        raise InvalidQueryError(f"{url!r} isn't a URL that can be fetched")
    return found


def plan_pages(
    writer: Writer,
    root: str,
    options: WebOptions | None,
    intake: Intake,
    *,
    meter: Meter,
    max_bytes: int,
) -> tuple[list[Planned], Finish]:
    """Return the pages of a root that were fetched; remove those that are gone.

    Parameters
    ----------
    options
        None: those used the last time.
    """
    from rag_tools.remote.crawl import crawl  # the client for HTTP is slow to import

    stored = writer.catalog.roots().get(root, {})
    if options is None:
        options = WebOptions(**stored.get(_OPTIONS, {}))
    prefix = f"{root} "  # no URL holds a space, and a page may be below several roots
    known = writer.catalog.sources(prefix, prefix)
    found = crawl(
        root,
        options,
        max_bytes=max_bytes,
        remembered=_remembered(stored),
        is_known=lambda url: prefix + url in known,
        progress=meter.scanned,
    )
    intake.tally.skipped += found.skipped
    if found.pages or root in writer.catalog.roots():
        # What is remembered must be of pages that are in the index, also if this is interrupted.
        before = stored.get(_PAGES, [])
        writer.set_root(root, {_OPTIONS: options.as_json(), _PAGES: before})
    intake.remove(
        entry for path, entry in known.items() if _is_gone(path.removeprefix(prefix), found)
    )
    planned: list[Planned] = []
    for url, page in found.pages.items():
        entry = known.get(prefix + url)
        source = Source(
            prefix + url,
            url,
            page.response.name,
            unquote(urlsplit(url).path).lstrip("/") or "index.html",
            entry,
            len(page.response.body),
            metadata=_metadata(page),
            is_root=page.asked == root,
            root=root,
        )
        planned.append((source, functools.partial(_read, page, entry)))

    def finish() -> None:
        if found.pages:
            kept = {
                url: replace(each, etag="", modified="")
                if prefix + each.url in intake.failed
                else each
                for url, each in found.remembered.items()
            }
            writer.set_root(root, {_OPTIONS: options.as_json(), _PAGES: _as_json(kept)})

    return planned, finish


def _is_gone(url: str, found: Crawl) -> bool:
    return url not in found.pages and (found.complete or url in found.gone)


def _read(page: Page, known: Known | None) -> tuple[bytes | None, SourceState]:
    """Return the body of a page, None if it hasn't changed, and its state."""
    if page.response.status == 304 and known:
        return None, known.state
    body = page.response.body
    state = SourceState(len(body), 0, hashlib.sha256(body).hexdigest())
    same = known is not None and known.state.sha256 == state.sha256
    return (None if same else body), state


def _metadata(page: Page) -> Metadata:
    modified = iso_time(page.response.modified)
    return {"modified": modified} if modified else {}


def _remembered(stored: Mapping[str, Any]) -> dict[str, Remembered]:
    from rag_tools.remote.crawl import Remembered

    pages = stored.get(_PAGES, [])
    asked = [each[0] for each in pages]
    return {
        url: Remembered(final, etag, modified, tuple(asked[number] for number in links))
        for url, final, etag, modified, links in pages
    }


def _as_json(remembered: Mapping[str, Remembered]) -> list[list[Any]]:
    """Return what to remember of pages; links are numbers of pages, since they are many."""
    numbers = {url: number for number, url in enumerate(remembered)}
    return [
        [
            url,
            each.url,
            each.etag,
            each.modified,
            [numbers[link] for link in each.links if link in numbers],
        ]
        for url, each in remembered.items()
    ]
