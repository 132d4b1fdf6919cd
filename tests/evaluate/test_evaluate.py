"""Measuring retrieval: the command, and runs that are compared with plain loops."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from rag_tools.cli.main import app
from rag_tools.encode.checkpoint import BUNDLED, load_checkpoint
from rag_tools.encode.encoder import Encoder
from rag_tools.engine import Engine
from rag_tools.errors import ConfigurationError, InvalidQueryError
from rag_tools.evaluate import exhaustive
from rag_tools.evaluate.dataset import Dataset, read
from rag_tools.evaluate.exhaustive import encode, pool, run_dense, run_maxsim
from rag_tools.evaluate.measures import DEPTH, MEASURES, measure
from rag_tools.evaluate.retrieve import index_dataset, run_bm25, run_engine, stored_pooled
from rag_tools.evaluate.systems import Plan
from rag_tools.index.search import Signals

DOCUMENTS = {
    "water": "Water boils at 100 °C at sea level, and at 87 °C on a high mountain.",
    "tides": "The Moon pulls on the sea, so most coasts see two high tides a day.",
    "bees": "A honeybee that has found flowers dances on the comb. " * 12
    + "In winter the bees form a cluster and shiver to keep the queen warm. " * 12,
    "bread": "Bake the loaf at 240 degrees with steam for the first fifteen minutes.",
    "empty": "",
}
QUERIES = {
    "q1": "at what temperature does water boil in the mountains?",
    "q2": "why are there two tides a day?",
    "q3": "how do bees survive the winter?",
    "q4": "how hot must the oven be?",
}
QRELS = {"q1": {"water": 1}, "q2": {"tides": 2, "water": 1}, "q3": {"bees": 1}, "q4": {"bread": 1}}
ROOT = Path(__file__).parents[2]
ALONE = Signals(idf=0, pooled=0, lexical=0)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset("small", "test", DOCUMENTS, QUERIES, QRELS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The data set in BEIR layout, in a folder of its own in a folder of data sets."""
    folder = tmp_path_factory.mktemp("data") / "small"
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", DOCUMENTS), ("queries", QUERIES)):
        lines = (json.dumps({"_id": id, "text": text}) + "\n" for id, text in texts.items())
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    rows = (f"{q}\t{d}\t{grade}\n" for q, grades in QRELS.items() for d, grade in grades.items())
    (folder / "qrels" / "test.tsv").write_text("".join(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(load_checkpoint())


@pytest.fixture(scope="module")
def passages(dataset, encoder):
    return encode(dataset, encoder)


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def loaded(*arguments: object) -> dict:
    result = evaluate(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    (line,) = result.stdout.splitlines()
    return json.loads(line)


def test_the_json_of_a_compressed_index(folder):
    found = loaded(folder)
    assert (found["dataset"], found["split"]) == ("small", "test")
    assert (found["documents"], found["queries"]) == (5, 4)
    checkpoint = {"name": "bundled", "fingerprint": load_checkpoint().fingerprint}
    assert found["checkpoint"] == found["base"] == checkpoint
    assert found["scoring"] == {
        "index": "compressed",
        "bits": 4,
        "dim": 128,
        "quality": "balanced",
        "signals": {"idf": 0.5, "pooled": 0.7, "lexical": 0.4},
    }
    assert list(found["measures"]) == list(MEASURES)
    assert set(found["baselines"]) == {"bm25", "dense"}
    for name, value in found["measures"].items():
        low, high = found["intervals"][name]
        assert 0 <= low <= value <= high <= 1
        assert all(0 <= baseline[name] <= 1 for baseline in found["baselines"].values())
    assert found["measures"]["RR@10"] == 1
    assert (found["comparison"], found["datasets"], found["notes"]) == (None, [], [])


def test_the_json_of_float_vectors_differs_where_it_should(folder):
    found = loaded(folder, "--float", "--maxsim", "--dim", 64)
    assert found["scoring"] == {
        "index": "none",
        "vectors": "float32",
        "dim": 64,
        "signals": {"idf": 0, "pooled": 0, "lexical": 0},
    }
    assert found["measures"]["R@100"] == 1


def test_two_checkpoints_are_compared_query_by_query(folder, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(BUNDLED, other)
    settings = json.loads((other / "config_sentence_transformers.json").read_text("utf-8"))
    settings["prompts"]["query"] = "loaf bees tides steam queen dances "
    (other / "config_sentence_transformers.json").write_text(json.dumps(settings), "utf-8")
    found = loaded(folder, "--against", other, "--queries", 3, "--seed", 1)
    compared = found["comparison"]
    assert found["queries"] == 3
    assert compared["checkpoint"]["name"] == "other"
    assert compared["checkpoint"]["fingerprint"] != found["checkpoint"]["fingerprint"]
    for name, difference in compared["difference"].items():
        expected = found["measures"][name] - compared["measures"][name]
        assert difference["mean"] == pytest.approx(expected, abs=2e-6)
        low, high = difference["interval"]
        assert low <= difference["mean"] <= high
        assert 0 < difference["p"] <= 1
    same = loaded(folder, "--against", BUNDLED, "--base", other)["comparison"]
    assert all(each["mean"] == 0 and each["p"] == 1 for each in same["difference"].values())


def test_several_data_sets_have_their_unweighted_mean(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "all" / "b")
    shutil.copytree(folder, tmp_path / "all" / "a")
    (tmp_path / "all" / "notes").mkdir()
    (tmp_path / "all" / "a" / "qrels" / "test.tsv").write_text("q4\tbees\t1\nq4\tlost\t1\n")
    result = evaluate(tmp_path / "all", "--json")
    assert "left out, neither BEIR nor SQuAD" in result.stderr
    assert "a: 1 judgements name documents that corpus.jsonl lacks" in result.stderr
    found = json.loads(result.stdout)
    assert (found["dataset"], found["documents"], found["queries"]) == ("all", 10, 5)
    first, second = found["datasets"]
    assert (first["dataset"], second["dataset"]) == ("a", "b")
    assert first["measures"]["R@100"] == 0.5
    assert found["notes"] == first["notes"] != []
    for name in MEASURES:
        for part in ("measures", "baselines"):
            values = [each[part] for each in (found, first, second)]
            if part == "baselines":
                values = [each["dense"] for each in values]
            mean, *each = (value[name] for value in values)
            assert mean == pytest.approx(np.mean(each), abs=2e-6)


def test_a_person_gets_tables(folder):
    result = evaluate(folder, "--maxsim", "--against", BUNDLED)
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    first = [words[0] for words in lines]
    assert lines[0] == ["small", "test:", "5", "documents,", "4", "queries"]
    assert lines[1] == list(MEASURES)
    assert first[3:] == ["BM25", "dense", "bundled,", "95", "bundled,", "difference", "95", "p"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--float", "--bits", 4], "leave out --bits and --quality"),
        (["--float", "--quality", "exact"], "leave out --bits and --quality"),
        (["--queries", 0], "greater than or equal to 1"),
    ],
)
def test_options_that_exclude_each_other(folder, options, message):
    result = evaluate(folder, *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "dev"], "has no split 'dev': it has test"),
        (["--checkpoint", "nowhere"], "no checkpoint directory 'nowhere'"),
        (["--against", "nowhere"], "no checkpoint directory 'nowhere'"),
        (["--bits", 3], "3 bits per dimension: choose one of"),
        (["--dim", 500], "500 dimensions per token: choose a number from 16 to 128"),
        (["--float", "--dim", 500], "500 dimensions per token: choose a number from 16 to 128"),
    ],
)
def test_what_cannot_be_measured_is_said(folder, options, message):
    result = evaluate(folder, *options)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stdout == ""


def test_the_missing_extra_is_named_before_anything_is_encoded(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    monkeypatch.setattr(Encoder, "encode_passages", None)
    result = evaluate(folder)
    assert result.exit_code == 1
    assert "pip install 'rag-tools[evaluate]'" in result.stderr


def test_a_checkpoint_without_pooled_vectors_is_no_dense_baseline():
    plain = replace(load_checkpoint(), pooled_dim=None)
    Plan(checkpoint=plain)
    with pytest.raises(ConfigurationError, match="'bundled' has no pooled vectors"):
        Plan(checkpoint=load_checkpoint(), base=plain)
    with pytest.raises(InvalidQueryError, match="200 dimensions"):
        Plan(checkpoint=plain, dim=200)


def test_measures_of_each_query():
    run = {"q1": {"tides": 3.0, "water": 2.0}, "q2": {"tides": 1.0}}
    found = measure(QRELS, run)
    assert found["RR@10"].tolist() == [0.5, 1, 0, 0]
    assert found["R@100"].tolist() == [1, 0.5, 0, 0]
    ideal = 2 + 1 / np.log2(3)
    assert found["nDCG@10"] == pytest.approx([1 / np.log2(3), 2 / ideal, 0, 0])


@pytest.mark.parametrize("similarities", [exhaustive._SIMILARITIES, 1])
def test_maxsim_is_that_of_plain_loops(dataset, encoder, passages, monkeypatch, similarities):
    monkeypatch.setattr(exhaustive, "_SIMILARITIES", similarities)
    run = run_maxsim(passages, encoder, dataset, signals=ALONE)
    assert passages.owners.tolist() == [0, 1, 2, 2, 3]
    ids = list(DOCUMENTS)
    for query, text in QUERIES.items():
        asked = encoder.encode_query(text).vectors
        expected: dict[str, float] = {}
        for owner, passage in zip(passages.owners, passages.texts, strict=True):
            grid = asked @ encoder.encode_passage(passage).vectors.T
            score = float(np.mean([max(row) for row in grid]))
            expected[ids[owner]] = max(score, expected.get(ids[owner], -1))
        assert run[query] == pytest.approx(expected, abs=1e-5)
        assert "empty" not in run[query]


def test_all_signals_on_float_vectors_score_as_an_index_does(dataset, encoder, passages, tmp_path):
    exact = run_maxsim(passages, encoder, dataset, signals=Signals())
    with Engine.open(tmp_path / "i", create=True) as engine:
        index_dataset(engine, dataset)
        indexed = run_engine(engine, dataset)
    for query in QUERIES:
        assert indexed[query] == pytest.approx(exact[query], abs=0.03)  # what 4 bits cost
    alone = run_maxsim(passages, encoder, dataset, signals=ALONE)
    assert any(abs(alone["q1"][id] - exact["q1"][id]) > 0.05 for id in exact["q1"])


def test_dense_is_the_best_cosine_of_a_passage(dataset, encoder, passages, tmp_path):
    run = run_dense(passages.pooled, encoder, dataset)
    for query, text in QUERIES.items():
        asked = encoder.encode_query(text).pooled
        for document in ("water", "tides", "bread"):  # one passage each
            cosine = float(asked @ encoder.encode_passage(DOCUMENTS[document]).pooled)
            assert run[query][document] == pytest.approx(cosine, abs=1e-5)
    assert run_dense(pool(dataset, encoder), encoder, dataset) == run
    with Engine.open(tmp_path / "i", create=True) as engine:
        index_dataset(engine, dataset)
    stored = stored_pooled(tmp_path / "i", dataset)
    assert stored.owners.tolist() == passages.owners.tolist()
    found = run_dense(stored, encoder, dataset)
    for query in QUERIES:
        assert found[query] == pytest.approx(run[query], abs=0.005)  # what a byte costs


def test_a_run_lists_enough_documents_however_many_passages_one_has(tmp_path):
    """A document of more passages than are asked for at first crowds out the others."""
    sentences = (f"The tide is high today, said keeper {n} of the lighthouse." for n in range(1300))
    corpus = {"long": " ".join(sentences)}
    corpus |= {f"d{n}": f"Note {n}: the tide." for n in range(DEPTH + 5)}
    dataset = Dataset("long", None, corpus, {"q": "tide is high today"}, {"q": {"d3": 1}})
    with Engine.open(tmp_path / "i", create=True) as engine:
        index_dataset(engine, dataset)
        hits = engine.search(dataset.queries["q"], limit=DEPTH).results
        assert len({hit.document_id for hit in hits}) < DEPTH / 2
        run = run_engine(engine, dataset)
    assert len(run["q"]) == DEPTH
    assert next(iter(run["q"])) == "long"
    assert run["q"]["long"] == hits[0].score


def test_bm25_finds_words_in_whole_documents(dataset):
    run = run_bm25(dataset)
    assert next(iter(run["q3"])) == "bees"
    assert run["q3"].keys() <= DOCUMENTS.keys()


def test_the_documented_commands_run(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    shutil.copytree(ROOT / "tests" / "data", tmp_path / "data" / "questions")
    for name in ("new", "old"):
        shutil.copytree(BUNDLED, tmp_path / "models" / name)
    monkeypatch.chdir(tmp_path)
    lines = "".join(re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)).splitlines()
    commands = [shlex.split(line, comments=True) for line in lines]
    assert commands.pop(0) == ["pip", "install", ".[evaluate]"]
    for command in commands:
        assert command[:2] == ["rag-tools", "eval"]
        result = evaluate(*command[2:], "--queries", 4)
        assert result.exit_code == 0, result.stderr
        assert ("verbatim" if "--citations" in command else "nDCG@10") in result.stdout


def test_the_sample_of_the_tests_can_be_read():
    assert len(read(Path(__file__).parents[1] / "data" / "questions.json").queries) == 48
