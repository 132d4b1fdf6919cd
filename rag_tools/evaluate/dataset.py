"""Finding and reading retrieval data sets in BEIR and SQuAD layout."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rag_tools.errors import DatasetError

Qrels = Mapping[str, Mapping[str, int]]
"""Query id → document id → grade of relevance, at least 1."""

_CORPUS = "corpus.jsonl"
_QUERIES = "queries.jsonl"


@dataclass(frozen=True)
class Dataset:
    """A corpus, queries, and judgements of relevance.

    Attributes
    ----------
    name
        Name of the data set, for people.
    split
        Name of the qrels; None if the layout has no splits.
    corpus
        Document id → text, which starts with the title if there is one.
    queries
        Query id → text, only of queries with a relevant document.
    qrels
        Judgements of these queries, in the same order.
    notes
        Sentences that a reader of the measures should know about the data.
    """

    name: str
    split: str | None
    corpus: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Qrels
    notes: tuple[str, ...] = ()

    def draw(self, n: int | None, *, seed: int = 0) -> Dataset:
        """Return the data set with `n` of its queries, drawn at random; None keeps all of them."""
        if n is None or n >= len(self.queries):
            return self
        drawn = set(random.Random(seed).sample(sorted(self.queries), n))
        return replace(
            self,
            queries={id: text for id, text in self.queries.items() if id in drawn},
            qrels={id: grades for id, grades in self.qrels.items() if id in drawn},
        )


def find(path: Path) -> tuple[list[Path], list[Path]]:
    """Return the paths of data sets, and the folders that contain none.

    Parameters
    ----------
    path
        A file or folder that `read` takes, a folder of SQuAD files, or a folder of such folders.

    Raises
    ------
    DatasetError
        If there is no data set.
    """
    sources = _sources(path)
    if sources:
        return sources, []
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir()) if path.is_dir() else []
    found = {folder: _sources(folder) for folder in folders}
    sources = [source for each in found.values() for source in each]
    if not sources:
        raise DatasetError(
            f"{path} has no data set: name a folder with {_CORPUS}, {_QUERIES} and qrels/*.tsv "
            "(BEIR), a .json file in SQuAD layout, or a folder of these"
        )
    return sources, [folder for folder, each in found.items() if not each]


def read(source: Path, *, split: str | None = None) -> Dataset:
    """Read one data set.

    Parameters
    ----------
    source
        A folder in BEIR layout (``corpus.jsonl``, ``queries.jsonl``, ``qrels/*.tsv``), or a
        file in SQuAD layout (articles, paragraphs and questions; a question's own paragraph is
        its relevant document, and questions marked as impossible are left out).
    split
        Which file of ``qrels/`` to use; default ``test``, or the only one there is. SQuAD files
        have no splits, and ignore it.

    Raises
    ------
    DatasetError
        If something can't be used; the message names the file, and the line or id.
    """
    return _read_beir(source, split) if source.is_dir() else _read_squad(source)


def _sources(path: Path) -> list[Path]:
    if (path / _CORPUS).is_file() and (path / _QUERIES).is_file():
        return [path]
    if path.is_file():
        return [path] if path.suffix == ".json" else []
    return sorted(path.glob("*.json"))


def _read_beir(folder: Path, split: str | None) -> Dataset:
    splits = {path.stem: path for path in sorted((folder / "qrels").glob("*.tsv"))}
    if not splits:
        raise DatasetError(f"{folder} has no qrels/*.tsv: it can't be measured without judgements")
    if split is None:
        split = "test" if "test" in splits else next(iter(splits))
        if split != "test" and len(splits) > 1:
            raise DatasetError(f"{folder} has the splits {', '.join(splits)}: name one")
    if split not in splits:
        raise DatasetError(f"{folder} has no split {split!r}: it has {', '.join(splits)}")
    qrels = _read_qrels(splits[split])
    corpus = dict(_documents(folder / _CORPUS))
    if not any(map(str.strip, corpus.values())):
        raise DatasetError(f"{folder / _CORPUS} has no text: there is nothing to search")
    asked = _judged_queries(folder / _QUERIES, qrels)
    judged = {id: qrels[id] for id in asked}
    if not judged:
        raise DatasetError(f"{splits[split]} judges no query of {folder / _QUERIES}")
    dangling = sum(id not in corpus for grades in judged.values() for id in grades)
    notes = []
    if dangling:
        notes.append(
            f"{dangling} judgements name documents that {_CORPUS} lacks: they count as not found"
        )
    if len(qrels) > len(asked):
        notes.append(f"{len(qrels) - len(asked)} judged queries aren't in {_QUERIES}: left out")
    return Dataset(folder.resolve().name, split, corpus, asked, judged, tuple(notes))


def _documents(path: Path) -> Iterator[tuple[str, str]]:
    for where, id, row in _rows(path):
        text, title = row.get("text"), row.get("title") or ""
        if not isinstance(text, str) or not isinstance(title, str):
            raise DatasetError(f"{where}: document {id!r} has no text: give it a string, or empty")
        yield id, f"{title}\n{text}".strip("\n")


def _judged_queries(path: Path, qrels: Qrels) -> dict[str, str]:
    queries = {}
    for where, id, row in _rows(path):
        text = row.get("text")
        if id in qrels:
            if not isinstance(text, str) or not text.strip():
                raise DatasetError(f"{where}: query {id!r} has no text: it can't be asked")
            queries[id] = text
    return queries


def _rows(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the location, the id and the object of each line of a JSON lines file."""
    seen = set()
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DatasetError(f"{where} isn't JSON: {error}") from None
        id = row.get("_id") if isinstance(row, dict) else None
        if not isinstance(id, str) or not id:
            raise DatasetError(f"{where} has no _id: it must be a string")
        if id in seen:
            raise DatasetError(f"{where}: the id {id!r} was used before: ids must be distinct")
        seen.add(id)
        yield where, id, row


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """Return the judgements above zero. Columns: query, document, grade; a header is optional."""
    qrels: dict[str, dict[str, int]] = {}
    for number, row in enumerate(csv.reader(_lines(path), delimiter="\t"), 1):
        if not row:
            continue
        where = f"{path}, line {number}"
        if len(row) != 3:
            raise DatasetError(
                f"{where} has {len(row)} columns: give query, document and grade, separated by tabs"
            )
        query, document, grade = row
        try:
            value = float(grade)
        except ValueError:
            if number == 1:  # the header
                continue
            raise DatasetError(f"{where}: the grade {grade!r} isn't a number") from None
        if not value.is_integer():
            raise DatasetError(f"{where}: the grade {grade!r} isn't a whole number")
        if value > 0 and qrels.setdefault(query, {}).setdefault(document, int(value)) != value:
            raise DatasetError(
                f"{where}: {document!r} was given another grade for {query!r} before"
            )
    if not qrels:
        raise DatasetError(f"{path} judges nothing as relevant: there is nothing to measure")
    return qrels


def _read_squad(path: Path) -> Dataset:
    corpus: dict[str, str] = {}
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    try:
        story = json.loads("".join(_lines(path)))
        paragraphs = [entry for article in story["data"] for entry in article["paragraphs"]]
        for paragraph in paragraphs:
            document = str(len(corpus))
            corpus[document] = paragraph["context"]
            for question in paragraph["qas"]:
                if question.get("is_impossible"):
                    continue
                id, text = str(question["id"]), question["question"]
                if id in queries:
                    raise DatasetError(f"{path}: the id {id!r} was used before")
                if not text.strip():
                    raise DatasetError(f"{path}: question {id!r} has no text: it can't be asked")
                queries[id], qrels[id] = text, {document: 1}
    except ValueError as error:
        raise DatasetError(f"{path} isn't JSON: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{path} isn't in SQuAD layout: data, paragraphs, context, qas, id, question "
            f"({type(error).__name__}: {error})"
        ) from None
    if not queries:
        raise DatasetError(f"{path} has no questions: there is nothing to measure")
    return Dataset(path.stem, None, corpus, queries, qrels)


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} can't be read: {error}") from None
