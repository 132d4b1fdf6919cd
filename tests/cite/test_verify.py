"""Verdicts on citations: exact, moved, stale, missing; and reading citations from JSON."""

from __future__ import annotations

import hashlib
import json
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rag_tools.cite.locate import cite_span
from rag_tools.cite.verify import parse_citations, verify
from rag_tools.errors import InvalidQueryError
from rag_tools.types import Aligned, Citation, Document, Hit, SearchResults, Span, Support

URI = "file:///notes.txt"


def document(text, uri=URI):
    return Document(text=text, uri=uri)


def cite(text, quote, uri=URI, nth=0):
    start = -1
    for _ in range(nth + 1):
        start = text.index(quote, start + 1)
    return cite_span(document(text, uri), Span(start, start + len(quote)), score=0.5)


def assert_stands(citation, text):
    """The citation is what a reader of `text` needs, checked without the code under test."""
    assert text[citation.start : citation.end] == citation.quote
    assert citation.document_sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert citation.lines[0] == text[: citation.start].count("\n") + 1
    assert text[: citation.start].endswith(citation.prefix)
    assert text[citation.end :].startswith(citation.suffix)
    assert citation.url


# --- edits -------------------------------------------------------------------------------------

# The quote starts and ends with characters that occur nowhere else, and what is inserted has none
# of the text's characters: so an edit inside can't leave the words standing, by construction.
QUOTE = "‹the 3 keys of Ångström 🗝️ lie\nunder e\u0301toile›"
FILLER = "abc def\nghi 🙂 עברית e\u0301 ..."


def filler(rng, length):
    return "".join(rng.choice(FILLER) for _ in range(length))


def edited(rng, text, quote):
    """Make one random edit; return the new text and where the cited occurrence is now, or None."""
    operation = rng.choice(("insert", "delete", "replace", "copy"))
    region = rng.choice(("before", "inside", "after"))
    low, high = {
        "before": (0, quote.start),
        "inside": (quote.start + 1, quote.end - 1),
        "after": (quote.end, len(text)),
    }[region]
    start = rng.randint(low, high)
    end = start if operation in ("insert", "copy") else rng.randint(start, high)
    if operation == "replace":
        inserted = "§" * rng.choice((end - start, rng.randint(0, 40)))
    else:
        inserted = {"insert": "§" * rng.randint(1, 40), "copy": QUOTE, "delete": ""}[operation]
    new = text[:start] + inserted + text[end:]
    shift = len(inserted) - (end - start)
    if region == "after" or (start == end and not inserted):
        return new, quote
    if region == "before":
        # A copy put right in front of the quote stands where the quote stood.
        at_the_offsets = operation == "copy" and start == quote.start
        return new, quote if at_the_offsets else Span(quote.start + shift, quote.end + shift)
    if operation == "copy":
        return new, Span(start, start + len(QUOTE))
    return new, (quote if new == text else None)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("checked", ["index", "source"])
def test_verdict_after_random_edits(seed, checked):
    rng = random.Random(seed)
    seen = set()
    for _ in range(100):
        before = filler(rng, rng.randint(0, 200))
        text = before + QUOTE + filler(rng, rng.randint(0, 200))
        quote = Span(len(before), len(before) + len(QUOTE))
        citation = cite_span(document(text), quote)
        new, expected = edited(rng, text, quote)
        if checked == "index":
            verdict = verify(citation, indexed=document(new), source=None)
        else:
            verdict = verify(citation, indexed=document(text), source=document(new))

        assert verdict.checked == checked
        if expected is None:
            assert verdict.status == "stale"
            assert verdict.citation == citation
        else:
            assert verdict.status == ("exact" if expected == quote else "moved")
            assert (verdict.citation.start, verdict.citation.end) == expected
            assert verdict.citation.quote == QUOTE
            assert_stands(verdict.citation, new)
        seen.add(verdict.status)
    assert seen == {"exact", "moved", "stale"}


@pytest.mark.parametrize("seed", range(5))
def test_the_cited_one_of_several_equal_quotes_is_followed(seed):
    rng = random.Random(seed)
    for _ in range(40):
        gaps = [f"{i}{filler(rng, rng.randint(40, 90))}{i}" for i in range(4)]
        text = QUOTE.join(gaps)
        which = rng.randrange(3)
        start = len(QUOTE.join(gaps[: which + 1]))
        citation = cite_span(document(text), Span(start, start + len(QUOTE)))
        inserted = "§" * rng.randint(1, 300)
        verdict = verify(citation, indexed=document(inserted + text), source=None)
        assert (verdict.status, verdict.citation.start) == ("moved", start + len(inserted))


@given(st.text(max_size=60), st.text(min_size=1, max_size=20), st.text(max_size=60))
def test_an_unchanged_document_verifies_exactly(before, quote, after):
    text = before + quote + after
    citation = cite_span(document(text), Span(len(before), len(before) + len(quote)))
    verdict = verify(citation, indexed=document(text), source=document(text))
    assert verdict.status == "exact"
    assert verdict.citation == citation


@given(st.text("ab\u0301\n", max_size=30), st.text("ab\u0301\n", max_size=30), st.data())
def test_verdict_agrees_with_the_definition(old, new, data):
    assume(old)
    start = data.draw(st.integers(0, len(old) - 1))
    end = data.draw(st.integers(start + 1, len(old)))
    quote = old[start:end]
    citation = cite_span(document(old), Span(start, end))
    verdict = verify(citation, indexed=document(new), source=None)
    if new[start:end] == quote:
        assert verdict.status == "exact"
    elif quote in new:
        assert verdict.status == "moved"
        places = [i for i in range(len(new)) if new.startswith(quote, i)]
        likeness = {i: surroundings(citation, new, i) for i in places}
        best = max(likeness.values())
        assert verdict.citation.start in [i for i in places if likeness[i] == best]
        distances = [abs(i - start) for i in places if likeness[i] == best]
        assert abs(verdict.citation.start - start) == min(distances)
    else:
        assert verdict.status == "stale"


def surroundings(citation, text, start):
    """Count agreeing characters outwards, one at a time."""
    end = start + len(citation.quote)
    before = after = 0
    while (
        before < min(len(citation.prefix), start)
        and text[start - before - 1] == citation.prefix[-before - 1]
    ):
        before += 1
    while (
        after < len(citation.suffix)
        and end + after < len(text)
        and text[end + after] == citation.suffix[after]
    ):
        after += 1
    return before + after


# --- rules -------------------------------------------------------------------------------------

TEXT = "One fish. Two fish. Red fish. Blue fish."


def test_without_any_document_it_is_missing():
    citation = cite(TEXT, "Two fish")
    verdict = verify(citation, indexed=None, source=None)
    assert (verdict.status, verdict.checked, verdict.citation) == ("missing", "index", citation)
    assert citation.document_id in verdict.detail


def test_the_source_is_the_truth_when_the_index_lags_behind():
    citation = cite(TEXT, "Red fish")
    new = TEXT.replace("Red", "Green")
    assert verify(citation, indexed=document(TEXT), source=document(new)).status == "stale"
    assert verify(citation, indexed=document(TEXT), source=None).status == "exact"


def test_words_back_in_the_source_are_found_though_the_index_lost_them():
    citation = cite(TEXT, "Red fish")
    verdict = verify(citation, indexed=document("nothing"), source=document(TEXT))
    assert (verdict.status, verdict.checked) == ("exact", "source")


@pytest.mark.parametrize(
    ("sha256", "indexed", "source", "status"),
    [
        ("its own", TEXT, None, "missing"),
        ("its own", TEXT, TEXT, "missing"),
        ("none", TEXT, None, "missing"),
        ("none", TEXT, TEXT + "!", "missing"),
        ("unknown", TEXT, None, "stale"),
        ("unknown", None, TEXT, "stale"),
        ("unknown", TEXT, TEXT + "!", "stale"),
        ("its own", TEXT, TEXT + "!", "missing"),  # the version that was cited never held it
        ("none", TEXT + " Old fish.", TEXT, "stale"),  # it stood there when it was indexed
        ("its own", TEXT + " Old fish.", TEXT, "stale"),
        ("the source's", TEXT + " Old fish.", TEXT, "missing"),  # lost before it was cited
    ],
)
def test_words_that_are_not_there(sha256, indexed, source, status):
    known = document(indexed or TEXT).sha256
    citation = Citation(
        document_id=document(TEXT).id,
        document_sha256={
            "its own": known,
            "the source's": document(source or TEXT).sha256,
            "none": "",
            "unknown": "0" * 64,
        }[sha256],
        start=0,
        end=9,
        quote="Old fish.",
    )
    verdict = verify(
        citation,
        indexed=None if indexed is None else document(indexed),
        source=None if source is None else document(source),
    )
    assert verdict.status == status
    assert verdict.citation == citation


def test_a_renamed_source_is_moved_even_at_the_same_offsets():
    citation = cite(TEXT, "Two fish")
    renamed = document(TEXT, uri="file:///renamed.txt")
    verdict = verify(citation, indexed=renamed, source=None)
    assert verdict.status == "moved"
    assert verdict.citation.document_id == renamed.id
    assert verdict.citation.start == citation.start
    assert "renamed.txt" in verdict.citation.url
    assert renamed.id in verdict.detail


def test_offsets_that_do_not_fit_the_quote_are_moved_to_where_it_stands():
    citation = cite(TEXT, "Two fish").model_copy(update={"end": 15})
    verdict = verify(citation, indexed=document(TEXT), source=None)
    assert (verdict.status, verdict.citation.end) == ("moved", 18)


def test_surroundings_weigh_more_than_distance():
    text = "x. The end. y. The end. z."
    citation = cite(text, "The end", nth=1)
    new = "y. The end. z." + "_" * 10 + "q. The end. r."
    assert verify(citation, indexed=document(new), source=None).citation.start == 3


def test_equal_surroundings_are_settled_by_distance():
    text = ("." * 40 + "key") * 4
    citation = cite(text, "key", nth=2).model_copy(update={"start": 130, "end": 133})
    assert verify(citation, indexed=document(text), source=None).citation.start == 126


def test_overlapping_occurrences_are_all_considered():
    citation = Citation(document_id="d", document_sha256="", start=3, end=5, quote="aa")
    verdict = verify(citation, indexed=Document(text="aaa", uri="u", id="d"), source=None)
    assert verdict.citation.start == 1


def test_score_and_alignment_travel_with_the_quote():
    edge = Aligned(query_start=0, query_end=3, start=14, end=18, similarity=0.9)
    citation = cite(TEXT, "Two fish").model_copy(update={"alignment": (edge,)})
    verdict = verify(citation, indexed=document("Well: " + TEXT), source=None)
    assert verdict.citation.score == 0.5
    (moved,) = verdict.citation.alignment
    assert (moved.start, moved.end) == (20, 24)
    assert (moved.query_start, moved.query_end, moved.similarity) == (0, 3, 0.9)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("caf\u00e9 noir", "cafe\u0301 noir"),  # composed and decomposed are other code points
        ("two words", "two\u00a0words"),
        ("two words", "two  words"),
        ("“quoted”", '"quoted"'),
        ("Straße", "STRASSE"),
        ("a\u200bb", "ab"),
        ("line\nend", "line\r\nend"),
    ],
)
def test_words_that_only_look_alike_are_stale(old, new):
    citation = cite(f"x {old} y", old)
    assert verify(citation, indexed=document(f"x {new} y"), source=None).status == "stale"


def test_url_template_reaches_the_citation():
    verdict = verify(
        cite(TEXT, "Two fish"), indexed=document(TEXT), source=None, url_template="app:{start}"
    )
    assert verdict.citation.url == "app:10"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"quote": ""}, "empty quote"),
        ({"start": -1}, "-1"),
        ({"start": 7, "end": 3}, "end 3"),
    ],
)
def test_impossible_citations_are_refused(changes, named):
    citation = cite(TEXT, "Two fish").model_copy(update=changes)
    with pytest.raises(InvalidQueryError, match=named):
        verify(citation, indexed=document(TEXT), source=None)
    with pytest.raises(InvalidQueryError, match=named):
        parse_citations(citation.model_dump(mode="json"))


# --- reading -----------------------------------------------------------------------------------


def test_every_shape_gives_its_citations_in_order():
    one, two = cite(TEXT, "Two fish"), cite(TEXT, "Red fish")
    hits = [
        Hit(
            id=f"d:{i}-40",
            document_id=citation.document_id,
            document_sha256=citation.document_sha256,
            uri="file:///t",
            title="t",
            url="file:///t",
            score=1,
            text=TEXT,
            start=0,
            end=40,
            citations=(citation,),
        )
        for i, citation in enumerate((one, two))
    ]
    shapes = [
        [one, two],
        [one.model_dump(mode="json"), two.model_dump(mode="json")],
        SearchResults(query="q", results=tuple(hits)).model_dump(mode="json"),
        Support(claim="c", citations=(one, two)).model_dump(mode="json"),
        (one, two),
    ]
    for shape in shapes:
        assert parse_citations(shape) == [one, two]
    assert parse_citations(one) == parse_citations(one.model_dump()) == [one]
    assert parse_citations(json.loads(one.model_dump_json())) == [one]
    assert parse_citations([]) == parse_citations({"results": []}) == []


def test_a_pasted_quote_needs_no_offsets():
    (citation,) = parse_citations({"document_id": document(TEXT).id, "quote": "Red fish"})
    assert (citation.start, citation.end, citation.document_sha256) == (0, 8, "")
    verdict = verify(citation, indexed=document(TEXT), source=None)
    assert (verdict.status, verdict.citation.start) == ("moved", 20)
    (citation,) = parse_citations(
        {"document_id": "d", "quote": "ab", "start": 5, "end": None, "document_sha256": None}
    )
    assert (citation.start, citation.end) == (5, 7)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (None, "None"),
        (5, "5"),
        ("Two fish", "Two fish"),
        ({}, "{}"),
        ({"quote": "no document"}, "no document"),
        ({"document_id": "no quote"}, "no quote"),
        ({"results": 3}, "results is 3"),
        ({"results": [{"id": "x"}]}, r"results\[0\]"),
        ({"citations": {"quote": "q"}}, "citations is"),
        ([{"document_id": "d", "quote": "q"}, 7], r"citations\[1\] is 7"),
    ],
)
def test_other_shapes_are_refused_with_what_is_accepted(data, named):
    with pytest.raises(InvalidQueryError, match=named) as caught:
        parse_citations(data)
    assert "accepted: a citation" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"quote": 7}, r"citation\.quote is 7"),
        ({"quote": None}, r"citation\.quote is None"),
        ({"quote": "\ud800"}, r"quote '\\ud800' holds a lone surrogate"),
        ({"heading": "\udfff"}, r"heading '\\udfff' holds a lone surrogate"),
        ({"document_id": ["d"]}, r"citation\.document_id is \['d'\]"),
        ({"document_sha256": 1.5}, r"citation\.document_sha256 is 1\.5"),
        ({"start": "12"}, r"citation\.start is '12'"),
        ({"start": 1.0}, r"citation\.start is 1\.0"),
        ({"end": True}, r"citation\.end is True"),
        ({"strat": 12}, r"citation\.strat is 12"),
        ({"quote": ["x" * 1000]}, "…"),
    ],
)
def test_wrong_fields_are_refused_by_name(fields, named):
    with pytest.raises(InvalidQueryError, match=named) as caught:
        parse_citations({"document_id": "d", "quote": "q", **fields})
    assert len(str(caught.value)) < 300
