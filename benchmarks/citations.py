"""How well citations point at the evidence: prints a table for up to three data sets.

Usage: python benchmarks/citations.py DATA [--checkpoint NAME] [--questions N]

DATA holds any of the folders

- ``chunking_evaluation``: whole documents, questions, gold character ranges (Chroma). All documents
  are in one index. Precision, recall and IoU of characters, averaged over questions; beside the
  citations, what five whole passages give.
- ``squad``: the share of questions whose first citation, of at most 200 characters, holds a gold
  answer; with the paragraph given, and from all paragraphs.
- ``qed_dev``: the share of questions whose first citation lies in the gold sentence, with the
  paragraph given.

A given paragraph is a search filtered to it: all numbers are those of the engine as users have it.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

from rag_tools.engine import Engine
from rag_tools.ingest.load import load
from rag_tools.types import Citation, Document, Span

T = TypeVar("T")

FIRST_CITATION_CHARACTERS = 200
WHOLE_PASSAGES = 5


class Row(NamedTuple):
    """A line of the table."""

    data: str
    measure: str
    value: float
    questions: int


class Overlap(NamedTuple):
    """Characters quoted against characters of gold evidence, for one question."""

    precision: float
    recall: float
    iou: float


def main() -> None:
    """Measure what DATA holds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--checkpoint", help="name or directory; default: the bundled one")
    parser.add_argument(
        "--questions", type=int, help="so many of each set, evenly spread; default: all"
    )
    arguments = parser.parse_args()
    sets = {"chunking_evaluation": chunking, "squad": squad, "qed_dev": qed}
    present = [name for name in sets if (arguments.data / name).is_dir()]
    if not present:
        parser.error(f"{arguments.data} has none of the folders {', '.join(sets)}")
    for name in present:
        with (
            tempfile.TemporaryDirectory() as directory,
            Engine.open(directory, checkpoint=arguments.checkpoint, create=True) as engine,
        ):
            for row in sets[name](arguments.data / name, engine, arguments.questions):
                print(f"{row.data:20} {row.measure:44} {row.value:6.3f} {row.questions:6d}")


def chunking(folder: Path, engine: Engine, limit: int | None) -> Iterator[Row]:
    """Yield precision, recall and IoU of citations and of whole passages."""
    corpora = sorted((folder / "corpora").iterdir())
    added = engine.add(load(path) for path in corpora)
    ids = {path.stem: id for path, id in zip(corpora, added, strict=True)}
    with (folder / "questions_df.csv").open(encoding="utf-8", newline="") as file:
        questions = spread([row for row in csv.DictReader(file) if row["corpus_id"] in ids], limit)
    cited: list[Overlap] = []
    whole: list[Overlap] = []
    counts: list[int] = []
    for row in questions:
        gold = characters(
            (ids[row["corpus_id"]], reference["start_index"], reference["end_index"])
            for reference in json.loads(row["references"])
        )
        hits = engine.search(row["question"], limit=WHOLE_PASSAGES).results
        whole.append(overlap(characters((h.document_id, h.start, h.end) for h in hits), gold))
        citations = engine.cite(row["question"]).citations
        cited.append(overlap(characters((c.document_id, c.start, c.end) for c in citations), gold))
        counts.append(len(citations))
    for name, overlaps in (("citations", cited), (f"{WHOLE_PASSAGES} passages", whole)):
        for measure, values in zip(Overlap._fields, zip(*overlaps, strict=True), strict=True):
            yield Row(folder.name, f"{name}: {measure}", fmean(values), len(questions))
    yield Row(folder.name, "citations per question", fmean(counts), len(questions))


def characters(ranges: Iterable[tuple[str, int, int]]) -> set[tuple[str, int]]:
    """Return every character of some ranges of documents."""
    return {(document, i) for document, start, end in ranges for i in range(start, end)}


def overlap(quoted: set[tuple[str, int]], gold: set[tuple[str, int]]) -> Overlap:
    """Compare characters quoted with characters of gold evidence."""
    shared = len(quoted & gold)
    return Overlap(
        precision=shared / len(quoted) if quoted else 0.0,
        recall=shared / len(gold),
        iou=shared / len(quoted | gold),
    )


def squad(folder: Path, engine: Engine, limit: int | None) -> Iterator[Row]:
    """Yield how often the first citation holds an answer."""
    paragraphs = [
        paragraph
        for path in sorted(folder.glob("*.json"))
        for article in json.loads(path.read_text(encoding="utf-8"))["data"]
        for paragraph in article["paragraphs"]
    ]
    ids = add(engine, (paragraph["context"] for paragraph in paragraphs))
    questions = spread(
        [
            (question["question"], {answer["text"] for answer in question["answers"]}, id)
            for paragraph, id in zip(paragraphs, ids, strict=True)
            for question in paragraph["qas"]
        ],
        limit,
    )
    for name, given in (("paragraph given", True), ("all paragraphs", False)):
        first = [first_citation(engine, text, id if given else None) for text, _, id in questions]
        holds = [
            citation is not None and any(answer in citation.quote for answer in answers)
            for citation, (_, answers, _) in zip(first, questions, strict=True)
        ]
        short = [
            citation is not None and len(citation.quote) <= FIRST_CITATION_CHARACTERS
            for citation in first
        ]
        both = [a and b for a, b in zip(holds, short, strict=True)]
        yield Row(folder.name, f"{name}: answer in first citation", fmean(holds), len(questions))
        yield Row(
            folder.name,
            f"{name}: … of ≤ {FIRST_CITATION_CHARACTERS} characters",
            fmean(both),
            len(questions),
        )


def qed(folder: Path, engine: Engine, limit: int | None) -> Iterator[Row]:
    """Yield how often the first citation lies in the sentence that annotators selected."""
    examples: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as file:
            examples += (
                example
                for example in map(json.loads, file)
                if example["annotation"]["explanation_type"] == "single_sentence"
            )
    examples = spread(examples, limit)
    ids = add(engine, (example["paragraph_text"] for example in examples))
    inside = []
    for example, id in zip(examples, ids, strict=True):
        sentence = example["annotation"]["selected_sentence"]
        gold = Span(sentence["start"], sentence["end"])
        citation = first_citation(engine, example["question_text"], id)
        inside.append(
            citation is not None and gold.start <= citation.start and citation.end <= gold.end
        )
    yield Row(folder.name, "first citation in the gold sentence", fmean(inside), len(examples))


def spread(items: list[T], limit: int | None) -> list[T]:
    """Return at most `limit` items, evenly spread; all if None."""
    return items if limit is None else items[:: max(1, -(-len(items) // limit))]


def add(engine: Engine, texts: Iterable[str]) -> Sequence[str]:
    """Index texts as documents and return their ids, in order."""
    return engine.add(
        Document(text=text, uri=f"benchmark:{number}") for number, text in enumerate(texts)
    )


def first_citation(engine: Engine, question: str, document_id: str | None) -> Citation | None:
    """Return the best citation for a question, from one document if an id is given."""
    given = None if document_id is None else {"document_id": document_id}
    citations = engine.cite(question, limit=1, filter=given).citations
    return citations[0] if citations else None


if __name__ == "__main__":
    main()
