"""The everyday set: what its files promise, and that its measure counts what the README says."""

import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from rag_tools import Engine

FOLDER = Path(__file__).parents[2] / "benchmarks" / "everyday"


@pytest.fixture(autouse=True)
def modules(monkeypatch):
    """The programs of the folder import each other by bare names, as scripts do."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_questions_are_balanced():
    corpus = import_module("corpus")
    questions = corpus.read("questions.jsonl")
    assert Counter(each["kind"] for each in questions) == dict.fromkeys(corpus.KINDS, 25)
    fit = Counter(each["kind"] for each in questions if each["split"] == "fit")
    assert fit == dict.fromkeys(corpus.KINDS, 15)
    assert Counter(each["split"] for each in questions) == {"fit": 120, "check": 80}
    unanswerable = corpus.read("unanswerable.jsonl")
    assert Counter(each["split"] for each in unanswerable) == {"fit": 20, "check": 20}
    assert {each["split"] for each in corpus.read("reserve.jsonl")} == {"reserve"}


def test_claims_are_balanced():
    corpus = import_module("corpus")
    classes = Counter(each["class"] for each in corpus.read("claims.jsonl"))
    wrong = dict.fromkeys((*corpus.WRONG_BY_VALUE, *corpus.WRONG_BY_SENSE), 25)
    assert classes == {"true": 100, **wrong}


def test_entries_are_of_documents_in_the_manifest():
    corpus = import_module("corpus")
    documents = {
        f"{package}/{each['name']}"
        for package, entry in corpus.manifest().items()
        for each in entry["documents"]
    }
    names = ("questions.jsonl", "reserve.jsonl", "claims.jsonl")
    entries = [entry for name in names for entry in corpus.read(name)]
    assert {entry["document"] for entry in entries} <= documents
    assert all(unit.strip() for entry in entries for unit in entry["gold"])
    assert all(entry["gold"] for entry in entries)


def test_nothing_is_asked_twice():
    corpus = import_module("corpus")
    names = ("questions.jsonl", "reserve.jsonl", "unanswerable.jsonl", "claims.jsonl")
    entries = [entry for name in names for entry in corpus.read(name)]
    texts = [entry.get("question") or entry["claim"] for entry in entries]
    assert len(set(texts)) == len(texts)
    assert len({entry["id"] for entry in entries}) == len(entries)


def test_the_files_stay_small():
    data = [*FOLDER.glob("*.jsonl"), FOLDER / "manifest.json"]
    assert sum(path.stat().st_size for path in data) <= 400_000


def test_units_are_found_however_white_space_and_cells_are_set():
    text = import_module("corpus").Text("Keys ¶\n\nq\t| quit  the\nprogram\nq | quit the program")
    first, second = text.locate("q quit the program")
    assert text.text[slice(*first)] == "q\t| quit  the\nprogram"
    assert text.text[slice(*second)] == "q | quit the program"
    assert text.locate("quit a program") == []


def test_a_quote_must_hold_most_of_a_unit_and_not_much_more():
    quotes = import_module("score").quotes
    unit = "The default is ten seconds."
    text = import_module("corpus").Text(f"{'Before it. ' * 9}{unit}{' After it.' * 9}")
    start = text.text.index(unit)
    end = start + len(unit)
    assert quotes(text, [unit], start, end)
    assert quotes(text, [unit], start, end - 4)
    assert not quotes(text, [unit], start, end - 8)
    assert quotes(text, [unit], start - 44, end + 40)
    assert not quotes(text, [unit], start - 44, end + 50)
    assert quotes(text, ["is not there", unit], start, end)


def test_a_passage_may_be_as_long_as_it_likes():
    holds = import_module("score").holds
    text = import_module("corpus").Text("Much else. " * 50 + "The port is 8080.")
    assert holds(text, ["The port is 8080."], 0, len(text.text))
    assert not holds(text, ["The port is 8080."], 0, len(text.text) - 10)


def test_auroc_counts_ties_as_half():
    auroc = import_module("score").auroc
    assert auroc([3, 2], [1, 0]) == 1
    assert auroc([1, 1], [1, 1]) == 0.5
    assert auroc([2, 0], [1]) == 0.5


def test_mcnemar_is_exact():
    mcnemar = import_module("score").mcnemar
    assert mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(3, 3) == 1
    assert mcnemar(0, 0) == 1


def test_a_difference_has_an_interval_around_it():
    difference = import_module("score").difference
    mean, low, high = difference([(0, 1)] * 20 + [(1, 1)] * 70 + [(1, 0)] * 10)
    assert mean == pytest.approx(0.1)
    assert 0 <= low < mean < high <= 0.25


def test_a_run_on_real_documents(tmp_path):
    corpus = tmp_path / "corpus"
    (corpus / "pump").mkdir(parents=True)
    rule = "The pump stops by itself after forty minutes without water."
    (corpus / "pump" / "manual.txt").write_text(
        f"The pump is yellow and weighs nine kilograms.\n\n{rule}\n\nClean the filter every week.\n"
    )
    (corpus / "pump" / "other.txt").write_text("Bread is baked at 240 degrees for half an hour.\n")
    run_of = import_module("measure")._Run
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.sync([corpus])
        run = run_of(engine, corpus, baselines=True)
        question = {"id": "q", "kind": "prose", "gold": [rule]}
        asked = run.asked(question | {"question": "When does the pump stop without water?"})
        elsewhere = run.asked(question | {"question": "At how many degrees is bread baked?"})
        claim = {"id": "c", "class": "true", "claim": rule, "gold": [rule]}
        claimed = run.claimed(claim)
    assert asked["quoted"] == "pump/manual.txt"
    assert asked["first"]
    assert asked["passage"]
    assert asked["bm25"]
    assert not elsewhere["first"]
    assert not elsewhere["bm25"]
    assert claimed["supported"]
    assert claimed["quoted"]


def test_two_reports_are_compared_on_what_both_asked():
    compared = import_module("report").compared

    def report(first):
        keys = dict.fromkeys(("three", "cite", "passage", "five", "low"), True)
        questions = [{"id": f"q{i}", "kind": "faq", "first": i < first, **keys} for i in range(10)]
        return {
            "date": "2026-11-30", "commit": "abc", "split": "all",
            "questions": questions, "unanswerable": [], "claims": [],
        }  # fmt: skip

    old = report(2)
    old["questions"] = old["questions"][:8]
    line = next(
        line for line in compared(old, report(8)).split("\n") if "first quote right" in line
    )
    assert "| 8 | 0.250 | 1.000 | +0.750" in line
    assert "| 6 / 0 |" in line


def test_the_confidence_is_fitted_to_other_packages():
    corpus = import_module("corpus")
    asked = corpus.read("confidence.jsonl")
    fitted = corpus.manifest("confidence.json")
    assert {each["subject"] for each in asked} == fitted.keys()
    assert not fitted.keys() & corpus.manifest().keys()
    measured = corpus.read("questions.jsonl") + corpus.read("unanswerable.jsonl")
    assert not {each["question"] for each in asked} & {each["question"] for each in measured}
    assert Counter(each["answered"] for each in asked) == {True: 125, False: 97}
