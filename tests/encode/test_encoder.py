"""The encoder: spans, windows, determinism, on the bundled checkpoint."""

import os
import shutil
import subprocess
import sys
import unicodedata
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_tools.encode import encoder as encoder_module
from rag_tools.encode.checkpoint import load_checkpoint
from rag_tools.encode.encoder import Encoder
from rag_tools.errors import CheckpointError

TEXT = (
    "The Monastic Brotherhood consists of the celibate clergy of the monastery who are led by an "
    "abbot. As of 2010, there were three brotherhoods in the Armenian Church."
)
LONG = " ".join(f"{TEXT} Paragraph {i} ends here." for i in range(20))

# Every class of character that has broken offsets somewhere.
NASTY = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.text(alphabet="abc XYZ.,!?-_'\"", max_size=12),
        st.sampled_from(
            [
                "👩‍👩‍👧‍👦",
                "🇩🇪",
                "e\u0301",
                "\u0301",
                "ﬁ",
                "İ",
                "ß",
                "Å",
                "漢字かな",
                "한국어",
                "שלום עולם",
                "\u202eabc\u202c",
                "العربية",
                "\x00",
                "\r\n",
                "\r",
                "\x1b[0m",
                "\ufeff",
                "\u200b",
                "\u00ad",
                "\u2028",
                "\x85",
                "[SEP]",
                "[MASK]",
                "##ing",
                "𝔘𝔫𝔦",
                "x" * 120,
                "e=mc²",
            ]
        ),
    ),
    max_size=12,
).map("".join)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(load_checkpoint())


def assert_well_formed(embeddings, text):
    n = len(embeddings)
    assert embeddings.vectors.shape == (n, 128)
    assert embeddings.vectors.dtype == np.float32
    assert embeddings.token_ids.dtype == embeddings.spans.dtype == np.int32
    assert embeddings.spans.shape == (n, 2)
    assert np.allclose(np.linalg.norm(embeddings.vectors, axis=1), 1, atol=1e-5)
    assert embeddings.pooled.shape == (384,)
    assert np.isclose(np.linalg.norm(embeddings.pooled), 1, atol=1e-5)
    starts, ends = embeddings.spans.T
    assert (starts >= 0).all()
    assert (starts <= ends).all()
    assert (ends <= len(text)).all()


def normalised(text: str) -> str:
    """What the uncased BERT normaliser makes of text, as far as it concerns a single token."""
    stripped = (
        c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn"
    )
    return "".join(
        c for c in stripped if not unicodedata.category(c).startswith("C") and not c.isspace()
    )


@settings(max_examples=150, deadline=None)
@given(text=NASTY)
def test_spans_are_the_characters_of_their_tokens(encoder, text):
    embeddings = encoder.encode_passage(text)
    assert_well_formed(embeddings, text)
    inner = embeddings.spans[1:-1]
    assert (np.diff(inner[:, 0]) >= 0).all()
    assert (inner[:, 1] > inner[:, 0]).all()
    for token_id, (start, end) in zip(embeddings.token_ids[1:-1], inner, strict=True):
        token = encoder._tokenizer.id_to_token(int(token_id))
        if token in {"[UNK]", "[SEP]", "[MASK]"}:
            continue
        token = token.removeprefix("##")
        quote = normalised(text[start:end])
        # One character may make several tokens (Hangul, ligatures), never the other way round.
        assert normalised(token) in quote or end - start == 1


@settings(max_examples=100, deadline=None)
@given(text=NASTY)
def test_every_visible_character_belongs_to_a_token(encoder, text):
    covered = np.zeros(len(text), bool)
    for start, end in encoder.token_spans(text):
        covered[start:end] = True
    for character, hit in zip(text, covered, strict=True):
        assert hit or not normalised(character) or character == "\ufffd"


@settings(max_examples=50, deadline=None)
@given(text=NASTY, context=NASTY)
def test_context_is_encoded_but_cannot_be_cited(encoder, text, context):
    plain, within = encoder.encode_passage(text), encoder.encode_passage(text, context)
    assert_well_formed(within, text)
    cited = within.spans[:, 1] > 0
    assert np.array_equal(within.spans[cited], plain.spans[plain.spans[:, 1] > 0])
    assert np.array_equal(within.token_ids[cited], plain.token_ids[plain.spans[:, 1] > 0])


def test_spans_at_known_places(encoder):
    text = "Naïve 🙂 Cafe\u0301s, tokenization."
    embeddings = encoder.encode_passage(text)
    tokens = [text[start:end] for start, end in embeddings.spans]
    assert tokens == ["", "Naïve", "🙂", "Cafe\u0301s", "token", "ization", ""]
    assert embeddings.spans[3].tolist() == [8, 14]


def test_punctuation_is_left_out_and_markers_stay(encoder):
    tokens = [encoder._tokenizer.id_to_token(i) for i in encoder.encode_query("Why, so?").token_ids]
    assert tokens == ["[CLS]", "why", "so", "[SEP]"]


@pytest.mark.parametrize("text", ["", " \n\t", "\x00", "\u200b"])
def test_a_text_without_tokens_is_its_markers(encoder, text):
    for embeddings in (encoder.encode_query(text), encoder.encode_passage(text)):
        assert_well_formed(embeddings, text)
        assert embeddings.token_ids.tolist() == [101, 102]
        assert not embeddings.spans.any()
    assert encoder.token_spans(text).shape == (0, 2)


def test_a_text_that_the_skiplist_would_empty_is_kept_whole():
    checkpoint = replace(load_checkpoint(), document_skiplist=("[CLS]", "[SEP]", "."))
    encoder = Encoder(checkpoint)
    assert encoder.encode_passage("...").token_ids.tolist() == [101, 1012, 1012, 1012, 102]
    assert encoder.encode_passage("a.").token_ids.tolist() == [1037]


def test_context_changes_what_a_passage_means(encoder):
    plain, within = encoder.encode_passage(TEXT), encoder.encode_passage(TEXT, "Armenia > Clergy")
    n = len(plain) - 1
    assert not np.allclose(within.vectors[-n:], plain.vectors[-n:], atol=1e-3)


def test_nothing_of_a_long_text_is_cut_off(encoder):
    embeddings = encoder.encode_passage(LONG, "Heading")
    assert_well_formed(embeddings, LONG)
    alone = encoder.encode_passage("Heading")
    assert embeddings.token_ids[:2].tolist() == alone.token_ids[:2].tolist()
    cited = embeddings.spans[embeddings.spans[:, 1] > 0]
    skipped = set(".,")
    expected = [
        tuple(span) for span in encoder.token_spans(LONG) if LONG[slice(*span)] not in skipped
    ]
    assert [tuple(span) for span in cited] == expected
    assert (embeddings.token_ids == 101).sum() == (embeddings.token_ids == 102).sum() == 1


def test_a_long_query_is_encoded_whole(encoder):
    embeddings = encoder.encode_query(LONG)
    assert embeddings.spans[-2].tolist() == [len(LONG) - 5, len(LONG) - 1]
    assert len(embeddings) > 400


def test_windows_agree_with_one_look_at_the_text(encoder):
    """A token's vector from its window is close to the one from a window that holds everything."""
    text = " ".join(LONG.split()[:230])
    whole = encoder.encode_passage(text)
    parts = Encoder(replace(encoder.checkpoint, max_tokens=200)).encode_passage(text)
    assert np.array_equal(whole.token_ids, parts.token_ids)
    cosines = (whole.vectors * parts.vectors).sum(axis=1)
    assert cosines.mean() > 0.9
    assert whole.pooled @ parts.pooled > 0.9


def test_a_text_that_just_fits_is_read_in_one_window(encoder):
    narrow = Encoder(replace(encoder.checkpoint, max_tokens=64))
    words = "stone " * 62
    whole = encoder.encode_passage(words)
    assert np.array_equal(narrow.encode_passage(words).vectors, whole.vectors)
    words += "stone"
    whole = encoder.encode_passage(words)
    assert not np.array_equal(narrow.encode_passage(words).vectors, whole.vectors)


def test_context_longer_than_the_window_leaves_room_for_the_text(encoder):
    embeddings = encoder.encode_passage(TEXT, LONG)
    plain = encoder.encode_passage(TEXT)
    assert (embeddings.spans[:, 1] > 0).sum() == (plain.spans[:, 1] > 0).sum()
    assert len(embeddings) < 512


@given(n_tokens=st.integers(0, 3000), room=st.integers(1, 300))
def test_windows_cover_and_own_each_token_once(n_tokens, room):
    windows = encoder_module._windows(n_tokens, room)
    assert windows[0].start == windows[0].owned_start == 0
    assert windows[-1].end == windows[-1].owned_end == n_tokens
    for window in windows:
        assert window.start <= window.owned_start <= window.owned_end <= window.end
        assert window.end - window.start <= room
    for left, right in pairwise(windows):
        assert left.owned_end == right.owned_start
        if room >= 8:
            assert left.end - right.start >= room // 4
            # Either side of the border has the same context, to within a token.
            assert abs((left.end - left.owned_end) - (right.owned_start - right.start)) <= 1


# Of every length up to three windows, with whatever has broken offsets in between.
QUERIES = st.lists(
    st.one_of(NASTY, st.integers(0, 1400).map(lambda length: LONG[:length])), min_size=1, max_size=9
)


def assert_same(one, other):
    assert one.vectors.tobytes() == other.vectors.tobytes()
    assert one.pooled.tobytes() == other.pooled.tobytes()
    assert np.array_equal(one.token_ids, other.token_ids)
    assert np.array_equal(one.spans, other.spans)


@settings(max_examples=60, deadline=None)
@given(texts=QUERIES, data=st.data())
def test_a_query_does_not_depend_on_those_it_is_encoded_with(encoder, texts, data):
    alone = [encoder.encode_query(text) for text in texts]
    order = data.draw(st.permutations(range(len(texts))))
    together = encoder.encode_queries([texts[place] for place in order])
    for place, embeddings in zip(order, together, strict=True):
        assert_same(embeddings, alone[place])
        assert_well_formed(embeddings, texts[place])


def test_many_queries_of_one_length_are_those_alone(encoder):
    texts = [f"how many stones are there in heap number {i}?" for i in range(40)]
    for text, embeddings in zip(texts, encoder.encode_queries(texts), strict=True):
        assert_same(embeddings, encoder.encode_query(text))


def test_padding_changes_a_query_by_no_more_than_rounding(encoder):
    for text in ("mill", TEXT, LONG[:900]):
        query, passage = encoder.encode_query(text), encoder.encode_passage(text)
        assert np.array_equal(query.token_ids, passage.token_ids)
        assert (query.vectors * passage.vectors).sum(axis=1).min() > 0.98


class Counting:
    """A session that notes the shapes it is run on."""

    def __init__(self, session):
        self.session, self.shapes = session, []

    def run(self, inputs):
        self.shapes.append(inputs["input_ids"].shape)
        return self.session.run(inputs)


def test_queries_of_about_one_length_take_one_run(monkeypatch):
    encoder = Encoder(load_checkpoint())
    session = Counting(encoder._model)
    monkeypatch.setattr(encoder, "_model", session)
    assert encoder.encode_queries([]) == []
    encoder.encode_queries(["one", "stone " * 9, "two stones", LONG, "three", "stone " * 8])
    assert session.shapes[-2:] == [(3, 4), (2, 12)]
    assert session.shapes[:-2] == [(1, 512)] * len(session.shapes[:-2])
    assert len(session.shapes) > 3


def test_a_model_that_is_not_marked_is_run_on_one_query_at_a_time(tmp_path, monkeypatch):
    """As all are that were exported before there was a mark, or by others."""
    shutil.copytree(load_checkpoint().directory, tmp_path / "copy")
    file = tmp_path / "copy/onnx/model_int8.onnx"
    content = file.read_bytes()
    mark = encoder_module.INDEPENDENT_ROWS.encode()
    assert content.count(mark) == 1
    file.write_bytes(content.replace(mark, mark.swapcase()))
    encoder = Encoder(load_checkpoint(tmp_path / "copy"))
    session = Counting(encoder._model)
    monkeypatch.setattr(encoder, "_model", session)
    texts = ["one", "two stones", "one"]
    for text, embeddings in zip(texts, encoder.encode_queries(texts), strict=True):
        assert_same(embeddings, encoder.encode_passage(text))
    assert session.shapes[:3] == [(1, 3), (1, 4), (1, 3)]


def test_no_room_for_text_is_an_error(encoder):
    tight = Encoder(replace(encoder.checkpoint, max_tokens=2))
    with pytest.raises(CheckpointError, match="takes 2 tokens"):
        tight.encode_passage("text")


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_passages_come_in_order_and_do_not_depend_on_each_other(encoder, threads):
    passages = [(LONG[: 37 * i], f"Heading {i}" if i % 3 else "") for i in range(30)]
    alone = [encoder.encode_passage(*passage) for passage in reversed(passages)][::-1]
    several = list(Encoder(encoder.checkpoint, threads=threads).encode_passages(iter(passages)))
    for one, other in zip(alone, several, strict=True):
        assert_same(one, other)


def test_passages_are_drawn_as_they_are_needed():
    drawn = []

    def passages():
        for i in range(1000):
            drawn.append(i)
            yield "word", ""

    stream = Encoder(load_checkpoint(), threads=2).encode_passages(passages())
    next(stream)
    stream.close()
    assert len(drawn) < 20


def test_an_error_among_the_passages_is_raised_and_ends_the_stream(encoder):
    def passages():
        yield "fine", ""
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(encoder.encode_passages(passages()))


def test_the_right_passage_scores_best(encoder):
    passages = [
        "The ONNX format stores a model as a graph of operators.",
        "Bread rises because yeast turns sugar into carbon dioxide.",
        "The battle of Hastings was fought in October 1066.",
    ]
    documents = list(encoder.encode_passages((passage, "") for passage in passages))
    for query, best in [("what makes dough rise", 1), ("year of Hastings", 2), ("onnx file", 0)]:
        vectors = encoder.encode_query(query).vectors
        scores = [(vectors @ document.vectors.T).max(axis=1).sum() for document in documents]
        assert int(np.argmax(scores)) == best


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("what is late interaction?", 1.0),
        ("the Donaudampfschifffahrt", 5.0),  # Donau ##da ##mp ##fs …, nine pieces
        ("ποταμός", 6.0),  # by letters; the last two are one piece
        ("the แม่น้ำ", 3.5),  # six characters of which none is known
        ("remove_files", 1.0),
        ("?", 0.0),
    ],
)
def test_pieces_per_word_tell_what_the_vocabulary_knows(encoder, text, pieces):
    assert encoder.pieces_per_word(text, encoder.encode_query(text)) == pieces


def test_token_spans_of_a_document_are_those_of_its_pieces_put_together(encoder, monkeypatch):
    whole = encoder.token_spans(LONG)
    monkeypatch.setattr(encoder_module, "_PIECE", 100)
    assert np.array_equal(encoder.token_spans(LONG), whole)


@given(text=NASTY, piece=st.integers(1, 20))
def test_pieces_tile_the_text(text, piece):
    size, encoder_module._PIECE = encoder_module._PIECE, piece
    try:
        pieces = list(encoder_module._pieces(text))
    finally:
        encoder_module._PIECE = size
    assert "".join(text[start:end] for start, end in pieces) == text
    assert all(0 < end - start <= piece for start, end in pieces)


def test_nothing_is_left_or_sent_behind_the_users_back(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    places = ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "XDG_CACHE_HOME")
    environment = {**os.environ, **dict.fromkeys(places, str(home))}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    program = (
        "from rag_tools import Document, Engine\n"
        f"with Engine.open({str(tmp_path / 'index')!r}, create=True) as engine:\n"
        "    engine.add([Document(uri='test:a', text='Nothing to report.')])\n"
        "    assert engine.search('report').results\n"
    )
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert list(home.iterdir()) == []
