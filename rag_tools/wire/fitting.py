"""Fitting entries into the number of characters that a result may have.

Sizes are characters of JSON. A long entry is shortened rather than left out, so that no document
can keep the others from being seen: titles and headings come first, since they may have any length.
How the rest of an entry is shortened depends on what it is; the caller says so.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from rag_tools.errors import InvalidQueryError
from rag_tools.types import Facet

COUNTS = 16
"""Characters that the counts and the cursor of a page may add to those of an empty one."""

LABEL = 200
"""Characters of a title or a heading that are always shown."""

_LABELS = frozenset({"title", "heading"})
_PLACES = frozenset({"uri", "url"})
_LONGEST_PLACE = 2_000  # characters shown of an address that doesn't fit whole

_Item = TypeVar("_Item", bound=BaseModel)

Cut = Callable[[_Item, int], _Item]
"""Shortens an entry to at most the given number of characters of JSON, if it can."""

MAX_ESCAPED = 6
r"""The most characters of JSON that one character takes: ``\u0000``."""


def label(text: str, most: int = LABEL) -> str:
    """Return a title or a heading, cut if it has more than `most` characters.

    Examples
    --------
    >>> label("Boiling water"), label("ab" * 200, 5)
    ('Boiling water', 'abab…')
    """
    return text if len(text) <= most else f"{text[: most - 1]}…"


def fitted_facets(facets: Sequence[Facet], max_chars: int) -> tuple[Facet, ...]:
    """Return facets with as many of their values as fit into a quarter of a result."""
    room = max_chars // 4
    kept: list[Facet] = []
    for facet in facets:
        values = []
        room -= json_size(facet.model_copy(update={"values": ()})) + 1
        for value in facet.values:
            room -= json_size(value) + 1
            if room < 0:
                break
            values.append(value)
        if room < 0 and not values:
            break
        kept.append(facet.model_copy(update={"values": tuple(values)}))
    return tuple(kept)


@dataclass(frozen=True)
class Fitted(Generic[_Item]):
    """The entries of a page, and how many of them were shortened."""

    items: tuple[_Item, ...] = ()
    shortened: int = 0

    def __len__(self) -> int:
        return len(self.items)

    def with_entry(self, item: _Item, whole: _Item) -> Fitted[_Item]:
        """Return these entries and `item`, which is `whole` unless it was shortened."""
        return Fitted((*self.items, item), self.shortened + (item is not whole))


def fitting(
    empty: BaseModel,
    items: Iterable[_Item],
    max_chars: int,
    what: str | None,
    shorter: Sequence[Cut[_Item]],
) -> Fitted[_Item]:
    """Return the first items that fit into a page of at most `max_chars` characters.

    The first item is shortened until it fits.

    Parameters
    ----------
    empty
        The page without its entries.
    what
        What an entry is called if even the first doesn't fit; None: that is no error.
    shorter
        The ways to shorten an entry, in the order in which they are tried.

    Raises
    ------
    InvalidQueryError
        If the first item doesn't fit even when it is shortened.
    """
    kept: Fitted[_Item] = Fitted()
    size = json_size(empty) + COUNTS
    for whole in items:
        item = shown(whole, max_chars - size - 1, max_chars, kept, shorter)
        size += json_size(item) + 1
        if size > max_chars:
            if what and not kept:
                raise too_small(what, size)
            break
        kept = kept.with_entry(item, whole)
    return kept


def too_small(what: str, size: int) -> InvalidQueryError:
    """Return the error that says how many characters the first entry of a page needs."""
    return InvalidQueryError(
        f"the first {what} takes {size} characters; pass max_chars={size} or more"
    )


def shown(
    item: _Item, room: int, max_chars: int, kept: Fitted[_Item], shorter: Sequence[Cut[_Item]]
) -> _Item:
    """Return an entry as a page shows it.

    The first entry is shortened step by step until it fits into `room`. A later entry that doesn't
    fit begins the next page.
    """
    item = with_short_labels(item, max_chars)
    for cut in shorter if not kept else ():
        if json_size(item) <= room:
            break
        item = cut(item, room)
    return item


def with_short_labels(item: _Item, max_chars: int) -> _Item:
    """Return an entry whose titles and headings take only a small part of a page."""
    most = max(LABEL, max_chars // 100)
    return _mapped(item, _LABELS, lambda text: label(text, most))


def with_short_addresses(item: _Item, room: int) -> _Item:
    """Return an entry whose addresses are no longer than browsers accept."""
    most = max(LABEL, min(_LONGEST_PLACE, room // 8))
    return _mapped(item, _PLACES, lambda text: label(text, most))


def _mapped(item: _Item, names: frozenset[str], change: Callable[[str], str]) -> _Item:
    """Return an entry with the texts of these fields changed, in nested values too."""
    update: dict[str, Any] = {}
    for name in type(item).model_fields:
        value = getattr(item, name)
        new: Any = value
        if name in names and isinstance(value, str):
            new = change(value)
        elif isinstance(value, BaseModel):
            new = _mapped(value, names, change)
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            mapped = tuple(_mapped(each, names, change) for each in value)
            if any(a is not b for a, b in zip(mapped, value, strict=True)):
                new = mapped
        if new is not value:
            update[name] = new
    return item.model_copy(update=update) if update else item


def json_cut(text: str, room: int) -> str:
    """Return the longest prefix of `text` that takes at most `room` characters of JSON."""

    def size(end: int) -> int:
        return len(json.dumps(text[:end], ensure_ascii=False)) - len('""')

    ends = range(min(len(text), max(0, room)) + 1)
    return text[: max(0, bisect_right(ends, room, key=size) - 1)]


def json_size(value: BaseModel) -> int:
    """Return how many characters of JSON a value takes."""
    return len(value.model_dump_json())
