"""Subtitles and transcripts: what is said, cited by its time, with the speaker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlines import opened, said
from rag_tools.errors import UnreadableFileError


def test_sentences_run_through_cues_and_links_have_the_time():
    document = opened("talk.vtt")
    assert document.title == "The harbour talk"
    assert [(each.part, each.heading, each.quote, each.url) for each in said(document)] == [
        (
            "00:00:01 – 00:00:04",
            "Ada Lovelace",
            "The tide rises twice a day, and\nit is measured\nat the quay & the lock.",
            "file:///d/talk.vtt#t=1",
        ),
        ("00:12:31", "Bob", "Herons stand in the reeds.", "file:///d/talk.vtt#t=751.25"),
    ]


def test_subrip():
    assert [
        (each.part, each.heading, each.quote, each.url) for each in said(opened("talk.srt"))
    ] == [
        ("00:00:01", "BOB", "BOB: Hello there.", "file:///d/talk.srt#t=1"),
        ("01:02:03", "ANN", "ANN: And you?", "file:///d/talk.srt#t=3723.5"),
        ("01:02:03", "ANN", "Fine.", "file:///d/talk.srt#t=3723.5"),
    ]


def test_cues_without_blank_lines_between_them():
    data = b"1\n00:00:01,000 --> 00:00:02,000\nOne.\n2\n00:00:02,000 --> 00:00:03,000\nTwo.\n"
    assert [each.quote for each in said(opened("a.srt", data))] == ["One.", "Two."]


def test_a_file_without_cues_is_named():
    with pytest.raises(UnreadableFileError, match=r"a\.srt: no cue with a time"):
        opened("a.srt", b"Some words that aren't subtitles.\n")


@given(
    st.lists(st.tuples(st.integers(0, 359_999), st.text("ab .:<>{}&\n-", max_size=20)), max_size=8)
)
def test_every_cue_is_cited_by_its_own_time(cues):
    def clock(seconds: int) -> str:
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"

    text = "WEBVTT\n\n" + "".join(
        f"{clock(start)}.000 --> {clock(start)}.500\nx{words}\n\n" for start, words in cues
    )
    document = opened("a.vtt", text.encode())
    said(document)
    parts = document.source_map.parts if document.source_map else ()
    assert [part.label for part in parts] == [clock(start) for start, _ in cues]
