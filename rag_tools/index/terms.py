"""What is looked up of a text: its words, folded and reduced to their stems.

They are those of SQLite's tokenizer ``porter unicode61 remove_diacritics 2``, which made the
lexical index up to format 5. Its tables are stored in ``words.txt``, because those of Python change
with its version, and an index is read by other versions than the one that wrote it.

`terms` is the only door: texts, headings and queries pass through it. Another language gets other
terms here and nowhere else.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path

_TABLES = Path(__file__).with_name("words.txt")

# Bytes of the words that are stemmed.
_SHORTEST, _LONGEST = 3, 64


def terms(text: str) -> list[bytes]:
    """Return the terms of a text in order, as UTF-8: O(its size).

    A word with a character that isn't ASCII may lose a part of it with its ending, as in SQLite.

    Examples
    --------
    >>> terms("Café crèmes, v1.2.3!")
    [b'cafe', b'creme', b'v1', b'2', b'3']
    """
    return [_stem(word) for word in text.translate(_folding()).split(" ") if word]


class _Folding(dict[int, str | None]):
    """What becomes of each character: a blank between words, nothing of a diacritic."""

    def __init__(self, table: Path) -> None:
        lines = (line.partition(" ") for line in table.read_text("utf-8").split("\n"))
        named = {name: value for name, _, value in lines}
        super().__init__(zip(map(ord, named["folded"]), named["into"], strict=True))
        self.update((int(code, 16), None) for code in named["dropped"].split())
        ends = (part.partition("-") for part in named["letters"].split())
        ranges = [(int(first, 16), int(last or first, 16)) for first, _, last in ends]
        self._firsts, self._lasts = map(list, zip(*ranges, strict=True))

    def __missing__(self, code: int) -> str:
        at = bisect_right(self._firsts, code) - 1
        letter = at >= 0 and code <= self._lasts[at]
        self[code] = found = chr(code) if letter else " "
        return found


@cache
def _folding() -> _Folding:
    return _Folding(_TABLES)


@lru_cache(maxsize=100_000)
def _stem(word: str) -> bytes:
    return stem(word.encode("utf-8"))


def stem(word: bytes) -> bytes:
    """Return the stem of a folded word by Porter's rules (1980), as SQLite applies them.

    Bytes of characters that aren't ASCII count as consonants.

    Examples
    --------
    >>> stem(b"relational"), stem(b"hopping"), stem(b"caresses")
    (b'relat', b'hop', b'caress')
    """
    if not _SHORTEST <= len(word) <= _LONGEST:
        return word
    word = _past(_plural(word))
    if word.endswith(b"y") and _has_vowel(word[:-1]):
        word = word[:-1] + b"i"
    for rules, least in ((_STEP_2, 1), (_STEP_3, 1), (_STEP_4, 2)):
        word = _replaced(word, rules, least)
    if word.endswith(b"e"):
        measure = _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _ends_short(word[:-1])):
            word = word[:-1]
    if len(word) > 1 and word.endswith(b"ll") and _measure(word[:-1]) > 1:
        word = word[:-1]
    return word


_SIBILANTS = (b"sses", b"ies")


def _rules(*written: str) -> tuple[tuple[bytes, bytes], ...]:
    """Return pairs of an ending and what takes its place; of two that fit, the first does."""
    pairs = (rule.partition("=") for each in written for rule in each.split())
    return tuple((ending.encode(), new.encode()) for ending, _, new in pairs)


_STEP_2 = _rules(
    "ational=ate tional=tion enci=ence anci=ance izer=ize logi=log bli=ble alli=al entli=ent eli=e",
    "ousli=ous ization=ize ation=ate ator=ate alism=al iveness=ive fulness=ful ousness=ous",
    "aliti=al iviti=ive biliti=ble",
)
_STEP_3 = _rules("icate=ic ative= alize=al iciti=ic ical=ic ful= ness=")
_STEP_4 = _rules(
    "al= ance= ence= er= ic= able= ible= ant= ement= ment= ent= ion= ou= ism= ate= iti= ous= ive=",
    "ize=",
)


def _plural(word: bytes) -> bytes:
    if word.endswith(b"es"):
        return word[: -2 if word.endswith(_SIBILANTS) and word not in _SIBILANTS else -1]
    return word[:-1] if word.endswith(b"s") and not word.endswith(b"ss") else word


def _past(word: bytes) -> bytes:
    if word.endswith(b"eed") and len(word) > 3:
        return word[:-1] if _measure(word[:-3]) else word
    for ending in (b"ed", b"ing"):
        if word.endswith(ending):
            if len(word) == len(ending) or not _has_vowel(word[: -len(ending)]):
                return word
            return _completed(word[: -len(ending)])
    return word


def _completed(word: bytes) -> bytes:
    """Return a word whose past or progressive ending was taken, as it was before that."""
    if len(word) > 2 and word.endswith((b"at", b"bl", b"iz")):
        return word + b"e"
    if len(word) > 1 and word[-1] == word[-2] and word[-1] not in b"aeioulsz":
        return word[:-1]
    return word + b"e" if _measure(word) == 1 and _ends_short(word) else word


def _replaced(word: bytes, rules: tuple[tuple[bytes, bytes], ...], least: int) -> bytes:
    """Replace the first ending that a word has, if enough stands before it."""
    for ending, new in rules:
        if len(word) > len(ending) and word.endswith(ending):
            start = word[: -len(ending)]
            held = _measure(start) >= least and (ending != b"ion" or start[-1] in b"st")
            return start + new if held else word
    return word


def _vowels(word: bytes) -> list[bool]:
    """Return which letters are vowels: ``y`` is one after a consonant."""
    found: list[bool] = []
    for letter in word:
        vowel = letter in b"aeiou" or (letter == 0x79 and bool(found) and not found[-1])
        found.append(vowel)
    return found


def _measure(word: bytes) -> int:
    """Return how often a consonant follows a vowel: the ``m`` of Porter's conditions."""
    vowels = _vowels(word)
    return sum(vowel and not after for vowel, after in pairwise(vowels))


def _has_vowel(word: bytes) -> bool:
    return any(letter in b"aeiou" or (letter == 0x79 and at) for at, letter in enumerate(word))


def _ends_short(word: bytes) -> bool:
    """Tell whether a word ends with consonant, vowel and another consonant than w, x or y."""
    return word[-1:] not in (b"w", b"x", b"y") and _vowels(word)[-3:] == [False, True, False]
