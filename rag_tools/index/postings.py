"""Lexical postings: which passages of a segment hold which terms, how often and where.

They are a file beside the segment's own, with the same passages at the same positions. The writer
and the reader are side by side here; ``docs/format.md`` describes the arrays. Texts aren't in it:
merging segments merges their postings, and nothing is divided into terms again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.arrayfile import ArrayFile, write_arrays
from rag_tools.index.terms import terms

KIND = "lexical"

BLOCK = 128
"""Postings of a term of which one bound is stored: no traversal scores a block below it."""


_RUN_PASSAGES = 4096  # whose words are in memory as objects at a time


class Worded(NamedTuple):
    """What is looked up of a passage: its text, and its heading path as people read it."""

    text: str
    heading: str

    @property
    def digest(self) -> int:
        """A number of 64 bits that tells passages with the same words from others; never 0."""
        known = f"{len(self.heading)}\n{self.heading}{self.text}".encode()
        return int.from_bytes(blake2b(known, digest_size=8).digest(), "little") or 1


class Run(NamedTuple):
    """The postings of a run of passages, in memory.

    Attributes
    ----------
    terms
        In ascending order, without NUL.
    counts
        ``(n_terms,)`` int64: passages that hold each.
    passages, frequencies
        ``(n_postings,)`` uint32: term after term, the passages in ascending order, and how often
        each holds the term.
    places
        ``(n_words,)`` uint32: posting after posting, the numbers of the words that are the term.
        The words of the heading are counted on from those of the text, one number left out, so that
        no phrase begins in the text and ends in the heading.
    lengths, heading_lengths
        ``(n_passages,)`` uint32: words of each, and those of them that are in the heading.
    digests
        ``(n_passages,)`` uint64: see `Worded`; 0 of a passage whose words aren't known.
    """

    terms: list[bytes]
    counts: NDArray[np.int64]
    passages: NDArray[np.uint32]
    frequencies: NDArray[np.uint32]
    places: NDArray[np.uint32]
    lengths: NDArray[np.uint32]
    heading_lengths: NDArray[np.uint32]
    digests: NDArray[np.uint64]


def runs(passages: Iterable[Worded | None]) -> Iterator[Run]:
    """Yield the postings of passages, some thousands at a time, see `index`."""
    waiting = iter(passages)
    while some := list(islice(waiting, _RUN_PASSAGES)):
        yield index(some)


def index(passages: Iterable[Worded | None]) -> Run:
    """Return the postings of passages: O(their size). None stands for one without words."""
    numbers: defaultdict[bytes, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    found: list[int] = []
    sizes: list[tuple[int, int]] = []
    digests: list[int] = []
    for passage in passages:
        text = terms(passage.text) if passage else []
        heading = terms(passage.heading) if passage else []
        found += map(numbers.__getitem__, text)
        found += map(numbers.__getitem__, heading)
        sizes.append((len(text), len(heading)))
        digests.append(passage.digest if passage else 0)
    of_text, of_heading = np.array(sizes, np.int64).reshape(-1, 2).T
    ordered = sorted(numbers)
    rank = np.empty(len(ordered), np.int64)
    rank[[numbers[term] for term in ordered]] = np.arange(len(ordered))
    ranks = rank[np.array(found, np.int64)]
    lengths = of_text + of_heading
    owners = np.repeat(np.arange(len(sizes)), lengths)
    places = np.arange(len(found)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places += places >= of_text[owners]
    order = np.argsort(ranks, kind="stable")
    ranks, owners = ranks[order], owners[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (ranks[1:] != ranks[:-1]) | (owners[1:] != owners[:-1])
    starts = np.flatnonzero(first)
    return Run(
        ordered,
        np.bincount(ranks[starts], minlength=len(ordered)),
        owners[starts].astype(np.uint32),
        np.diff(starts, append=len(order)).astype(np.uint32),
        places[order].astype(np.uint32),
        lengths.astype(np.uint32),
        of_heading.astype(np.uint32),
        np.array(digests, np.uint64),
    )


def merged(runs: Sequence[Run]) -> Run:
    """Return the postings of runs of passages, one after the other: O(postings), no sorting."""
    if len(runs) == 1:
        return runs[0]
    ordered = sorted(set().union(*(run.terms for run in runs)))
    number = {term: at for at, term in enumerate(ordered)}
    of_terms = [np.array([number[term] for term in run.terms], np.int64) for run in runs]
    words = [_sums(run.frequencies, run.counts) for run in runs]
    postings = _Places(len(ordered), of_terms, [run.counts for run in runs])
    places = _Places(len(ordered), of_terms, words)
    sizes = [len(run.lengths) for run in runs]
    firsts = np.cumsum([0, *sizes])[:-1]
    return Run(
        ordered,
        postings.counts,
        postings.joined(
            [run.passages + np.uint32(first) for run, first in zip(runs, firsts, strict=True)]
        ),
        postings.joined([run.frequencies for run in runs]),
        places.joined([run.places for run in runs]),
        np.concatenate([np.empty(0, np.uint32), *(run.lengths for run in runs)]),
        np.concatenate([np.empty(0, np.uint32), *(run.heading_lengths for run in runs)]),
        np.concatenate([np.empty(0, np.uint64), *(run.digests for run in runs)]),
    )


class _Places:
    """Where what is stored term by term in each of several runs stands when they are one."""

    def __init__(
        self, n_terms: int, terms: Sequence[NDArray[np.int64]], counts: Sequence[NDArray[np.int64]]
    ) -> None:
        self.counts = np.zeros(n_terms, np.int64)
        for numbers, some in zip(terms, counts, strict=True):
            self.counts[numbers] += some
        free = np.cumsum(self.counts) - self.counts
        self._starts = []
        for numbers, some in zip(terms, counts, strict=True):
            self._starts.append(np.repeat(free[numbers] - (np.cumsum(some) - some), some))
            free[numbers] += some

    def joined(self, parts: Sequence[NDArray[np.uint32]]) -> NDArray[np.uint32]:
        whole = np.empty(int(self.counts.sum()), np.uint32)
        for starts, part in zip(self._starts, parts, strict=True):
            whole[starts + np.arange(len(part))] = part
        return whole


def _sums(numbers: NDArray[np.uint32], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sums of runs of numbers, whose lengths are given."""
    total = np.concatenate([[0], np.cumsum(numbers, dtype=np.int64)])
    ends = np.cumsum(counts)
    return np.asarray(total[ends] - total[ends - counts])


def write_postings(path: Path, runs: Iterable[Run]) -> None:
    """Write the postings of runs of passages, one after the other, as one file: O(postings)."""
    write_arrays(path, KIND, {}, arrays(merged(list(runs))))


def arrays(run: Run) -> dict[str, NDArray[Any]]:
    """Return what is stored of a run."""
    blocks = -(-run.counts // BLOCK)
    first_blocks = np.concatenate([[0], np.cumsum(blocks)])
    first_postings = np.concatenate([[0], np.cumsum(run.counts)])
    starts = BLOCK * np.arange(first_blocks[-1]) + np.repeat(
        first_postings[:-1] - BLOCK * first_blocks[:-1], blocks
    )
    ends = np.minimum(starts + BLOCK, np.repeat(first_postings[1:], blocks))
    first_places = np.concatenate([[0], np.cumsum(run.frequencies, dtype=np.int64)])
    ratios = (run.lengths[run.passages] / run.frequencies).astype(np.float32)
    none = np.empty(0, np.uint32)
    return {
        "terms": np.frombuffer(b"".join(term + b"\0" for term in run.terms), np.uint8),
        "term_offsets": np.cumsum([0, *(len(term) + 1 for term in run.terms)]).astype(np.uint32),
        "posting_offsets": first_postings.astype(np.uint32),
        "block_offsets": first_blocks.astype(np.uint32),
        "block_last": run.passages[ends - 1],
        "block_places": first_places[starts].astype(np.uint32),
        "block_frequency": np.maximum.reduceat(run.frequencies, starts) if len(starts) else none,
        "block_ratio": np.minimum.reduceat(ratios, starts) if len(starts) else ratios,
        "passages": _narrow(run.passages, np.uint16),
        "frequencies": _narrow(run.frequencies, np.uint8, np.uint16),
        "places": _narrow(run.places, np.uint8, np.uint16),
        "lengths": _narrow(run.lengths, np.uint16),
        "heading_lengths": _narrow(run.heading_lengths, np.uint8, np.uint16),
        "digests": run.digests,
    }


def _narrow(
    numbers: NDArray[np.uint32], *kinds: type[np.unsignedinteger[Any]]
) -> NDArray[np.unsignedinteger[Any]]:
    """Return numbers as the first of some types that they fit, else as they are."""
    largest = int(numbers.max(initial=0))
    for kind in kinds:
        if largest <= np.iinfo(kind).max:
            return numbers.astype(kind)
    return numbers


class _Arrays(Protocol):
    def __getitem__(self, name: str) -> NDArray[Any]: ...


class Postings:
    """The lexical postings of a segment.

    Attributes
    ----------
    arrays
        As `arrays` returns them and ``docs/format.md`` describes them.
    """

    def __init__(self, arrays: _Arrays) -> None:
        self.arrays = arrays
        self.lengths: NDArray[np.uint16] | NDArray[np.uint32] = arrays["lengths"]
        self.digests: NDArray[np.uint64] = arrays["digests"]
        self.term_offsets: NDArray[np.uint32] = arrays["term_offsets"]
        self._terms: NDArray[np.uint8] = arrays["terms"]
        self._posting_offsets: NDArray[np.uint32] = arrays["posting_offsets"]
        self._block_offsets: NDArray[np.uint32] = arrays["block_offsets"]
        self._block_places: NDArray[np.uint32] = arrays["block_places"]
        self._passages: NDArray[np.unsignedinteger[Any]] = arrays["passages"]
        self._frequencies: NDArray[np.unsignedinteger[Any]] = arrays["frequencies"]
        self._places: NDArray[np.unsignedinteger[Any]] = arrays["places"]

    @classmethod
    def open(cls, path: Path) -> Postings:
        """Map a file of postings.

        Raises
        ------
        IndexCorruptError, IndexAccessError, IndexVersionError
            If it can't be read, see `ArrayFile`.
        """
        return cls(ArrayFile(path, KIND))

    @classmethod
    def of(cls, run: Run) -> Postings:
        """Return the postings of a run of passages without writing them."""
        return cls(arrays(run))

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def terms(self) -> list[bytes]:
        """The terms, in ascending order: O(their size)."""
        return self._terms.tobytes().split(b"\0")[:-1]

    def find(self, term: bytes) -> int | None:
        """Return the number of a term, or None: O(log terms)."""
        at = bisect_left(_Terms(self._terms, self.term_offsets), term)
        return at if at < len(self.term_offsets) - 1 and self._term(at) == term else None

    def _term(self, number: int) -> bytes:
        start, end = self.term_offsets[number : number + 2].tolist()
        return self._terms[start : end - 1].tobytes()

    def of_phrase(self, phrase: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the passages with some terms in a row, ascending, and how often each has them."""
        numbers = [self.find(term) for term in phrase]
        none = np.empty(0, np.int64)
        if len(numbers) == 1 and numbers[0] is not None:
            first, last = self._posting_offsets[numbers[0] : numbers[0] + 2].tolist()
            return self._passages[first:last].astype(np.int64), self._frequencies[
                first:last
            ].astype(np.int64)
        found: NDArray[np.int64] | None = None
        for at, number in enumerate(numbers):
            if number is None:
                return none, none
            starts = self._words(number) - at
            found = starts if found is None else np.intersect1d(found, starts)
        if found is None or not len(found):
            return none, none
        return np.unique(found >> 32, return_counts=True)

    def _words(self, number: int) -> NDArray[np.int64]:
        """Return where a term stands, ``passage << 32 | place``, in ascending order."""
        first, last = self._posting_offsets[number : number + 2].tolist()
        times = self._frequencies[first:last].astype(np.int64)
        start = int(self._block_places[self._block_offsets[number]])
        places = self._places[start : start + int(times.sum())].astype(np.int64)
        return (np.repeat(self._passages[first:last].astype(np.int64), times) << 32) + places

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """``(n_terms,)`` int64: passages that hold each term."""
        offsets = self._posting_offsets.astype(np.int64)
        return offsets[1:] - offsets[:-1]

    def run(self, positions: NDArray[np.intp]) -> Run:
        """Return the postings of passages at ascending positions: O(postings)."""
        new = np.full(len(self), -1, np.int64)
        new[positions] = np.arange(len(positions))
        moved = new[self._passages]
        kept = moved >= 0
        frequencies = self._frequencies.astype(np.uint32)
        counts = _sums(kept.astype(np.uint32), self.counts)
        known = counts > 0
        return Run(
            [term for term, stays in zip(self.terms, known.tolist(), strict=True) if stays],
            counts[known],
            moved[kept].astype(np.uint32),
            frequencies[kept],
            self._places[np.repeat(kept, frequencies)].astype(np.uint32),
            self.lengths[positions].astype(np.uint32),
            self.arrays["heading_lengths"][positions].astype(np.uint32),
            self.digests[positions],
        )

    def dead_terms(self, live: NDArray[np.bool_]) -> int:
        """Return how many terms no passage holds of those marked in ``(n_passages,)`` bool."""
        held = _sums(live[self._passages].astype(np.uint32), self.counts)
        return int(np.count_nonzero(held == 0))


class _Terms(Sequence[bytes]):
    """The terms, each read when it is compared."""

    def __init__(self, joined: NDArray[np.uint8], offsets: NDArray[np.uint32]) -> None:
        self._joined, self._offsets = joined, offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, at: Any) -> Any:  # noqa: ANN401 - a number, of which bytes are returned
        return self._joined[self._offsets[at] : self._offsets[at + 1] - 1].tobytes()
