"""Borders that depend on nothing but the text around them, so that an edit stays local."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.ingest.anchors import anchored
from rag_tools.ingest.chunk import chunk
from rag_tools.types import Block, Document

REACH = 10


class Unit(NamedTuple):
    """A word with the space behind it."""

    start: int
    end: int
    tokens: int
    section: int = 0
    leads: bool = False


def units(lengths, leads=()):
    """Units of different text, and the text: one for each number of tokens."""
    text, made = "", []
    for number, tokens in enumerate(lengths):
        start = len(text)
        text += f"word{number} "
        made.append(Unit(start, len(text), tokens, leads=number in leads))
    return text, made


@given(
    lengths=st.lists(st.integers(0, 12), max_size=80),
    leads=st.sets(st.integers(0, 79)),
)
def test_anchors_are_the_local_minima(lengths, leads):
    text, made = units(lengths, leads)
    found = list(anchored(text, made, REACH))
    assert [unit for unit, _ in found] == made
    ahead = np.cumsum([0, *lengths])
    anchors = [number for number, (_, anchor) in enumerate(found) if anchor]
    for number in anchors:
        assert ahead[number] >= REACH and ahead[-1] - ahead[number] >= REACH
        assert number - 1 not in leads
    assert all(ahead[b] - ahead[a] >= REACH for a, b in pairwise(anchors))


def test_nothing_left_out_or_of_another_section_is_within_reach():
    text, made = units([1] * 200)
    made = [unit._replace(section=number // 100) for number, unit in enumerate(made)]
    items = [*made[:50], None, *made[50:]]
    found = list(anchored(text, items, REACH))
    assert [item if item is None else item[0] for item in found] == items
    anchors = [n for n, item in enumerate(item for item in found if item) if item[1]]
    assert anchors
    assert all(abs(n - border) >= REACH for n in anchors for border in (0, 50, 100, 200))


@given(at=st.integers(0, 299), seed=st.integers(0, 5))
def test_an_edit_moves_no_anchor_beyond_its_reach(at, seed):
    rng = random.Random(seed)
    words = [f"{rng.randrange(10**6)} " for _ in range(300)]
    edited = [*words[:at], "another ", *words[at:]]
    before, after = (
        {text[unit.start :] for unit, anchor in anchored(text, made, REACH) if anchor}
        for text, made in (laid_out(words), laid_out(edited))
    )
    behind = "".join(words[at + REACH :])
    assert {rest for rest in before if len(rest) < len(behind)} == {
        rest for rest in after if len(rest) < len(behind)
    }


def laid_out(words):
    ends = np.cumsum([len(word) for word in words]).tolist()
    made = [Unit(end - len(word), end, 1) for word, end in zip(words, ends, strict=True)]
    return "".join(words), made


class Words:
    """Counts words."""

    def token_spans(self, text):
        found = [match.span() for match in re.finditer(r"\w+", text)]
        return np.array(found, np.int32).reshape(-1, 2)


@pytest.mark.parametrize("kind", ["paragraph", "code"])
def test_an_edit_changes_few_passages_of_lines_that_are_all_as_long(kind):
    """Without anchors, the borders behind an edit of such lines never meet the old ones."""
    rng = random.Random(0)
    lines = [f"took {rng.randrange(10**6)} in {rng.randrange(10**6)} ms.\n" for _ in range(3000)]

    def texts(lines):
        text = "".join(lines)
        document = Document(uri="x:", text=text, blocks=[Block(kind, 0, len(text))])
        return {text[p.start : p.end] for p in chunk(document, Words(), passage_tokens=60)}

    known = texts(lines)
    for at in (100, 1000, 1999):
        assert len(texts([*lines[:at], "One line more.\n", *lines[at:]]) - known) <= 8
    shifted = "".join(lines[1:])
    assert len(texts(shifted.splitlines(keepends=True)) - known) <= 8
