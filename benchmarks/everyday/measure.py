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
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from baselines import Bm25, best_sentence
from corpus import HERE, KINDS, WRONG, Text, read
from score import auroc, difference, holds, mcnemar, quotes

import rag_tools
from rag_tools import Engine
from rag_tools.types import Citation, Hit

Entry = dict[str, Any]
Report = dict[str, Any]

# What makes an index; the rest of the package can change without a new one.
_READS = ("cite", "cli", "evaluate", "train", "sample", "__pycache__")
_QUOTED = {
    "first": "first quote right",
    "three": "one of the first three right",
    "cite": "first quote of cite right",
    "passage": "first passage holds it",
    "five": "one of the first five passages does",
}
_BASELINES = {
    "bm25": "BM25, its first piece's best sentence",
    "overlap": "first passage, its best sentence",
    "whole": "first passage, whole",
}


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
    with _opened(corpus, index) as engine:
        report = measure(engine, corpus, split, baselines=baselines)
    if json_file:
        json_file.write_text(json.dumps(report, indent=1, ensure_ascii=False), encoding="utf-8")
    print(table(report))
    if against:
        print(compared(json.loads(against.read_text(encoding="utf-8")), report))


def measure(engine: Engine, corpus: Path, split: Split, *, baselines: bool) -> Report:
    """Ask everything of a split and return what came of it, entry by entry."""
    documents = _documents(engine, corpus)
    names = {"reserve": ["reserve.jsonl"]}.get(split, ["questions.jsonl"])
    questions = _of(split, (entry for name in names for entry in read(name)))
    _warn(questions, documents)
    searched = Bm25({name: text.text for name, text in documents.items()}) if baselines else None
    return {
        "date": date.today().isoformat(),
        "commit": _commit(),
        "split": str(split),
        "questions": [_asked(engine, corpus, documents, each, searched) for each in questions],
        "unanswerable": [_unanswered(engine, each) for each in _of(split, read("unanswerable.jsonl"))],
        "claims": [_claimed(engine, corpus, documents, each) for each in _of(split, read("claims.jsonl"))],
    }  # fmt: skip


def table(report: Report) -> str:
    """Return a report as tables in Markdown."""
    questions = report["questions"]
    columns = {"all": questions} | {
        kind: [each for each in questions if each["kind"] == kind] for kind in KINDS
    }
    lines = [
        f"{report['date']}, commit {report['commit']}, split {report['split']}",
        "",
        f"| | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
        f"| questions | {' | '.join(str(len(each)) for each in columns.values())} |",
    ]
    for key, meaning in (_QUOTED | _BASELINES).items():
        if questions and key in questions[0]:
            shares = (_share(each, key) for each in columns.values())
            lines.append(f"| {meaning} | {' | '.join(shares)} |")
    if report["unanswerable"]:
        lines += ["", *_answerability(questions, report["unanswerable"])]
    if report["claims"]:
        lines += ["", *_verdicts(report["claims"])]
    return "\n".join(lines)


def compared(old: Report, new: Report) -> str:
    """Return the differences between two runs, on what both asked."""
    lines = [
        "",
        f"Against commit {old['commit']} of {old['date']}:",
        "",
        "| | old | new | difference [95 %] | gained / lost | p (McNemar) |",
        "|---|---|---|---|---|---|",
    ]
    for key, meaning in _QUOTED.items():
        lines += _paired(meaning, old["questions"], new["questions"], key)
    lines += _paired("answerable called low", old["questions"], new["questions"], "low")
    lines += _paired("unanswerable called low", old["unanswerable"], new["unanswerable"], "low")
    for kind in ("true", "wrong"):
        pair = (
            [e for e in run["claims"] if (e["class"] == "true") == (kind == "true")]
            for run in (old, new)
        )
        lines += _paired(f"{kind} claims supported", *pair, "supported")  # fmt: skip
    return "\n".join(lines)


def _opened(corpus: Path, folder: Path) -> Engine:
    """Return an engine on an index of the corpus made by the code as it stands."""
    engine = Engine.open(folder / _fingerprint(), create=True)
    synced = engine.sync([corpus])
    for skipped in synced.skipped:
        print(f"skipped {skipped.path}: {skipped.reason}", file=sys.stderr)
    return engine


def _fingerprint() -> str:
    root = Path(rag_tools.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if path.is_file() and inside.parts[0] not in _READS and path.suffix != ".pyc":
            digest.update(str(inside).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _documents(engine: Engine, corpus: Path) -> dict[str, Text]:
    return {
        _name(corpus, entry.uri): Text(engine.document(entry.id).text)
        for entry in engine.documents()
    }


def _name(corpus: Path, uri: str) -> str:
    """Return a document's path in the corpus."""
    root = corpus.resolve().as_uri() + "/"
    return uri.removeprefix(root)


def _of(split: Split, entries: Iterable[Entry]) -> list[Entry]:
    return [each for each in entries if split is Split.all or each["split"] == split]


def _warn(questions: Iterable[Entry], documents: Mapping[str, Text]) -> None:
    for each in questions:
        text = documents.get(each["document"])
        if text is None or not any(text.locate(unit) for unit in each["gold"]):
            print(f"{each['id']}: no gold unit in {each['document']}", file=sys.stderr)


def _asked(
    engine: Engine,
    corpus: Path,
    documents: Mapping[str, Text],
    entry: Entry,
    searched: Bm25 | None,
) -> Entry:
    question, gold = entry["question"], entry["gold"]
    found = engine.search(question)
    hits = found.results
    cited = [(hit, citation) for hit in hits for citation in hit.citations]
    named = {hit.document_id: _name(corpus, hit.uri) for hit in hits}

    def right(check: Callable[..., bool], name: str, start: int, end: int) -> bool:
        return check(documents[name], gold, start, end)

    def quoted(hit: Hit, citation: Citation) -> bool:
        return right(quotes, named[hit.document_id], citation.start, citation.end)

    def held(hit: Hit) -> bool:
        return right(holds, named[hit.document_id], hit.start, hit.end)

    strongest = engine.cite(question).citations[:1]
    result: Entry = {
        "id": entry["id"],
        "kind": entry["kind"],
        "confidence": found.confidence,
        "low": found.low_confidence,
        "quote": cited[0][1].quote if cited else None,
        "quoted": named[cited[0][0].document_id] if cited else None,
        "first": any(quoted(*each) for each in cited[:1]),
        "three": any(quoted(*each) for each in cited[:3]),
        "cite": any(
            right(quotes, _of_citation(engine, corpus, each), each.start, each.end)
            for each in strongest
        ),
        "passage": any(held(hit) for hit in hits[:1]),
        "five": any(held(hit) for hit in hits[:5]),
    }
    if searched:
        piece = searched.first(question)
        first = [(named[hit.document_id], hit.start, hit.end) for hit in hits[:1]]
        for key, ranges in (("bm25", [piece] if piece else []), ("overlap", first)):
            result[key] = any(
                right(quotes, name, *best_sentence(question, documents[name].text, start, end))
                for name, start, end in ranges
            )
        result["whole"] = any(right(quotes, *each) for each in first)
    return result


def _of_citation(engine: Engine, corpus: Path, citation: Citation) -> str:
    return _name(corpus, engine.document(citation.document_id).uri)


def _unanswered(engine: Engine, entry: Entry) -> Entry:
    found = engine.search(entry["question"])
    return {"id": entry["id"], "confidence": found.confidence, "low": found.low_confidence}


def _claimed(
    engine: Engine, corpus: Path, documents: Mapping[str, Text], entry: Entry
) -> Entry:  # fmt: skip
    support = engine.cite(entry["claim"])
    first = support.citations[:1]
    return {
        "id": entry["id"],
        "class": entry["class"],
        "verdict": support.verdict,
        "supported": support.verdict == "supported",
        "score": support.score,
        "quote": first[0].quote if first else None,
        "quoted": any(
            quotes(documents[_of_citation(engine, corpus, each)], entry["gold"], each.start, each.end)
            for each in first
        ),
    }  # fmt: skip


def _answerability(questions: list[Entry], unanswerable: list[Entry]) -> list[str]:
    answered = [each["confidence"] or 0.0 for each in questions]
    without = [each["confidence"] or 0.0 for each in unanswerable]
    return [
        "| confidence | |",
        "|---|---|",
        f"| AUROC, {len(answered)} with an answer against {len(without)} without | "
        f"{auroc(answered, without):.3f} |",
        f"| without an answer, called low | {_share(unanswerable, 'low')} |",
        f"| with an answer, called low | {_share(questions, 'low')} |",
    ]


def _verdicts(claims: list[Entry]) -> list[str]:
    true = [each for each in claims if each["class"] == "true"]
    lines = [
        "| claims | number | supported | partial | first quote is of the gold | AUROC of score |",
        "|---|---|---|---|---|---|",
    ]
    for kind in ("true", *WRONG):
        group = [each for each in claims if each["class"] == kind]
        partial = [{"partial": each["verdict"] == "partial"} for each in group]
        score = [each["score"] for each in true], [each["score"] for each in group]
        separated = "" if kind == "true" else f"{auroc(*score):.3f}"
        lines.append(
            f"| {kind} | {len(group)} | {_share(group, 'supported')} | "
            f"{_share(partial, 'partial')} | {_share(group, 'quoted')} | {separated} |"
        )
    return lines


def _paired(meaning: str, old: list[Entry], new: list[Entry], key: str) -> list[str]:
    before = {each["id"]: each for each in old}
    pairs = [
        (bool(before[each["id"]][key]), bool(each[key])) for each in new if each["id"] in before
    ]
    if not pairs:
        return []
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    mean, low, high = difference([(float(a), float(b)) for a, b in pairs])
    shares = (f"{sum(side) / len(pairs):.3f}" for side in zip(*pairs, strict=True))
    return [
        f"| {meaning} | {' | '.join(shares)} | {mean:+.3f} [{low:+.3f}, {high:+.3f}] | "
        f"{gained} / {lost} | {mcnemar(gained, lost):.3g} |"
    ]  # fmt: skip


def _share(entries: list[Entry], key: str) -> str:
    return f"{sum(bool(each[key]) for each in entries) / len(entries):.3f}" if entries else ""


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    typer.run(main)
