"""The second stage: what a model reads together with the query orders passages and their quotes."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rag_tools import Engine
from rag_tools.encode.checkpoint import BUNDLED
from rag_tools.errors import CheckpointError
from rag_tools.evidence.model import METADATA_FILE, MODEL_FILE, EvidenceModel, load_tokenizer
from rag_tools.second_stage import RELEVANT, SecondStage

NOTES = {
    "long.md": "# Retention\n\nBackups are kept for a long time. Backups are kept by the keeper.\n",
    "weeks.md": "# Retention of logs\n\nThe logs stay here. They rotate after two fortnights. "
    "Nobody reads the logs.\n",
    "tea.md": "# Tea\n\nTea is brewed with hot water and drunk slowly.\n",
}
QUESTION = "How long are backups kept?"


def model_that_likes(word: str, folder: Path) -> Path:
    """A model of one table: a token has evidence if it is `word`; the passage has their sum."""
    folder.mkdir()
    shutil.copy(BUNDLED / "tokenizer.json", folder)
    tokenizer = load_tokenizer(folder)
    liked = np.zeros(tokenizer.get_vocab_size(), np.float32)
    liked[tokenizer.token_to_id(word)] = 40
    signs = np.array([[1.0, -1.0, 0.0, 0.0, 0.0]], np.float32)
    offsets = np.array([[0.0, 4.0, 0.0, 0.0, 0.0]], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["liked", "input_ids"], ["found"]),
            helper.make_node("Cast", ["segments"], ["second"], to=TensorProto.FLOAT),
            helper.make_node("Cast", ["attention_mask"], ["real"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["found", "second"], ["inside"]),
            helper.make_node("Mul", ["inside", "real"], ["evidence"]),
            helper.make_node("ReduceSum", ["evidence", "axes"], ["sum"], keepdims=1),
            helper.make_node("MatMul", ["sum", "signs"], ["signed"]),
            helper.make_node("Add", ["signed", "offsets"], ["verdicts"]),
        ],
        "likes",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
            for name in ("attention_mask", "input_ids", "segments")
        ],
        [
            helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["rows", "tokens"]),
            helper.make_tensor_value_info("verdicts", TensorProto.FLOAT, ["rows", 5]),
        ],
        [
            numpy_helper.from_array(liked, "liked"),
            numpy_helper.from_array(signs, "signs"),
            numpy_helper.from_array(offsets, "offsets"),
            numpy_helper.from_array(np.array([1], np.int64), "axes"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / MODEL_FILE)
    (folder / METADATA_FILE).write_text(json.dumps({"max_tokens": 256}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def liking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_that_likes("fort", tmp_path_factory.mktemp("model") / "evidence")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notes")
    for name, text in NOTES.items():
        (folder / name).write_text(text, encoding="utf-8")
    directory = tmp_path_factory.mktemp("index") / "index"
    with Engine.open(directory, create=True) as engine:
        engine.sync([folder])
    return directory


def names(results) -> list[str]:
    return [hit.uri.rpartition("/")[2] for hit in results.results]


def test_the_passage_that_answers_comes_first_and_says_why(index, liking):
    with Engine.open(index) as engine:
        before = engine.search(QUESTION)
    assert names(before)[0] == "long.md"
    assert all(hit.reading is None for hit in before.results)
    with Engine.open(index, evidence=liking) as engine:
        after = engine.search(QUESTION)
    first_stage = {hit.id: hit.score for hit in before.results}
    assert set(first_stage) == {hit.id for hit in after.results}
    for hit in after.results:
        assert hit.reading is not None
        assert hit.score == pytest.approx(first_stage[hit.id] + hit.reading.gain, abs=1e-6)
        assert 0 <= hit.reading.gain <= RELEVANT
    assert [hit.score for hit in after.results] == sorted(
        (hit.score for hit in after.results), reverse=True
    )
    judged = {hit.uri.rpartition("/")[2]: hit.reading for hit in after.results}
    assert judged["weeks.md"].no_answer < 0.1
    assert judged["long.md"].no_answer > 0.9
    assert judged["weeks.md"].gain > judged["long.md"].gain


def test_the_unit_with_the_evidence_is_quoted_first(index, liking):
    question = "What do the logs do here?"

    def quoted(evidence: Path | None) -> str:
        with Engine.open(index, evidence=evidence) as engine:
            hits = engine.search(question, filter={"path": "*weeks.md"}).results
            return hits[0].citations[0].quote

    assert "fortnights" not in quoted(None)
    assert quoted(liking).endswith("They rotate after two fortnights.")


def test_results_are_the_same_for_one_and_for_many(index, liking):
    with Engine.open(index, evidence=liking) as engine:
        queries = [QUESTION, "tea with water", "Who reads the logs?"]
        together = engine.search_batch(queries)
        assert together == [engine.search(query) for query in queries]
        # The first hit doesn't depend on how many are wanted.
        assert engine.search(QUESTION, limit=1).results == together[0].results[:1]


def test_fast_searches_and_ranks_without_quotes_read_nothing(index, liking):
    with Engine.open(index) as engine:
        plain = engine.search(QUESTION, quality="fast")
    with Engine.open(index, evidence=liking) as engine:
        assert engine.search(QUESTION, quality="fast") == plain
        assert all(hit.reading is None for hit in engine.search(QUESTION, cite=False).results)


def test_what_the_budget_leaves_out_keeps_its_score(liking):
    model = EvidenceModel(liking, threads=1)
    second = SecondStage(model, passages=2, seconds=0)
    first, *others = second.read("?", [("two fortnights", "")] * 4)
    model.close()
    assert first is not None and first.no_answer < 0.1
    assert others == [None] * 3


def test_a_copy_of_the_engine_reads_too(index, liking):
    with Engine.open(index, evidence=liking) as engine:
        expected = engine.search(QUESTION)
        copy = pickle.loads(pickle.dumps(engine))
    with copy:
        assert copy.search(QUESTION) == expected


def test_a_folder_without_a_model_is_named(index, tmp_path):
    with (
        Engine.open(index, evidence=tmp_path / "nothing") as engine,
        pytest.raises(CheckpointError, match="nothing"),
    ):
        engine.search(QUESTION)
