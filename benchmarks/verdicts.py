"""Shows how many claims of each kind are called supported: true ones, and each way of being wrong.

Usage: python benchmarks/verdicts.py DATA CORPUS [--claims FILE] [--count N]

DATA holds the folder ``squad``, see `rag_tools.evaluate.evidence`; CORPUS is a folder of documents,
such as ``examples/corpus``; FILE has labelled claims, one JSON object with ``source``, ``claim``,
``evidence`` and ``label`` a line, gzipped. Claims are made by rule from sentences of the documents,
half of them shortened or turned round first: with another number, unit, date or name, with a "not"
put in or taken out, with an opposite, with two names exchanged. The opposites are pairs of words
that people exchanged to make a sentence false (WikiFactCheck, in FILE), not the
product's own list.
A few minutes on two cores.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from calibrate_support import GROUP, PARAGRAPHS, grouped, shortened

from rag_tools.engine import Engine
from rag_tools.evaluate.evidence import read_evidence
from rag_tools.sentences import sentences
from rag_tools.types import Document

WORDS = range(7, 41)  # of a sentence that a claim is made from
OWN_LINES = re.compile(r"[|<>{}=`_\\]|\n\s*\n|::")  # tables and code aren't made claims

_DIGITS = re.compile(r"(?<![\w.,/-])(?:\d{1,3}(?:,\d{3})+|\d{1,3}|\d+\.\d+)(?![\w/-]|[.,]\d)")
_SAID = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "twenty"]
_SAID_NUMBER = re.compile(rf"\b(?:{'|'.join(_SAID)})\b")
_MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
]  # fmt: skip
_YEAR = re.compile(r"(?<![\w.,/-])(?:1[5-9]\d\d|20[0-2]\d)(?![\w-]|[.,]\d)")
_MONTH = re.compile(rf"\b(?:{'|'.join(_MONTHS)})\b(?=[ ,]+\d)|(?<=\d )(?:{'|'.join(_MONTHS)})\b")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*")
_UNITS = [
    {"seconds", "minutes", "hours", "days", "weeks", "months", "years", "decades", "centuries"},
    {"second", "minute", "hour", "day", "week", "month", "year", "decade", "century"},
    {"percent", "dollars", "people", "degrees"},
    {"kilometres", "miles", "metres", "feet"},
    {"km", "mi", "m", "ft"},
    {"kg", "tonnes", "pounds", "tons", "grams"},
    {"bytes", "bits", "kB", "MB", "GB"},
    {"million", "billion", "thousand"},
]
_UNIT = re.compile(
    rf"(?<=\d )(?:{'|'.join(sorted(set().union(*_UNITS), key=len, reverse=True))})\b"
)
_HELPING = re.compile(
    r"\b(?:is|are|was|were|can|could|will|would|must|should|may|has been|have been|had been)\b"
    r"(?! not|n't|\s+(?:no|never|neither|hardly)\b)"
)
_NOT = re.compile(r"\b(?P<helping>is|are|was|were|can|could|will|would|must|should|may|do|does)"
                  r"(?P<not> not|n't|not(?=\b))(?! only)\b")  # fmt: skip


_CARRYING = frozenset(
    """
    the a an in on at as some this that these those his her its their our while although though
    after before during since for by from with of to he she it they we if when where most many
    however there one two all both each other another and but new
    """.split()  # noqa: SIM905 - a list literal would be a page long
)


class Claim(NamedTuple):
    """A claim, what was done to make it, and the documents that it is asked of."""

    kind: str
    text: str
    filter: str | None = None


Maker = Callable[[str, str, Sequence[str], random.Random], str | None]


def main() -> None:
    """Make the claims, have them cited, print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    parser.add_argument("--claims", type=Path, metavar="FILE")
    parser.add_argument("--count", type=int, default=150, help="claims of each kind and source")
    parser.add_argument("--show", action="store_true", help="print the claims that are misjudged")
    arguments = parser.parse_args()
    labelled = list(_labelled(arguments.claims)) if arguments.claims else []
    opposites = exchanged(labelled)
    (squad,) = read_evidence(arguments.data / "squad")
    articles = defaultdict(list)
    for document in grouped(squad).documents.values():
        articles[document.metadata[GROUP]].append(document)
    documents = [each for group in articles.values() for each in group[:PARAGRAPHS]]
    with _engine() as engine:
        engine.add(documents)
        made = claims(documents, opposites, arguments.count, random.Random(0))
        report("SQuAD", engine, made, show=arguments.show)
    with _engine() as engine:
        engine.sync([arguments.corpus])
        found = [engine.document(entry.id) for entry in engine.documents()]
        made = claims(found, opposites, arguments.count, random.Random(1))
        report(arguments.corpus.name, engine, made, show=arguments.show)
    if labelled:
        with _engine() as engine:
            made = list(annotated(engine, labelled, arguments.count, random.Random(2)))
            report(arguments.claims.name, engine, made, show=arguments.show)


def claims(
    documents: Sequence[Document],
    opposites: dict[str, str],
    count: int,
    rng: random.Random,
) -> list[Claim]:
    """Return claims of every kind made from sentences of documents, `count` of each at most."""
    places = [(document.text, each) for document in documents for each in _sentences(document.text)]
    rng.shuffle(places)
    names = sorted({name for text, _ in places for name in _NAME.findall(text)})

    def opposite(sentence: str, text: str, names: Sequence[str], rng: random.Random) -> str | None:
        found = [m for m in re.finditer(r"\b[a-z]+\b", sentence) if m[0] in opposites]
        return _replaced(sentence, found, lambda word: opposites[word], rng)

    makers: dict[str, Maker] = {
        "wrong number": other_number,
        "wrong unit": other_unit,
        "wrong date": other_date,
        "wrong name": other_name,
        "negated": negated,
        "opposite": opposite,
        "turned": exchanged_names,
    }
    made: list[Claim] = []
    counts: Counter[str] = Counter()
    for number, (text, sentence) in enumerate(places):
        short = shortened(sentence)
        if short != sentence and counts["true, shortened"] < count:
            counts["true, shortened"] += 1
            made.append(Claim("true, shortened", short))
        elif counts["true, verbatim"] < count:
            counts["true, verbatim"] += 1
            made.append(Claim("true, verbatim", sentence))
        base = short if number % 2 else sentence
        for kind, make in makers.items():
            if counts[kind] < count and (changed := make(base, text, names, rng)):
                counts[kind] += 1
                made.append(Claim(kind, changed))
    return made


def other_number(sentence: str, text: str, _names: Sequence[str], rng: random.Random) -> str | None:
    """Change a number, in digits or in words, to one that the text hasn't."""
    found = [*_DIGITS.finditer(sentence), *_SAID_NUMBER.finditer(sentence)]

    def change(number: str) -> str | None:
        if number in _SAID:
            others = [word for word in _SAID if not re.search(rf"\b{word}\b", text)]
            return rng.choice(others) if others else None
        first = str(rng.choice([digit for digit in range(1, 10) if str(digit) != number[0]]))
        changed = first + number[1:]
        return None if re.search(rf"(?<!\d){re.escape(changed)}(?!\d)", text) else changed

    return _replaced(sentence, found, change, rng)


def other_unit(sentence: str, text: str, _names: Sequence[str], rng: random.Random) -> str | None:
    """Change the unit of a number to another of its kind."""

    def change(unit: str) -> str:
        others = next(units for units in _UNITS if unit in units) - {unit}
        return rng.choice(sorted(others))

    return _replaced(sentence, list(_UNIT.finditer(sentence)), change, rng)


def other_date(sentence: str, text: str, _names: Sequence[str], rng: random.Random) -> str | None:
    """Change a year or a month."""

    def change(given: str) -> str | None:
        if given in _MONTHS:
            return rng.choice([month for month in _MONTHS if month not in text] or [given])
        changed = str(int(given) + rng.choice([-20, -10, -3, -2, -1, 1, 2, 3, 10]))
        return None if changed in text else changed

    found = [*_YEAR.finditer(sentence), *_MONTH.finditer(sentence)]
    return _replaced(sentence, found, change, rng)


def other_name(sentence: str, text: str, names: Sequence[str], rng: random.Random) -> str | None:
    """Change a name to one of another text."""
    others = [name for name in rng.sample(names, min(30, len(names))) if name not in text]
    found = list(_NAME.finditer(sentence))
    return _replaced(sentence, found, lambda _: others[0] if others else None, rng)


def negated(sentence: str, text: str, _names: Sequence[str], rng: random.Random) -> str | None:
    """Put a "not" or a "never" in, or take one out."""
    if match := _NOT.search(sentence):
        return sentence[: match.start("not")] + sentence[match.end() :]
    word = rng.choice(["not", "never"])
    found = list(_HELPING.finditer(sentence))[:1]
    return _replaced(sentence, found, lambda helping: f"{helping} {word}", rng)


def exchanged_names(
    sentence: str, text: str, _names: Sequence[str], rng: random.Random
) -> str | None:
    """Exchange two names between which there is more than a comma or "and"."""
    found = [
        match
        for match in _NAME.finditer(f"x {sentence}")  # one at the beginning may be a name as well
        if match.start() > 2 or match[0].split()[0].lower() not in _CARRYING
    ]
    for one, other in pairwise(found):
        between = f"x {sentence}"[one.end() : other.start()]
        if one[0] != other[0] and re.search(
            r"[a-z]{3,}", re.sub(r"\b(?:and|or|the)\b", "", between)
        ):
            whole = f"x {sentence}"
            changed = whole[: one.start()] + other[0] + between + one[0] + whole[other.end() :]
            return changed[2:]
    return None


def exchanged(labelled: Sequence[dict[str, str]]) -> dict[str, str]:
    """Return words with the one that people put in their place, twice at least, to be wrong."""
    seen: Counter[tuple[str, str]] = Counter()
    for each in labelled:
        if each["source"] != "wikifactcheck-refuted":
            continue
        one, other = each["evidence"].split(), each["claim"].split()
        if len(one) == len(other):
            pairs = [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]]
            if len(pairs) == 1 and all(re.fullmatch(r"[a-z]{3,}", word) for word in pairs[0]):
                seen[pairs[0]] += 1
                seen[pairs[0][::-1]] += 1
    best: dict[str, str] = {}
    for (word, other), count in seen.most_common():
        if count > 1:
            best.setdefault(word, other)
    return best


def annotated(
    engine: Engine, labelled: Sequence[dict[str, str]], count: int, rng: random.Random
) -> Iterator[Claim]:
    """Yield labelled claims, each asked of its own evidence."""
    groups = defaultdict(list)
    for each in labelled:
        if not each["source"].startswith(("fetaqa", "tabfact", "scitab", "wice")):
            groups[f"{each['source']}: {each['label']}"].append(each)
    documents, made = [], []
    for kind in sorted(groups):
        for number, each in enumerate(rng.sample(groups[kind], min(count, len(groups[kind])))):
            uri = f"{kind} {number}"
            document = Document(text=each["evidence"], uri=uri)
            documents.append(document)
            made.append(Claim(kind, each["claim"], document.id))
    engine.add(documents)
    yield from made


def report(name: str, engine: Engine, made: Sequence[Claim], *, show: bool) -> None:
    """Print the share of each kind that is supported, partial and unsupported."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for claim in made:
        restriction = {"document_id": claim.filter} if claim.filter else None
        support = engine.cite(claim.text, filter=restriction)
        counts[claim.kind][support.verdict] += 1
        true = claim.kind.startswith("true") or claim.kind.endswith(": supported")
        if show and (support.verdict == "supported") != true:
            why = [
                (each.kind, claim.text[each.start : each.end])
                for each in getattr(support, "conflicts", ())
            ]
            quote = support.citations[0].quote if support.citations else ""
            print(f"! {claim.kind}  {support.score}  {claim.text!r} {why}  {quote!r}")
    print(f"{name:45} {'claims':>6} {'supported':>10} {'partial':>8} {'unsupported':>12}")
    for kind, verdicts in counts.items():
        total = verdicts.total()
        shares = [verdicts[each] / total for each in ("supported", "partial", "unsupported")]
        print(f"  {kind:43} {total:6d} {shares[0]:10.3f} {shares[1]:8.3f} {shares[2]:12.3f}")
    sys.stdout.flush()


def _replaced(
    sentence: str,
    places: Sequence[re.Match[str]],
    change: Callable[[str], str | None],
    rng: random.Random,
) -> str | None:
    for match in rng.sample(places, len(places)):
        changed = change(match[0])
        if changed and changed != match[0]:
            return sentence[: match.start()] + changed + sentence[match.end() :]
    return None


def _sentences(text: str) -> Iterator[str]:
    for span in sentences(text):
        sentence = " ".join(span.of(text).split())
        running = sentence[:1].isupper() and sentence.endswith(".")
        if (
            running
            and len(sentence.split()) in WORDS
            and not OWN_LINES.search(span.of(text).strip())
        ):
            yield sentence


def _labelled(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def _engine() -> Engine:
    return Engine.open(tempfile.mkdtemp(prefix="verdicts-"), create=True)


if __name__ == "__main__":
    main()
