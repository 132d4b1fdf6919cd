"""Verdicts on claims and confidence in searches: what they follow, and what they must not miss."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.cite.support import Evidence, assess, calibration, evidence
from rag_tools.engine import Engine
from rag_tools.evaluate.calibration import FOLDS, fit, held_out
from rag_tools.index.search import Signals
from rag_tools.types import Aligned, Citation, Document, Span, Support

BOILS = "Pure water boils at 100 °C when the air pressure is one atmosphere."


def quote(text: str, claim: str = "", similarity: float = 0.9, score: float = 0.9) -> Citation:
    """A citation whose alignment gives every word of the claim the same similarity."""
    edges = [
        Aligned(query_start=at, query_end=at + 1, start=0, end=1, similarity=similarity)
        for at in range(len(claim))
        if claim[at].isalnum()
    ]
    return Citation(
        document_id="d",
        document_sha256="",
        start=0,
        end=len(text),
        quote=text,
        score=score,
        alignment=tuple(edges),
    )


def words(spans: tuple[Span, ...], claim: str) -> list[str]:
    return [span.of(claim) for span in spans]


# --- claims against real documents ---------------------------------------------------------------


@pytest.mark.parametrize(
    "claim",
    [
        BOILS,
        "A honeybee that has found flowers dances on the comb.",
        "A sourdough starter holds wild yeast and lactic acid bacteria.",
        "Most coasts see two high tides a day.",
        "In winter bees form a cluster and shiver to keep their queen warm.",
    ],
)
def test_what_a_document_says_is_supported(claim: str, engine: Engine):
    support = engine.cite(claim)
    assert support.verdict == "supported", support.score
    assert support.calibrated
    assert support.uncovered == ()
    assert support.citations


@pytest.mark.parametrize(
    ("claim", "changed"),
    [
        ("Pure water boils at 130 °C when the air pressure is one atmosphere.", "130"),
        ("Bake the loaf at 480 degrees with steam for the first fifteen minutes.", "480"),
        ("On the summit of a mountain of 7,500 metres water boils at about 87 °C.", "7,500"),
    ],
)
def test_a_number_that_no_quote_has_isnt_supported(claim: str, changed: str, engine: Engine):
    support = engine.cite(claim)
    assert support.verdict != "supported", support.score
    assert changed in " ".join(words(support.uncovered, claim))


@pytest.mark.parametrize(
    "claim",
    [
        "The Treaty of Westphalia ended the Thirty Years' War.",
        "Interest rates were raised by the central bank in autumn.",
        "Hamlet was written by William Shakespeare.",
        "The goalkeeper saved a penalty in the last minute.",
    ],
)
def test_what_no_document_speaks_of_is_unsupported(claim: str, engine: Engine):
    support = engine.cite(claim)
    assert support.verdict == "unsupported", support.score
    assert support.uncovered


def test_a_claim_against_an_empty_index(tmp_path: Path):
    with Engine.open(tmp_path, create=True) as engine:
        support = engine.cite(BOILS)
        assert (support.score, support.verdict, support.citations) == (0.0, "unsupported", ())
        found = engine.search(BOILS)
        assert (found.confidence, found.low_confidence) == (None, False)


def test_alignments_come_on_demand_and_change_nothing(engine: Engine):
    plain, explained = engine.cite(BOILS), engine.cite(BOILS, explain=True)
    assert all(each.alignment is None for each in plain.citations)
    assert all(each.alignment for each in explained.citations)
    assert explained.unaligned() == plain


def test_support_survives_json(engine: Engine):
    support = engine.cite("Bake the loaf at 480 degrees.")
    read = json.loads(support.model_dump_json())
    assert Support.model_validate(read) == support
    assert [list(span) for span in support.uncovered] == read["uncovered"]


def test_other_settings_are_said_to_be_uncalibrated(tmp_path: Path, index_dir: Path):
    with Engine.open(tmp_path / "index", create=True, bits=2) as engine:
        engine.add([Document(text=BOILS, uri="kettle")])
        support = engine.cite(BOILS)
        assert not support.calibrated
        assert support.score > engine.cite("Hamlet was written by Shakespeare.").score
        assert engine.search(BOILS).confidence is None
    with Engine.open(index_dir, signals=Signals(pooled=0.0)) as engine:
        assert engine.search(BOILS).confidence is None


# --- the parts of a claim ------------------------------------------------------------------------


def test_covered_and_uncovered_words():
    claim = "In 1973 the oil price rose to 12 dollars in Vienna"
    text = "The price of oil had risen to $12 by 1973."
    support = assess(claim, [quote(text, claim, similarity=0.2)], calibrated=True)
    assert words(support.covered, claim) == ["1973 the oil price", "12"]
    assert words(support.uncovered, claim) == ["rose", "dollars in Vienna"]
    # Close words will do, but for a name: none is close to another.
    close = assess(claim, [quote(text, claim, similarity=0.9)], calibrated=True)
    assert words(close.uncovered, claim) == ["Vienna"]


def test_a_number_is_covered_by_itself_alone():
    for said, is_there in (("1,000", True), ("1000", True), ("1000s", True), ("10", False)):
        claim = f"There are {said} of them"
        found = evidence(claim, [quote("There are 1,000 of them", claim)])
        assert (found.numbers == 0) is is_there, said


def test_a_number_says_more_the_more_of_the_rest_is_there():
    claim = "Water boils at 100 degrees in the kettle"
    near = evidence(claim, [quote("Water boils at 130 degrees in the kettle", claim)])
    far = evidence(claim, [quote("Tea is made at 130 degrees", claim)])
    none = evidence(claim, [quote("Water in the kettle boils at 100 degrees", claim)])
    assert near.other_number > far.other_number > none.other_number == 0


def test_evidence_falls_with_what_is_missing():
    said = quote("The Broncos beat the Panthers", "The Broncos beat the Lions")
    right = evidence("The Broncos beat the Panthers", [said])
    wrong = evidence("The Broncos beat the Lions", [said])
    assert right.words == 1 > wrong.words
    assert right.names == 0 < wrong.names


@given(
    st.text("aB1 .,'’:?!\n水🗝️é", max_size=40),
    st.text("aB1 .,'’:?!\n水🗝️é", max_size=40),
    st.floats(-1, 1, width=32),
)
def test_spans_lie_in_the_claim_in_order_and_apart(claim: str, text: str, similarity: float):
    citations = [quote(text, claim, similarity)] if text else []
    support = assess(claim, citations, calibrated=True)
    spans = sorted([*support.covered, *support.uncovered])
    assert all(0 <= start < end <= len(claim) for start, end in spans)
    assert all(before.end <= after.start for before, after in itertools.pairwise(spans))
    assert 0 <= support.score <= 1
    if any(character.isalnum() for character in claim):
        assert spans


# --- confidence ----------------------------------------------------------------------------------


def test_a_question_that_is_answered_and_one_that_is_not(engine: Engine):
    answered = engine.search("At what temperature does pure water boil at one atmosphere?")
    foreign = engine.search("Who wrote the opera about the barber of Seville?")
    assert answered.confidence is not None
    assert foreign.confidence is not None
    assert answered.confidence > 0.5 > foreign.confidence
    assert (answered.low_confidence, foreign.low_confidence) == (False, True)


def test_confidence_depends_on_the_documents_that_may_be_found_alone(engine: Engine):
    question = "How do bees tell the distance of flowers?"
    few, many = (engine.search(question, limit=limit) for limit in (1, 10))
    assert few.confidence == many.confidence
    assert not few.low_confidence
    assert engine.search(question, filter={"path": "*.py"}).low_confidence


# --- the calibration -----------------------------------------------------------------------------


def test_the_bundled_checkpoint_is_calibrated(engine: Engine):
    assert engine.search(BOILS).confidence is not None
    fitted = calibration()
    assert fitted.support.measured["auroc"] >= 0.8
    assert fitted.support.measured["ece"] <= 0.05
    assert fitted.partial < fitted.supported


def test_the_signs_of_the_weights_are_those_of_sense():
    weights = calibration().support.weights
    assert set(weights) == set(Evidence._fields)
    assert weights["best"] > 0
    assert weights["words"] > 0
    assert weights["other_number"] < 0 > weights["other_name"]


def test_a_fit_finds_the_weights_that_made_the_labels():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20_000, 2)) * [1.0, 10.0]
    chance = 1 / (1 + np.exp(-(0.5 + features @ [1.5, -0.2])))
    labels = rng.random(len(features)) < chance
    model = fit(features, labels, np.ones(len(features)))
    assert model.intercept == pytest.approx(0.5, abs=0.08)
    assert model.weights == pytest.approx([1.5, -0.2], abs=0.08)


def test_no_case_is_scored_by_a_model_that_saw_its_group():
    # Each group's feature tells its label and nothing else: what wasn't seen can't be known.
    groups = [str(number // 2) for number in range(8 * FOLDS)]
    labels = np.array([int(group) % 2 == 0 for group in groups])
    features = np.eye(4 * FOLDS)[[int(group) for group in groups]]
    scores = held_out(features, labels, np.ones(len(labels)), groups)
    assert np.abs(scores - 0.5).max() < 0.2


@pytest.mark.parametrize(
    ("claim", "says"),
    [
        ("Never use vinegar: it damages the seals.", True),
        ("  IT DAMAGES the seals ", True),
        ("Vinegar never damages the seals.", False),
        ("it damages the seal", False),
        ("!", False),
    ],
)
def test_what_a_quote_says_word_for_word_is_supported(claim: str, says: bool):
    cited = quote("Never use vinegar:\nit damages the seals.", score=0.3)
    found = assess(claim, [cited], calibrated=True)
    assert (found.score == 1.0 and found.verdict == "supported") == says
