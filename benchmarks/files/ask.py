"""How good the first quote is on the files that people have, format by format.

    python benchmarks/files/ask.py FILES --index FOLDER [--split fit|check|all] [--failures]

FILES is what ``fetch.py`` made. What is counted stands in ``../everyday/README.md``. So that this
takes minutes, formats that no question is about aren't indexed, and no files of more than `LARGEST`
bytes but those that a question is about. The index is kept in FOLDER; give another folder after a
change of what makes indexes.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any

import typer

sys.path.append(str(Path(__file__).parent.parent / "everyday"))

from corpus import Text
from score import holds, quotes

from rag_tools import Engine

HERE = Path(__file__).parent
LARGEST = 12_000
"""Bytes of a file that is indexed although no question is about it."""
SETS = ("questions.jsonl", "code.jsonl")
MEASURES = ("first", "three", "cite", "passage", "five")


def main(
    files: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    index: Annotated[Path, typer.Option(help="Folder of the index.")],
    split: Annotated[str, typer.Option(help="fit, check or all.")] = "all",
    failures: Annotated[bool, typer.Option(help="Show the first quotes that are wrong.")] = False,
    questions: Annotated[str, typer.Option(help="Which set.")] = "questions.jsonl",
) -> None:
    """Print the share of right answers of each format, and of all."""
    entries = _read(questions)
    with Engine.open(index, create=True) as engine:
        if not any(True for _ in engine.documents()):
            _fill(engine, files, {each["document"] for name in SETS for each in _read(name)})
        texts = {each.id: Text(engine.document(each.id).text) for each in engine.documents()}
        results: dict[str, list[dict[str, bool]]] = defaultdict(list)
        for entry in entries:
            if split in ("all", entry["split"]):
                result = _asked(engine, texts, entry, failures=failures)
                results[entry["kind"]].append(result)
                results["all"].append(result)
    print(f"{'format':10} questions  " + "  ".join(f"{each:>7}" for each in MEASURES))
    for kind, found in results.items():
        if kind != "all":
            _row(kind, found)
    _row("all", results["all"])


def _read(name: str) -> list[dict[str, Any]]:
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _row(kind: str, found: list[dict[str, bool]]) -> None:
    shares = (sum(each[measure] for each in found) / len(found) for measure in MEASURES)
    print(f"{kind:10} {len(found):9}  " + "  ".join(f"{each:7.3f}" for each in shares))


def _fill(engine: Engine, files: Path, asked: set[str]) -> None:
    for folder in sorted(files / each for each in {name.partition("/")[0] for name in asked}):
        chosen = [
            each
            for each in sorted(folder.iterdir())
            if f"{folder.name}/{each.name}" in asked or each.stat().st_size <= LARGEST
        ]
        for skipped in engine.sync(chosen).skipped if chosen else ():
            print(f"skipped {skipped.path}: {skipped.reason}", file=sys.stderr)


def _asked(
    engine: Engine, texts: dict[str, Text], entry: dict[str, Any], *, failures: bool
) -> dict[str, bool]:
    question, gold = entry["question"], entry["gold"]
    found = engine.search(question)
    cited = [citation for hit in found.results for citation in hit.citations]

    def right(some: list[Any]) -> bool:
        return any(quotes(texts[each.document_id], gold, each.start, each.end) for each in some)

    held = [holds(texts[hit.document_id], gold, hit.start, hit.end) for hit in found.results[:5]]
    result = {
        "first": right(cited[:1]),
        "three": right(cited[:3]),
        "cite": right(engine.cite(question).citations[:1]),
        "passage": any(held[:1]),
        "five": any(held),
    }
    if failures and not result["first"]:
        print(f"{entry['id']} {entry['document']}: {question}\n   gold: {gold[0]!r}")
        print(f"   passage {held}")
        for each in cited[:2]:
            print(f"   {each.url[-60:]}: {each.quote[:300]!r}")
    return result


if __name__ == "__main__":
    typer.run(main)
