"""Verdicts on a fixed set of claims, true ones and each way of being wrong: the shares promised."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from rag_tools.engine import Engine
from rag_tools.types import Document, Support

SET = Path(__file__).parents[1] / "data" / "verdicts.txt"
FACTS = ("wrong number", "wrong unit", "wrong date", "wrong name")
SENSES = ("negated", "opposite", "turned")


def read() -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the documents by name and the claims by kind."""
    documents: dict[str, str] = {}
    claims: dict[str, list[str]] = defaultdict(list)
    place = ""
    for line in SET.read_text(encoding="utf-8").splitlines()[3:]:
        if line.startswith(("# ", "= ")):
            place = line
        elif line and place.startswith("#"):
            documents[place[2:]] = line
        elif line:
            claims[place[2:]].append(line)
    return documents, claims


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Support]]:
    documents, claims = read()
    with Engine.open(tmp_path_factory.mktemp("verdicts"), create=True) as engine:
        engine.add([Document(text=text, uri=name) for name, text in documents.items()])
        return {kind: [engine.cite(claim) for claim in made] for kind, made in claims.items()}


def share(supports: list[Support]) -> float:
    return sum(support.verdict == "supported" for support in supports) / len(supports)


def wrongly_supported(supports: list[Support]) -> list[str]:
    return [support.claim for support in supports if support.verdict == "supported"]


def test_most_of_what_is_true_is_supported(judged: dict[str, list[Support]]):
    missed = [(each.claim, each.score, each.conflicts) for each in judged["true"]]
    assert share(judged["true"]) >= 0.75, missed


def test_no_other_number_unit_date_or_name_is_supported(judged: dict[str, list[Support]]):
    supports = [support for kind in FACTS for support in judged[kind]]
    assert share(supports) <= 0.02, wrongly_supported(supports)


@pytest.mark.parametrize("kind", SENSES)
def test_few_claims_of_another_sense_are_supported(kind: str, judged: dict[str, list[Support]]):
    assert share(judged[kind]) <= 0.25, wrongly_supported(judged[kind])


def test_what_is_in_conflict_is_named_and_uncovered(judged: dict[str, list[Support]]):
    for support in (support for kind in FACTS for support in judged[kind]):
        facts = [each for each in support.conflicts if each.kind != "sense"]
        assert facts or support.verdict != "supported"
        for each in facts:
            named = support.claim[each.start : each.end]
            assert any(each.start < end and start < each.end for start, end in support.uncovered), (
                support.claim,
                named,
            )
            assert not any(start <= each.start < end for start, end in support.covered)
