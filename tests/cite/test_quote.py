"""Quotes from token similarities: verbatim, minimal, never twice, and right by a slow reference."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.cite.asked import Asked
from rag_tools.cite.cutting import LONG, REST
from rag_tools.cite.quote import (
    BESIDE,
    BETWEEN,
    MARGIN,
    alignment,
    distinct,
    quotes,
    strongest,
)
from rag_tools.cite.unit_scores import HEADING_HANDICAP, MEAN, OWN, PASSAGE
from rag_tools.types import Block, Citation, Span
from rag_tools.units import units

ONES = np.ones(2, np.float32)
NASTY = "ab. A!\n-*|#>1,;é\u0301\u200d🗝️👩‍👩‍👧עברית。、\u00a0\x00\r\t—"


def word_spans(text):
    """Every word or punctuation mark as one token."""
    found = [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
    return np.array(found, np.int32).reshape(-1, 2)


def match_words(text, *groups):
    """Similarities as of a lexical encoder: 1 to the words of a query token, 0.1 to the rest."""
    spans = word_spans(text)
    words = [text[start:end].lower() for start, end in spans]
    return spans, np.array(
        [[1.0 if word in group.split() else 0.1 for word in words] for group in groups], np.float32
    )


def quoted(text, *groups, blocks=()):
    spans, similarities = match_words(text, *groups)
    weights = np.ones(len(groups), np.float32)
    found = quotes(text, spans, similarities, weights, units=units(text, blocks))
    return [quote.span.of(text) for quote in found]


@st.composite
def passages(draw, alphabet=NASTY):
    text = draw(st.text(alphabet, max_size=120))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=40)))
    spans = np.array(list(pairwise(cuts)), np.int32).reshape(-1, 2)
    rows = draw(st.integers(1, 4))
    seed = draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    similarities = rng.uniform(-1, 1, (rows, len(spans))).astype(np.float32)
    weights = rng.uniform(0, 2, rows).astype(np.float32) * rng.integers(0, 2, rows)
    return text, spans, similarities, weights.astype(np.float32)


def reference_score(span, spans, similarities, weights, relevance=None):
    """The sum of MaxSim and mean similarity over the tokens in `span`, and the passage's score."""
    if not weights.any():
        weights = np.ones_like(weights)
    total = 0.0
    for row, weight in zip(similarities, weights, strict=True):
        passage = max([0.0, *map(float, row)]) if relevance is None else relevance
        own = [
            max(0.0, float(similarity))
            for (start, end), similarity in zip(spans, row, strict=True)
            if start < end and span[0] <= start < span[1]
        ]
        total += float(weight) * (OWN * max(own) + MEAN * sum(own) / len(own) + PASSAGE * passage)
    return total / float(weights.sum())


@given(passages())
def test_quotes_are_verbatim_in_range_apart_and_in_order(passage):
    text, spans, similarities, weights = passage
    found = quotes(text, spans, similarities, weights)
    assert found == quotes(text, spans, similarities, weights)
    assert [quote.score for quote in found] == sorted((q.score for q in found), reverse=True)
    by_position = sorted(quote.span for quote in found)
    for before, after in pairwise(by_position):
        assert before.end <= after.start
    starts = {start for start, end in spans.tolist() if start < end}
    for quote in found:
        assert 0 <= quote.span.start < quote.span.end <= len(text)
        assert quote.span.of(text) == quote.span.of(text).strip()
        assert starts & set(range(*quote.span))
        assert type(quote.span.start) is int
        assert type(quote.score) is float


@given(passages(), st.none() | st.floats(0, 1))
def test_scores_agree_with_the_slow_reference(passage, relevance):
    text, *arrays = passage
    for quote in quotes(text, *arrays, relevance=relevance):
        assert 0 <= quote.score <= 1
        if len(text) <= LONG:
            expected = reference_score(quote.span, *arrays, relevance)
            assert quote.score == pytest.approx(expected, abs=1e-5)


@given(
    st.lists(
        st.lists(st.sampled_from(["Ant", "Bee", "Été", "Юла"]), min_size=1, max_size=5),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 1000),
)
def test_the_best_sentences_and_no_others_are_quoted(sentences, seed):
    text = ". ".join(" ".join(words) for words in sentences) + "."
    spans = word_spans(text)
    rng = np.random.default_rng(seed)
    similarities = rng.uniform(0, 0.3, (3, len(spans))).astype(np.float32)
    weights = rng.uniform(0, 2, 3).astype(np.float32)
    found = quotes(text, spans, similarities, weights)
    starts = [0, *(match.end() for match in re.finditer(r"\. ", text)), len(text) + 1]
    ranges = list(pairwise(starts))
    scores = [reference_score(span, spans, similarities, weights) for span in ranges]
    bar = max(scores) - MARGIN
    expected = {i for i, score in enumerate(scores) if score >= bar}
    for touched, handicap in ((1, BESIDE), (2, BETWEEN)):
        expected |= {
            i
            for i, score in enumerate(scores)
            if score >= bar - handicap and len({i - 1, i + 1} & expected) >= touched
        }
    bars = [bar, bar - BESIDE, bar - BETWEEN]
    if min(abs(score - bar) for score in scores for bar in bars) > 1e-5:
        covered = {i for i, r in enumerate(ranges) for q in found if q.span.overlaps(Span(*r))}
        assert covered == expected


def test_the_sentence_that_answers_is_quoted():
    text = "Foxes are mammals. The den of a fox is called an earth. Bees live in hives."
    assert quoted(text, "den", "fox foxes", "called") == ["The den of a fox is called an earth."]


def test_neighbours_that_answer_alike_are_one_quote():
    text = "Sugar melts at 186 degrees. Salt melts at 801 degrees. Water is wet."
    assert quoted(text, "melts", "degrees") == [text[: text.index(" Water")]]


def test_sentences_apart_are_quotes_apart():
    text = "Salt melts late. Water is wet. Salt melts late."
    assert quoted(text, "salt", "melts") == ["Salt melts late.", "Salt melts late."]


def test_what_stands_between_two_quotes_may_be_weaker():
    text = "Iron melts late. So it does not. Iron melts late."
    spans, similarities = match_words(text, "iron", "melts")
    similarities[:, [i for i, (start, _) in enumerate(spans) if 17 <= start < 32]] = 0.8
    found = [quote.span.of(text) for quote in quotes(text, spans, similarities, ONES)]
    assert found == ["Iron melts late.", "Iron melts late.", "So it does not."]


@pytest.mark.parametrize("mark", ["- ", "* ", "• ", "> ", "1. ", "(12) ", "## ", "- [x] ", "| "])
def test_layout_marks_are_not_quoted(mark):
    text = f"Intro.\n\n{mark}The key is red.\n"
    assert quoted(text, "key", "red") == ["The key is red."]


@pytest.mark.parametrize(
    "words", ["-5 °C is cold", "**Bold** claim", "#42 was fixed", "1.5 m long"]
)
def test_marks_that_are_words_stay(words):
    assert quoted(f"Intro.\n\n{words}.\n", *words.lower().split()) == [f"{words}."]


def test_a_table_row_is_quoted_without_its_frame():
    text = "| metal | melts |\n| iron | 1538 |\n| zinc | 420 |\n"
    assert quoted(text, "zinc") == ["zinc | 420"]


def test_what_a_heading_says_is_evidence_for_the_unit_below_it():
    title = "Melting points of metals\n\n"
    body = "Iron melts at 1538 degrees, zinc at 420."
    heading = Block("heading", 0, len(title))
    groups = ("melting melts", "metals iron zinc")

    def below(body):
        blocks = [heading, Block("paragraph", len(title), len(title + body))]
        return quoted(title + body, *groups, blocks=blocks)

    assert below(body) == [body]
    nothing = "Nothing here bears on that. Nor does this."
    assert below(f"{nothing}\n\nOr this.") == [nothing]
    assert quoted(title, *groups, blocks=[heading]) == [title.strip()]
    assert HEADING_HANDICAP > MARGIN


def test_a_heading_never_runs_into_the_sentence_after_it():
    text = "Melting points\nIron melts at 1538 degrees."
    blocks = [Block("heading", 0, 15), Block("paragraph", 15, len(text))]
    assert quoted(text, "iron", "degrees", blocks=blocks) == ["Iron melts at 1538 degrees."]


def test_the_row_that_the_query_tells_from_the_others_is_quoted_alone():
    text = "mast 9 m ash\nboom 4 m ash\ngaff 3 m elm\n"
    rows = [Block("table", 0, len(text))]
    assert quoted(text, "m", "ash", "boom", blocks=rows) == ["boom 4 m ash"]


@pytest.mark.parametrize("question", ["Where are oars stored?", "**Where are oars stored?**"])
def test_an_answer_is_quoted_for_its_question(question):
    text = f"{question}\nIn the shed. It is dry.\n\nPaint is thinned first."
    assert quoted(text, "where", "oars", "stored")[0] == "In the shed. It is dry."
    assert quoted(question, "oars") == [question]


def test_what_introduces_a_list_is_quoted_with_it():
    text = "A rigger brings these tools:\n- fid\n- palm\n\nSails are washed in May."
    quote = "A rigger brings these tools:\n- fid\n- palm"
    assert quoted(text, "rigger", "tools") == [quote]
    assert quoted(text, "palm") == ["palm"]


def test_a_quote_never_runs_from_one_section_into_another():
    text = "fn cool() { heat }\nfn stop() { heat }\n"
    blocks = [Block("function", 0, 19), Block("function", 19, len(text))]
    assert quoted(text, "heat", blocks=blocks) == ["fn cool() { heat }", "fn stop() { heat }"]
    assert quoted(text, "heat") == [text.strip()]


def test_of_a_long_sentence_the_part_with_the_evidence_comes_first():
    filler = "while the rest of the long report dwells on matters of little weight"
    text = f"{filler}, {filler}, {filler}, the vault holds nine keys, {filler}, {filler}."
    found, *rest = quoted(text, "vault", "nine", "keys")
    assert "the vault holds nine keys" in found
    assert len(found) <= LONG
    assert text[text.index(found) - 2 :].startswith(", ")
    assert not found.endswith(",")
    assert rest == []


def test_the_rest_of_a_long_sentence_is_quoted_if_it_bears_on_the_query():
    filler = "while the rest of the long report dwells on matters of little weight"
    text = f"The deep vault is locked, {filler}, {filler}, {filler}, and holds nine keys."
    first, *rest = quoted(text, "vault keys", "deep nine")
    assert first == "and holds nine keys."
    assert len(rest) == 1
    assert rest[0].startswith("The deep vault is locked, ")
    assert not rest[0].endswith((",", " "))
    arrays = match_words(text, "vault keys", "deep nine")
    assert len({quote.score for quote in quotes(text, *arrays, ONES)}) == 1
    assert REST > MARGIN


def test_text_without_clauses_is_cut_at_words_and_without_words_not_at_all():
    text = "word " * 100 + "key " + "word " * 100
    found = quoted(text.strip(), "key")[0]
    assert len(found) <= LONG
    assert "key" in found.split()
    assert quoted("k" * 1000, "k" * 1000) == ["k" * 1000]
    assert quoted(", " * 400 + "x", "x") == ["x"]


def test_tokens_without_characters_give_context_and_are_never_quoted():
    text = "It is red. It is big."
    spans = np.array([[0, 0], [0, 2], [6, 9], [11, 13], [17, 20]], np.int32)
    similarities = np.array([[1, 0, 0, 0, 0], [0, 0, 0.8, 0, 0]], np.float32)
    weights = np.ones(2, np.float32)
    (quote,) = quotes(text, spans, similarities, weights)
    assert quote.span.of(text) == "It is red."
    # Tokens without characters count for the passage only: 1 in the first row, 0.8 in the second.
    assert quote.score == pytest.approx((OWN * 0.8 + MEAN * 0.4 + PASSAGE * 1.8) / 2)


@pytest.mark.parametrize("text", ["", "   \n", "no tokens", "- \n- "])
def test_nothing_to_quote(text):
    spans = np.zeros((2, 2), np.int32)
    assert quotes(text, spans, np.ones((3, 2), np.float32), np.ones(3, np.float32)) == []
    empty = np.zeros((0, 2), np.int32)
    assert quotes(text, empty, np.ones((3, 0), np.float32), np.ones(3, np.float32)) == []


def test_weights_decide_and_all_zero_counts_all_alike():
    text = "Salt is white. Iron is grey."
    spans, similarities = match_words(text, "salt", "iron", "grey")
    for weights, expected in (
        ([1, 0, 0], "Salt is white."),
        ([0, 1, 1], "Iron is grey."),
        ([0, 0, 0], "Iron is grey."),
    ):
        found = quotes(text, spans, similarities, np.array(weights, np.float32))
        assert found[0].span.of(text) == expected


# --- across hits -------------------------------------------------------------------------------


def citation(document_id, start, end, score):
    return Citation(
        document_id=document_id,
        document_sha256="",
        start=start,
        end=end,
        quote="x" * (end - start),
        score=score,
    )


spans_of_documents = st.builds(
    lambda document_id, start, length, score: citation(
        document_id, start, start + length, score / 4
    ),
    st.sampled_from("ab"),
    st.integers(0, 40),
    st.integers(1, 12),
    st.integers(0, 4),
)


@given(st.lists(st.lists(spans_of_documents, max_size=4), max_size=6))
def test_no_character_is_cited_twice_and_nothing_is_lost_without_a_better_one(hits):
    kept = distinct(hits)
    assert len(kept) == len(hits)
    flat = [c for hit in kept for c in hit]
    characters = [(c.document_id, i) for c in flat for i in range(c.start, c.end)]
    assert len(characters) == len(set(characters))
    for rank, (hit, chosen) in enumerate(zip(hits, kept, strict=True)):
        assert all(c in hit for c in chosen)
        before = [c for earlier in kept[: rank + 1] for c in earlier]
        for c in hit:
            assert c in chosen or any(
                other.document_id == c.document_id and other.start < c.end and c.start < other.end
                for other in before
            )


def test_of_overlapping_quotes_the_better_hit_keeps_its_own():
    low, high, other = citation("d", 0, 9, 0.4), citation("d", 5, 12, 0.6), citation("e", 0, 9, 0.1)
    assert distinct([[low], [high, other], [low]]) == [(low,), (other,), ()]


def test_strongest_are_those_near_the_best():
    best, near, far = (
        citation("d", 9 * i, 9 * i + 1, s) for i, s in enumerate((0.6, 0.6 - MARGIN / 2, 0.5))
    )
    assert strongest([far, near, best]) == [best, near]
    assert strongest([]) == []


def test_what_touches_the_strongest_may_be_weaker():
    weaker = 0.6 - MARGIN - BESIDE / 2
    best, touching, apart, other = (
        citation("d", 100, 150, 0.6),
        citation("d", 151, 200, weaker),
        citation("d", 300, 350, weaker),
        citation("e", 151, 200, weaker),
    )
    assert strongest([apart, touching, other, best]) == [best, touching]
    assert strongest([citation("d", 151, 200, 0.6 - MARGIN - 2 * BESIDE), best]) == [best]


def test_what_touches_two_may_be_weaker_still():
    first, second = citation("d", 100, 150, 0.6), citation("d", 201, 250, 0.6)
    between = citation("d", 151, 200, 0.6 - MARGIN - (BESIDE + BETWEEN) / 2)
    assert strongest([first, between, second]) == [first, second, between]
    assert strongest([first, between]) == [first]


def test_parts_of_one_sentence_keep_their_order():
    core, before, after = (citation("d", start, start + 50, 0.6) for start in (100, 40, 160))
    assert strongest([core, before, after]) == [core, before, after]


# --- alignment ---------------------------------------------------------------------------------


def test_alignment_joins_each_query_token_to_its_best_passage_token():
    query = np.array([[0, 0], [0, 3], [4, 8]], np.int32)
    spans = np.array([[0, 0], [0, 2], [3, 6], [7, 9]], np.int32)
    similarities = np.array([[1, 1, 1, 1], [0.9, 0.1, 0.5, 0.4], [0.9, 0.3, 0.2, 0.3]], np.float32)
    edges = alignment(query, spans, similarities, start=100)
    assert [(e.query_start, e.query_end, e.start, e.end) for e in edges] == [
        (0, 3, 103, 106),
        (4, 8, 100, 102),
    ]
    assert [e.similarity for e in edges] == pytest.approx([0.5, 0.3])
    edges = alignment(query, spans, similarities, start=100, within=Span(7, 9))
    assert [(e.start, e.end) for e in edges] == [(107, 109)] * 2
    assert alignment(query, spans, similarities, within=Span(9, 20)) == ()


@given(passages())
def test_alignment_edges_are_real_maxima(passage):
    text, spans, similarities, _ = passage
    query_spans = np.array([[i, i + 1] for i in range(len(similarities))], np.int32)
    edges = alignment(query_spans, spans, similarities)
    eligible = [i for i, (start, end) in enumerate(spans.tolist()) if start < end]
    assert len(edges) == (len(similarities) if eligible else 0)
    for edge in edges:
        assert 0 <= edge.start < edge.end <= len(text)
        row = similarities[edge.query_start]
        assert edge.similarity == max(row[i] for i in eligible)


def asked(query, text, *groups, blocks=()):
    """What is quoted of a text for a query where all units are nearly as close to it."""
    spans, similarities = match_words(text, *groups)
    similarities = 0.6 + 0.02 * similarities
    weights = np.ones(len(groups), np.float32)
    found = quotes(
        text, spans, similarities, weights, units=units(text, blocks), asked=Asked.of(query)
    )
    return [quote.span.of(text) for quote in found]


SLUICE = "The sluice opens by night for boats and rafts. It does so by default for two hours."


@pytest.mark.parametrize(
    "question",
    ["What's the default of the sluice?", "how long is the sluice open unless I say so"],
)
def test_who_asks_for_the_default_is_told_the_default(question):
    words = ("sluice", "opens", "boats")
    assert asked("When do boats use the sluice?", SLUICE, *words)[0].startswith("The sluice")
    assert asked(question, SLUICE, *words)[0].startswith("It does so by default")


def test_a_statement_about_a_default_asks_for_nothing():
    words = ("sluice", "opens", "boats")
    claim = "The sluice is open for three hours by default."
    assert asked(claim, SLUICE, *words) == asked("", SLUICE, *words)


def test_a_column_of_defaults_says_that_a_row_has_one():
    header, row, note = "type\tdefault\n", "word\tudp\n", "The sluice has a type."
    text = header + row + note
    blocks = [
        Block("header", 0, len(header)),
        Block("table", len(header), len(header + row)),
        Block("paragraph", len(header + row), len(text)),
    ]
    found = asked("Which default has the sluice?", text, "sluice", "type", blocks=blocks)
    assert found[0] == "word\tudp"
    assert asked("", text, "sluice", "type", blocks=blocks)[0] != "word\tudp"


@pytest.mark.parametrize("code", ["--wide", "OpenSluice on", "open_sluice", "`sluice`"])
def test_who_asks_for_a_command_is_told_the_one_that_has_it(code):
    text = f"The sluice can be wide or narrow. It gets wider with {code} by hand."
    found = asked("Which option makes the sluice wide?", text, "sluice", "wide wider")
    assert code in found[0]


def test_code_is_quoted_before_what_introduces_it():
    text = "To open the sluice by hand, type:\n\nturn 7\n\nIt is heavy."
    blocks = [
        Block("paragraph", 0, 35),
        Block("code", 35, 43),
        Block("paragraph", 43, len(text)),
    ]
    found = quoted(text, "open", "sluice", "hand", blocks=blocks)
    assert found[:2] == ["turn 7", "To open the sluice by hand, type:"]


@given(st.text(max_size=60), st.text(max_size=60))
def test_what_is_gained_is_never_negative(query, words):
    assert Asked.of(query).gain(words, words) >= 0
