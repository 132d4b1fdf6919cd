"""Questions with gold evidence, from folders as their authors publish them.

Four layouts are read, each recognised by its files, whatever the folder is called:

- Chroma's chunking evaluation: ``questions_df.csv`` and whole documents in ``corpora/``;
- SQuAD: ``*.json`` with articles, paragraphs and questions;
- QED: ``*.jsonl`` or ``*.jsonlines``, a question, a paragraph and an annotation on each line;
- WiCE: the same, a claim, numbered sentences and sets of supporting ones on each line.

Files of lines may be compressed with gzip. What is asked and measured is the business of
`rag_tools.evaluate.citations`.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rag_tools.errors import DatasetError
from rag_tools.ingest.load import load
from rag_tools.sentences import sentences
from rag_tools.types import Document, Span

Layout = Literal["chunking_evaluation", "squad", "qed", "wice"]

_LAYOUTS = (
    "a folder with questions_df.csv and corpora/ (Chroma's chunking evaluation), with *.json "
    "(SQuAD) or with *.jsonl (QED, WiCE)"
)
ARTICLE = "article"
"""Metadata field of SQuAD's paragraphs with the title of their article."""

_SCHEME = "evidence:"
_LINES = (".jsonl", ".jsonlines", ".jsonl.gz", ".jsonlines.gz")
_SUFFIX = re.compile(r"\.(json|jsonl|jsonlines)(\.gz)?$")
# WiCE numbers its sentences. Blank lines show these borders to whoever reads the text, and the
# baselines get them too. F1 on 50 claims is 0.71 with them, 0.65 with "\n", where prose may wrap,
# and 0.61 with " ", where quotes run over the ends of headings. The best sentence by MaxSim: 0.63.
_BETWEEN_SENTENCES = "\n\n"


@dataclass(frozen=True)
class Question:
    """A question or a claim, and where its evidence is.

    Attributes
    ----------
    text
        The question or the claim.
    document_id
        Id of the document that contains the evidence.
    gold
        Sets of spans of that document, each of them sufficient; none where there are only
        `answers`, or no evidence.
    answers
        Strings of which each answers the question.
    label
        Label of a claim: ``supported``, ``partially_supported`` or ``not_supported``.
    """

    text: str
    document_id: str
    gold: tuple[tuple[Span, ...], ...] = ()
    answers: tuple[str, ...] = ()
    label: str = ""


@dataclass(frozen=True)
class EvidenceSet:
    """Documents, and questions with gold evidence in them.

    Attributes
    ----------
    name
        Name of the set, for people.
    layout
        Name of the layout in which it was read.
    documents
        Document id → document, in order.
    sentences
        Document id → its sentences, in order, without white space at their ends: the data's own
        where it has them, else those of `rag_tools.sentences`.
    questions
        In order.
    """

    name: str
    layout: Layout
    documents: Mapping[str, Document]
    sentences: Mapping[str, tuple[Span, ...]]
    questions: tuple[Question, ...]

    def draw(self, n: int | None) -> EvidenceSet:
        """Return the set with at most `n` of its questions, evenly spread; None keeps all."""
        total = len(self.questions)
        if n is None or n >= total:
            return self
        kept = tuple(self.questions[number * total // n] for number in range(n))
        return replace(self, questions=kept)


def read_evidence(source: Path) -> list[EvidenceSet]:
    """Read the sets in a file or a folder, or in the folders inside it.

    Raises
    ------
    DatasetError
        If there are none, or a file doesn't follow its layout; the message names the file.
    """
    found = _read_files([source]) if source.is_file() else _read_folder(source)
    if not found and source.is_dir():
        inner = sorted(path for path in source.iterdir() if path.is_dir())
        found = [each for path in inner for each in _read_folder(path)]
    if not found:
        raise DatasetError(f"{source} has no questions with gold evidence: name {_LAYOUTS}")
    return found


def _read_folder(folder: Path) -> list[EvidenceSet]:
    if (folder / "questions_df.csv").is_file() and (folder / "corpora").is_dir():
        return [_read_chunking_evaluation(folder)]
    return _read_files(sorted(path for path in folder.iterdir() if path.is_file()))


def _read_files(paths: Sequence[Path]) -> list[EvidenceSet]:
    found = [(path, reader) for path in paths if (reader := _reader(path))]
    if len(found) == 1:
        ((path, reader),) = found
        return [reader(path, path.parent.resolve().name)]
    return [
        reader(path, f"{path.parent.resolve().name}/{_SUFFIX.sub('', path.name)}")
        for path, reader in found
    ]


def _reader(path: Path) -> Callable[[Path, str], EvidenceSet] | None:
    """Return the reader for a file, or None if it has none of the layouts."""
    if path.name.endswith(_LINES):
        first = next((row for _, row in _rows(path)), None)
        fields = first.keys() if isinstance(first, dict) else set[str]()
        return next((each.read for each in _LINE_LAYOUTS if each.fields <= fields), None)
    if path.suffix == ".json":
        with _naming(path):
            story = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(story, dict) and isinstance(story.get("data"), list):
            return _read_squad
    return None


def _read_chunking_evaluation(folder: Path) -> EvidenceSet:
    """Read whole documents, and the questions about those that exist."""
    # Named by their files alone, so that ids don't depend on where the folder is.
    documents = {
        path.stem: load(path, uri=f"{_SCHEME}{path.name}")
        for path in sorted((folder / "corpora").glob("*.md"))
    }
    questions = []
    path = folder / "questions_df.csv"
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 1):
            with _naming(f"{path}, question {number}"):
                document = documents.get(row["corpus_id"])
                if document is not None:
                    gold = tuple(
                        _checked(
                            document.text, span["start_index"], span["end_index"], span["content"]
                        )
                        for span in json.loads(row["references"])
                    )
                    questions.append(Question(row["question"], document.id, (gold,)))
    return _evidence_set(folder.name, "chunking_evaluation", documents.values(), questions)


def _read_squad(path: Path, name: str) -> EvidenceSet:
    """Read a document for every paragraph, with its article's title as metadata."""
    documents: list[Document] = []
    questions: list[Question] = []
    with _naming(path):
        for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                metadata = {ARTICLE: article["title"]}
                document = _document(name, len(documents), paragraph["context"], metadata)
                documents.append(document)
                for asked in paragraph["qas"]:
                    answers = tuple(dict.fromkeys(answer["text"] for answer in asked["answers"]))
                    if answers:
                        questions.append(Question(asked["question"], document.id, answers=answers))
    return _evidence_set(name, "squad", documents, questions)


_Row = tuple[Document, tuple[Span, ...], Question]  # a document, its sentences, what is asked


def _read_qed(path: Path, name: str) -> EvidenceSet:
    """Read the questions that one sentence of their paragraph answers."""

    def read(number: int, row: dict[str, Any]) -> _Row | None:
        if row["annotation"]["explanation_type"] != "single_sentence":
            return None
        text = row["paragraph_text"]
        document = _document(name, number, text)
        chosen = row["annotation"]["selected_sentence"]
        gold = _checked(text, chosen["start"], chosen["end"], chosen["string"])
        borders = itertools.pairwise([*row["sentence_starts"], len(text)])
        tiles = itertools.starmap(Span, borders)
        return (
            document,
            _stripped(text, tiles),
            Question(row["question_text"], document.id, ((gold,),)),
        )

    return _read_lines(path, name, "qed", read)


def _read_wice(path: Path, name: str) -> EvidenceSet:
    """Read claims; their document is the sentences of an article, a paragraph each."""

    def read(number: int, row: dict[str, Any]) -> _Row:
        spans: list[Span] = []
        start = 0
        for sentence in row["evidence"]:
            spans.append(Span(start, start + len(sentence)))
            start += len(sentence) + len(_BETWEEN_SENTENCES)
        text = _BETWEEN_SENTENCES.join(row["evidence"])
        document = _document(name, number, text)
        sets = row["supporting_sentences"]
        # Annotators may differ; where one found no support, citing nothing is right as well.
        gold = tuple(tuple(spans[each] for each in sorted(one)) for one in sets if all(sets))
        claim = Question(row["claim"], document.id, gold, label=row["label"])
        return document, tuple(span for span in spans if span.of(text).strip()), claim

    return _read_lines(path, name, "wice", read)


def _read_lines(
    path: Path, name: str, layout: Layout, read: Callable[[int, dict[str, Any]], _Row | None]
) -> EvidenceSet:
    rows: list[_Row] = []
    for number, row in _rows(path):
        with _naming(f"{path}, line {number}"):
            if found := read(number, row):
                rows.append(found)
    return _evidence_set(
        name,
        layout,
        [document for document, _, _ in rows],
        [question for _, _, question in rows],
        {document.id: sentences for document, sentences, _ in rows},
    )


class _LineLayout(NamedTuple):
    """A layout with one object per line: the fields that identify it, and its reader."""

    fields: frozenset[str]
    read: Callable[[Path, str], EvidenceSet]


_LINE_LAYOUTS = (
    _LineLayout(frozenset({"question_text", "paragraph_text", "annotation"}), _read_qed),
    _LineLayout(frozenset({"claim", "evidence", "supporting_sentences"}), _read_wice),
)


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the object on each line of a file, with the line's number from 1."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                with _naming(f"{path}, line {number}"):
                    row = json.loads(line)
                yield number, row


@contextlib.contextmanager
def _naming(place: object) -> Iterator[None]:
    """Turn what a layout doesn't allow into an error that names where it is."""
    try:
        yield
    except KeyError as error:
        raise DatasetError(f"{place}: there is no {error}") from None
    except (TypeError, ValueError, IndexError) as error:
        raise DatasetError(f"{place}: {error}") from None


def _evidence_set(
    name: str,
    layout: Layout,
    documents: Iterable[Document],
    questions: Sequence[Question],
    borders: Mapping[str, tuple[Span, ...]] | None = None,
) -> EvidenceSet:
    if not questions:
        raise DatasetError(f"{name} contains no question about a document that exists")
    by_id = {document.id: document for document in documents}
    if borders is None:
        borders = {id: _stripped(each.text, sentences(each.text)) for id, each in by_id.items()}
    return EvidenceSet(name, layout, by_id, borders, tuple(questions))


def _document(
    name: str, number: int, text: str, metadata: dict[str, Any] | None = None
) -> Document:
    # Without a title: it would be encoded with the text, and a number says nothing.
    return Document(text=text, uri=f"{_SCHEME}{name}/{number}", title="", metadata=metadata or {})


def _stripped(text: str, spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the spans without white space at their ends, leaving out blank ones."""
    found = []
    for span in spans:
        words = span.of(text)
        start = span.start + len(words) - len(words.lstrip())
        if words.strip():
            found.append(Span(start, start + len(words.strip())))
    return tuple(found)


def _checked(text: str, start: int, end: int, expected: str) -> Span:
    """Return a gold span; raise an error if its words aren't those that the data quotes."""
    if text[start:end] != expected:
        raise ValueError(
            f"{expected[:60]!r} isn't at {start}:{end}: take the file with its original line ends"
        )
    return Span(start, end)
