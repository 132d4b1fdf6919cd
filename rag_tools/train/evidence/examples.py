"""Training examples of the evidence model: a question or claim, and passages with their units."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Any, Literal

from rag_tools.errors import InvalidQueryError
from rag_tools.types import Span

Label = Literal["entailed", "contradicted", "neither"]
LABELS: tuple[Label, ...] = ("entailed", "contradicted", "neither")
"""In the order of the model's outputs."""


_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Read:
    """A passage as the model reads it.

    Attributes
    ----------
    text
        Of the passage.
    context
        Title and heading path, which are read before it.
    units
        Ranges of `text` that may be evidence, in order, not overlapping.
    gold
        Numbers of the units that are; empty if the passage holds none.
    answers
        Whether it holds an answer. It may where `gold` is empty: the place isn't known then.
    """

    text: str
    context: str = ""
    units: tuple[Span, ...] = ()
    gold: tuple[int, ...] = ()
    answers: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """What is asked or claimed, and passages to read for it.

    Attributes
    ----------
    source
        Where it comes from, such as ``medquad`` or ``documents/row``.
    query
        A question or a claim.
    passages
        Those that answer first.
    label
        Of a claim: what its first passage says about it. None for questions.
    """

    source: str
    query: str
    passages: tuple[Read, ...]
    label: Label | None = None


def read_examples(file: Path) -> Iterator[Example]:
    """Read what `write_examples` wrote.

    Raises
    ------
    InvalidQueryError
        If the file can't be read, or a line isn't an example.
    """
    try:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield parsed(json.loads(line))
                except (KeyError, TypeError, ValueError) as error:
                    raise InvalidQueryError(
                        f"line {number} of {file} is no example for the evidence model: {error!r}"
                    ) from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidQueryError(f"{file} can't be read: {error}") from None


def write_examples(file: Path, examples: Iterable[Example]) -> None:
    """Write examples as gzipped JSON lines; the same examples make the same bytes."""
    with (
        file.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
    ):
        for example in examples:
            line = json.dumps(_record(example), ensure_ascii=False) + "\n"
            packed.write(line.encode("utf-8", "replace"))


def _record(example: Example) -> dict[str, Any]:
    passages = [
        {
            "text": each.text,
            "context": each.context,
            "units": each.units,
            "gold": each.gold,
            "answers": each.answers,
        }
        for each in example.passages
    ]
    record: dict[str, Any] = {"source": example.source, "query": example.query}
    if example.label is not None:
        record["label"] = example.label
    return record | {"passages": passages}


def parsed(record: dict[str, Any]) -> Example:
    """Return an example from a line of a file.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it isn't one.
    """
    label = record.get("label")
    if label is not None and label not in LABELS:
        raise ValueError(f"label {label!r}: one of {', '.join(LABELS)}")
    passages = tuple(_parsed_passage(each) for each in record["passages"])
    if not passages or not str(record["query"]).strip():
        raise ValueError("it needs a query and a passage")
    return Example(str(record["source"]), record["query"], passages, label)


def _parsed_passage(record: dict[str, Any]) -> Read:
    text, units = record["text"], tuple(Span(*each) for each in record["units"])
    gold = tuple(record["gold"])
    borders = [border for unit in units for border in unit]
    if borders != sorted(borders) or (units and not 0 <= borders[0] < borders[-1] <= len(text)):
        raise ValueError(f"units must be in order and in the passage: {borders}")
    if any(not 0 <= each < len(units) for each in gold):
        raise ValueError(f"gold {list(gold)} of {len(units)} units")
    return Read(text, record["context"], units, gold, bool(record["answers"]))


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return _WORD.findall(text.lower())


def windowed(
    text: str, units: Sequence[Span], gold: Iterable[int], *, most: int, chance: random.Random
) -> tuple[str, tuple[Span, ...], tuple[int, ...]] | None:
    """Cut a passage, at units, to at most so many characters around its first gold unit.

    Which neighbours stay is by chance, so that the place says nothing.

    Returns
    -------
    Text, units and gold of what is left; None if the gold unit alone is too long.
    """
    wanted = sorted(gold)
    first = last = wanted[0] if wanted else 0
    if not units or units[first].end - units[first].start > most:
        return None
    while True:
        sides = [side for side in (first - 1, last + 1) if 0 <= side < len(units)]
        chance.shuffle(sides)
        for side in sides:
            low, high = min(first, side), max(last, side)
            if units[high].end - units[low].start <= most:
                first, last = low, high
                break
        else:
            break
    start = units[first].start
    kept = tuple(Span(a - start, b - start) for a, b in units[first : last + 1])
    return (
        text[start : units[last].end],
        kept,
        tuple(each - first for each in wanted if first <= each <= last),
    )


class Similar:
    """Texts, and those among them that share the most telling words with a query (BM25).

    Parameters
    ----------
    texts
        Numbered in their order.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._lists: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        counted = [Counter(words(text)) for text in texts]
        mean = sum(each.total() for each in counted) / max(len(counted), 1) or 1
        for number, counts in enumerate(counted):
            norm = 1.2 * (0.25 + 0.75 * counts.total() / mean)
            for word, n in counts.items():
                self._lists[word].append((number, 2.2 * n / (n + norm)))
        self._n = len(counted)

    def __call__(self, query: str, count: int) -> list[int]:
        """Return the numbers of the most similar texts, best first."""
        scores: defaultdict[int, float] = defaultdict(float)
        for word in sorted(set(words(query))):
            found = self._lists.get(word, ())
            if 0 < len(found) <= max(0.2 * self._n, 20):
                rarity = log(1 + (self._n - len(found) + 0.5) / (len(found) + 0.5))
                for number, share in found:
                    scores[number] += rarity * share
        return sorted(scores, key=lambda number: (-scores[number], number))[:count]
