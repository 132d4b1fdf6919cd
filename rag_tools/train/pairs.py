"""Training examples: how they are stored, and which of them make up which batch."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_tools.errors import InvalidQueryError
from rag_tools.types import Span

_NEIGHBOURHOOD = 16  # times as many as are drawn from it


@dataclass(frozen=True, slots=True)
class Example:
    """A query and passages, the first of which answers it.

    Attributes
    ----------
    source
        Name of the collection it comes from.
    query
        Text of the query.
    passages
        The positive, then negatives if they were mined.
    scores
        A teacher's score of each passage; empty if none was asked.
    span
        The answer in the positive, half-open code points; None if it isn't known.
    """

    source: str
    query: str
    passages: tuple[str, ...]
    scores: tuple[float, ...] = ()
    span: Span | None = None


@dataclass(frozen=True)
class Collection:
    """Examples and where they come from.

    Attributes
    ----------
    path
        A file or the directory of an index.
    sha256
        Hash of the examples as `write_example` writes them, in hexadecimal.
    examples
        The examples in the order of the file or the index.
    """

    path: str
    sha256: str
    examples: tuple[Example, ...]


def collect(path: Path, examples: Iterable[Example]) -> Collection:
    """Gather the examples read from `path`."""
    gathered = tuple(examples)
    digest = hashlib.sha256()
    for example in gathered:
        digest.update(write_example(example).encode("utf-8", "replace") + b"\n")
    return Collection(path.as_posix(), digest.hexdigest(), gathered)


def read_examples(file: Path) -> Iterator[Example]:
    """Read pairs or mined tuples from JSON lines, gzipped or not.

    A line has ``query`` and ``passage``, or ``query``, ``passages`` and perhaps ``scores``; it may
    have ``source`` (the file's name by default) and ``span``, ``[start, end]`` in the positive.

    Raises
    ------
    InvalidQueryError
        If the file can't be read, or a line has another form.
    """
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        yield _parse(json.loads(line), file.name.partition(".")[0])
                    except (KeyError, TypeError, ValueError) as error:
                        raise InvalidQueryError(
                            f"line {number} of {file} is no training example: {error!r}"
                        ) from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidQueryError(f"{file} can't be read: {error}") from None


def write_example(example: Example) -> str:
    """Return an example as one line of JSON, without the line's end."""
    record: dict[str, Any] = {"source": example.source, "query": example.query}
    if len(example.passages) == 1:
        record["passage"] = example.passages[0]
    else:
        record["passages"] = list(example.passages)
    if example.scores:
        record["scores"] = [round(score, 4) for score in example.scores]
    if example.span is not None:
        record["span"] = list(example.span)
    return json.dumps(record, ensure_ascii=False)


def plan_batches(
    sources: Sequence[str],
    *,
    steps: int,
    batch_size: int,
    source_power: float,
    seed: int,
    near: float = 0.0,
    vectors: NDArray[np.float32] | None = None,
) -> list[list[int]]:
    """Choose the examples of every batch of a run.

    The whole run is planned ahead: it depends on nothing but the arguments, so a run that is
    resumed sees what it would have seen.

    Parameters
    ----------
    sources
        The source of each example.
    steps, batch_size, source_power, seed, near
        As in `rag_tools.train.config.Settings`.
    vectors
        Shape ``(n_examples, dim)``: neighbours have a large inner product. For `near` alone.

    Returns
    -------
    For each step the numbers of at most `batch_size` examples, all of one source. A source's
    examples come in a random order, each once before any comes again. A longer run begins as a
    shorter one.
    """
    members: defaultdict[str, list[int]] = defaultdict(list)
    for number, source in enumerate(sources):
        members[source].append(number)
    names = sorted(members)
    chances = [len(members[name]) ** source_power for name in names]
    generator = random.Random(seed)
    waiting: dict[str, list[int]] = {name: [] for name in names}
    batches = []
    for _ in range(steps):
        [name] = generator.choices(names, chances)
        size = min(batch_size, len(members[name]))
        if len(waiting[name]) < size:
            # What is left over goes first; it may then come twice in a batch of a tiny source.
            waiting[name] = generator.sample(members[name], len(members[name])) + waiting[name]
        batch = [waiting[name].pop()]
        if vectors is not None:
            batch += _take_near(
                batch[0], waiting[name], round(near * (size - 1)), vectors, generator
            )
        while len(batch) < size:
            batch.append(waiting[name].pop())
        batches.append(sorted(set(batch)))
    return batches


def _take_near(
    first: int,
    waiting: list[int],
    count: int,
    vectors: NDArray[np.float32],
    generator: random.Random,
) -> list[int]:
    """Take examples out of `waiting` that are drawn from the neighbourhood of `first`."""
    order = np.argsort(-(vectors[waiting] @ vectors[first]), kind="stable")
    places = generator.sample(order[: _NEIGHBOURHOOD * count].tolist(), count)
    return [waiting.pop(place) for place in sorted(places, reverse=True)]


def draw_examples(examples: Iterable[Example], most: int, seed: int = 0) -> list[Example]:
    """Draw at most so many examples of each source; those drawn stay in their order."""
    drawn: defaultdict[str, list[int]] = defaultdict(list)
    every = list(examples)
    for number, example in enumerate(every):
        drawn[example.source].append(number)
    generator = random.Random(seed)
    kept = {
        number
        for _, numbers in sorted(drawn.items())
        for number in generator.sample(numbers, min(most, len(numbers)))
    }
    return [example for number, example in enumerate(every) if number in kept]


def draw_negatives(example: Example, count: int, seed: int) -> list[int]:
    """Choose which passages of a tuple a step uses.

    Returns
    -------
    Numbers of passages: 0, the positive's, then at most `count` negatives'.
    """
    negatives = range(1, len(example.passages))
    chosen = random.Random(f"{seed} {example.query}").sample(negatives, min(count, len(negatives)))
    return [0, *chosen]


def sample_passages(examples: Iterable[Example], count: int, seed: int = 0) -> list[str]:
    """Draw about `count` distinct positives, as many from each source."""
    by_source: defaultdict[str, set[str]] = defaultdict(set)
    for example in examples:
        by_source[example.source].add(example.passages[0])
    share = -(-count // max(len(by_source), 1))
    generator = random.Random(seed)
    return [
        passage
        for _, passages in sorted(by_source.items())
        for passage in generator.sample(sorted(passages), min(share, len(passages)))
    ]


def by_length(texts: Iterable[str]) -> list[str]:
    """Order texts so that those of one batch need little padding, and always in the same way.

    Not by length alone: a set has another order in each process, and what a text is padded to
    decides how its numbers are rounded.

    Examples
    --------
    >>> by_length({"ccc", "b", "a"})
    ['a', 'b', 'ccc']
    """
    return sorted(texts, key=lambda text: (len(text), text))


def _parse(record: Mapping[str, Any], source: str) -> Example:
    passages = tuple(record["passages"]) if "passages" in record else (record["passage"],)
    scores = tuple(map(float, record.get("scores") or ()))
    span = Span(*record["span"]) if record.get("span") else None
    texts = (record["query"], *passages)
    if not all(isinstance(text, str) and text.strip() for text in texts) or not passages:
        raise ValueError("query and passages must be texts that aren't empty")
    if scores and len(scores) != len(passages):
        raise ValueError(f"{len(scores)} scores for {len(passages)} passages")
    if span is not None and not 0 <= span.start < span.end <= len(passages[0]):
        raise ValueError(f"the span {list(span)} isn't in the passage")
    return Example(str(record.get("source") or source), record["query"], passages, scores, span)
