"""Which passages say the same."""

from __future__ import annotations

import pytest

from rag_tools.duplicates import Candidate, Distinct

WORDS = [f"{a}{b}" for a in ("ba", "de", "fi", "go", "ku") for b in "lmnprstvwxzbcdfghj"]
TEXT = " ".join(WORDS)  # 90 words


def candidate(text, document="a", start=0, heading=""):
    return Candidate(document, start, start + len(text), heading, text)


def is_copy(text, other, **place):
    seen = Distinct()
    seen.add(candidate(text))
    return seen.find(candidate(other, **{"document": "b", **place})) == 0


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (TEXT, True),
        (TEXT.replace(" ", "\r\n\t"), True),
        (TEXT.replace("bal", "bal,").replace("kul", "*kul*") + ".", True),
        (TEXT.replace(WORDS[40], "another"), True),  # 85 of 91 shingles
        (f"{TEXT} and so on", True),
        (TEXT.replace(WORDS[20], "one").replace(WORDS[60], "two"), False),  # 82 of 94
        (TEXT.replace(WORDS[40], "not"), False),
        (TEXT.replace(WORDS[40], f"{WORDS[40]} never"), False),
        (TEXT.replace(WORDS[40], "isn't"), False),
        (TEXT.replace(WORDS[40], "30"), False),
        (TEXT.replace(WORDS[40], "v2"), False),
        (TEXT.replace(WORDS[40], "Anna"), False),
        (TEXT.replace(WORDS[40], WORDS[40].title()), False),
        (" ".join(reversed(WORDS)), False),
    ],
)
def test_what_is_a_duplicate(other, same):
    assert is_copy(TEXT, other) is same
    assert is_copy(other, TEXT) is same


def test_short_texts_must_be_the_same():
    assert is_copy("yes", " yes\n")
    assert not is_copy("yes", "yes!!")
    assert not is_copy("", "!")


def test_the_same_words_below_another_heading_say_something_else():
    assert not is_copy("Run the installer.", "Run the installer.", heading="On Windows")
    assert not is_copy(TEXT, f"{TEXT} and so on", heading="On Windows")


def test_windows_of_one_document_that_overlap_are_no_duplicates():
    shifted = TEXT.partition(" ")[2]
    assert not is_copy(TEXT, shifted, document="a", start=4)
    assert is_copy(TEXT, shifted, document="a", start=len(TEXT) + 1)


def test_the_first_of_several_is_found():
    seen = Distinct()
    assert [seen.add(candidate(text)) for text in ("one", "two words", TEXT)] == [0, 1, 2]
    assert seen.find(candidate("two  words", document="b")) == 1
    assert seen.find(candidate(f"{TEXT} more", document="b")) == 2
    assert seen.find(candidate("three", document="b")) is None
    assert len(seen) == 3
