"""How pages of the web are collected."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rag_tools.errors import InvalidQueryError


@dataclass(frozen=True)
class WebOptions:
    """How pages of the web are collected; the options are stored with the root.

    Attributes
    ----------
    depth
        How many links are followed from a page, or from each page that a sitemap or a feed lists;
        0 for none. Links to other hosts aren't followed.
    max_pages
        Most pages of one root.
    delay
        Seconds between two requests to a host, unless its robots.txt asks for more.
    allow_private
        Whether addresses of private networks and of this machine may be connected to.

    Raises
    ------
    InvalidQueryError
        A number is negative, or `max_pages` isn't positive.
    """

    depth: int = 0
    max_pages: int = 1000
    delay: float = 0.5
    allow_private: bool = False

    def __post_init__(self) -> None:
        if self.depth < 0 or self.max_pages < 1 or not self.delay >= 0:
            raise InvalidQueryError(
                f"depth {self.depth}, max_pages {self.max_pages}, delay {self.delay:g}: none may "
                "be negative, and at least one page must be allowed"
            )

    def as_json(self) -> dict[str, Any]:
        """Return the options as the catalog stores them."""
        return asdict(self)
