"""Folding: what counts as the same text, and the way back to the source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.cite.verify import verify
from rag_tools.folding import DIVIDED, fold
from rag_tools.types import Citation, Document, Span

PIECES = [
    *"aZé漢字ﬁ½²①…\"'“”‘—-*_`~|#>[]()!<&;:.\\ \t\u00a0\u200b\u00ad\u0301\n",
    "\r\n",
    "-\n",
    "**b**",
    "[t](u)",
    "&nbsp;",
    "&amp;",
    "\\_",
    "<br>",
    "| a |\n|---|\n",
    "e\u0301",
    "각",
]
texts = st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=40)


@given(texts, st.booleans())
def test_every_folded_position_has_a_source_and_they_rise(text: str, markup: bool):
    folded = fold(text, markup=markup)
    places = [folded.source(Span(at, at + 1)) for at in range(len(folded.text))]
    assert all(0 <= start < end <= len(text) for start, end in places)
    starts, ends = [place.start for place in places], [place.end for place in places]
    assert starts == sorted(starts)
    assert ends == sorted(ends)
    if places:
        assert folded.source(Span(0, len(places))) == (places[0].start, places[-1].end)


@given(st.text(st.characters(max_codepoint=126, min_codepoint=33, exclude_characters="'`-\"")))
def test_plain_words_stay(text: str):
    assert fold(text).text == text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cafe\u0301", "café"),
        ("ﬁnal ﬂow", "final flow"),
        ("“so” — he’d say…", '"so" - he\'d say...'),
        ("a\u00a0\t\r\nb", "a b"),
        ("un\u00adbe\u200bliev\ufeffable", "unbelievable"),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("今日は\n元気", "今日は元気"),
    ],
)
def test_spellings_of_the_same_words_fold_alike(one: str, other: str):
    assert fold(one).text == fold(other).text


@pytest.mark.parametrize(
    ("one", "other"), [("10²", "102"), ("1½", "11/2"), ("A", "a"), ("a b", "ab"), ("2*3", "23")]
)
def test_other_words_fold_otherwise(one: str, other: str):
    for markup in (False, True):
        assert fold(one, markup=markup).text != fold(other, markup=markup).text


@pytest.mark.parametrize(
    ("source", "rendered"),
    [
        ("Run **make** or `ninja`.", "Run make or ninja."),
        ('See [the manual](https://e.org/a_(b)#c "T") now.', "See the manual now."),
        ("See [the manual][m] and ![a plan](p.png).", "See the manual and a plan."),
        ("- [x] one\n- two", "one two"),
        ("> a\n> b", "a b"),
        ("## Set up", "Set up"),
        ("| key | value |\n|:---|---:|\n| a_b | 2 * 3 |", "key value a_b 2 * 3"),
        (r"5 \* 4 \_x\_", "5 * 4 _x_"),
        ("5&nbsp;MB &amp; more&#33;", "5 MB & more!"),
        ("<https://e.org> and <b>bold</b><br>end[^1]", "https://e.org and bold end"),
        ("snake_case_name and __init__ and _so_", "snake_case_name and init and so"),
        ("~~old~~ new", "old new"),
    ],
)
def test_markup_is_left_out(source: str, rendered: str):
    assert fold(source, markup=True).text.strip() == rendered


def test_a_word_divided_at_a_line_end_may_have_its_hyphen_or_not():
    assert fold("self-\n  driving").text == f"self{DIVIDED}driving"
    assert fold("self-\ndriving", divided="").text == "selfdriving"


@pytest.mark.parametrize(
    "part", ["[", "](", "*", "_a", "`", "<a ", "|-", "> ", "\\", "&a", "-\n", "a-\n"]
)
def test_long_runs_take_linear_time(part: str):
    fold(part * (200_000 // len(part)), markup=True)


# --- quotes found by it --------------------------------------------------------------------------


def check(quote: str, text: str, media_type: str = "text/markdown") -> tuple[str, str]:
    document = Document(text=text, uri="file:///t", media_type=media_type)
    pasted = Citation(
        document_id=document.id, document_sha256="", start=0, end=len(quote), quote=quote
    )
    found = verify(pasted, indexed=document, source=None)
    if found.status != "missing":
        assert Span(found.citation.start, found.citation.end).of(text) == found.citation.quote
    return found.status, found.citation.quote


PAGE = """# Boilers

Turn the *left* tap, then hold **Start** for `5` seconds; see [the chart](https://e.org/c).

| Model | Max. pressure |
|-------|---------------|
| B\\_20 | 3&nbsp;bar     |
"""


@pytest.mark.parametrize(
    ("quote", "stands"),
    [
        (
            "the left tap, then hold Start for 5 seconds",
            "the *left* tap, then hold **Start** for `5` seconds",
        ),
        ("seconds; see the chart.", "seconds; see [the chart](https://e.org/c)."),
        ("B_20 3 bar", "B\\_20 | 3&nbsp;bar"),
        ("B_20\t3 bar", "B\\_20 | 3&nbsp;bar"),
        ("Start", "Start"),
        ("Turn the left tap", "Turn the *left* tap"),
    ],
)
def test_what_was_copied_from_a_rendered_page_is_moved(quote: str, stands: str):
    assert check(quote, PAGE) == ("moved", stands)


@pytest.mark.parametrize(
    "quote",
    ["hold Start for 6 seconds", "the left tap then hold", "Turn tap", "the right tap"],
)
def test_other_words_are_missing(quote: str):
    assert check(quote, PAGE)[0] == "missing"


def test_marks_count_where_nothing_is_rendered():
    assert check("a 2 b", "a *2* b", "text/plain")[0] == "missing"
    assert check("a 2 b", "a *2* b")[0] == "moved"


@pytest.mark.parametrize(
    ("quote", "text"),
    [
        ("an implementation of self-driving cars", "an imple-\nmentation of self-\ndriving cars"),
        ("an imple-\nmentation of it", "an implementation of it"),
        ("the oﬃce", "the office"),
        ("the office", "the oﬃce"),
        ("it - or not", "it — or not"),
    ],
)
def test_divided_words_and_ligatures_are_found(quote: str, text: str):
    assert check(quote, f"Well, {text}.", "text/plain") == ("moved", text)


def test_a_hyphen_within_a_line_counts():
    assert check("resign it", "re-sign it", "text/plain")[0] == "missing"
    assert check("re-sign it", "resign it", "text/plain")[0] == "missing"
