"""Documents → passages: coverage, budgets, borders, overlap."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from rag_tools.ingest.chunk import MAX_PASSAGE_LENGTH, chunk, context
from rag_tools.ingest.load import load_bytes
from rag_tools.types import Block, BlockKind, Document


class Words:
    """Counts words and punctuation marks."""

    def __init__(self):
        self.tokenised = 0  # code points
        self.longest = 0

    def token_spans(self, text):
        self.tokenised += len(text)
        self.longest = max(self.longest, len(text))
        spans = [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
        return np.array(spans, dtype=np.int32).reshape(-1, 2)


class Bytes:
    """Counts UTF-8 bytes, as byte-level tokenizers may: up to four at one character."""

    def token_spans(self, text):
        spans = [(i, i + 1) for i, character in enumerate(text) for _ in character.encode()]
        return np.array(spans, dtype=np.int32).reshape(-1, 2)


class WordPiece:
    """A small WordPiece tokenizer: the count of a text isn't the sum over its parts.

    Words it has no pieces for, or of more than 100 characters, are one unknown token; cut in
    two they may become many.
    """

    def __init__(self):
        pieces = [chr(c) for c in range(33, 127)]
        vocabulary = ["[UNK]", *pieces, *(f"##{piece}" for piece in pieces), "sent", "##ence"]
        model = models.WordPiece(
            {token: index for index, token in enumerate(vocabulary)}, unk_token="[UNK]"
        )
        self._tokenizer = Tokenizer(model)
        self._tokenizer.normalizer = normalizers.BertNormalizer()
        self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def token_spans(self, text):
        spans = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return np.array(spans, dtype=np.int32).reshape(-1, 2)


def check(document, passages, tokens, passage_tokens):
    """Assert what `chunk` promises of any passages."""
    covered = 0
    before = None
    for passage in passages:
        assert passage.start < passage.end
        assert passage.start <= covered < passage.end
        assert before is None or before.start < passage.start
        assert passage.end - passage.start <= MAX_PASSAGE_LENGTH
        text = document.text[passage.start : passage.end]
        in_context = len(tokens.token_spans(context(passage.path)))
        assert in_context <= passage_tokens / 3
        assert len(tokens.token_spans(text)) + in_context <= passage_tokens
        covered = passage.end
        before = passage
    assert covered == len(document.text)


def passages_of(document, passage_tokens=180, overlap=0.15, tokens=None):
    tokens = tokens or Words()
    passages = chunk(document, tokens, passage_tokens=passage_tokens, overlap=overlap)
    check(document, passages, tokens, passage_tokens)
    return passages


def texts(document, **options):
    return [document.text[p.start : p.end] for p in passages_of(document, **options)]


def text_document(text, *blocks):
    return Document(text=text, uri="memory:x", blocks=blocks)


PIECES = [
    "A short sentence. ",
    "A sentence that goes on a little longer than the other one does. ",
    "What?! ",
    "\n",
    "\r\n",
    "\n\n",
    " " * 50,
    "word " * 40,
    "x" * 150 + "=",
    "QUJD/+" * 60,
    "漢字かな。",
    "👩‍👩‍👧‍👦",
    "e\u0301",
    "שלום ",
    "\u202eعربي\u202c؟ ",
    "\0",
    "\u2028",
    "a\rb\r",
    "ﷺ",
    "|a|b|\n",
    "- item\n",
    "....",
    " \u00a0",
]
nasty_text = st.lists(st.sampled_from(PIECES), max_size=80).map("".join)


@st.composite
def nasty_documents(draw):
    text = draw(nasty_text)
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)) - {0, len(text)})
    kinds = st.sampled_from([kind for kind in get_args(BlockKind) if kind != "navigation"])
    names = st.sampled_from(["A", "Guide to things", "long title " * 20, "漢字", " ", ""])
    blocks = [
        Block(draw(kinds), start, end, tuple(draw(st.lists(names, max_size=4))))
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)
    ]
    return text_document(text, *(blocks if text else []))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@pytest.mark.parametrize("tokens", [Words(), Bytes(), WordPiece()], ids=lambda t: type(t).__name__)
@given(
    document=nasty_documents(),
    passage_tokens=st.sampled_from([16, 17, 32, 60, 180, 700]),
    overlap=st.sampled_from([0.0, 0.1, 0.15, 0.5]),
)
def test_promises_hold_for_any_document(tokens, document, passage_tokens, overlap):
    passages_of(document, passage_tokens, overlap, tokens)


@given(st.text())
def test_promises_hold_for_any_text(text):
    passages_of(text_document(text), 16)


def test_empty_text_has_no_passages():
    assert passages_of(text_document("")) == []


def test_white_space_is_covered():
    assert texts(text_document(" \n\t ")) == [" \n\t "]


def test_what_fits_is_one_passage():
    document = text_document("One sentence. Another.\n\nA paragraph.")
    assert texts(document) == [document.text]


def left_out(text, *blocks):
    document = text_document(text, *blocks)
    return [text[p.start : p.end] for p in chunk(document, Words())]


class TestLeftOut:
    @pytest.mark.parametrize(
        "picture",
        [
            "data:image/png;base64," + "iVBORw0KGgo5+/" * 40,
            "data:image/svg+xml;charset=utf-8;base64," + ("Q0xhc3M5" * 9 + "\r\n") * 4,
            "Zm9vYmFyMTIz" * 100 + "==",
        ],
    )
    def test_files_written_into_the_text(self, picture):
        found = left_out(f"The mast broke.\n\n![mast]({picture})\n\nIt was replaced.\n")
        assert found == ["The mast broke.\n\n![mast](", ")\n\nIt was replaced.\n"]

    def test_but_not_words_that_look_like_one(self):
        text = "See data:text/plain;base64,QUJD here. " + "x" * 1500
        assert "".join(left_out(text)) == text

    def test_navigation(self):
        text = "Home Prices\nWe rent boats."
        blocks = [Block("navigation", 0, 12), Block("paragraph", 12, len(text))]
        assert left_out(text, *blocks) == ["We rent boats."]
        assert left_out(text, blocks[0], blocks[1]._replace(kind="navigation")) == [text]


class TestBorders:
    def test_between_sentences(self):
        document = text_document("".join(f"This is sentence number {i}. " for i in range(50)))
        for text in texts(document, passage_tokens=40):
            assert text.startswith("This is sentence")
            assert text.endswith(". ")

    def test_between_lines_of_code_and_tables(self):
        document = text_document("".join(f"x{i} = f(a, b). B\n" for i in range(100)))
        for kind in ("code", "table", "function"):
            blocks = [Block(kind, 0, len(document.text))]
            for text in texts(text_document(document.text, *blocks), passage_tokens=40):
                assert text.startswith("x")
                assert text.endswith("\n")

    def test_between_words_of_a_long_sentence(self):
        document = text_document("some words without an end " * 100)
        for text in texts(document, passage_tokens=40):
            assert re.fullmatch(r"(\w+ )+", text)

    def test_heading_starts_a_passage(self):
        source = "# A\n\n" + "Some prose here. " * 20 + "\n\n# B\n\n" + "Other prose here. " * 20
        document = load_bytes(source.encode(), name="a.md", uri="memory:a")
        assert [text[:3] for text in texts(document, passage_tokens=100)] == ["# A", "# B"]
        assert [passage.path for passage in passages_of(document, 100)] == [("A",), ("B",)]

    def test_tiny_section_continues_into_its_sibling_or_child(self):
        source = "# A\n\n## B\n\nTiny.\n\n## C\n\n" + "Prose here. " * 20
        document = load_bytes(source.encode(), name="a.md", uri="memory:a")
        assert texts(document, passage_tokens=100) == [source]
        assert passages_of(document, 100)[0].path == ("A",)

    def test_tiny_section_does_not_continue_into_a_stranger(self):
        text = "Tiny.\n\nOther."
        blocks = [Block("paragraph", 0, 7, ("A", "B")), Block("paragraph", 7, 13, ("C", "D"))]
        assert texts(text_document(text, *blocks)) == ["Tiny.\n\n", "Other."]

    def test_heading_stays_with_what_it_heads(self):
        source = "# A\n\nTiny.\n\n## B\n\n" + "word " * 26 + "."
        document = load_bytes(source.encode(), name="a.md", uri="memory:a")
        found = texts(document, passage_tokens=34)
        assert found[0] == "# A\n\nTiny.\n\n"
        assert found[1].startswith("## B\n\nword")

    def test_functions_start_passages_and_tiny_ones_merge(self):
        big = "def {}():\n" + "    x = 1\n" * 20 + "\n\n"
        tiny = "def {}(): pass\n\n\n"
        source = big.format("one") + big.format("two") + tiny.format("a") + tiny.format("b")
        document = load_bytes(source.encode(), name="a.py", uri="memory:a")
        assert [text.split("(")[0] for text in texts(document, passage_tokens=90)] == [
            "def one",
            "def two",
            "def a",
        ]

    def test_function_that_fits_is_not_torn(self):
        source = "import os\n\n\ndef f():\n" + "    x = 1\n" * 28
        document = load_bytes(source.encode(), name="a.py", uri="memory:a")
        assert texts(document, passage_tokens=90)[1].startswith("def f():")


class TestOverlap:
    def test_is_whole_sentences_near_the_share_asked_for(self):
        document = text_document("".join(f"Here is sentence {i}. " for i in range(200)))
        passages = passages_of(document, 100, 0.15)
        shared = [a.end - b.start for a, b in pairwise(passages)]
        assert all(shared)
        for count, passage in zip(shared, passages[1:], strict=True):
            repeated = document.text[passage.start : passage.start + count]
            assert repeated.endswith(". ")
            assert 10 <= len(Words().token_spans(repeated)) <= 20

    def test_none_if_not_wanted(self):
        document = text_document("This is a sentence. " * 200)
        passages = passages_of(document, 100, 0.0)
        assert all(a.end == b.start for a, b in pairwise(passages))

    def test_inside_what_is_too_long_for_a_passage(self):
        passages = passages_of(text_document("word " * 500), 100, 0.2)
        assert all(a.end > b.start for a, b in pairwise(passages))

    @pytest.mark.parametrize("name, mark", [("a.md", "# {}\n\n"), ("a.py", "def {}():\n")])
    def test_none_across_sections_and_functions(self, name, mark):
        source = "".join(mark.format(f"n{i}") + "    a = b\n\n    c = d\n" * 30 for i in range(4))
        document = load_bytes(source.encode(), name=name, uri="memory:a")
        passages = passages_of(document, 60)
        for one, two in pairwise(passages):
            assert (two.start < one.end) == (two.path == one.path)


class TestContext:
    def test_outer_entries_go_first(self):
        path = ("outermost title of many words indeed", "middle", "inner")
        text = "Prose."
        document = text_document(text, Block("paragraph", 0, len(text), path))
        assert passages_of(document, 180)[0].path == path
        assert passages_of(document, 16)[0].path == ("middle", "inner")

    def test_entry_too_long_by_itself_is_dropped(self):
        document = text_document("Prose.", Block("paragraph", 0, 6, ("word " * 100,)))
        assert passages_of(document, 60)[0].path == ()


class TestLongRuns:
    @pytest.mark.parametrize(
        "text",
        [" " * 100_000, "A" * 100_000, "\n" * 100_000, "QUJD/+0=" * 20_000, "漢" * 50_000],
        ids=["spaces", "letters", "line ends", "base64", "han"],
    )
    @pytest.mark.parametrize("tokens", [Words(), WordPiece()], ids=["words", "wordpiece"])
    def test_are_bounded_in_length(self, text, tokens):
        assert len(passages_of(text_document(text), tokens=tokens)) > 1

    def test_overlap_too(self):
        passages = passages_of(text_document("A" * 100_000 + " b" * 500))
        assert passages[-1].start < passages[-2].end


def test_text_is_tokenised_about_twice_and_in_bounded_stretches():
    text = "The quick brown fox jumps over Dr. Smith. " * 10_000
    tokens = Words()
    chunk(text_document(text), tokens)
    assert tokens.tokenised < 2.5 * len(text)
    assert tokens.longest <= 65_536


def test_every_line_end_and_offset_survives_a_round_trip_through_a_loader():
    source = "# Tïtle 😀\r\n\r\nProse é\r\rwith lone CR. " + "More. " * 200 + "\r\n\r\n## B\r\n"
    document = load_bytes(source.encode(), name="a.md", uri="memory:a")
    assert document.text == source
    passages_of(document, 60)


@pytest.mark.parametrize("options", [{"passage_tokens": 15}, {"overlap": -0.1}, {"overlap": 0.6}])
def test_parameters_out_of_range(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        chunk(text_document("text"), Words(), **options)


@pytest.mark.parametrize(
    "blocks",
    [
        [Block("paragraph", 0, 3)],
        [Block("paragraph", 1, 4)],
        [Block("paragraph", 0, 2), Block("paragraph", 3, 4)],
        [Block("paragraph", 0, 3), Block("paragraph", 2, 4)],
        [Block("paragraph", 0, 5)],
    ],
)
def test_blocks_that_do_not_tile_the_text(blocks):
    with pytest.raises(ValueError, match="blocks"):
        chunk(text_document("text", *blocks), Words())
