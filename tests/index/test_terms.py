"""The terms of a text are those of SQLite's tokenizer, which made the index of earlier formats."""

from __future__ import annotations

import random
import re
import sqlite3
from pathlib import Path

import pytest

from rag_tools.index.terms import stem, terms

ROOT = Path(__file__).parents[2]
ENDINGS = re.findall(
    r"\w+",
    """
    ational tional enci anci izer logi bli alli entli eli ousli ization ation ator alism iveness
    fulness ousness aliti iviti biliti icate ative alize iciti ical ful ness al ance ence er ic
    able ible ant ement ment ent ion ou ism ate iti ous ive ize eed ed ing s es ies sses ss y e ll
    at bl iz tted ssed
    """,
)


@pytest.fixture(scope="module")
def of_sqlite():
    """Returns the terms that FTS5 stores of each of some texts."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(
            "CREATE VIRTUAL TABLE t USING fts5 "
            "(x, content = '', tokenize = 'porter unicode61 remove_diacritics 2')"
        )
        connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab (t, instance)")
    except sqlite3.OperationalError:
        pytest.skip("this SQLite has no FTS5")
    connection.text_factory = bytes

    def stored(texts):
        connection.execute("INSERT INTO t (t) VALUES ('delete-all')")
        connection.executemany("INSERT INTO t (rowid, x) VALUES (?, ?)", enumerate(texts, 1))
        found = [[] for _ in texts]
        for row, term, _ in sorted(
            connection.execute("SELECT doc, term, offset FROM v"), key=lambda row: (row[0], row[2])
        ):
            found[row - 1].append(term)
        return found

    yield stored
    connection.close()


def compare(of_sqlite, texts):
    assert [terms(text) for text in texts] == of_sqlite(texts)


def test_words_of_real_texts(of_sqlite):
    paths = [*(ROOT / "docs").glob("*.md"), *(ROOT / "tests" / "data").glob("*.txt")]
    texts = [path.read_text(encoding="utf-8") for path in paths]
    distinct = sorted({word for text in texts for word in re.findall(r"\w+", text)})
    assert len(distinct) > 4000
    compare(of_sqlite, [*distinct, *texts])


def test_endings(of_sqlite):
    rng = random.Random(1)
    made = {
        "".join(rng.choices("aeiouybcdstlwxzé", k=rng.randint(0, 6)))
        + ending
        + rng.choice(["", "", "s", "ed", "ing", *ENDINGS])
        for ending in ENDINGS
        for _ in range(60)
    }
    long = ["".join(rng.choices("aeistn", k=n)) + "ing" for n in range(58, 66)]
    compare(of_sqlite, sorted(made) + long + ["eed", "sses", "ies", "s", "ss", "éd", "y", "yyy"])


def test_characters_of_all_scripts(of_sqlite):
    rng = random.Random(2)
    blocks = [(0x80, 0x24F), (0x300, 0x5FF), (0x900, 0xFFF), (0x1E00, 0x20FF), (0x3040, 0x4FFF)]
    blocks += [(0xA640, 0xA7FF), (0xF900, 0xFFFD), (0x10400, 0x1044F), (0x1F300, 0x1FAFF)]
    made = [
        "".join(
            chr(rng.randint(*rng.choice([(0x20, 0x7A), rng.choice(blocks)]))) for _ in range(12)
        )
        for _ in range(3000)
    ]
    compare(of_sqlite, made)
    compare(of_sqlite, ["Ελληνικά ΟΔΟΣ", "naïve Ångström ﬁne", "ไทยภาษา", "日本語 テスト"])
    compare(of_sqlite, ["e\u0301te\u0301 \u0301te"])


def test_what_ends_a_word():
    found = terms("foo_bar v1.2.3 don't\0stop")
    assert b" ".join(found) == b"foo bar v1 2 3 don t stop"
    assert terms("") == terms(" \n—…") == []


def test_short_and_long_words_keep_their_endings():
    assert stem(b"as") == b"as"
    assert stem(b"a" * 62 + b"ing") == b"a" * 62 + b"ing"
