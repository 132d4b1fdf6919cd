"""To a caller, what they may not read does not exist: in no result, score, count or message."""

from __future__ import annotations

import asyncio
import copy
import pickle
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hiding import (
    CLAIMS,
    LABELS,
    PRINCIPALS,
    QUERIES,
    TEXTS,
    labelled,
    make_base,
    make_pair,
    outcome,
)
from hiding import documents as labelled_documents
from rag_tools import Document, Engine
from rag_tools.errors import AccessError, NotFoundError
from rag_tools.index.search import EFFORTS, Effort
from rag_tools.types import AccessRules, Citation, Principal

SEVERAL = settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ANA = Principal(user="ana", groups=["ops"])
SALARY = "The salary of the director is 412,000 euros."
# Every hidden document is one that a stranger's search would find.
SECRETS = {name: ("board",) for name in ("note01", "note03", "note05", "note07", "note08")}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("access") / "base")


def doors(engine: Engine) -> dict[str, Any]:
    """What a caller in Python can learn from an index, by the door."""
    told: dict[str, Any] = {}
    for query in QUERIES:
        told[f"search {query}"] = engine.search(query, limit=7)
    told["exact"] = engine.search(QUERIES[1], quality="exact", explain=True, limit=3)
    told["fast"] = engine.search(QUERIES[2], quality="fast", cite=False)
    told["filter"] = engine.search(QUERIES[2], filter={"half": "odd"}, cite=False)
    told["facets"] = engine.search(QUERIES[1], facets=["half"], cite=False).facets
    told["fields"] = engine.fields.list()
    told["not"] = list(engine.documents(filter={"not": {"half": "odd"}}))
    told["unknown"] = outcome(lambda: engine.search(QUERIES[0], filter={"halff": "odd"}))
    told["one"] = engine.search(QUERIES[0], filter={"document_id": list(TEXTS)[:4]})
    told["batch"] = engine.search_batch(QUERIES, limit=2, cite=False)
    told["asearch"] = asyncio.run(engine.asearch(QUERIES[1]))
    for claim in CLAIMS:
        told[f"cite {claim}"] = engine.cite(claim)
    told["answer"] = engine.cite_answer(CLAIMS[1])
    told["quotations"] = engine.verify_answer(f'It says "{SALARY}".')
    for document in labelled_documents({}):
        id, quote = document.id, document.text.splitlines()[2]
        citation = Citation(
            document_id=id,
            document_sha256=document.sha256,
            start=document.text.index(quote),
            end=document.text.index(quote) + len(quote),
            quote=quote,
        )
        told[f"verify {id}"] = engine.verify(citation)
        elsewhere = citation.model_copy(update={"document_id": "of another index"})
        told[f"verify the text of {id}"] = engine.verify(elsewhere)
        told[f"fetch {id}"] = outcome(lambda id=id: engine.fetch(id))
        told[f"range of {id}"] = outcome(lambda id=id: engine.fetch(id, start=0, end=10**6))
        told[f"passage of {id}"] = outcome(lambda id=id: engine.fetch(f"{id}:0-10"))
        told[f"document {id}"] = outcome(lambda id=id: engine.document(id))
    told["documents"] = list(engine.documents())
    told["filtered"] = list(engine.documents(filter={"half": "odd"}, after="note02"))
    for text in ("", "note0", "note03", "of the board", "K"):
        told[f"ids {text}"] = engine.document_ids(text, limit=5)
        told[f"ids only {text}"] = engine.document_ids(text, limit=5, titles=False)
    told["versions"] = engine.versions()
    told["status"] = engine.status().model_copy(update={"index": ""})
    told["check"] = outcome(engine.check)
    return told


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for door, told in one.items():
        assert told == other[door], door


@SEVERAL
@example(dict.fromkeys(TEXTS, ()) | SECRETS, ANA, False)
@given(labelled(), PRINCIPALS, st.booleans())
def test_no_door_in_python_tells_of_what_may_not_be_read(
    base, tmp_path, labels, principal, default_deny
):
    with_them, without, hidden = make_pair(
        base, tmp_path / "pair", labels, principal, default_deny=default_deny
    )
    with Engine.open(with_them, principal=principal) as one, Engine.open(without) as other:
        seen = doors(one)
        assert_same(seen, doors(other.as_(principal)))
    assert {entry.id for entry in seen["documents"]} == set(TEXTS) - hidden


def test_nor_does_a_search_that_looks_at_some_cells_only(base, tmp_path, monkeypatch):
    small = {quality: Effort(scanned=0, reach=1.0, refined=4) for quality in EFFORTS}
    monkeypatch.setattr("rag_tools.searcher.EFFORTS", small)
    with_them, without, _ = make_pair(base, tmp_path / "pair", SECRETS, ANA, default_deny=False)
    with Engine.open(with_them) as one, Engine.open(without) as other:
        for query in QUERIES:
            found = one.as_(ANA).search(query, limit=3)
            assert found.results
            assert found == other.as_(ANA).search(query, limit=3)


def test_the_test_would_notice(base, tmp_path):
    """Without a principal, both indexes differ at most of these doors."""
    with_them, without, _ = make_pair(base, tmp_path / "pair", SECRETS, ANA, default_deny=False)
    with Engine.open(with_them) as one, Engine.open(without) as other:
        here, there = doors(one), doors(other)
    same = {door for door, told in here.items() if told == there[door]}
    assert not {"documents", "versions", "status", "batch", "answer"} & same
    assert not {door for door in same if door.startswith(("search", "cite"))}
    assert not {f"fetch {id}" for id in SECRETS} & same


def test_scores_are_those_of_an_index_of_what_may_be_read(base, tmp_path):
    """Of the same search without a principal, where everything may be read."""
    labels = {"note00": ("ops",), "note04": ("user:ana",)}
    everything, _, hidden = make_pair(base, tmp_path / "pair", labels, ANA, default_deny=False)
    assert not hidden
    with Engine.open(everything) as engine:
        # Tombstones count for how common a word is until the segment is merged; there are none.
        assert engine.status().tombstones == 0
        for query in (*QUERIES, "tides " * 80, "\u0301", "note_01 02:30"):
            whole = engine.search(query, limit=10)
            seen = engine.as_(ANA).search(query, limit=10)
            assert [hit.id for hit in seen.results] == [hit.id for hit in whole.results]
            for one, other in zip(seen.results, whole.results, strict=True):
                assert one.score == pytest.approx(other.score, abs=2e-6)


@SEVERAL
@given(st.lists(st.tuples(st.sampled_from(list(TEXTS)), LABELS), min_size=1, max_size=6))
def test_a_change_of_labels_counts_from_its_commit_on(base, tmp_path, changes):
    directory = make_pair(base, tmp_path / "pair", {}, ANA, default_deny=False)[0]
    current: dict[str, tuple[str, ...]] = {}
    with Engine.open(directory) as reader, Engine.open(directory) as writer:
        seen = reader.as_(ANA)
        for name, labels in changes:
            current[name] = labels
            (document,) = (each for each in labelled_documents(current) if each.id == name)
            writer.add([document])
            readable = {
                id for id in TEXTS if not current.get(id) or ANA.admitted(current.get(id, ()))
            }
            assert {entry.id for entry in seen.documents()} == readable
            found = seen.search(TEXTS[name], limit=10).results
            assert {hit.document_id for hit in found} <= readable
            assert (name in readable) == (
                name
                in {hit.document_id for hit in found}
                | {copy.id.partition(":")[0] for hit in found for copy in hit.also_in}
            )


def test_changes_are_told_only_of_what_may_be_read(base, tmp_path):
    directory = make_pair(base, tmp_path / "pair", {}, ANA, default_deny=False)[0]
    with Engine.open(directory) as engine:
        seen = engine.as_(ANA)
        first = seen.versions()
        engine.add([Document(uri="notes:x", id="x", text="The merger is on.\n", labels=["board"])])
        assert seen.versions(first) is first
        engine.add([Document(uri="notes:y", id="y", text="The merger is off.\n", labels=["ops"])])
        second = seen.versions(first)
        assert second.keys.keys() - first.keys.keys() == {"y"}
        engine.delete(["x"])
        assert seen.versions(second) is second
        engine.add([Document(uri="notes:y", id="y", text="The merger is on.\n", labels=["ops"])])
        third = seen.versions(second)
        assert {id for id in third.keys if third.keys[id] != second.keys[id]} == {"y"}
        assert third.generation > second.generation > first.generation


def test_a_view_can_only_read_and_stays_that_of_its_caller(base, tmp_path):
    directory = make_pair(base, tmp_path / "pair", SECRETS, ANA, default_deny=False)[0]
    with Engine.open(directory) as engine:
        seen = engine.as_(ANA)
        for change in (
            lambda: seen.add(labelled_documents({})),
            lambda: seen.delete(["note00"]),
            lambda: seen.sync([tmp_path]),
            seen.check,
            lambda: seen.as_(Principal(groups=["board"])),
        ):
            with pytest.raises(AccessError):
                change()
        assert seen.as_(ANA).status().documents == 5
        for copied in (copy.copy(seen), pickle.loads(pickle.dumps(seen))):
            with copied, pytest.raises(NotFoundError):
                copied.fetch("note03")
        seen.close()
        assert engine.search(QUERIES[0]).results, "what is shared stays open"


def test_what_no_caller_may_read_is_the_owners(base, tmp_path):
    directory = make_pair(base, tmp_path / "pair", {}, ANA, default_deny=True)[0]
    with Engine.open(directory) as engine:
        assert engine.status().documents == len(TEXTS)
        assert engine.as_(ANA).status().documents == 0
        assert engine.as_(ANA).search(QUERIES[0]).results == ()
        engine.sync(access=AccessRules(default_deny=False))
        assert engine.as_(ANA).status().documents == len(TEXTS)
