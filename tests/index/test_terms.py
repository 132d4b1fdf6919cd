"""The terms of a text are those of SQLite's tokenizer, which made the index of earlier formats.

But for marks, the letters of Arabic, and scripts without spaces.
"""

from __future__ import annotations

import random
import re
import sqlite3
import unicodedata
from pathlib import Path

import pytest

from rag_tools.index.lexical import in_memory, listed, words
from rag_tools.index.terms import phrases, stem, terms

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


def is_alike(character):
    """Whether SQLite makes the same of a character."""
    code = ord(character)
    other = any(
        first <= code <= last
        for first, last in [
            (0x590, 0x8FF),
            (0xE00, 0xEFF),
            (0x1000, 0x109F),
            (0x1780, 0x17FF),
            (0x3005, 0x3007),
            (0x3031, 0x30FF),
            (0x31F0, 0x31FF),
            (0x3400, 0x9FFF),
            (0xF900, 0xFAFF),
        ]
    )
    return not other and unicodedata.category(character) not in ("Mn", "Mc")


def compare(of_sqlite, texts):
    alike = ["".join(each if is_alike(each) else " " for each in text) for text in texts]
    assert [terms(text) for text in alike] == of_sqlite(alike)


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
    compare(of_sqlite, ["Ελληνικά ΟΔΟΣ", "naïve Ångström ﬁne"])


def test_what_ends_a_word():
    found = terms("foo_bar v1.2.3 don't\0stop")
    assert b" ".join(found) == b"foo bar v1 2 3 don t stop"
    assert terms("") == terms(" \n—…") == []


def test_short_and_long_words_keep_their_endings():
    assert stem(b"as") == b"as"
    assert stem(b"a" * 62 + b"ing") == b"a" * 62 + b"ing"


def decoded(found):
    return [term.decode() for term in found]


def test_accents_are_dropped_however_they_are_written():
    assert terms("e\u0301te\u0301") == terms("été")


def test_signs_of_vowels_belong_to_words():
    assert decoded(terms("हिन्दी में लिखा")) == ["हिन्दी", "में", "लिखा"]
    assert [word.of("हिन्दी, में") for word in words("हिन्दी, में")] == ["हिन्दी", "में"]


def test_what_writers_of_arabic_and_hebrew_leave_out_doesnt_count():
    assert terms("مُحَمَّد") == terms("محمد")
    assert terms("أحمد إلى مدرسة") == terms("احمد الي مدرسه")
    assert terms("שָׁלוֹם") == terms("שלום")


def test_scripts_without_spaces_have_characters_and_pairs():
    found = ["iphone15", "ケ", "ケー", "ー", "ース", "ス"]
    assert decoded(terms("iPhone15ケース、猫")) == [*found, "猫"]
    assert [decoded(each) for each in phrases("iPhone15ケース")] == [[each] for each in found]
    assert phrases("_") == []


@pytest.mark.parametrize(
    ("texts", "query", "best"),
    [
        (["猫が好きです。", "犬が好きです。", "天気がいい。"], "黒猫はどこ", 0),
        (["服务器每天备份。", "请假需要提前申请。", "差旅费用由公司报账。"], "怎么申请请假", 1),
        (["แมวชอบปลา", "หมาชอบกระดูก", "อากาศดี"], "ปลาของแมว", 0),
        (["बिल्ली को मछली पसंद है", "कुत्ते को हड्डी पसंद है"], "हड्डी", 1),
    ],
)
def test_a_word_is_found_where_no_space_marks_it(texts, query, best):
    asked = (word.of(query) for word in words(query))
    found = listed(in_memory([*texts, "something else", "and more"]), asked, limit=3)
    assert found[0][0] == best
