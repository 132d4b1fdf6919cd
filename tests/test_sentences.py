"""Sentence, line and paragraph borders."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.sentences import lines, paragraphs, sentences

PIECES = [
    *".!?…。！？؟۔।॥\"')]»”」*_-+|#>0129 \t\r\n\u00a0\u2028\x00aAzZéא漢\u0301\u200d👩",
    "\r\n",
    "\n\n",
    "Dr. ",
    "e.g. ",
    "No. 5",
    "- item\n",
    "| a | b |\n",
    "# Title\n",
    "https://a.b/c.d ",
    "3.14",
    "...",
]
nasty_text = st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text()


def split(text):
    return [sentence.of(text) for sentence in sentences(text)]


@given(nasty_text, st.data())
@pytest.mark.parametrize("segment", [sentences, lines, paragraphs])
def test_spans_tile_any_range_exactly(segment, text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    spans = segment(text, start, end)
    assert [span.start for span in spans] == [start, *(span.end for span in spans)][: len(spans)]
    assert all(span.start < span.end for span in spans)
    assert (spans[-1].end if spans else start) == end


@given(nasty_text)
def test_white_space_belongs_to_the_sentence_before(text):
    for sentence in sentences(text)[1:]:
        assert not sentence.of(text)[0].isspace()


@given(nasty_text)
def test_lines_end_as_editors_count(text):
    assert len(lines(text + "x")) == len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


@pytest.mark.parametrize(
    "expected",
    [
        ["Dr. Smith went to the U.S. in 1999. ", "He stayed."],
        ["He met J. R. R. Tolkien. ", "They spoke."],
        ["Smith et al. (2010) say so. ", "See Fig. 3 and pp. 4–5, e.g. the top."],
        ["In Roe v. Wade, p. 12, c. 1973, it said no. ", "Then came the rest."],
        ["It costs $3.50 or 1,000.25. ", "Version 1.2.3 of foo.py is out."],
        ["See https://example.com/a.b?c=d. ", "Then go."],
        ["Wait... what? ", "Well… yes… ", "No."],
        ["“Stop!” he said. ", "“Go.” ", "(He went.) ", "He [left]. ", "End"],
        ["Is it No. 5? ", "No. ", "It is No. 6."],
        ["Acme Inc. makes it. ", "So does Acme Ltd. ", "The rest don't, etc. ", "End."],
        ["What?! ", "Yes!!! ", "Good."],
        ["**Bold.** ", "_Italic._ ", "Noted.[12] ", "Next."],
        ["今日は。", "元気ですか？", "「はい。」", "次へ！"],
        ["مرحبا؟ ", "نعم۔ ", "لا"],
        ["राम गया। ", "वह आया॥ ", "अंत"],
        ["So we set x. ", "Then y."],
        ["A hard-wrapped\nsentence goes\r\non. ", "Next\rone."],
        ["No full stop\n\n", "Next paragraph\r\n\r\n", "Last"],
        ["Items:\n", "- one\n  goes on\n", "* two\n", "1. three\n", "2) four\n", "(3) five"],
        ["| a. B | c |\n", "|---|---|\n", "| d | e |\n", "After the table"],
        ["# No. 1. A Heading\n", "Prose\non. ", "More\n", "## Next\n", "End"],
        ["Short abbreviation etc.\n", "- item"],
    ],
)
def test_borders(expected):
    assert split("".join(expected)) == expected


HARD = (Path(__file__).parent / "data" / "borders.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("line", [line for line in HARD if not line.startswith("#")])
def test_hard_borders_in_many_languages(line):
    expected = line.partition("\t")[2].split("¦")
    assert split("".join(expected)) == expected


def test_an_ordinal_is_told_from_a_number_at_the_end():
    assert split("I am 5. She is 6. Bob is the 7. Ann waits.")[:2] == ["I am 5. ", "She is 6. "]
    assert split("Sie kam am 5. Mai an. Er blieb bis zum 31. Mai.")[0] == "Sie kam am 5. Mai an. "


@pytest.mark.parametrize(
    "text",
    [
        "." * 300_000,
        ".)" * 150_000,
        "\n" + " " * 300_000 + "x",
        "\n \t" * 100_000 + "x",
        "|" * 300_000,
        "a.b" * 100_000,
        "[1]" * 100_000,
        ". »" * 100_000,
        ". " * 150_000,
        "am 3. " * 50_000,
        "z. " * 100_000,
    ],
)
def test_runs_of_one_pattern_take_linear_time(text):
    # Quadratic scanning would need hours for these.
    assert sum(end - start for start, end in sentences(text)) == len(text)
