"""The markers with which an answer refers to its sources."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.cite.markers import markers, resolve


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Water boils [1].", [("[1]", (1,))]),
        ("[1][2] [3]", [("[1]", (1,)), ("[2]", (2,)), ("[3]", (3,))]),
        ("twice a day.[1, 2;3]", [("[1, 2;3]", (1, 2, 3))]),
        ("[ 2 ]", [("[ 2 ]", (2,))]),
        ("[2-4] and [2–3, 9, 2]", [("[2-4]", (2, 3, 4)), ("[2–3, 9, 2]", (2, 3, 9))]),
        ("[0] is reported, not passed over", [("[0]", (0,))]),
        ("[0-9] [5-3] [1-999999999] [1990-2090]", []),
        ("[1990-2089]", [("[1990-2089]", tuple(range(1990, 2090)))]),
        ("[] [ ] [a] [1a] [-1] [1,] [,1] [1 2] [1.5] [^1] [1-2-3] [1234567890] [١]", []),
        # Code.
        ("`a[1]` b[2] ``c[3] ` [4]`` d[5]", [("[2]", (2,)), ("[5]", (5,))]),
        ("an odd ` tick [1]", [("[1]", (1,))]),
        ("``two ` [1]", [("[1]", (1,))]),
        ("`one\n\n[1]`", [("[1]", (1,))]),
        ("```py\na[1]\n\nb[2]\n```\n[3]", [("[3]", (3,))]),
        ("  ~~~\na[1]\n```\nb[2]\n  ~~~~\n[3]", [("[3]", (3,))]),
        ("so far:\n```\na[1]", []),
        ("no ``` fence [1] here", [("[1]", (1,))]),
        # Links.
        ("[1](https://example.com) [2] (see [3])", [("[2]", (2,)), ("[3]", (3,))]),
        ('[1](<a b>) [2](c "t[3]") [4](d_(e))', []),
        ("![1](a.png) [see [1] here](b) [x](https://e.com/a[1])", []),
        ("[[1]](https://example.com) [[2]]", [("[2]", (2,))]),
        ("[1](not a link)", [("[1]", (1,))]),
        ("[1]: https://example.com\n[2] is said", [("[2]", (2,))]),
        ("so it is [1]: twice", [("[1]", (1,))]),
        # Escapes.
        (r"\[1\] \\[2] [3\]", [("[2]", (2,))]),
    ],
)
def test_what_is_a_marker(text: str, expected: list[tuple[str, tuple[int, ...]]]):
    assert [(marker.span.of(text), marker.numbers) for marker in markers(text)] == expected


@given(st.text(alphabet="[]()`~\\ \n1,-a:", max_size=40))
def test_markers_stand_in_order_and_hold_numbers(text: str):
    end = 0
    for marker in markers(text):
        assert end <= marker.span.start < marker.span.end
        end = marker.span.end
        cited = marker.span.of(text)
        assert (cited[0], cited[-1]) == ("[", "]")
        assert marker.numbers
        assert len(set(marker.numbers)) == len(marker.numbers)


@pytest.mark.parametrize(
    "piece", ["[", "[1", "[[1]", "[a](", "[a](b ", "`", "` ``", "```\n", "~~~\n[1]\n", "\\", "[1,"]
)
def test_long_texts_take_no_time(piece: str):
    text = piece * 20_000
    started = time.process_time()
    markers(text)
    assert time.process_time() - started < 20  # quadratic: minutes


def test_numbers_are_resolved_and_those_without_a_source_reported():
    cited, unknown = resolve("B [2, 1]. Nothing [3][0]. B again [2].", ["a", "b"])
    assert cited == {2: "b", 1: "a"}
    assert list(cited) == [2, 1]
    assert unknown == (3, 0)
    assert resolve("[1]", []) == ({}, (1,))
