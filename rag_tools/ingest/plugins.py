"""Loaders of other packages, which they announce as entry points of the group `GROUP`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "rag_tools.loaders"
"""The name of an entry point is a suffix without its full stop; its object is a `Loader`."""


@cache
def plugin(suffix: str) -> EntryPoint | None:
    """Return the entry point of the loader for a suffix, such as ``.gpx``; None without one.

    The installed packages are looked through once, and nothing of them is imported. Of several
    entry points for a suffix the first by its value counts, the same one every time.
    """
    found = (each for each in _announced() if f".{each.name.lower().lstrip('.')}" == suffix)
    return min(found, key=lambda each: each.value, default=None)


@cache
def _announced() -> tuple[EntryPoint, ...]:
    from importlib.metadata import entry_points  # slow to import, and seldom needed

    return tuple(entry_points(group=GROUP))
