from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rag_tools.errors import DatasetError
from rag_tools.evaluate.dataset import find, read

DATA = Path(__file__).parents[1] / "data"

CORPUS = [
    {"_id": "d1", "title": "Tides", "text": "The Moon pulls."},
    {"_id": "d2", "title": "", "text": "Bees dance."},
    {"_id": "d3", "text": ""},
]
QUERIES = [
    {"_id": "q1", "text": "what makes tides?"},
    {"_id": "q2", "text": "what do bees do?"},
    {"_id": "unjudged", "text": ""},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td2\t1\n"


def jsonl(rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def beir(tmp_path):
    """Return a function that writes a data set, with some files replaced (None: left out)."""

    def write(folder: Path = tmp_path / "set", **files: str | None) -> Path:
        texts = {
            "corpus.jsonl": jsonl(CORPUS),
            "queries.jsonl": jsonl(QUERIES),
            "qrels/test.tsv": QRELS,
        } | {name.replace("__", "/").replace("_", "."): text for name, text in files.items()}
        for name, text in texts.items():
            if text is not None:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(text.encode())
        return folder

    return write


def squad(*paragraphs: dict, **story: object) -> str:
    return json.dumps({"data": [{"title": "x", "paragraphs": list(paragraphs)}], **story})


def asked(id: str, text: str = "why?", **more: object) -> dict:
    return {"id": id, "question": text, "answers": [], **more}


def test_beir(beir):
    found = read(beir())
    assert (found.name, found.split, found.notes) == ("set", "test", ())
    assert found.corpus == {"d1": "Tides\nThe Moon pulls.", "d2": "Bees dance.", "d3": ""}
    assert found.queries == {"q1": "what makes tides?", "q2": "what do bees do?"}
    assert found.qrels == {"q1": {"d1": 2}, "q2": {"d2": 1}}


@pytest.mark.parametrize(
    "qrels",
    [
        QRELS.partition("\n")[2],  # no header
        QRELS.replace("\n", "\r\n"),
        "\ufeff" + QRELS,
        QRELS.replace("\t1\n", "\t1.0\n").replace("\t2\n", "\t2.0\n"),
        QRELS + "q2\td2\t1\n",  # said twice
        QRELS + "q2\td1\t-1\n\n",
        QRELS.replace("score", "grade").rstrip(),
    ],
)
def test_qrels_are_read_however_they_are_written(beir, qrels):
    assert read(beir(qrels__test_tsv=qrels)).qrels == {"q1": {"d1": 2}, "q2": {"d2": 1}}


def test_the_split(beir):
    folder = beir(qrels__dev_tsv="q1\td2\t1\n")
    assert read(folder).split == "test"
    found = read(folder, split="dev")
    assert (found.split, found.qrels) == ("dev", {"q1": {"d2": 1}})
    with pytest.raises(DatasetError, match="no split 'train': it has dev, test"):
        read(folder, split="train")
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "train.tsv")
    with pytest.raises(DatasetError, match="the splits dev, train: name one"):
        read(folder)
    (folder / "qrels" / "train.tsv").unlink()
    assert read(folder).split == "dev"


def test_what_is_judged_but_not_there_is_counted(beir):
    found = read(beir(qrels__test_tsv=QRELS + "q1\tlost\t1\nq2\tgone\t3\nnobody\td1\t1\n"))
    assert found.qrels == {"q1": {"d1": 2, "lost": 1}, "q2": {"d2": 1, "gone": 3}}
    assert found.notes == (
        "2 judgements name documents that corpus.jsonl lacks: they count as not found",
        "1 judged queries aren't in queries.jsonl: left out",
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"qrels__test_tsv": None}, r"set has no qrels/\*\.tsv"),
        ({"qrels__test_tsv": ""}, r"test\.tsv judges nothing as relevant"),
        ({"qrels__test_tsv": "q1\td1\t0\n"}, r"test\.tsv judges nothing as relevant"),
        ({"qrels__test_tsv": "q9\td1\t1\n"}, r"test\.tsv judges no query of .*queries\.jsonl"),
        ({"qrels__test_tsv": "q1 0 d1 1\n"}, r"test\.tsv, line 1 has 1 columns"),
        ({"qrels__test_tsv": QRELS + "q1\t0\td1\t1\n"}, r"test\.tsv, line 5 has 4 columns"),
        ({"qrels__test_tsv": QRELS + "q1\td3\thigh\n"}, r"line 5: the grade 'high' isn't a number"),
        ({"qrels__test_tsv": QRELS + "q1\td3\t0.5\n"}, r"line 5: the grade '0\.5' isn't a whole"),
        ({"qrels__test_tsv": QRELS + "q1\td3\tnan\n"}, r"line 5: the grade 'nan' isn't a whole"),
        (
            {"qrels__test_tsv": QRELS + "q1\td1\t1\n"},
            r"line 5: 'd1' was given another grade for 'q1'",
        ),
        ({"corpus_jsonl": jsonl(CORPUS[2:])}, r"corpus\.jsonl has no text"),
        ({"corpus_jsonl": jsonl(CORPUS) + "{nonsense\n"}, r"corpus\.jsonl, line 4 isn't JSON"),
        ({"corpus_jsonl": jsonl([*CORPUS, []])}, r"corpus\.jsonl, line 4 has no _id"),
        ({"corpus_jsonl": jsonl([{"_id": 7, "text": ""}])}, r"corpus\.jsonl, line 1 has no _id"),
        ({"corpus_jsonl": "\n" + jsonl([{"_id": "d"}])}, r"line 2: document 'd' has no text"),
        ({"corpus_jsonl": jsonl(CORPUS * 2)}, r"corpus\.jsonl, line 4: the id 'd1' was used"),
        ({"queries_jsonl": jsonl(QUERIES * 2)}, r"queries\.jsonl, line 4: the id 'q1' was used"),
        (
            {"queries_jsonl": jsonl([{"_id": "q2", "text": " "}])},
            r"queries\.jsonl, line 1: query 'q2' has no text",
        ),
    ],
)
def test_what_cannot_be_used_is_named(beir, files, message):
    with pytest.raises(DatasetError, match=message):
        read(beir(**files))


def test_bytes_that_are_not_text_are_named(beir):
    folder = beir()
    (folder / "queries.jsonl").write_bytes(b'{"_id": "q1", "text": "\xff"}')
    with pytest.raises(DatasetError, match=r"queries\.jsonl can't be read: .*0xff"):
        read(folder)


def test_squad(tmp_path):
    path = tmp_path / "story.json"
    path.write_text(
        squad(
            {"context": "The Moon pulls.", "qas": [asked("a"), asked("b")]},
            {"context": "Bees dance.", "qas": [asked("c"), asked("d", is_impossible=True)]},
            {"context": "Nobody asks.", "qas": []},
        ),
        encoding="utf-8",
    )
    found = read(path, split="dev")
    assert (found.name, found.split) == ("story", None)
    assert found.corpus == {"0": "The Moon pulls.", "1": "Bees dance.", "2": "Nobody asks."}
    assert list(found.queries) == ["a", "b", "c"]
    assert found.qrels == {"a": {"0": 1}, "b": {"0": 1}, "c": {"1": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "isn't JSON"),
        ("[]", "isn't in SQuAD layout"),
        ('{"name": "package"}', "isn't in SQuAD layout.*'data'"),
        (squad({"context": "x"}), "isn't in SQuAD layout.*'qas'"),
        (squad({"context": "x", "qas": []}), "has no questions"),
        (squad({"context": "x", "qas": [asked("a"), asked("a")]}), "the id 'a' was used before"),
        (squad({"context": "x", "qas": [asked("a", " ")]}), "question 'a' has no text"),
    ],
)
def test_what_is_not_squad_is_named(tmp_path, text, message):
    path = tmp_path / "story.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=rf"story\.json.*{message}"):
        read(path)


def test_data_sets_are_found(beir, tmp_path):
    first = beir(tmp_path / "all" / "first")
    second = tmp_path / "all" / "second"
    beir(tmp_path / "all" / "no queries", queries_jsonl=None)
    second.mkdir()
    for name in ("b", "a"):
        (second / f"{name}.json").write_text(squad({"context": "x", "qas": [asked("q")]}))
    files = [second / "a.json", second / "b.json"]
    assert find(first) == ([first], [])
    assert find(second) == (files, [])
    assert find(files[0]) == (files[:1], [])
    assert find(tmp_path / "all") == ([first, *files], [tmp_path / "all" / "no queries"])
    for wrong in (first / "qrels", first / "corpus.jsonl", tmp_path / "all" / "no queries"):
        with pytest.raises(DatasetError, match=re.escape(f"{wrong} has no data set")):
            find(wrong)


def test_queries_are_drawn_the_same_each_time():
    whole = read(DATA / "questions.json")
    drawn = whole.draw(10, seed=1)
    assert len(drawn.queries) == 10
    assert list(drawn.queries) == list(drawn.qrels)
    assert drawn.queries.items() <= whole.queries.items()
    assert drawn == whole.draw(10, seed=1)
    assert drawn != whole.draw(10, seed=2)
    assert whole.draw(None) == whole.draw(1000) == whole
