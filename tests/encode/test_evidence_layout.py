"""The evidence model's input: which tokens a row has, and where they stand in the passage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.encode.checkpoint import BUNDLED
from rag_tools.errors import CheckpointError
from rag_tools.evidence.layout import CONTEXT_TOKENS, QUERY_TOKENS, Composer, owners
from rag_tools.evidence.model import EvidenceModel, load_tokenizer

TEXT = st.text(st.sampled_from("abc déß漢 \n|-.:,5?"), max_size=900)


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer(load_tokenizer(BUNDLED), 144)


def rows(composer, query, context, passage):
    return list(composer.lay_out(*map(composer.pieces, (query, context, passage))))


def test_a_row_is_question_context_and_passage_between_markers(composer):
    tokenizer = load_tokenizer(BUNDLED)
    (row,) = rows(composer, "How long?", "Guide > Limits", "Two days. Then it stops.")
    words = [tokenizer.id_to_token(number) for number in row.ids]
    assert words == [
        *("[CLS]", "how", "long", "?", "[SEP]"),
        *("guide", ">", "limits"),
        *("two", "days", ".", "then", "it", "stops", ".", "[SEP]"),
    ]
    assert row.segments.tolist() == [0] * 5 + [1] * 11
    assert row.first == 8
    told = ["Two days. Then it stops."[start:end] for start, end in row.spans]
    assert told == ["Two", "days", ".", "Then", "it", "stops", "."]


@given(query=TEXT, context=TEXT, passage=TEXT)
def test_each_token_of_the_passage_is_in_one_row_and_rows_fit(composer, query, context, passage):
    pieces = composer.pieces(passage)
    found = rows(composer, query, context, passage)
    assert all(len(row.ids) <= 144 and len(row.ids) == len(row.segments) for row in found)
    assert np.array_equal(np.concatenate([row.spans for row in found]), pieces.spans)
    told = [row.ids[row.first : row.first + len(row.spans)] for row in found]
    assert np.array_equal(np.concatenate(told), pieces.ids)
    spans = pieces.spans
    assert (spans[:, 0] <= spans[:, 1]).all()
    assert len(spans) == 0 or spans.max() <= len(passage)


def test_a_long_question_is_cut_and_of_a_long_path_the_end_is_kept(composer):
    (row,) = rows(composer, "a " * 500, "x " * 500 + "last", "b")
    lead = int((row.segments == 0).sum())
    assert lead == QUERY_TOKENS + 2
    assert row.first == lead + CONTEXT_TOKENS
    assert row.ids[row.first - 1] == composer.pieces("last").ids[0]


@given(st.data())
def test_a_token_belongs_to_the_unit_that_it_starts_in(data):
    borders = data.draw(st.lists(st.integers(0, 60), max_size=12, unique=True).map(sorted))
    units = np.array(borders[: len(borders) // 2 * 2], np.int32).reshape(-1, 2)
    starts = sorted(data.draw(st.lists(st.integers(0, 60), max_size=20)))
    spans = np.array(
        [(start, start + data.draw(st.integers(0, 3))) for start in starts], np.int32
    ).reshape(-1, 2)
    expected = [
        next((i for i, (a, b) in enumerate(units) if a <= start < b and end > start), -1)
        for start, end in spans.tolist()
    ]
    assert owners(spans, units).tolist() == expected


def test_too_few_tokens_are_refused():
    with pytest.raises(ValueError, match="at least"):
        Composer(load_tokenizer(BUNDLED), 64)


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="train-evidence"):
        EvidenceModel(tmp_path)
    (tmp_path / "evidence.json").write_text('{"max_tokens": 256}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="tokenizer"):
        EvidenceModel(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((BUNDLED / "tokenizer.json").read_bytes())
    with pytest.raises(CheckpointError, match="ONNX"):
        EvidenceModel(tmp_path)
