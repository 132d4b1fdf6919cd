"""Retrieval data sets from folders in BEIR or SQuAD layout."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag_tools.errors import InvalidQueryError

Qrels = Mapping[str, Mapping[str, int]]
"""Query id → document id → grade of relevance."""


@dataclass(frozen=True)
class Dataset:
    """A corpus, queries, and what is relevant.

    Attributes
    ----------
    name
        For people.
    corpus
        Document id → text, the title first where there is one.
    queries
        Query id → text; those with a relevant document only.
    qrels
        Judgements.
    """

    name: str
    corpus: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Qrels


def read_datasets(folder: Path, *, split: str | None = None) -> list[Dataset]:
    """Read the data sets of a folder.

    Parameters
    ----------
    folder
        BEIR layout (``corpus.jsonl``, ``queries.jsonl``, ``qrels/*.tsv``), or files in SQuAD
        layout (``*.json`` with articles, paragraphs and questions, each question's own paragraph
        being its relevant document), one data set each.
    split
        Which file of ``qrels/`` to use; default ``test``, or the only one there is.

    Raises
    ------
    InvalidQueryError
        If the folder has neither layout, or not this split.
    """
    if (folder / "corpus.jsonl").is_file() and (folder / "queries.jsonl").is_file():
        return [_read_beir(folder, split)]
    found = [
        _read_squad(path.stem, json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(folder.glob("*.json"))
    ]
    if not found:
        raise InvalidQueryError(
            f"{folder} has neither corpus.jsonl, queries.jsonl and qrels/ (BEIR) "
            "nor *.json (SQuAD): name a folder that has"
        )
    return found


def _read_beir(folder: Path, split: str | None) -> Dataset:
    splits = {path.stem: path for path in sorted((folder / "qrels").glob("*.tsv"))}
    chosen = split or ("test" if "test" in splits else next(iter(splits), "test"))
    if chosen not in splits:
        raise InvalidQueryError(f"{folder} has no split {chosen!r}: it has {sorted(splits)}")
    qrels: dict[str, dict[str, int]] = {}
    with splits[chosen].open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if int(row["score"]) > 0:
                qrels.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    corpus = {
        row["_id"]: f"{row.get('title') or ''}\n{row['text']}".strip("\n")
        for row in _lines(folder / "corpus.jsonl")
    }
    queries = {
        row["_id"]: row["text"] for row in _lines(folder / "queries.jsonl") if row["_id"] in qrels
    }
    return Dataset(folder.name, corpus, queries, qrels)


def _read_squad(name: str, story: Mapping[str, Any]) -> Dataset:
    corpus: dict[str, str] = {}
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for article in story["data"]:
        for paragraph in article["paragraphs"]:
            id = str(len(corpus))
            corpus[id] = paragraph["context"]
            for question in paragraph["qas"]:
                queries[question["id"]] = question["question"]
                qrels[question["id"]] = {id: 1}
    return Dataset(name, corpus, queries, qrels)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)
