"""How good quotes and verdicts are on the everyday set.

    python benchmarks/everyday/measure.py CORPUS --index FOLDER [--split fit|check|all|reserve]
        [--json NEW.json] [--against OLD.json] [--no-baselines]

CORPUS is what ``fetch.py`` made. The index is made in a subfolder of FOLDER, one for each version
of the code that makes indexes, and used again. Only the public interface is used. What is counted
and how stands in the README beside this file.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from baselines import Bm25, best_sentence
from corpus import HERE, Text, manifest, read
from report import compared, table
from score import holds, quotes

import rag_tools
from rag_tools import Engine
from rag_tools.types import Citation

Entry = dict[str, Any]

# Of the package, what has no part in making an index: it can change without a new one.
_READERS = ("cite", "cli", "evaluate", "train", "sample")


class Split(StrEnum):
    """Part of the set: for choosing, for checking, both, or kept in reserve."""

    fit = "fit"
    check = "check"
    all = "all"
    reserve = "reserve"


def main(
    corpus: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    index: Annotated[Path, typer.Option(help="Folder for indexes.")],
    split: Annotated[Split, typer.Option(help="Part of the set.")] = Split.all,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all of it here.")] = None,
    against: Annotated[Path | None, typer.Option(help="Earlier output to compare with.")] = None,
    baselines: Annotated[bool, typer.Option(help="Measure simpler means too.")] = True,
) -> None:
    """Print a table, and compare with an earlier run."""
    reserved = split is Split.reserve
    questions = _of(split, read("reserve.jsonl" if reserved else "questions.jsonl"))
    with _opened(corpus, index) as engine:
        run = _Run(engine, corpus, baselines=baselines)
        run.warn(questions)
        report: Entry = {
            "date": date.today().isoformat(),
            "commit": _commit(),
            "split": str(split),
            "questions": [run.asked(each) for each in questions],
            "unanswerable": [run.unanswered(e) for e in _of(split, read("unanswerable.jsonl"))],
            "claims": [run.claimed(each) for each in _of(split, read("claims.jsonl"))],
        }
    if json_file:
        json_file.write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    print(table(report))
    if against:
        print(compared(json.loads(against.read_text(encoding="utf-8")), report))


class _Run:
    """An engine on the corpus, the texts of its documents by id, and their paths in the corpus."""

    def __init__(self, engine: Engine, corpus: Path, *, baselines: bool) -> None:
        self._engine = engine
        self._texts: dict[str, Text] = {}
        self._names: dict[str, str] = {}
        root = corpus.resolve().as_uri() + "/"
        for entry in engine.documents():
            self._texts[entry.id] = Text(engine.document(entry.id).text)
            self._names[entry.id] = entry.uri.removeprefix(root)
        texts = {id: text.text for id, text in self._texts.items()}
        self._bm25 = Bm25(texts) if baselines else None

    def warn(self, questions: Iterable[Entry]) -> None:
        """Say which questions can't be got right, since no document holds a gold unit of theirs."""
        for entry in questions:
            found = (text.locate(unit) for text in self._texts.values() for unit in entry["gold"])
            if not any(found):
                print(f"{entry['id']}: no document holds a gold unit of it", file=sys.stderr)

    def asked(self, entry: Entry) -> Entry:
        """Ask a question; return which of the quotes and passages are right."""
        question, gold = entry["question"], entry["gold"]
        found = self._engine.search(question)
        cited = [citation for hit in found.results for citation in hit.citations]
        held = [
            holds(self._texts[hit.document_id], gold, hit.start, hit.end)
            for hit in found.results[:5]
        ]
        result = {
            "id": entry["id"],
            "kind": entry["kind"],
            "confidence": found.confidence,
            "low": found.low_confidence,
            "quote": cited[0].quote if cited else None,
            "quoted": self._names[cited[0].document_id] if cited else None,
            "first": self._right(cited[:1], gold),
            "three": self._right(cited[:3], gold),
            "cite": self._right(self._engine.cite(question).citations[:1], gold),
            "passage": any(held[:1]),
            "five": any(held),
        }
        if self._bm25:
            piece = self._bm25.first(question)
            first = [(hit.document_id, hit.start, hit.end) for hit in found.results[:1]]
            result["bm25"] = self._best_right(question, gold, [piece] if piece else [])
            result["overlap"] = self._best_right(question, gold, first)
            result["whole"] = any(quotes(self._texts[id], gold, *span) for id, *span in first)
        return result

    def unanswered(self, entry: Entry) -> Entry:
        """Ask a question that has no answer in the corpus; return the confidence."""
        found = self._engine.search(entry["question"])
        return {"id": entry["id"], "confidence": found.confidence, "low": found.low_confidence}

    def claimed(self, entry: Entry) -> Entry:
        """Return the verdict on a claim, and whether it's based on the unit it is about."""
        support = self._engine.cite(entry["claim"])
        return {
            "id": entry["id"],
            "class": entry["class"],
            "verdict": support.verdict,
            "supported": support.verdict == "supported",
            "score": support.score,
            "quote": support.citations[0].quote if support.citations else None,
            "quoted": self._right(support.citations[:1], entry["gold"]),
        }

    def _right(self, citations: Iterable[Citation], gold: list[str]) -> bool:
        """Tell whether one of some quotes is right."""
        return any(
            quotes(self._texts[each.document_id], gold, each.start, each.end) for each in citations
        )

    def _best_right(
        self, question: str, gold: list[str], ranges: Iterable[tuple[str, int, int]]
    ) -> bool:
        """Tell whether the best sentence, by shared words, of one of some ranges is right."""
        return any(
            quotes(
                self._texts[id], gold, *best_sentence(question, self._texts[id].text, start, end)
            )
            for id, start, end in ranges
        )


def _opened(corpus: Path, folder: Path) -> Engine:
    """Return an engine on an index of the corpus made by the code as it stands.

    One package after another: a long sync is committed at moments that depend on how busy the
    machine is, and so would the segments, the codebook and a few answers.
    """
    engine = Engine.open(folder / _fingerprint(), create=True)
    for package in sorted(manifest()):
        for skipped in engine.sync([corpus / package]).skipped:
            print(f"skipped {skipped.path}: {skipped.reason}", file=sys.stderr)
    return engine


def _fingerprint() -> str:
    root = Path(rag_tools.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if path.is_file() and inside.parts[0] not in _READERS and path.suffix != ".pyc":
            digest.update(str(inside).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _of(split: Split, entries: Iterable[Entry]) -> list[Entry]:
    return [each for each in entries if split is Split.all or each["split"] == split]


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    typer.run(main)
