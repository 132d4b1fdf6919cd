"""Stretches of a text that no reader of the source sees, as loaders gather them."""

from __future__ import annotations

from collections.abc import Iterable

from rag_tools.types import Hidden

LEAST = 8
"""The fewest characters of a hidden stretch; shorter ones, such as the mark of a link to a heading,
tell nobody anything."""


def joined(stretches: Iterable[Hidden], text: str) -> tuple[Hidden, ...]:
    """Return stretches in order, those joined that only white space divides, without short ones.

    Parameters
    ----------
    stretches
        In order of `start`; none overlaps another.
    text
        That they are stretches of.
    """
    found: list[Hidden] = []
    for each in stretches:
        last = found[-1] if found else None
        if last and last.how == each.how and not text[last.end : each.start].strip():
            found[-1] = last._replace(end=each.end)
        else:
            found.append(each)
    return tuple(each for each in found if len(text[each.start : each.end].strip()) >= LEAST)
