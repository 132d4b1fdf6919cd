"""What is looked up of a text: its words, folded and reduced to their stems.

They are those of SQLite's tokenizer ``porter unicode61 remove_diacritics 2``, which made the
lexical index up to format 5, but for three things. Signs of vowels belong to words, as those of
Hindi; the points of Arabic and Hebrew don't, and letters of Arabic that are written for each other
are one; of scripts without spaces, the terms are characters and pairs of them. The tables are
stored in ``words.txt``, because those of Python change with its version, and an index is read by
other versions than the one that wrote it.

`terms` is the only door: texts, headings and queries pass through it. Another language gets other
terms here and nowhere else.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path

_TABLES = Path(__file__).with_name("words.txt")

# Bytes of the words that are stemmed.
_SHORTEST, _LONGEST = 3, 64


# Scripts that are written without spaces between words: Thai, Lao, Burmese, Khmer, kana, Han (with
# its extensions) and their iteration marks.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3031-\u3035\u3041-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff]+"
)


# Letters that are written for each other: forms of alef, yeh and teh marbuta.
_WRITTEN_ALIKE = {
    0x0622: "\u0627",
    0x0623: "\u0627",
    0x0625: "\u0627",
    0x0671: "\u0627",
    0x0649: "\u064a",
    0x06CC: "\u064a",
    0x0629: "\u0647",
    0x0640: None,
}


def terms(text: str) -> list[bytes]:
    """Return the terms of a text in order, as UTF-8: O(its size).

    A word with a character that isn't ASCII may lose a part of it with its ending, as in SQLite.
    Of scripts without spaces, the terms are each character and each two in a row.

    Examples
    --------
    >>> terms("Café crèmes, v1.2.3!")
    [b'cafe', b'creme', b'v1', b'2', b'3']
    >>> [term.decode() for term in terms("猫が好き")]
    ['猫', '猫が', 'が', 'が好', '好', '好き', 'き']
    """
    found = []
    for word in text.translate(_folding()).split(" "):
        for part, unspaced in _parts(word):
            found += _characters(part) if unspaced else [_stem(part)]
    return found


def phrases(word: str) -> list[list[bytes]]:
    """Return what a word of a query is looked for by: terms that stand one after the other.

    That is one phrase, but for scripts without spaces: there, the characters and their pairs are
    looked for by themselves, since nobody knows where a word ends.

    Examples
    --------
    >>> phrases("v1.2"), [[term.decode() for term in each] for each in phrases("黒猫")]
    ([[b'v1', b'2']], [['黒'], ['黒猫'], ['猫']])
    """
    folded = [part for each in word.translate(_folding()).split(" ") for part in _parts(each)]
    if not any(unspaced for _, unspaced in folded):
        return [[_stem(part) for part, _ in folded]] if folded else []
    return [
        [term]
        for part, unspaced in folded
        for term in (_characters(part) if unspaced else [_stem(part)])
    ]


def is_letter(character: str) -> bool:
    """Tell whether a character is a part of a word, be it one that is dropped from it."""
    return _folding()[ord(character)] != " "


def _parts(word: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a word, and whether their script is written without spaces."""
    end = 0
    if not word.isascii():
        for match in _UNSPACED.finditer(word):
            if match.start() > end:
                yield word[end : match.start()], False
            yield match[0], True
            end = match.end()
    if end < len(word):
        yield word[end:], False


def _pairs(run: str) -> list[bytes]:
    return [(one + other).encode() for one, other in pairwise(run)]


def _characters(run: str) -> list[bytes]:
    """Return the characters of a run and its pairs, in order."""
    singles = [each.encode() for each in run]
    both = [term for pair in zip(singles, _pairs(run), strict=False) for term in pair]
    return [*both, singles[-1]]


class _Folding(dict[int, str | None]):
    """What becomes of each character: a blank between words, nothing of a diacritic."""

    def __init__(self, table: Path) -> None:
        lines = (line.partition(" ") for line in table.read_text("utf-8").split("\n"))
        named = {name: value for name, _, value in lines}
        super().__init__(zip(map(ord, named["folded"]), named["into"], strict=True))
        self.update((int(code, 16), None) for code in named["dropped"].split())
        self.update(_WRITTEN_ALIKE)
        self.update(
            (code, None)
            for first, last in _ranges(named["left"])
            for code in range(first, last + 1)
        )
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in sorted(_ranges(named["letters"]) + _ranges(named["marks"])):
            if self._lasts and first <= self._lasts[-1] + 1:
                self._lasts[-1] = max(last, self._lasts[-1])
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    def __missing__(self, code: int) -> str:
        at = bisect_right(self._firsts, code) - 1
        letter = at >= 0 and code <= self._lasts[at]
        self[code] = found = chr(code) if letter else " "
        return found


def _ranges(named: str) -> list[tuple[int, int]]:
    ends = (part.partition("-") for part in named.split())
    return [(int(first, 16), int(last or first, 16)) for first, _, last in ends]


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
