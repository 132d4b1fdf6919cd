"""Keeping evaluation data out of training: near-duplicates by the word n-grams they share."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag_tools.errors import DatasetError
from rag_tools.train.pairs import Example

GRAM = 8
"""Words of an n-gram. Brown et al. 2020 (GPT-3, appendix C) use 8 to 13."""

SHARE = 0.5
"""Share of the shorter text's n-grams that makes two texts near-duplicates."""

_LEAST = 5
"""N-grams that must be shared, so that a set phrase isn't enough: 12 words in a row."""

_SHORTEST = 4
"""Words of a text for it to count: "yes" in an evaluation is nobody's property."""

_WORD = re.compile(r"\w+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]


class Evaluations:
    """The texts of evaluation folders, to compare training texts with.

    Parameters
    ----------
    folders
        Every string in their ``.json``, ``.jsonl``, ``.csv``, ``.tsv``, ``.txt`` and ``.md``
        files, gzipped or not, is a text: documents, questions, claims, sentences.

    Raises
    ------
    DatasetError
        If a folder has no such file, or one can't be read.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        grams: list[Hashes] = []
        owners: list[NDArray[np.int32]] = []
        counts: list[int] = []
        whole: set[int] = set()
        for folder in folders:
            for text in sorted(set(_texts(folder))):
                words = _words(text)
                if len(words) < _SHORTEST:
                    continue
                whole.add(_whole(words))
                hashes = _grams(words)
                grams.append(hashes)
                owners.append(np.full(len(hashes), len(counts), np.int32))
                counts.append(len(hashes))
        every = np.concatenate([np.empty(0, np.uint64), *grams])
        order = np.argsort(every, kind="stable")
        self._grams = every[order]  # (n,) sorted
        self._owners = np.concatenate([np.empty(0, np.int32), *owners])[order]
        self._counts = np.array(counts, np.int64)  # n-grams of each text
        self._whole = whole
        self.holds = lru_cache(maxsize=100_000)(self._holds)

    def _holds(self, text: str) -> bool:
        """Tell whether a text is nearly one of theirs, or has one in it, or is part of one."""
        words = _words(text)
        if len(words) < _SHORTEST:
            return False
        if _whole(words) in self._whole:
            return True
        hashes = _grams(words)
        first = np.searchsorted(self._grams, hashes, "left")
        last = np.searchsorted(self._grams, hashes, "right")
        found = [self._owners[a:b] for a, b in zip(first, last, strict=True) if a < b]
        if len(found) < _LEAST:
            return False
        # A text's n-gram counts once for each text that has it, however often.
        owners, shared = np.unique(
            np.concatenate([np.unique(each) for each in found]), return_counts=True
        )
        shorter = np.minimum(self._counts[owners], len(hashes))
        return bool(((shared >= _LEAST) & (shared >= SHARE * shorter)).any())

    def without(self, example: Example) -> Example | None:
        """Return an example without the negatives that are theirs; None if the pair itself is."""
        if self.holds(example.query) or self.holds(example.passages[0]):
            return None
        kept = [0]
        kept += [i for i, text in enumerate(example.passages) if i and not self.holds(text)]
        return replace(
            example,
            passages=tuple(example.passages[i] for i in kept),
            scores=tuple(example.scores[i] for i in kept) if example.scores else (),
        )


def near_duplicates(text: str, other: str) -> bool:
    """Tell whether two texts are nearly one, or one has most of the other in it.

    Examples
    --------
    >>> near_duplicates("What is it?", "what is  it")
    True
    >>> near_duplicates("What is it?", "Where is it?")
    False
    """
    (whole, ours), (other_whole, theirs) = _prints(text), _prints(other)
    if whole == other_whole:
        return True
    shared = len(np.intersect1d(ours, theirs, assume_unique=True))
    return shared >= _LEAST and shared >= SHARE * min(len(ours), len(theirs))


@lru_cache(maxsize=20_000)  # mining compares the same passages for query after query
def _prints(text: str) -> tuple[int, Hashes]:
    """Return the hash of a text and those of its n-grams, sorted, each once."""
    words = _words(text)
    return _whole(words), np.unique(_grams(words))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest())


_hash_word = lru_cache(maxsize=500_000)(_hash)  # whole texts would fill it


def _whole(words: Sequence[str]) -> int:
    return _hash(" ".join(words))


def _grams(words: Sequence[str]) -> Hashes:
    """Return a hash for each n-gram of a text, ``(n_words - GRAM + 1,)``; none if it is shorter."""
    hashes = np.array([_hash_word(word) for word in words], np.uint64)
    n = max(len(words) - GRAM + 1, 0)
    grams = np.zeros(n, np.uint64)
    for i in range(GRAM):  # modulo 2 ** 64
        grams = grams * _FACTOR + hashes[i : i + n]
    return grams


def _texts(folder: Path) -> Iterator[str]:
    kinds = {".json", ".jsonl", ".csv", ".tsv", ".txt", ".md"}
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and Path(path.name.removesuffix(".gz")).suffix in kinds
    ]
    if not files:
        raise DatasetError(
            f"{folder} has no file of {', '.join(sorted(kinds))}: name a folder that has"
        )
    for path in files:
        opened = gzip.open if path.suffix == ".gz" else open
        try:
            with opened(path, "rt", encoding="utf-8", newline="") as file:
                content = file.read()
            yield from _strings(content, Path(path.name.removesuffix(".gz")).suffix)
        except (OSError, EOFError, ValueError, csv.Error) as error:
            raise DatasetError(f"{path} can't be read: {error}") from None


def _strings(content: str, kind: str) -> Iterator[str]:
    if kind in (".txt", ".md"):
        yield content
    elif kind == ".json":
        yield from _leaves(json.loads(content))
    elif kind == ".jsonl":
        for line in content.split("\n"):
            if line.strip():
                yield from _leaves(json.loads(line))
    else:
        csv.field_size_limit(2**31 - 1)
        delimiter = "," if kind == ".csv" else "\t"
        for row in csv.reader(content.splitlines(keepends=True), delimiter=delimiter):
            yield from row


def _leaves(value: Any) -> Iterator[str]:  # noqa: ANN401 - whatever the JSON holds
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
