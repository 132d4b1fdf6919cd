"""Choose the constants of quotes by cross-validation over documents of several kinds.

    python benchmarks/quote_constants.py DATA CORPUS [--settings 60] [--questions 150] [--json OUT]

DATA is the folder of development sets with Chroma's chunking evaluation, SQuAD and QED; CORPUS is
what ``everyday/fetch.py`` made. Each question is asked once. What `rag_tools.cite.quote.quotes` was
given for each hit is kept, so that other constants can be tried without encoding or searching.

Settings are drawn at random. In each of three folds, a third of the
documents of every set is left out: the setting that is best on the others, by the mean over the
sets, is measured on those. The difference between what it has on the documents that it was chosen
on and on those left out is what choosing flatters.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

sys.path.insert(0, str(Path(__file__).parent / "everyday"))
from corpus import Text, manifest, read
from score import quotes as is_right

from rag_tools import Engine, hits
from rag_tools.cite import quote, unit_scores
from rag_tools.evaluate.citation_measures import Range, holds_answer, overlap
from rag_tools.evaluate.evidence import EvidenceSet, read_evidence

FOLDS = 3
LIMIT = 8  # citations of `Engine.cite`
SEED = 20261201


class Constants(NamedTuple):
    """What is chosen: three of `rag_tools.cite.quote` and the shares of a unit's score."""

    margin: float
    beside: float
    between: float
    own: float
    mean: float

    def use(self) -> None:
        """Put the values in force."""
        quote.MARGIN = self.margin
        quote.BESIDE, quote.BETWEEN = self.beside, self.between
        quote._LAXER = ((1, self.beside), (2, self.between))
        unit_scores.OWN, unit_scores.MEAN = self.own, self.mean
        unit_scores.PASSAGE = 1 - self.own - self.mean


IN_USE = Constants(quote.MARGIN, quote.BESIDE, quote.BETWEEN, unit_scores.OWN, unit_scores.MEAN)


class Cited(NamedTuple):
    """As much of a citation as choosing needs."""

    document_id: str
    start: int
    end: int
    score: float


@dataclass
class Asked:
    """A question, and what `quotes` was given for each of its hits, best first."""

    group: str
    fold: int
    measure: Callable[[Sequence[Cited]], dict[str, float]]
    best_first: bool
    calls: list[tuple[str, int, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def values(self) -> dict[str, float]:
        """Choose quotes with the constants in force, and measure them."""
        of_hits = []
        for document_id, start, args, named in self.calls:
            found = quote.quotes(*args, **named)
            of_hits.append(
                [
                    Cited(document_id, start + each.span.start, start + each.span.end, each.score)
                    for each in found
                ]
            )
        kept = quote.distinct(of_hits)  # type: ignore[arg-type]
        every = [each for citations in kept for each in citations]
        chosen = quote.strongest(every)[:LIMIT] if self.best_first else every[:1]
        return self.measure(chosen)  # type: ignore[arg-type]


def main(
    data: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    corpus: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    settings: Annotated[int, typer.Option(help="Settings that are tried.")] = 60,
    questions: Annotated[int, typer.Option(help="Questions of SQuAD and of QED.")] = 150,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all of it here.")] = None,
) -> None:
    """Print what the best setting has on the documents that it was chosen on, and on others."""
    asked = [
        *_chunking(data / "chunking_evaluation"),
        *_squad(data / "squad", questions),
        *_qed(data / "qed_dev", questions),
        *_everyday(corpus),
    ]
    tried = [IN_USE, *_drawn(settings - 1)]
    results: dict[Constants, list[dict[str, float]]] = {}
    for number, constants in enumerate(tried, 1):
        constants.use()
        results[constants] = [each.values() for each in asked]
        print(f"{number} of {len(tried)}", end="\r", file=sys.stderr, flush=True)
    _report(asked, results)
    if json_file:
        rows = [
            {"constants": each._asdict(), "all": _means(asked, found, lambda _: True)}
            for each, found in results.items()
        ]
        json_file.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def _drawn(number: int) -> Iterator[Constants]:
    chance = random.Random(SEED)
    for _ in range(number):
        own = chance.uniform(0.45, 0.65)
        yield Constants(
            margin=round(chance.uniform(0.025, 0.05), 4),
            beside=round(chance.uniform(0.01, 0.04), 4),
            between=round(chance.uniform(0.04, 0.09), 4),
            own=round(own, 3),
            mean=round(chance.uniform(0.05, min(0.25, 0.85 - own)), 3),
        )


def _report(asked: Sequence[Asked], results: dict[Constants, list[dict[str, float]]]) -> None:
    print("| fold | best on the others | others, in use | others, best | own, in use | own, best |")
    print("|---|---|---|---|---|---|")
    left_out: dict[str, list[float]] = defaultdict(list)
    for fold in range(FOLDS):

        def others(each: Asked, fold: int = fold) -> bool:
            return each.fold != fold

        def own(each: Asked, fold: int = fold) -> bool:
            return each.fold == fold

        best = max(results, key=lambda each: _goal(_means(asked, results[each], others)))
        row = [_goal(_means(asked, results[each], others)) for each in (IN_USE, best)]
        row += [_goal(_means(asked, results[each], own)) for each in (IN_USE, best)]
        print(f"| {fold} | {tuple(best)} | " + " | ".join(f"{value:.4f}" for value in row) + " |")
        for constants, name in ((IN_USE, "in use"), (best, "best")):
            for measure, value in _means(asked, results[constants], own).items():
                left_out[f"{measure}, {name}"].append(value)
    for name, values in sorted(left_out.items()):
        print(f"left out, {name}: {sum(values) / len(values):.4f}")
    best = max(results, key=lambda each: _goal(_means(asked, results[each], lambda _: True)))
    for constants in (IN_USE, best):
        print(tuple(constants), _means(asked, results[constants], lambda _: True))


def _goal(means: dict[str, float]) -> float:
    """Return the mean over the sets of what each is judged by."""
    wanted = ("chunking iou", "squad answer", "qed inside", "everyday first")
    return sum(means[each] for each in wanted) / len(wanted)


def _means(
    asked: Sequence[Asked],
    values: Sequence[dict[str, float]],
    which: Callable[[Asked], bool],
) -> dict[str, float]:
    found: dict[str, list[float]] = defaultdict(list)
    for each, measured in zip(asked, values, strict=True):
        if which(each):
            for name, value in measured.items():
                found[f"{each.group} {name}"].append(value)
    return {name: round(sum(each) / len(each), 4) for name, each in found.items()}


def _keep(ask: Callable[[], Any], asked: Asked) -> Asked:
    """Ask a question; keep what `quotes` is given."""
    given: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    original: Callable[..., list[quote.Quote]] = hits.quotes

    def keeping(*args: object, **named: object) -> list[quote.Quote]:
        given.append((args, named))
        return original(*args, **named)

    hits.quotes = keeping  # type: ignore[attr-defined]
    try:
        found = ask().results
    finally:
        hits.quotes = original  # type: ignore[attr-defined]
    asked.calls = [
        (hit.document_id, named["start"], args, named)
        for hit, (args, named) in zip(found, given, strict=True)
    ]
    return asked


def _indexed(evidence: EvidenceSet, ask: Callable[[Engine], Iterator[Asked]]) -> list[Asked]:
    with (
        tempfile.TemporaryDirectory() as folder,
        Engine.open(folder, create=True) as engine,
    ):
        engine.add(evidence.documents.values())
        return list(ask(engine))


def _folds(ids: Sequence[str]) -> dict[str, int]:
    return {id: number % FOLDS for number, id in enumerate(dict.fromkeys(ids))}


def _chunking(folder: Path) -> list[Asked]:
    (evidence,) = read_evidence(folder)
    folds = _folds([each.document_id for each in evidence.questions])

    def ask(engine: Engine) -> Iterator[Asked]:
        for each in evidence.questions:
            gold = [Range(each.document_id, *span) for span in each.gold[0]]

            def measure(found: Sequence[Cited], gold: list[Range] = gold) -> dict[str, float]:
                result = overlap([Range(*each[:3]) for each in found], gold)
                return {"iou": result.iou, "recall": result.recall}

            asked = Asked("chunking", folds[each.document_id], measure, best_first=True)
            yield _keep(lambda text=each.text: engine.search(text, limit=2 * LIMIT), asked)

    return _indexed(evidence, ask)


def _squad(folder: Path, number: int) -> list[Asked]:
    (evidence,) = read_evidence(folder)
    chosen = random.Random(SEED).sample(evidence.questions, number)
    article = {id: str(each.metadata) for id, each in evidence.documents.items()}
    folds = _folds([article[each.document_id] for each in chosen])

    def ask(engine: Engine) -> Iterator[Asked]:
        for each in chosen:

            def measure(
                found: Sequence[Cited], answers: Sequence[str] = each.answers
            ) -> dict[str, float]:
                text = evidence.documents[found[0].document_id].text if found else ""
                said = text[found[0].start : found[0].end] if found else ""
                return {"answer": float(holds_answer(said, answers, budget=200))}

            asked = Asked("squad", folds[article[each.document_id]], measure, best_first=True)
            yield _keep(lambda text=each.text: engine.search(text, limit=2 * LIMIT), asked)

    return _indexed(evidence, ask)


def _qed(folder: Path, number: int) -> list[Asked]:
    (evidence,) = read_evidence(folder)
    chosen = random.Random(SEED).sample(evidence.questions, number)
    folds = _folds([each.document_id for each in chosen])

    def ask(engine: Engine) -> Iterator[Asked]:
        for each in chosen:
            gold = Range(each.document_id, *each.gold[0][0])

            def measure(found: Sequence[Cited], gold: Range = gold) -> dict[str, float]:
                return {"inside": float(bool(found) and Range(*found[0][:3]).within(gold))}

            asked = Asked("qed", folds[each.document_id], measure, best_first=True)
            only = {"document_id": each.document_id}
            yield _keep(
                lambda text=each.text, only=only: engine.search(text, limit=2 * LIMIT, filter=only),
                asked,
            )

    return _indexed(evidence, ask)


def _everyday(corpus: Path) -> list[Asked]:
    packages = sorted(manifest())
    folds = _folds(packages)
    found = []
    with tempfile.TemporaryDirectory() as folder, Engine.open(folder, create=True) as engine:
        for package in packages:
            engine.sync([corpus / package])
        texts = {each.id: Text(engine.document(each.id).text) for each in engine.documents()}
        for each in read("questions.jsonl"):

            def measure(cited: Sequence[Cited], gold: list[str] = each["gold"]) -> dict[str, float]:
                first = cited[:1]
                right = any(is_right(texts[c.document_id], gold, c.start, c.end) for c in first)
                return {"first": float(right)}

            fold = folds[each["document"].split("/")[0]]
            asked = Asked("everyday", fold, measure, best_first=False)
            found.append(_keep(lambda text=each["question"]: engine.search(text), asked))
    return found


if __name__ == "__main__":
    typer.run(main)
