"""The files of this folder, and where a gold unit stands in a document.

Gold units are stored as text, not as offsets, since loaders change where lines end and how the
cells of a table are set apart. So white space and the marks in `DROPPED` aren't compared: a unit is
found where a document's text has the same characters otherwise.
"""

from __future__ import annotations

import bisect
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DROPPED = "|¶"
"""Marks that loaders may put between cells or leave at the end of headings."""

KINDS = ("prose", "definition", "table", "list", "faq", "howto", "option", "error")
WRONG_BY_VALUE = ("number", "name", "date", "unit")
WRONG_BY_SENSE = ("negated", "antonym", "relation", "condition")
"""Classes of wrong claims."""


def read(name: str) -> list[dict[str, Any]]:
    """Return the entries of a file of JSON lines in this folder."""
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def manifest(name: str = "manifest.json") -> dict[str, Any]:
    """Return the packages with their versions, licences and documents.

    Parameters
    ----------
    name
        ``manifest.json``, or ``confidence.json``: what ``confidence.jsonl`` asks about.
    """
    text = (HERE / name).read_text(encoding="utf-8")
    packages: dict[str, Any] = json.loads(text)["packages"]
    return packages


def squeezed(text: str) -> str:
    """Return `text` without what isn't compared."""
    return "".join(character for character in text if _compared(character))


@dataclass(frozen=True)
class Text:
    """A document's text, in which gold units can be located."""

    text: str
    _found: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    @cached_property
    def _places(self) -> list[int]:
        return [i for i, character in enumerate(self.text) if _compared(character)]

    @cached_property
    def _squeezed(self) -> str:
        return "".join(self.text[i] for i in self._places)

    def locate(self, unit: str) -> list[tuple[int, int]]:
        """Return the ranges ``[start, end)`` of characters where `unit` stands."""
        if unit not in self._found:
            wanted, ranges = squeezed(unit), []
            at = self._squeezed.find(wanted) if wanted else -1
            while at >= 0:
                ranges.append((self._places[at], self._places[at + len(wanted) - 1] + 1))
                at = self._squeezed.find(wanted, at + len(wanted))
            self._found[unit] = ranges
        return self._found[unit]

    def compared(self, start: int, end: int) -> int:
        """Return how many of the characters of a range are compared."""
        if end <= start:
            return 0
        return bisect.bisect_left(self._places, end) - bisect.bisect_left(self._places, start)

    def covered(self, unit: str, start: int, end: int) -> float:
        """Return the largest share of `unit`, where it stands, that a range of the text holds."""
        return max(
            (
                self.compared(max(start, first), min(end, last)) / self.compared(first, last)
                for first, last in self.locate(unit)
            ),
            default=0.0,
        )


def _compared(character: str) -> bool:
    return not character.isspace() and character not in DROPPED
