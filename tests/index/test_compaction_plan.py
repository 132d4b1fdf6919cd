"""Which segments are merged, on sizes that were made up."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.compaction import FULL_TOKENS, MAX_DEAD, MAX_SEGMENTS, SegmentSize, plan


def size(id, tokens, *, passages=100, live=None):
    return SegmentSize(id, passages, tokens, passages if live is None else live)


def test_few_segments_without_dead_passages_are_left_alone():
    assert plan([]) == []
    assert plan([size(id, 1000) for id in range(MAX_SEGMENTS)]) == []


def test_too_many_small_segments_become_one():
    sizes = [size(id, 1000) for id in range(MAX_SEGMENTS + 1)]
    assert plan(sizes) == [list(range(MAX_SEGMENTS + 1))]


def test_a_segment_with_many_dead_passages_is_rewritten_alone():
    dying = size(3, 50_000, live=int((1 - MAX_DEAD) * 100) - 1)
    assert plan([size(1, 1000), size(2, 1000), dying]) == [[3]]
    assert plan([size(1, 1000), size(3, 50_000, live=int((1 - MAX_DEAD) * 100))]) == []


def test_a_full_segment_is_left_alone_unless_it_is_dying():
    sizes = [size(id, 1000) for id in range(1, MAX_SEGMENTS + 1)]
    assert plan([size(0, FULL_TOKENS), *sizes]) == []
    assert plan([size(0, FULL_TOKENS, live=10), *sizes]) == [[0]]


def test_a_large_segment_is_not_rewritten_for_small_ones():
    sizes = [size(0, 1_000_000), *(size(id, 1000) for id in range(1, MAX_SEGMENTS + 1))]
    assert plan(sizes) == [list(range(1, MAX_SEGMENTS + 1))]


def test_no_merged_segment_is_larger_than_a_full_one():
    sizes = [size(id, FULL_TOKENS // 4) for id in range(MAX_SEGMENTS + 2)]
    assert all(len(group) <= 4 for group in plan(sizes))


made_up = st.lists(
    st.tuples(st.integers(0, 2 * FULL_TOKENS), st.integers(1, 500), st.floats(0, 1)), max_size=40
)


@given(made_up)
def test_every_segment_is_in_one_group_at_most_and_the_plan_is_repeatable(rows):
    sizes = [
        SegmentSize(id, passages, tokens, int(share * passages))
        for id, (tokens, passages, share) in enumerate(rows)
    ]
    groups = plan(sizes)
    planned = [id for group in groups for id in group]
    assert len(planned) == len(set(planned))
    assert groups == plan(random.Random(1).sample(sizes, len(sizes)))
    for group in groups:
        assert group == sorted(group)
        together = sum(sizes[id].tokens for id in group)
        assert len(group) == 1 or together <= FULL_TOKENS


@pytest.mark.parametrize("batches", [64, 512])
def test_a_passage_is_moved_a_logarithmic_number_of_times(batches):
    """An index that grows by equal segments, merged as planned after each."""
    sizes: dict[int, SegmentSize] = {}
    moved: dict[int, int] = {}
    next_id = 0
    for _ in range(batches):
        sizes[next_id], moved[next_id] = size(next_id, 1000), 0
        next_id += 1
        for group in plan(list(sizes.values())):
            tokens = sum(sizes.pop(id).tokens for id in group)
            most = max(moved.pop(id) for id in group)
            sizes[next_id], moved[next_id] = size(next_id, tokens), most + 1
            next_id += 1
    assert len(sizes) <= MAX_SEGMENTS + math.log2(batches)
    assert max(moved.values()) <= 2 * math.log2(batches)
