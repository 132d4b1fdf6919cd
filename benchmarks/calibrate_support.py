"""Fits the scores of support and confidence to data, and shows how well they hold.

Usage: python benchmarks/calibrate_support.py DATA [--claims FILE] [--everyday CORPUS]
    [--checkpoint NAME] [--evidence FOLDER] [--write]

DATA holds the folders ``wice``, ``squad``, ``qed_dev`` and ``chunking_evaluation``, see
`rag_tools.evaluate.evidence`. A few minutes on two cores. Prints AUROC and expected calibration
error on folds that were held out, by document, for every source; with --write the weights go to
``rag_tools/cite/calibration.json`` and the curves to ``benchmarks/calibration.svg`` (matplotlib).

Claims that are supported: WiCE's, sentences of SQuAD's paragraphs as they are and shortened or
turned round, and SQuAD's questions with their answers as statements. Claims that aren't: WiCE's
that its annotators found unsupported, and every fourth claim asked of the other articles; sentences
with a number or a name changed, questions with an answer to another one, and both kinds asked of
the other articles. Partially supported claims of WiCE take no part in the fit; they place the
borders between verdicts. FILE adds short claims in other words than their evidence, labelled by
people, which take part in placing the border of supported: one JSON object with ``source``,
``claim``, ``evidence`` and ``label`` a line, gzipped; of refuted and neutral ones, that they are
unsupported. Questions: asked of everything, and of everything but what answers them. CORPUS is what
``everyday/fetch.py CORPUS --confidence`` made: it adds the questions of
``everyday/confidence.jsonl``, some of which have no answer there though they are on the subject.

With ``--evidence FOLDER``, the second stage searches with that evidence model, and only the
confidence in what it has read is fitted; with --write it is added to the others.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.cite.support import (
    CALIBRATION,
    Evidence,
    ReadRelevance,
    Relevance,
    evidence,
    relevance,
)
from rag_tools.encode.checkpoint import load_checkpoint
from rag_tools.engine import Engine
from rag_tools.evaluate.calibration import Model, fit, held_out
from rag_tools.evaluate.citation_measures import BINS, auroc, calibration_error
from rag_tools.evaluate.evidence import ARTICLE, EvidenceSet, read_evidence
from rag_tools.searcher import quoted
from rag_tools.sentences import sentences
from rag_tools.types import Document, Filter

EVERYDAY = Path(__file__).parent / "everyday" / "confidence.jsonl"
FIGURE = Path(__file__).with_name("calibration.svg")
GROUP = "group"  # field of the documents' metadata
QUESTION_SETS = ("squad", "qed_dev", "chunking_evaluation")
PARAGRAPHS = 8  # of each article of SQuAD that claims are made from
QUESTIONS = 250  # of each set
QUOTES = 8  # of a claim, as `Searcher.cite` takes them
WORDS = range(6, 46)  # of a sentence that is made a claim

_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*")
_NUMBER = re.compile(r"\b\d[\d,.]*\d\b")
_OPENING = re.compile(r"((?:In|On|By|During|After|At|From|As|When|Since) [^,]{3,60}), (.*)\.")
_QUESTION_FORMS = (
    (r"(?:what|who|where|which) (is|was|are|were) (.*)", r"{2} {1} {answer}."),
    (r"(?:when|where|why|how) (?:did|does|do) (.*)", r"{1} {answer}."),
    (r"(?:when|where|why|how) (was|were|is|are) (.*)", r"{2} {1} {answer}."),
    (r"how (?:many|much) (.*)", r"{answer} {1}."),
    (r"who (.*)", r"{answer} {1}."),
    (r"(?:what|which) (.*?) (?:did|does|do) (.*)", r"{2} the {1} {answer}."),
    (r"(?:what|which) \w+ (.*)", r"{answer} {1}."),
)

# Confidence below which it is called low. On the development set of everyday questions, 53 % of the
# unanswerable ones and 11 % of the answered ones fall below it.
LOW = 0.4

# Score from which a claim is supported. WiCE and the short claims alone would place it at 0.8, but
# people word claims about documentation more freely. Supported of the everyday claims of the split
# fit, true ones, with a wrong value, with a wrong sense: 62, 7 and 32 % with 0.8, 80, 8 and 43 %
# with 0.5.
SUPPORTED = 0.5

# Sources of FILE that the fit takes, and how many claims of each label.
SHORT = ("counterfactual-snli-train", "fool-me-twice-dev")
SHORT_CLAIMS = 120


class Case(NamedTuple):
    """A claim or a question as the engine saw it.

    Attributes
    ----------
    label
        Of a claim ``supported``, ``partial`` or ``unsupported``; of a question ``answered`` or
        ``unanswered``.
    group
        Cases that share documents; they are in one fold.
    """

    text: str
    label: str
    source: str
    kind: str
    group: str
    features: Evidence | Relevance | ReadRelevance


class Fit(NamedTuple):
    """A model, and the scores of cases by models that hadn't seen them."""

    model: Model
    cases: list[Case]
    scores: NDArray[np.float64]
    labels: NDArray[np.bool_]
    weights: NDArray[np.float64]


def main() -> None:
    """Collect the cases, fit, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--claims", type=Path, metavar="FILE", help="short claims, labelled")
    parser.add_argument("--everyday", type=Path, metavar="CORPUS", help="everyday documents")
    parser.add_argument("--checkpoint", help="name or directory; default: the bundled one")
    parser.add_argument("--evidence", type=Path, metavar="FOLDER", help="evidence model")
    parser.add_argument("--write", action="store_true", help="write the weights and the curves")
    arguments = parser.parse_args()
    corpus = arguments.everyday
    if arguments.evidence:
        confidence = fit_confidence(asked(arguments.data, corpus, arguments.evidence))
        if arguments.write:
            write_read(confidence)
        return
    cases, settings = collect(arguments.data, arguments.checkpoint)
    if arguments.claims:
        cases += short_claims(arguments.claims, arguments.checkpoint)
    if corpus:
        cases += everyday_questions(corpus, checkpoint=arguments.checkpoint)
    support, borders = fit_support(cases)
    confidence = fit_confidence(cases)
    if arguments.write:
        write(support, (borders[0], SUPPORTED), confidence, settings)
        draw({"support of a claim": support, "confidence in an answer": confidence})


def asked(data: Path, corpus: Path | None, model: Path) -> list[Case]:
    """Return the questions as an engine with an evidence model saw them."""
    cases: list[Case] = []
    for name in QUESTION_SETS:
        with loaded(data / name, model=model) as (engine, found):
            cases += questions(engine, found)
    if corpus:
        cases += everyday_questions(corpus, model=model)
    read = [case for case in cases if isinstance(case.features, ReadRelevance)]
    print(f"first hit not read in time: {len(cases) - len(read)} of {len(cases)}", file=sys.stderr)
    return read


@contextmanager
def loaded(
    folder: Path, *, checkpoint: str | None = None, model: Path | None = None
) -> Iterator[tuple[Engine, EvidenceSet]]:
    """Open an engine on the documents of a set."""
    found = grouped(read_evidence(folder)[0])
    print(f"{folder.name}: {len(found.documents)} documents", file=sys.stderr)
    with (
        tempfile.TemporaryDirectory() as directory,
        Engine.open(directory, checkpoint=checkpoint, evidence=model, create=True) as engine,
    ):
        engine.add(found.documents.values())
        yield engine, found


def collect(data: Path, checkpoint: str | None) -> tuple[list[Case], dict[str, Any]]:
    """Return all cases, and the settings of the indexes that they come from."""
    cases: list[Case] = []
    makers: dict[str, Sequence[Callable[[Engine, EvidenceSet], Iterator[Case]]]] = {
        "wice": [wice_claims],
        "squad": [squad_claims, questions],
        "qed_dev": [questions],
        "chunking_evaluation": [questions],
    }
    for name, made in makers.items():
        with loaded(data / name, checkpoint=checkpoint) as (engine, found):
            for make in made:
                cases += make(engine, found)
            status = engine.status()
    fingerprint = load_checkpoint(checkpoint).fingerprint
    return cases, {"fingerprint": fingerprint, "dim": status.dim, "bits": status.bits}


def grouped(data: EvidenceSet) -> EvidenceSet:
    """Return a set whose documents know their group: SQuAD's article, else one of at most 40."""
    documents = {
        id: document.model_copy(
            update={"metadata": {GROUP: document.metadata.get(ARTICLE, str(number % 40))}}
        )
        for number, (id, document) in enumerate(data.documents.items())
    }
    return replace(data, documents=documents)


def without(data: EvidenceSet, document_id: str) -> Filter:
    """Return the filter that leaves out the group of a document."""
    groups = {document.metadata[GROUP] for document in data.documents.values()}
    return {GROUP: sorted(groups - {data.documents[document_id].metadata[GROUP]})}


def wice_claims(engine: Engine, data: EvidenceSet) -> Iterator[Case]:
    """Yield claims as annotated, and every fourth asked of the other articles."""
    labels = {
        "supported": "supported",
        "partially_supported": "partial",
        "not_supported": "unsupported",
    }
    for number, claim in enumerate(data.questions):
        own: Filter = {"document_id": claim.document_id}
        group, label = claim.document_id, labels[claim.label]
        yield _claim(engine, claim.text, own, label, "wice", claim.label, group)
        if number % 4 == 0:
            others = without(data, claim.document_id)
            yield _claim(engine, claim.text, others, "unsupported", "wice", "left out", group)


def squad_claims(engine: Engine, data: EvidenceSet) -> Iterator[Case]:
    """Yield claims made from paragraphs and questions."""
    rng = random.Random(0)
    asked = defaultdict(list)
    for question in data.questions:
        asked[question.document_id].append(question)
    articles = defaultdict(list)
    for document in data.documents.values():
        articles[document.metadata[GROUP]].append(document)
    for article, documents in articles.items():
        others = without(data, documents[0].id)
        names = sorted({name for each in documents for name in _NAME.findall(each.text)})
        answers = sorted({q.answers[0] for each in documents for q in asked[each.id]})

        def case(
            claim: str,
            kind: str,
            label: str = "unsupported",
            filter: Filter | None = None,
            article: str = article,
        ) -> Case:
            return _claim(engine, claim, filter, label, "squad", kind, article)

        for document in rng.sample(documents, min(PARAGRAPHS, len(documents))):
            text = document.text
            found = [span.of(text).strip() for span in sentences(text)]
            found = [sentence for sentence in found if len(sentence.split()) in WORDS]
            if not found or not asked[document.id]:
                continue
            yield case(rng.choice(found), "sentence", "supported")
            yield case(rng.choice(found), "sentence, left out", filter=others)
            sentence = rng.choice(found)
            edited = shortened(sentence)
            if edited != sentence and len(edited.split()) in WORDS:
                yield case(edited, "sentence, edited", "supported")
            if changed := other_number(found, text, rng):
                yield case(changed, "other number")
            if changed := other_name(found, [name for name in names if name not in text], rng):
                yield case(changed, "other name")
            question = rng.choice(asked[document.id])
            if claim := stated(question.text, question.answers[0]):
                yield case(claim, "answer", "supported")
                yield case(claim, "answer, left out", filter=others)
            like = [
                answer
                for answer in answers
                if _form(answer) == _form(question.answers[0]) and answer not in text
            ]
            if like and (claim := stated(question.text, rng.choice(like))):
                yield case(claim, "other answer")


def short_claims(path: Path, checkpoint: str | None) -> Iterator[Case]:
    """Yield labelled claims of `SHORT`, each asked of its own evidence."""
    rng = random.Random(0)
    found = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            if line["source"] in SHORT:
                found[line["source"], line["label"]].append(line)
    drawn = [each for key in sorted(found) for each in rng.sample(found[key], SHORT_CLAIMS)]
    documents = [
        Document(text=each["evidence"], uri=f"{number}") for number, each in enumerate(drawn)
    ]
    with (
        tempfile.TemporaryDirectory() as directory,
        Engine.open(directory, checkpoint=checkpoint, create=True) as engine,
    ):
        engine.add(documents)
        for each, document in zip(drawn, documents, strict=True):
            label = "supported" if each["label"] == "supported" else "unsupported"
            own: Filter = {"document_id": document.id}
            kind = f"{each['source']}, {each['label']}"
            yield _claim(engine, each["claim"], own, label, "short", kind, each["evidence"])


def questions(engine: Engine, data: EvidenceSet) -> Iterator[Case]:
    """Yield questions asked of everything, and of everything but what answers them."""
    for question in data.draw(QUESTIONS).questions:
        group = f"{data.name} {data.documents[question.document_id].metadata[GROUP]}"
        rest = without(data, question.document_id)
        for label, filter in (("answered", None), ("unanswered", rest)):
            hits = engine.search(question.text, limit=1, filter=filter).results
            features = relevance(question.text, hits[0])
            yield Case(question.text, label, data.name, label, group, features)


def everyday_questions(
    corpus: Path, *, checkpoint: str | None = None, model: Path | None = None
) -> Iterator[Case]:
    """Yield questions about everyday documents, and those on the subject without an answer."""
    lines = [json.loads(line) for line in EVERYDAY.read_text(encoding="utf-8").splitlines()]
    with (
        tempfile.TemporaryDirectory() as directory,
        Engine.open(directory, checkpoint=checkpoint, evidence=model, create=True) as engine,
    ):
        for package in sorted({each["subject"] for each in lines}):
            engine.sync([corpus / package])
        for each in lines:
            hits = engine.search(each["question"], limit=1).results
            label = "answered" if each["answered"] else "unanswered"
            features = relevance(each["question"], hits[0])
            group = f"everyday {each['subject']}"
            yield Case(each["question"], label, "everyday", label, group, features)


def shortened(sentence: str) -> str:
    """Return a sentence that says no more: without brackets, turned round, or cut at a comma."""
    plain = re.sub(r"\s*\([^)]*\)", "", sentence)
    if match := _OPENING.fullmatch(plain):
        opening, rest = match.groups()
        return f"{_upper(rest)} {opening[0].lower()}{opening[1:]}."
    cut = plain.rpartition(",")[0]
    return f"{cut}." if len(cut.split()) in WORDS else plain


def other_number(found: Sequence[str], text: str, rng: random.Random) -> str | None:
    """Return a sentence with a number of two or more digits changed to one that isn't there."""
    places = [(each, match) for each in found for match in _NUMBER.finditer(each)]
    for sentence, match in rng.sample(places, len(places)):
        first, rest = match[0][0], match[0][1:]
        changed = first + re.sub(r"\d", lambda _: str(rng.randrange(10)), rest)
        if changed not in text:
            return sentence[: match.start()] + changed + sentence[match.end() :]
    return None


def other_name(found: Sequence[str], names: Sequence[str], rng: random.Random) -> str | None:
    """Return a sentence with a name changed to one of the article."""
    places = [(each, match) for each in found for match in _NAME.finditer(each)]
    if not places or not names:
        return None
    sentence, match = rng.choice(places)
    return sentence[: match.start()] + rng.choice(names) + sentence[match.end() :]


def stated(question: str, answer: str) -> str | None:
    """Return a question and its answer as a statement, roughly; None if that isn't known how."""
    asked = question.strip().rstrip("?").strip()
    for pattern, form in _QUESTION_FORMS:
        if match := re.fullmatch(pattern, asked, re.IGNORECASE):
            return _upper(form.format(match[0], *match.groups(), answer=answer))
    return None


def fit_support(cases: Sequence[Case]) -> tuple[Fit, tuple[float, float]]:
    """Fit the score of a claim; return it with the borders of partial and of supported.

    Short claims take no part in the fit, in which they made WiCE's worse, but in the borders.
    """
    claims = [case for case in cases if case.label in ("supported", "unsupported")]
    short = [case for case in claims if case.source == "short"]
    found = _fitted([case for case in claims if case.source != "short"], "supported")
    report("support", found)
    partial = [case for case in cases if case.label == "partial"]
    scores = found.model(_rows(partial))
    wice = np.array([case.source == "wice" for case in found.cases])
    judged = [_Judged(found.scores[wice], found.labels[wice], _capped(found.cases)[wice])]
    if short:
        labels = np.array([case.label == "supported" for case in short])
        judged.append(_Judged(found.model(_rows(short)), labels, _capped(short)))
    borders = best_borders(judged, scores, _capped(partial))
    verdicts(found, partial, scores, borders)
    return found, borders


def fit_confidence(cases: Sequence[Case]) -> Fit:
    """Fit the confidence in an answer."""
    found = _fitted(
        [case for case in cases if case.label in ("answered", "unanswered")], "answered"
    )
    report("confidence", found)
    return found


class _Judged(NamedTuple):
    """Claims of one source: scores, whether they are supported, and whether no score makes them."""

    scores: NDArray[np.float64]
    labels: NDArray[np.bool_]
    capped: NDArray[np.bool_]

    def supported(self, border: float) -> NDArray[np.bool_]:
        """Return which claims are called supported."""
        return (self.scores >= border) & ~self.capped


def best_borders(
    judged: Sequence[_Judged],
    partial: NDArray[np.float64],
    partial_capped: NDArray[np.bool_],
) -> tuple[float, float]:
    """Return the scores that part the three classes with the best mean recall.

    Parameters
    ----------
    judged
        WiCE's claims, and the short ones if there are any, which place the border of supported.
    """
    grid = np.arange(0.1, 0.95, 0.05)
    wice = judged[0]

    def recall(low: float, high: float) -> float:
        shares = [
            (wice.scores[~wice.labels] < low).mean(),
            ((partial >= low) & ((partial < high) | partial_capped)).mean(),
            np.mean([each.supported(high)[each.labels].mean() for each in judged]),
            *((~each.supported(high)[~each.labels]).mean() for each in judged[1:]),
        ]
        return float(np.mean(shares))

    pairs = [(low, high) for low in grid for high in grid if low < high]
    low, high = max(pairs, key=lambda borders: recall(*borders))
    return round(float(low), 2), round(float(high), 2)


def report(name: str, found: Fit) -> None:
    """Print what the held-out folds gave, by source and by kind."""
    print(f"{name:44} {'cases':>6} {'true':>6} {'AUROC':>7} {'ECE':>7}")
    sources = sorted({case.source for case in found.cases})
    for source in [*sources, "all"]:
        inside = np.array([source in (case.source, "all") for case in found.cases])
        scores, labels = found.scores[inside], found.labels[inside]
        print(
            f"  {source:42} {inside.sum():6d} {labels.mean():6.2f} {auroc(scores, labels):7.3f}"
            f" {calibration_error(scores, labels, found.weights[inside]):7.3f}"
        )
    for source, kind in sorted({(case.source, case.kind) for case in found.cases}):
        inside = np.array([(case.source, case.kind) == (source, kind) for case in found.cases])
        low, middle, high = np.quantile(found.scores[inside], [0.1, 0.5, 0.9])
        print(f"    {source}: {kind:36} {inside.sum():6d}   {low:.2f} {middle:.2f} {high:.2f}")


def verdicts(
    found: Fit,
    partial: Sequence[Case],
    scores: NDArray[np.float64],
    borders: tuple[float, float],
) -> None:
    """Print how verdicts spread over the kinds of claims."""
    print(f"borders {borders[0]:.2f}, {borders[1]:.2f}: unsupported, partial, supported")
    cases = [*found.cases, *partial]
    places = np.searchsorted(borders, np.concatenate([found.scores, scores]), side="right")
    places = np.where(_capped(cases), np.minimum(places, 1), places)
    for source, kind in sorted({(case.source, case.kind) for case in cases}):
        inside = np.array([(case.source, case.kind) == (source, kind) for case in cases])
        counts = np.bincount(places[inside], minlength=3)
        shares = " ".join(f"{share:.2f}" for share in counts / counts.sum())
        print(f"    {source}: {kind:36} {inside.sum():6d}   {shares}")


def write(
    support: Fit, borders: tuple[float, float], confidence: Fit, settings: dict[str, Any]
) -> None:
    """Write what `rag_tools.cite.support` reads."""
    calibration = {
        **settings,
        "support": _logistic(support),
        "confidence": _logistic(confidence),
        "supported": borders[1],
        "partial": borders[0],
        "low": LOW,
    }
    text = json.dumps(calibration, indent=2) + "\n"
    CALIBRATION.write_text(text, encoding="utf-8", newline="\n")


def write_read(confidence: Fit) -> None:
    """Add the confidence in what the evidence model has read."""
    calibration = json.loads(CALIBRATION.read_text(encoding="utf-8"))
    calibration["read_confidence"] = _logistic(confidence)
    text = json.dumps(calibration, indent=2) + "\n"
    CALIBRATION.write_text(text, encoding="utf-8", newline="\n")


def draw(fits: dict[str, Fit]) -> None:
    """Draw the reliability curves: the share that is true over the score, and how many cases."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "rag-tools"  # the same file for the same numbers
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(fits), figsize=(4.5 * len(fits), 4), layout="constrained")
    for axis, (title, found) in zip(axes, fits.items(), strict=True):
        numbers = np.minimum((found.scores * BINS).astype(int), BINS - 1)
        present = np.unique(numbers)
        scores = [found.scores[numbers == number].mean() for number in present]
        shares = [found.labels[numbers == number].mean() for number in present]
        sizes = np.array([(numbers == number).sum() for number in present])
        axis.bar((present + 0.5) / BINS, sizes / sizes.sum(), 0.09, color="0.85", label="cases")
        axis.plot([0, 1], [0, 1], "--", color="0.5")
        axis.plot(scores, shares, "o-", label="share that is true")
        error = calibration_error(found.scores, found.labels, found.weights)
        area = auroc(found.scores, found.labels)
        axis.set(title=f"{title}\nAUROC {area:.3f}, ECE {error:.3f}", xlabel="score", xlim=(0, 1))
        axis.legend(loc="upper left")
    figure.savefig(FIGURE, metadata={"Date": None})


def _claim(
    engine: Engine,
    claim: str,
    filter: Filter | None,
    label: str,
    source: str,
    kind: str,
    group: str,
) -> Case:
    hits = engine.search(claim, limit=2 * QUOTES, filter=filter, explain=True).results
    features = evidence(claim, *quoted(hits, QUOTES))
    return Case(claim, label, source, kind, f"{source} {group}", features)


def _fitted(cases: list[Case], true: str) -> Fit:
    features = _rows(cases)
    labels = np.array([case.label == true for case in cases])
    groups = [case.group for case in cases]
    weights = _weights(cases)
    scores = held_out(features, labels, weights, groups)
    return Fit(fit(features, labels, weights), cases, scores, labels, weights)


def _capped(cases: Iterable[Case]) -> NDArray[np.bool_]:
    """Return which claims are in conflict with their quotes."""
    features = (case.features for case in cases)
    return np.array(
        [
            isinstance(each, Evidence) and bool(each.other_fact or each.other_sense)
            for each in features
        ]
    )


def _rows(cases: Iterable[Case]) -> NDArray[np.float64]:
    return np.array([case.features for case in cases], np.float64)


def _weights(cases: Sequence[Case]) -> NDArray[np.float64]:
    """Return weights by which all sources count alike; their mean is 1."""
    sources = [case.source for case in cases]
    counts = {source: sources.count(source) for source in set(sources)}
    return np.array([len(cases) / len(counts) / counts[source] for source in sources])


def _logistic(found: Fit) -> dict[str, Any]:
    names = found.cases[0].features._fields
    return {
        "intercept": round(found.model.intercept, 4),
        "weights": {
            name: round(float(weight), 4)
            for name, weight in zip(names, found.model.weights, strict=True)
        },
        "measured": {
            "cases": len(found.cases),
            "auroc": round(auroc(found.scores, found.labels), 4),
            "ece": round(calibration_error(found.scores, found.labels, found.weights), 4),
        },
    }


def _form(answer: str) -> tuple[bool, bool]:
    """Return what an answer that is mistaken for another has in common with it."""
    return bool(re.search(r"\d", answer)), answer[:1].isupper()


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


if __name__ == "__main__":
    main()
