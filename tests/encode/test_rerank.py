"""MaxSim over texts that aren't indexed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_tools.encode.checkpoint import load_checkpoint
from rag_tools.encode.encoder import Encoder
from rag_tools.errors import InvalidQueryError
from rag_tools.rerank import quote_json, rerank

TEXTS = [
    "Sourdough is fed with flour and water. 🥖",
    "Bees dance. The angle of the dance tells where the flowers are. They sleep at night.",
    "The sea bulges on both sides of the Earth.",
    "",
    "Sourdough is fed with flour and water. 🥖",
]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(load_checkpoint())


def test_the_text_that_answers_comes_first_with_its_quote(encoder: Encoder):
    best, *others = rerank(encoder, "how do bees say where flowers are?", TEXTS)
    assert best.position == 1
    assert best.quotes[0].span.of(TEXTS[1]) == "The angle of the dance tells where the flowers are."
    assert sorted(item.position for item in others) == [0, 2, 3, 4]
    assert all(item.score < best.score for item in others)


def test_the_score_is_the_mean_of_the_best_similarities(encoder: Encoder):
    query = encoder.encode_query("bees").vectors
    for item in rerank(encoder, "bees", TEXTS):
        passage = encoder.encode_passage(TEXTS[item.position]).vectors
        assert item.score == pytest.approx(np.mean(np.max(query @ passage.T, axis=1)), abs=1e-5)


def test_equal_texts_keep_their_order_and_score_alike_in_any_company(encoder: Encoder):
    ranked = {item.position: item for item in rerank(encoder, "feeding dough", TEXTS)}
    order = [item.position for item in rerank(encoder, "feeding dough", TEXTS)]
    assert order.index(0) < order.index(4)
    assert ranked[0].score == ranked[4].score
    (alone,) = rerank(encoder, "feeding dough", TEXTS[2:3])
    assert alone.score == ranked[2].score


def test_a_text_without_words_ranks_and_quotes_nothing(encoder: Encoder):
    (item,) = rerank(encoder, "anything", [""])
    assert item.quotes == ()
    assert rerank(encoder, "anything", []) == []


@pytest.mark.parametrize("query", ["", " \n"])
def test_a_blank_query_is_refused(encoder: Encoder, query: str):
    with pytest.raises(InvalidQueryError, match="empty"):
        rerank(encoder, query, TEXTS)


@settings(max_examples=30, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=200))
def test_every_quote_is_a_range_of_its_text(encoder: Encoder, text: str):
    (item,) = rerank(encoder, "what does it say?", [text])
    for quote in item.quotes:
        found = quote_json(quote, text)
        assert found["quote"] and text[found["start"] : found["end"]] == found["quote"]
