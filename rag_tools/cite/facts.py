"""What a text states that can be right or wrong: numbers, dates, times, names; and what has it.

Pure functions from text to facts with their spans. A fact of a claim stands in a quote if the
quote has it in any spelling: "two weeks" is "14 days", "3 May 2024" is "2024-05-03", "Lopez's" is
"López". Whether two texts mean the same by it is `rag_tools.cite.contradiction`'s business.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from rag_tools.cite.named_units import NamedUnit, named_units
from rag_tools.cite.quantities import Quantity, agree, quantities, same_kind, stem
from rag_tools.folding import Folded, fold
from rag_tools.types import Span

FactKind = Literal["number", "date", "time", "name"]


class Day(NamedTuple):
    """A date, or what is given of it."""

    year: int | None = None
    month: int | None = None
    day: int | None = None


class Fact(NamedTuple):
    """Something that a text states.

    Attributes
    ----------
    span
        Where it stands in the text, unfolded.
    quantity
        Of a number.
    days
        Of a date: several where day and month may be the other way round.
    minutes
        Of a time: since midnight, twice where it isn't said which half of the day.
    words
        Of a name.
    identifier
        Whether a name is one of programs, such as ``max_age``, ``--flat`` or ``example.org``: all
        of it must stand somewhere, not its words apart from each other.
    initials
        Of the row of words with capitals that a name is in; empty if it is by itself.
    """

    kind: FactKind
    span: Span
    quantity: Quantity | None = None
    days: tuple[Day, ...] = ()
    minutes: frozenset[int] = frozenset()
    words: tuple[str, ...] = ()
    identifier: bool = False
    initials: str = ""

    @property
    def is_year(self) -> bool:
        """Whether it is a number that may be a year."""
        number = self.quantity
        return number is not None and not number.measures and 1000 <= number.number < 2200


_MONTHS = {
    name: number
    for number, names in enumerate(
        """
        january/jan/januar/janvier/enero february/feb/februar/février/febrero
        march/mar/märz/mars/marzo april/apr/avril/abril may/mai/mayo june/jun/juni/juin/junio
        july/jul/juli/juillet/julio august/aug/août/agosto
        september/sep/sept/septembre/septiembre october/oct/oktober/okt/octobre/octubre
        november/nov/novembre/noviembre december/dec/dezember/dez/décembre/diciembre
        """.split(),  # noqa: SIM905 - a list literal would be a page long
        1,
    )
    for name in names.split("/")
}
_ALSO_WORDS = frozenset({"may", "march", "mar", "mars", "mai", "sept"})
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DATE = re.compile(
    rf"""
      (?<![\d.,/-])(?P<iso>\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}})(?![\d/-])
    | (?<![\d.,/-])(?P<numeric>\d{{1,2}}(?P<by>[./])\d{{1,2}}(?P=by)(?:\d{{4}}|\d{{2}}))(?![\d/-])
    | (?<![\w.,])(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)?(?:\s(?:of|de))?\s(?P<month>{_MONTH})\b\.?
        (?:,?\s(?:de\s)?(?P<year>\d{{4}})\b)?
    | \b(?P<month2>{_MONTH})\b\.?\s(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?(?![\w:%]|[.,]\d)
        (?:,?\s(?P<year2>\d{{4}})\b)?
    | \b(?P<month3>{_MONTH})\b\.?,?\s(?:of\s|de\s)?(?P<year3>\d{{4}})\b
    | (?P<lone>(?<=in\s)|(?<=of\s)|(?<=by\s)|(?<=until\s)|(?<=since\s)|(?<=from\s)|(?<=to\s)
        |(?<=each\s)|(?<=every\s)|(?<=before\s)|(?<=after\s)|(?<=through\s)|(?<=and\s)|(?<=-))
        (?P<month4>{_MONTH})\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_TIME = re.compile(
    r"""
      (?<![\d:.])(?P<hour>[01]?\d|2[0-4]):(?P<minute>[0-5]\d)(?::[0-5]\d)?(?![\d:])
        (?:\s?(?P<half>[ap])\.?m\b\.?)?
    | (?<![\d:.])(?P<hour2>1[0-2]|[1-9])\s?(?P<half2>[ap])\.?m\b\.?
    | \b(?P<word>noon|midnight)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_WORD = re.compile(r"\w+(?:[.'+#-]\w+|[+#]{1,2}(?!\w))*")
# Options of commands, and formats such as %S.
_OPTION = re.compile(r"(?<![\w$%/.+-])(?:--?[A-Za-z][\w-]*|%[A-Za-z](?!\w))")
_DOTTED = re.compile(r"[^\W\d_]{2,}(?:[.-]\w+)*\.[^\W\d_]\w+")  # example.org, config.h2
_PART = re.compile(r"[^\W_]+")
_ACRONYM = re.compile(r"\b[A-Z]\.?(?:[A-Z]\.?)+(?![^\W_])")
_LONGEST_ROW = 7  # names that an acronym is made of
_ROW = re.compile(
    rf"(?:\b[A-Z][^\W_]*+\W{{1,2}}(?:(?:of|the|and|for|in|de)\s){{0,2}}){{1,{_LONGEST_ROW}}}[A-Z][^\W_]*+"
)
_AT_START = re.compile(r"(?:\A|[.!?:;]\s|\n\s?|[|•]\s?)[\W_]*\Z")
_LOOK_BACK = 8  # characters in which the end of the sentence before a word is looked for
# What is called by the word after it: "the package file-rc".
_CALLED = re.compile(
    r"\b(?:package|tool|command|program|plugin|module|option|utility|daemon|function|directive"
    r"|variable|extension|method|parameter)\s\Z",
    re.IGNORECASE,
)
_IDENTIFIER = re.compile(r"\w_\w|[^\W\d_]{2}\.[^\W\d_]")
_CALLED_BACK = 12  # characters that such a word has at most, with the space
_MIXED = re.compile(r"(?=\w*\d)(?=\w*[^\W\d_])\w+")
_UNIT_LIKE = re.compile(r"(?:v?\d+[^\W\d_]{1,5}|\d{2,3}0s)\Z")
_INNER_CAPITAL = re.compile(r"[^\W\d_]*[^\W\d_A-Z][A-Z]|[A-Z]{2}")
_TITLES = frozenset(
    "mr mrs ms miss dr prof sir dame lady lord st i am pm ad bc bce ce ok tv etc vs".split()  # noqa: SIM905
)
_FUNCTION_WORDS = frozenset(
    """
    a an the and or but nor if in on at of to by for from with as is are was were be it its this
    that these those not no all any each every he she they we you who which when where what how
    """.split()  # noqa: SIM905 - a list literal would be a page long
)
# Ends by which the name of a place and what comes from it differ.
_DERIVED = re.compile(r"(?:n|an|ian|ean|ese|ish|ic|y|s|es|ns|ans|ians)\Z")
_GERMAN = re.compile(
    r"\b(?:der|die|das|und|ist|nicht|ein|eine|einen|einem|mit|für|auf|im|den|dem|des|von|zu|werden"
    r"|wird|sind|am|bis|beträgt|haben|hat)\b",
    re.IGNORECASE,
)
_FEW_GERMAN = 6  # a German text has at least one such word in this many
_COMMON = Path(__file__).with_name("common_words.txt")


class Text:
    """A text with its facts and its words, to look for the facts of another text in.

    Parameters
    ----------
    text
        A quote, or a claim.
    context
        What stands around a quote, such as its headings: names may stand there.
    """

    def __init__(self, text: str, context: str = "") -> None:
        self.text = text
        self._folded = fold(text, divided="")
        self._context = fold(context, divided="").text

    @cached_property
    def facts(self) -> list[Fact]:
        """What the text states, in order."""
        return sorted(_facts(self._folded), key=lambda fact: fact.span)

    @cached_property
    def quantities(self) -> list[Quantity]:
        """All numbers, those in dates and times too."""
        return quantities(f"{self._context} ; {self._folded.text}")

    @cached_property
    def units(self) -> list[NamedUnit]:
        """The units that the text names, with a number or without one, where they stand in it."""
        return [
            each._replace(span=self._folded.source(each.span))
            for each in named_units(self._folded.text)
        ]

    @cached_property
    def _days(self) -> list[Day]:
        return [day for fact in self.facts for day in fact.days]

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(_name_forms(f"{self._context} {self._folded.text}"))

    @cached_property
    def _rows(self) -> str:
        """All words in order, to look for the words of an identifier in."""
        words = _PART.findall(_name_form(f"{self._context} ; {self._folded.text}"))
        return f" {' '.join(words)} "

    @cached_property
    def _options(self) -> frozenset[str]:
        """Options of commands, and formats, as they are written."""
        return frozenset(_OPTION.findall(f"{self._context} ; {self._folded.text}"))

    @cached_property
    def _acronyms(self) -> frozenset[str]:
        """Words in capitals, such as NASA and U.S."""
        found = _ACRONYM.findall(f"{self._context} {self._folded.text}")
        return frozenset(each.replace(".", "").lower() for each in found)

    @cached_property
    def _initials(self) -> frozenset[str]:
        """Initials of names in a row, and of parts of such a row."""
        found = set()
        for run in _ROW.finditer(f"{self._context} ; {self._folded.text}"):
            letters = _initials(run[0])
            for start in range(len(letters)):
                for end in range(start + 2, min(len(letters), start + _LONGEST_ROW) + 1):
                    found.add(letters[start:end])
        return frozenset(found)

    @cached_property
    def _letters(self) -> frozenset[str]:
        """Initials that stand for a first name."""
        return frozenset(each.lower() for each in re.findall(r"\b([A-Z])\.", self._folded.text))

    def has(self, fact: Fact) -> bool:
        """Tell whether a fact of another text stands in this one."""
        if fact.quantity is not None:
            return self._has_quantity(fact.quantity)
        if fact.kind == "date":
            return any(self._has_day(day) for day in fact.days)
        if fact.kind == "time":
            return any(
                not fact.minutes.isdisjoint(each.minutes)
                for each in self.facts
                if each.kind == "time"
            )
        if fact.identifier:
            return self._has_identifier(fact.words)
        return all(self._has_word(word) for word in fact.words) or (
            bool(fact.initials)
            and (fact.initials in self._acronyms or fact.words[0][0] in self._letters)
        )

    def _has_identifier(self, words: tuple[str, ...]) -> bool:
        if words[0] in self._options:
            return True
        plain = [part for word in words for part in _PART.findall(_name_form(word))]
        is_option = words[0].startswith(("-", "%"))
        if len(plain) == 1 and (len(plain[0]) == 1 or (is_option and _is_common(plain[0]))):
            return False  # a letter or a word says nothing of -f or --command
        return f" {' '.join(plain)} " in self._rows or "".join(plain) in self._words

    def _has_quantity(self, asked: Quantity) -> bool:
        if not asked.measures and any(day.year == asked.number for day in self._days):
            return True
        found = [each for each in self.quantities if agree(asked, each)]
        if not found:
            return False
        if asked.measures:
            return True
        # "30 files" doesn't stand in "20 files and 30 folders".
        alike = [each for each in self.quantities if same_kind(asked, each)]
        return (
            not alike
            or any(each in alike for each in found)
            or not all(each.counted for each in found)
        )

    def _has_day(self, asked: Day) -> bool:
        def given(day: Day) -> bool:
            pairs = list(zip(asked, day, strict=True))
            if any(one != other for one, other in pairs if None not in (one, other)):
                return False
            lacking = [one for one, other in pairs if one is not None and other is None]
            return not lacking or (lacking == [asked.year] and self._has_year(lacking[0]))

        return any(given(day) for day in self._days)

    def _has_year(self, year: int | None) -> bool:
        return any(day.year == year for day in self._days) or any(
            each.number == year and not each.measures for each in self.quantities
        )

    def _has_word(self, word: str) -> bool:
        if word in self._words or any(_derived(word, each) for each in self._words):
            return True
        return word in self._initials or (len(word) > 3 and word.rstrip("s") in self._initials)


def missing(claim: Text, quotes: Iterable[Text]) -> list[Fact]:
    """Return the facts of a claim that stand in none of the texts, in order."""
    known = list(quotes)
    return [fact for fact in claim.facts if not any(text.has(fact) for text in known)]


@cache
def common_words() -> frozenset[str]:
    """Return stems of English words that aren't names, to tell a name at a sentence's start."""
    return frozenset(_COMMON.read_text(encoding="utf-8").split())


def _is_common(word: str) -> bool:
    return word in common_words() or stem(word) in common_words()


def _facts(folded: Folded) -> Iterator[Fact]:
    text = folded.text
    taken: list[Span] = []
    for match in _DATE.finditer(text):
        if days := _days(match):
            taken.append(Span(*match.span()))
            yield Fact("date", folded.source(taken[-1]), days=days)
    for match in _TIME.finditer(text):
        span = Span(*match.span())
        if not any(span.overlaps(each) for each in taken):
            taken.append(span)
            yield Fact("time", folded.source(span), minutes=_minutes(match))
    for quantity in quantities(text):
        within = any(quantity.span.overlaps(each) for each in taken)
        if not within and not _is_adverb(quantity, text):
            taken.append(quantity.span)
            yield Fact("number", folded.source(quantity.span), quantity=quantity)
    for match in _OPTION.finditer(text):
        span = Span(*match.span())
        if not any(span.overlaps(each) for each in taken):
            taken.append(span)
            yield Fact("name", folded.source(span), words=(match[0],), identifier=True)
    german = len(_GERMAN.findall(text)) * _FEW_GERMAN >= len(_WORD.findall(text)) > 0
    rows = [(match.start(), match.end(), _initials(match[0])) for match in _ROW.finditer(text)]
    for span, words in _names(text, capitals=not german):
        if any(each.start <= span.start < each.end for each in taken):
            continue
        row = next((letters for start, end, letters in rows if start <= span.start < end), "")
        identifier = len(words) > 1 and bool(_IDENTIFIER.search(span.of(text)))
        yield Fact("name", folded.source(span), words=words, identifier=identifier, initials=row)


def _initials(row: str) -> str:
    return "".join(word[0].lower() for word in re.findall(r"\b[A-Z][^\W_]*", row))


def _is_adverb(quantity: Quantity, text: str) -> bool:
    """Tell whether an ordinal in words may say something else, such as "first of all"."""
    said = quantity.span.of(text).lower()
    if not quantity.ordinal or said[:1].isdigit():
        return False
    if said == "first":
        return True
    before = text[: quantity.span.start].rstrip().rsplit(None, 1)[-1:]
    return said == "second" and not (before and before[0].lower() in ("the", "his", "her", "its"))


def _days(match: re.Match[str]) -> tuple[Day, ...]:
    """Return the days that a match may mean; none if it is no date."""
    if written := match["iso"] or match["numeric"]:
        numbers = [int(each) for each in re.split(r"[-/.]", written)]
        if match["iso"]:
            days = [Day(*numbers)]
        else:
            first, second, year = numbers
            year += 0 if year > 99 else 2000 if year < 70 else 1900
            days = [Day(year, second, first)]
            if match["by"] == "/" and first != second:
                days.append(Day(year, first, second))
        return tuple(day for day in days if _is_possible(day))
    name = match["month"] or match["month2"] or match["month3"] or match["month4"]
    if name.lower() in _ALSO_WORDS and not name[0].isupper() and name.lower() not in ("mai",):
        return ()
    if match["month4"] and (not name[0].isupper() or len(name) < 3):
        return ()
    given = match["day"] or match["day2"]
    within = match["year"] or match["year2"] or match["year3"]
    found = Day(
        int(within) if within else None, _MONTHS[name.lower()], int(given) if given else None
    )
    return (found,) if _is_possible(found) else ()


def _is_possible(day: Day) -> bool:
    return (day.month is None or 1 <= day.month <= 12) and (day.day is None or 1 <= day.day <= 31)


def _minutes(match: re.Match[str]) -> frozenset[int]:
    if match["word"]:
        return frozenset({720} if match["word"].lower() == "noon" else {0, 1440})
    hour = int(match["hour"] or match["hour2"])
    minute = int(match["minute"] or 0)
    half = (match["half"] or match["half2"] or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
        return frozenset({60 * hour + minute})
    return frozenset({60 * hour + minute})


def _names(text: str, *, capitals: bool) -> Iterator[tuple[Span, tuple[str, ...]]]:
    for match in _WORD.finditer(text):
        word = match[0]
        if not _is_name(word, match.start(), text, capitals=capitals):
            continue
        parts = tuple(
            form
            for part in _PART.findall(re.sub(r"'s?\Z", "", word))
            if not part.isdigit() and (form := _name_form(part))
        )
        if len(parts) > 1 and all(len(part) == 1 for part in parts):
            parts = ("".join(parts),)  # U.S.
        if parts and not (len(parts) == 1 and (parts[0] in _TITLES or parts[0] in _MONTHS)):
            yield Span(*match.span()), parts


def _is_name(word: str, start: int, text: str, *, capitals: bool) -> bool:
    """Tell whether a word is a name, or an identifier, rather than a word of the language."""
    if "_" in word.strip("_") or (_MIXED.fullmatch(word) and not _UNIT_LIKE.match(word)):
        return True
    if _DOTTED.fullmatch(word):
        return True
    if "-" in word and _CALLED.search(text[max(0, start - _CALLED_BACK) : start]):
        return True
    if _INNER_CAPITAL.match(word):
        return not word.isupper() or len(word) < 3 or stem(word) not in common_words()
    if not word[0].isupper() or not capitals:
        return False
    if len(word) == 1 or word.lower() in _FUNCTION_WORDS or word.endswith("ly"):
        return False
    if _AT_START.search(text[max(0, start - _LOOK_BACK) : start]):
        plain = re.sub(r"'s?\Z", "", word)
        return not _is_common(plain.lower())
    return True


def _name_form(word: str) -> str:
    """Return a word without case and accents."""
    plain = unicodedata.normalize("NFD", word.casefold())
    return "".join(each for each in plain if not unicodedata.combining(each))


def _name_forms(text: str) -> Iterator[str]:
    for match in _WORD.finditer(text):
        for part in _PART.findall(re.sub(r"'s?\Z", "", match[0])):
            form = _name_form(part)
            yield form
            if len(form) > 3 and form.endswith("s"):
                yield form[:-1]
        joined = _name_form(re.sub(r"[\W_]+", "", match[0]))
        yield joined


def _derived(one: str, other: str) -> bool:
    """Tell whether a word comes from the other, such as "german" and "germany"."""
    short, long = sorted((one, other), key=len)
    if len(short) < 3:
        return False
    if long.startswith(short):
        return bool(_DERIVED.fullmatch(long[len(short) :]))
    same = len(short) - 1
    return (
        same >= 4
        and long.startswith(short[:same])
        and bool(short[-1] in "yae" and _DERIVED.fullmatch(long[same:]))
    )
