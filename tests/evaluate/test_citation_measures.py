"""Measures of citations: what they count, checked by hand and by brute force."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.evaluate.citation_measures import (
    Range,
    auroc,
    auroc_interval,
    calibration_error,
    holds_answer,
    overlap,
    sentence_overlap,
)

RANGES = st.lists(
    st.builds(
        lambda document, start, length: Range(document, start, start + length),
        st.sampled_from(["a", "b"]),
        st.integers(0, 30),
        st.integers(0, 12),
    ),
    max_size=5,
)


def test_overlap_counts_characters():
    gold = [Range("a", 10, 20), Range("a", 30, 40)]
    found = overlap([Range("a", 15, 25), Range("b", 30, 40)], gold)
    assert found == (5 / 20, 5 / 20, 5 / 35)


def test_what_overlapping_passages_quote_twice_is_found_once_and_paid_for_twice():
    found = overlap([Range("a", 0, 10), Range("a", 0, 10)], [Range("a", 0, 10)])
    assert found == (0.5, 1.0, 0.5)


def test_the_same_offsets_of_another_document_are_other_characters():
    assert overlap([Range("b", 0, 10)], [Range("a", 0, 10)]) == (0.0, 0.0, 0.0)


def test_who_quotes_nothing_gets_nothing():
    assert overlap([], [Range("a", 0, 10)]) == (0.0, 0.0, 0.0)


@given(RANGES, st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=4))
def test_overlap_is_that_of_chromas_evaluation(quoted: list[Range], steps: list[tuple[int, int]]):
    """Against their steps, written out: union of intersections, and gold that is left over."""
    gold, position = [], 0
    for gap, length in steps:  # gold ranges that don't overlap, as in their data
        gold.append((position + gap, position + gap + length))
        position += gap + length
    common: set[int] = set()
    left = {i for start, end in gold for i in range(start, end)}
    for document, start, end in quoted:
        for gold_start, gold_end in gold if document == "a" else ():
            both = set(range(max(start, gold_start), min(end, gold_end)))
            common |= both
            left -= both
    paid = sum(end - start for _, start, end in quoted)
    wanted = sum(end - start for start, end in gold)
    expected = (
        len(common) / paid if paid else 0,
        len(common) / wanted,
        len(common) / (paid + len(left)),
    )
    assert overlap(quoted, [Range("a", *span) for span in gold]) == pytest.approx(expected)


def test_an_answer_must_be_in_a_quote_within_the_budget():
    assert holds_answer("x" * 196 + "1973", ["October", "1973"], budget=200)
    assert not holds_answer("x" * 197 + "1973", ["October", "1973"], budget=200)
    assert holds_answer("x" * 197 + "1973", ["October", "1973"])
    assert not holds_answer("in october", ["October"])
    assert not holds_answer("", ["October"])


def test_a_range_lies_within_another_of_its_document_only():
    assert Range("a", 2, 4).within(Range("a", 2, 4))
    assert not Range("a", 1, 4).within(Range("a", 2, 4))
    assert not Range("a", 2, 5).within(Range("a", 2, 4))
    assert not Range("b", 2, 4).within(Range("a", 2, 4))
    assert not Range("a", 0, 2).overlaps(Range("a", 2, 4))
    assert Range("a", 0, 3).overlaps(Range("a", 2, 4))
    assert not Range("b", 0, 3).overlaps(Range("a", 2, 4))


def sentences(*numbers: int) -> list[Range]:
    return [Range("a", 10 * number, 10 * number + 9) for number in numbers]


def test_of_several_gold_sets_the_one_that_fits_best_counts():
    sets = [sentences(1, 2, 3), sentences(4), sentences(5, 6)]
    assert sentence_overlap(sentences(4, 7), sets) == (1 / 2, 1.0, 2 / 3)
    assert sentence_overlap(sentences(1, 2), sets) == (1.0, 2 / 3, 4 / 5)
    assert sentence_overlap(sentences(8), sets) == (0.0, 0.0, 0.0)
    assert sentence_overlap([], sets) == (0.0, 0.0, 0.0)


@given(st.sets(st.integers(0, 8)), st.lists(st.sets(st.integers(0, 8), min_size=1), min_size=1))
def test_sentence_f1_is_the_harmonic_mean_of_the_best_set(found: set[int], sets: list[set[int]]):
    def f1(gold: set[int]) -> float:
        precision = len(found & gold) / len(found) if found else 0.0
        recall = len(found & gold) / len(gold)
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    result = sentence_overlap(sentences(*found), [sentences(*gold) for gold in sets])
    assert result.f1 == pytest.approx(max(map(f1, sets)))
    assert result.f1 == pytest.approx(
        2 * result.precision * result.recall / (result.precision + result.recall)
        if result.f1
        else 0.0
    )


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_share_of_pairs_in_order(cases: list[tuple[int, bool]]):
    scores = np.array([score / 5 for score, _ in cases])
    positive = np.array([label for _, label in cases])
    if positive.all() or not positive.any():
        with pytest.raises(ValueError, match="both kinds"):
            auroc(scores, positive)
        return
    pairs = list(itertools.product(scores[positive], scores[~positive]))
    expected = sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs)
    assert auroc(scores, positive) == pytest.approx(expected)


def test_the_interval_of_auroc_holds_it_and_narrows_with_more_cases():
    generator = random.Random(0)
    widths = []
    for n in (40, 400):
        positive = np.array([i % 2 == 0 for i in range(n)])
        scores = np.array([generator.gauss(float(label), 1) for label in positive])
        low, high = auroc_interval(scores, positive)
        assert low < auroc(scores, positive) < high
        assert auroc_interval(scores, positive) == (low, high)
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_calibration_error_is_the_mean_distance_in_bins():
    # Two bins: [0.1, 0.2) holds 0.1 and 0.15, none positive; [0.9, 1] holds 0.9 and 1.0, one is.
    scores = np.array([0.1, 0.15, 0.9, 1.0])
    positive = np.array([False, False, True, False])
    expected = 0.5 * abs(0.125 - 0) + 0.5 * abs(0.95 - 0.5)
    assert calibration_error(scores, positive) == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_calibration_error_by_brute_force(cases: list[tuple[float, bool]]):
    bins: dict[int, list[tuple[float, bool]]] = {}
    for score, label in cases:
        bins.setdefault(min(int(score * 10), 9), []).append((score, label))
    expected = sum(
        len(inside)
        / len(cases)
        * abs(sum(s for s, _ in inside) / len(inside) - sum(b for _, b in inside) / len(inside))
        for inside in bins.values()
    )
    scores, positive = (np.array(column) for column in zip(*cases, strict=True))
    assert calibration_error(scores, positive) == pytest.approx(expected)
