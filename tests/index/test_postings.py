"""Lexical postings: written, merged and traversed as their definition says."""

from __future__ import annotations

import math
import random
import re
import sqlite3
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from rag_tools.errors import IndexCorruptError
from rag_tools.index import lexical
from rag_tools.index.dispatch import NUMPY, kernel_names
from rag_tools.index.lexical import Collection, bm25, in_memory, listed
from rag_tools.index.postings import (
    BLOCK,
    Postings,
    Worded,
    arrays,
    index,
    merged,
    runs,
    write_postings,
)

ROOT = Path(__file__).parents[2]
NATIVE = len(kernel_names()) > 1


@pytest.fixture(scope="module")
def passages():
    """Pieces of real texts, with headings of their words; one is empty."""
    rng = random.Random(3)
    texts = [
        # Of other scripts, SQLite makes other terms.
        re.sub(r"[^\x00-\u02ff\u0370-\u0482\u2000-\u20cf]", " ", path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "docs").glob("*.md"))
    ]
    pieces = [text[at : at + 500] for text in texts for at in range(0, len(text), 500)][:900]
    headed = [Worded(each, " > ".join(rng.choices(each.split() or [""], k=2))) for each in pieces]
    return [*headed, Worded("", "")]


@pytest.fixture(scope="module")
def queries(passages):
    rng = random.Random(4)
    found = []
    for _ in range(120):
        words = re.findall(r"\w+", rng.choice(passages[:-1]).text)
        joined = ["_".join(words[at : at + 2]) for at in range(0, len(words) - 1, 9)][:2]
        found.append(rng.choices(words, k=rng.randint(1, 8)) + joined)
    return [*found, ["the"], ["nowhereatall"], [], ["_"], ["heading"] * 3]


def cut(passages, *borders):
    """The postings of segments between some borders."""
    ends = [0, *borders, len(passages)]
    return [Postings.of(index(passages[low:high])) for low, high in pairwise(ends)]


def whole(postings):
    return Collection(postings, [np.ones(len(each), np.bool_) for each in postings])


def same(a, b):
    return a.terms == b.terms and all(map(np.array_equal, a[1:], b[1:]))


def test_merging_is_indexing_what_is_left(passages):
    borders = [0, 1, 300, 301, 700]
    kept = [at for at in range(len(passages)) if at % 3]
    parts = cut(passages, *borders)
    ends = [0, *borders, len(passages)]
    some = [
        part.run(np.array([at - low for at in kept if low <= at < high], np.intp))
        for part, (low, high) in zip(parts, pairwise(ends), strict=True)
    ]
    assert same(merged(some), index([passages[at] for at in kept]))
    assert same(merged(list(runs(passages))), index(passages))
    assert same(merged([]), index([]))


def test_a_term_leaves_with_its_last_passage():
    run = index([Worded("a common word", ""), Worded("a secret word", "Vault")])
    postings = Postings.of(run)
    assert postings.dead_terms(np.array([True, False])) == 2  # "secret", "vault"
    assert Postings.of(postings.run(np.array([0]))).terms == [b"a", b"common", b"word"]


def test_a_file_is_read_as_it_was_written(passages, tmp_path):
    write_postings(tmp_path / "a.lex", runs(passages))
    read = Postings.open(tmp_path / "a.lex")
    assert same(read.run(np.arange(len(read))), index(passages))
    for name, array in arrays(index(passages)).items():
        assert np.array_equal(read.arrays[name], array), name
    assert read.find(b"nowhereatall") is None
    with pytest.raises(IndexCorruptError):
        Postings.open(tmp_path / "b.lex")


def test_a_phrase_stands_in_the_text_or_in_the_heading():
    texts = [
        Worded("use v1.2.3 or v1.2.3 now", "v1 > 2 3"),
        Worded("ends with v1", "2.3 begins"),
        Worded("v1.3.2", ""),
    ]
    (postings,) = cut(texts)
    found, times = postings.of_phrase([b"v1", b"2", b"3"])
    assert (found.tolist(), times.tolist()) == ([0], [3])
    assert Postings.of(index([])).of_phrase([b"v1"])[0].tolist() == []


def test_scores_are_those_of_fts5(passages, queries, monkeypatch):
    monkeypatch.setenv("RAG_TOOLS_KERNEL", NUMPY)
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(
            "CREATE VIRTUAL TABLE t USING fts5 (text, heading, content = '', "
            "tokenize = 'porter unicode61 remove_diacritics 2')"
        )
    except sqlite3.OperationalError:
        pytest.skip("this SQLite has no FTS5")
    connection.executemany(
        "INSERT INTO t (rowid, text, heading) VALUES (?, ?, ?)",
        ((at, *passage) for at, passage in enumerate(passages)),
    )
    collection = whole(cut(passages))
    for query in queries:
        words = list(dict.fromkeys(word.lower() for word in query))
        match = " OR ".join(f'"{word}"' for word in words if re.search("[^_]", word))
        rows = connection.execute(
            "SELECT rowid, -rank FROM t WHERE t MATCH ? ORDER BY rank", [match or '"nowhereatall"']
        ).fetchall()
        ours = dict(listed(collection, query, limit=len(passages)))
        assert ours == pytest.approx(dict(rows), abs=1e-9)


@pytest.mark.parametrize("borders", [(), (1, 300, 301, 899)])
@pytest.mark.parametrize("restricted", [False, True])
@pytest.mark.skipif(not NATIVE, reason="the native kernels aren't built")
def test_the_traversal_returns_what_the_definition_says(
    passages, queries, borders, restricted, monkeypatch
):
    rng = np.random.default_rng(5)
    many = passages * (1 if restricted else 5)  # several windows, and ties
    postings = cut(many, *borders)
    live = [rng.random(len(each)) < (0.6 if restricted else 1) for each in postings]
    selected = [marks & (rng.random(len(marks)) < 0.7) for marks in live]
    collection = Collection(postings, live)
    for limit in (1, 50):
        for query in queries[::4] + queries[-5:]:
            found = {}
            for kernel in (kernel_names()[0], NUMPY):
                monkeypatch.setenv("RAG_TOOLS_KERNEL", kernel)
                found[kernel] = bm25(collection, query, limit=limit, selected=selected)
            (places, scores), (expected, values) = found.values()
            assert np.array_equal(places, expected)
            assert np.array_equal(scores, values)


@pytest.mark.parametrize("kernel", sorted({NUMPY, kernel_names()[0]}))
def test_what_is_not_live_does_not_count(passages, queries, kernel, monkeypatch):
    monkeypatch.setenv("RAG_TOOLS_KERNEL", kernel)
    postings = cut(passages, 400)
    live = [np.arange(len(each)) % 2 == 0 for each in postings]
    alone = [passage for each, at in zip((passages[:400], passages[400:]), (0, 1), strict=True)
             for passage, seen in zip(each, live[at], strict=True) if seen]  # fmt: skip
    collection = Collection(postings, live)
    same_alone = whole(cut(alone))
    for query in queries[::4]:
        _, scores = bm25(collection, query, limit=50)
        _, expected = bm25(same_alone, query, limit=50)
        assert scores.tolist() == expected.tolist()


def test_of_many_words_the_rarest_count(monkeypatch):
    monkeypatch.setattr(lexical, "MAX_WORDS", 2)
    collection = in_memory(["a b c d", "a b c", "a b", "a"])
    found = dict(listed(collection, ["a", "b", "c", "d", "x"], limit=9))
    assert found == dict(listed(collection, ["d", "c"], limit=9))


def test_a_common_word_still_counts():
    assert lexical.idf(10, 6) == 1e-6
    assert lexical.idf(10, 2) == math.log(8.5 / 2.5)


@pytest.mark.skipif(not NATIVE, reason="the native kernels aren't built")
@pytest.mark.parametrize("seed", range(20))
def test_damaged_arrays_end_in_an_error_or_in_other_results(passages, queries, seed):
    """Never outside of the arrays, which the sanitizers of the build tell."""
    rng = np.random.default_rng(seed)
    damaged = {name: array.copy() for name, array in arrays(index(passages)).items()}
    for name in rng.choice([*damaged], 2, replace=False):
        array = damaged[name]
        at = rng.integers(len(array), size=max(1, len(array) // 20))
        array[at] = rng.integers(0, 255, len(at)).astype(array.dtype) * (
            1 if array.dtype == np.uint8 else 257
        )
    postings = Postings(damaged)
    live = [np.ones(len(passages), np.bool_)]
    live[0][0] = False
    for query in queries[:20]:
        try:
            places, _ = bm25(Collection([postings], live), query, limit=20)
        except ValueError:
            continue
        assert (places[:, 1] < len(passages)).all()


def test_blocks_bound_their_postings():
    texts = ["a " * (at % 7 + 1) + "b " * (at % 11) for at in range(3 * BLOCK + 5)]
    run = index([Worded(text, "") for text in texts])
    stored = arrays(run)
    postings = Postings(stored)
    found, times = postings.of_phrase([b"a"])
    for block in range(4):
        part = slice(block * BLOCK, (block + 1) * BLOCK)
        assert stored["block_last"][block] == found[part][-1]
        assert stored["block_frequency"][block] == times[part].max()
        ratios = postings.lengths[found[part]] / times[part]
        assert stored["block_ratio"][block] == pytest.approx(ratios.min())
