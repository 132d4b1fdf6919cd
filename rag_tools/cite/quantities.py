"""Numbers in text with their units: what they amount to, and when two of them agree.

Digits and words ("two weeks", "14 days"), thousands separators, magnitudes ("2.5 million"),
fractions, ranges and currencies. Only conversions that are exact are made: a month isn't 30 days.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from rag_tools.types import Span

Measure = tuple[str, Fraction]
"""A dimension such as ``"s"`` and an amount in its base unit; ``""`` is a plain number."""


class Quantity(NamedTuple):
    """A number with its unit, or with what it counts.

    Attributes
    ----------
    span
        The number, with the unit if there is one.
    number
        The plain number.
    digits
        Digits and points as they stand, without separators of thousands; empty for words.
    measures
        What it may amount to: several for a unit of several meanings. Empty without a known unit.
    counted
        Stems of the words that follow a number without a known unit.
    ordinal
        Whether it is a place in an order, such as ``3rd``.
    """

    span: Span
    number: Fraction
    digits: str
    measures: frozenset[Measure]
    counted: tuple[str, ...]
    ordinal: bool = False


def _table(rows: str) -> dict[str, list[Measure]]:
    """Read lines of ``dimension factor: names``; a name may have several meanings."""
    units: dict[str, list[Measure]] = {}
    for row in rows.strip().splitlines():
        measure, names = row.split(":")
        dimension, factor = measure.split()
        for name in names.split(","):
            units.setdefault(name.strip(), []).append((dimension, Fraction(factor)))
    return units


# Units whose letters' case tells them apart; others are looked up in lower case.
_SYMBOLS = _table(
    """
    byte 1: B
    byte 1000: kB, KB
    byte 1024: kB, KB, KiB
    byte 1000000: MB
    byte 1048576: MB, MiB
    byte 1000000000: GB
    byte 1073741824: GB, GiB
    byte 1000000000000: TB
    byte 1099511627776: TB, TiB
    s 1/1000000: us
    s 86400: d
    s 604800: w
    month 12: y
    bit 1000: kbit, Kbit
    bit 1000000: Mbit
    bit 1000000000: Gbit
    bit/s 1000: kbps, Kbps, kbit/s
    bit/s 1000000: Mbps, Mbit/s
    bit/s 1000000000: Gbps, Gbit/s
    hz 1: Hz
    hz 1000: kHz
    hz 1000000: MHz
    hz 1000000000: GHz
    w 1: W
    w 1000: kW
    w 1000000: MW
    wh 1: Wh
    wh 1000: kWh
    wh 1000000: MWh
    v 1: V
    v 1000: kV
    a 1: A
    a 1/1000: mA
    ah 1/1000: mAh
    c 1: °C
    f 1: °F
    degree 1: °
    """
)
_NAMES = _table(
    """
    s 1/1000000000: ns, nanosecond, nanoseconds
    s 1/1000000: µs, μs, microsecond, microseconds
    s 1/1000: ms, millisecond, milliseconds
    s 1: s, sec, secs, second, seconds, sekunde, sekunden, seconde, secondes, segundos
    s 60: m, min, mins, minute, minutes, minuten, minutos
    s 3600: h, hr, hrs, hour, hours, stunde, stunden, heure, heures, hora, horas
    s 86400: day, days, tag, tage, tagen, jour, jours, día, días
    s 604800: week, weeks, wk, wks, woche, wochen, semaine, semaines, semana, semanas
    s 1209600: fortnight, fortnights
    month 1: m, month, months, monat, monate, monaten, mois, mes, meses
    month 12: year, years, yr, yrs, jahr, jahre, jahren, ans, année, années, año, años
    month 120: decade, decades
    workday 1: workday, workdays, arbeitstag, arbeitstage, arbeitstagen
    workday 1: werktag, werktage, werktagen
    byte 1: byte, bytes
    byte 1000: kilobyte, kilobytes
    byte 1024: kilobyte, kilobytes, kibibyte, kibibytes
    byte 1000000: megabyte, megabytes
    byte 1048576: megabyte, megabytes, mebibyte, mebibytes
    byte 1000000000: gigabyte, gigabytes
    byte 1073741824: gigabyte, gigabytes, gibibyte, gibibytes
    byte 1000000000000: terabyte, terabytes
    byte 1099511627776: terabyte, terabytes, tebibyte, tebibytes
    bit 1: bit, bits
    bit 1000: kilobit, kilobits
    bit 1000000: megabit, megabits
    bit 1000000000: gigabit, gigabits
    hz 1: hertz
    hz 1000: kilohertz
    hz 1000000: megahertz
    hz 1000000000: gigahertz
    m 1/1000000: µm, micrometre, micrometres, micrometer, micrometers
    m 1/1000: mm, millimetre, millimetres, millimeter, millimeters
    m 1/100: cm, centimetre, centimetres, centimeter, centimeters
    m 1: m, metre, metres, meter, meters
    m 1000: km, kilometre, kilometres, kilometer, kilometers
    inch 1: inch, inches
    inch 12: ft, foot, feet
    inch 36: yd, yard, yards
    inch 63360: mi, mile, miles
    g 1/1000: mg, milligram, milligrams
    g 1: g, gram, grams, gramm
    g 1000: kg, kilogram, kilograms, kilo, kilos, kilogramm
    g 1000000: t, tonne, tonnes
    oz 1: oz, ounce, ounces
    oz 16: lb, lbs, pound, pounds
    litre 1/1000: ml, millilitre, millilitres, milliliter, milliliters
    litre 1: l, litre, litres, liter, liters
    % 1: %, percent, pct, prozent
    %point 1: pp
    c 1: celsius, centigrade
    f 1: fahrenheit
    c 1: degree, degrees, grad
    f 1: degree, degrees
    degree 1: degree, degrees, grad
    k 1: kelvin
    usd 1: $, usd, us$, dollar, dollars
    usd 1/100: cent, cents
    eur 1: €, eur, euro, euros
    eur 1/100: cent, cents
    gbp 1: £, gbp, pound, pounds, sterling
    jpy 1: ¥, jpy, yen
    cny 1: ¥, cny, rmb, yuan
    chf 1: chf
    inr 1: ₹, inr, rupee, rupees
    time 1: x, times, mal, fois, veces
    px 1: px, pixel, pixels
    rpm 1: rpm
    """
)
# Units of several words, longest first.
_PHRASES = {
    "percentage points": [("%point", Fraction(1))],
    "percentage point": [("%point", Fraction(1))],
    "per cent": [("%", Fraction(1))],
    "degrees celsius": [("c", Fraction(1))],
    "degrees fahrenheit": [("f", Fraction(1))],
    "working days": [("workday", Fraction(1))],
    "business days": [("workday", Fraction(1))],
    "working day": [("workday", Fraction(1))],
    "business day": [("workday", Fraction(1))],
}
_FRACTION_OF = {"usd", "eur", "gbp", "jpy", "cny", "chf", "inr"}

_SMALL = {
    word: number
    for number, words in enumerate(
        """
        zero/null one two/zwei/deux/dos three/drei/trois/tres four/vier/quatre/cuatro
        five/fünf/cinq/cinco six/sechs/seis seven/sieben/sept/siete eight/acht/huit/ocho
        nine/neun/neuf/nueve ten/zehn/dix/diez eleven twelve/zwölf/douze/doce thirteen fourteen
        fifteen sixteen seventeen eighteen nineteen
        """.split()  # noqa: SIM905 - a list literal would be a page long
    )
    for word in words.split("/")
    if word not in ("null", "dos")  # other words in programs
}
_TENS = {
    word: 10 * number
    for number, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2
    )
}
_SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "millions": 10**6,
    "billion": 10**9,
    "billions": 10**9,
    "trillion": 10**12,
    "mn": 10**6,
    "bn": 10**9,
    "mio": 10**6,
    "dozen": 12,
    "k": 1000,
}
_ORDINALS = {
    word: number
    for number, word in enumerate(
        """
        first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth
        thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth
        """.split(),  # noqa: SIM905
        1,
    )
}
_MULTIPLES = {"twice": 2, "thrice": 3, "couple": 2}

_DIGITS = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])|\d{1,3}(?:['\x20]\d{3})+(?!\d)|\d+(?:[.,]\d+)*"
_WORDS = "|".join([*_SMALL, *_TENS, *(word for word in _SCALES if len(word) > 3), "half"])
_MAGNITUDE = r"hundred|thousand|millions?|billions?|trillion|mn|bn|mio|dozen"
_NUMBER = re.compile(
    rf"""
      (?P<currency>(?:US\$|[$€£¥₹]|\b(?:USD|EUR|GBP|CHF|JPY)(?=[\s\d]))\s?)?
      (?<![\w.])(?:v\.?(?=\d))?(?P<sign>(?<![\w)\]%°]\s)(?<![\w)\]%°])-(?=\d)|minus\s)?
      (?:(?P<decade>\d{{2,3}}0)s\b|(?P<digits>{_DIGITS}))
      (?P<ordinal>(?:st|nd|rd|th)\b)?
      (?:[\s-]?(?P<magnitude>(?:{_MAGNITUDE})\b)|(?P<letter>k(?![\w-]))|(?P<half>\sand\sa\shalf\b))?
    | \b(?P<place>{"|".join(_ORDINALS)})\b
    | \b(?P<multiple>twice|thrice|couple(?=\sof\b))\b
    | \b(?P<words>(?:(?:{_WORDS})\b(?:[\s-]+(?:and\s+(?:a\s+)?)?(?=(?:{_WORDS})\b))?)+)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_UNIT_WORD = re.compile(r"[\s-]?(?:an?\s)?(?P<unit>[^\W\d_]+(?:/[^\W\d_]+)?|[%°$€£¥₹][CF]?)")
_UNIT_PHRASE = re.compile(rf"[\s-]?(?P<unit>{'|'.join(_PHRASES).replace(' ', r'[ -]')})\b", re.I)
# Between two numbers of which the second has the unit of both.
_RANGE = re.compile(r"\s?(?:-|to|and|or|bis|,|, and|, or|/|x)\s?")
_FOLLOWING = re.compile(r"[\s-]([^\W\d_][\w'-]*)")
_BREAK = frozenset(
    """
    a an and are as at be but by for from had has have in is it of on or per than that the then
    this to was were which while who with after before each every when und oder der die das im
    """.split()  # noqa: SIM905 - a list literal would be a page long
)
COUNTED = 3
"""Words after a number that may say what it counts."""


def quantities(text: str) -> list[Quantity]:
    """Return the numbers of a folded text, in order.

    Examples
    --------
    >>> [str(each.number) for each in quantities("1,250 files in two and a half hours")]
    ['1250', '5/2']
    """
    found = list(_parsed(text))
    for place in range(len(found) - 2, -1, -1):
        one, following = found[place], found[place + 1]
        between = text[one.span.end : following.span.start]
        if not one.measures and not one.counted and _RANGE.fullmatch(between):
            scaled = _scaled(one.number, following)
            found[place] = one._replace(measures=scaled, counted=following.counted)
    return found


def unit_measures(word: str) -> Sequence[Measure]:
    """Return what a unit may measure; nothing if a word is none that is known."""
    return _SYMBOLS.get(word) or _NAMES.get(word.lower()) or ()


def agree(one: Quantity, other: Quantity) -> bool:
    """Tell whether two numbers say the same, as far as both say what they count.

    Examples
    --------
    >>> weeks, days, files = (quantities(text)[0] for text in ("two weeks", "14 days", "14 files"))
    >>> agree(weeks, days), agree(days, files)
    (True, False)
    """
    if one.ordinal != other.ordinal:
        return False
    if one.measures and other.measures:
        return not one.measures.isdisjoint(other.measures)
    if not _same_number(one, other):
        return False
    if one.measures or other.measures:  # days, and files
        bare = other if one.measures else one
        return not bare.counted
    return True


def same_kind(one: Quantity, other: Quantity) -> bool:
    """Tell whether two numbers measure or count the same kind of thing."""
    dimensions = ({dimension for dimension, _ in each.measures} for each in (one, other))
    if one.measures or other.measures:
        return not set.isdisjoint(*dimensions)
    return not set(one.counted).isdisjoint(other.counted)


def _same_number(one: Quantity, other: Quantity) -> bool:
    if one.digits and other.digits and (_is_code(one.digits) or _is_code(other.digits)):
        return one.digits == other.digits
    return one.number == other.number


def _is_code(digits: str) -> bool:
    """Tell whether digits are a name, such as a version or a part number, rather than a number."""
    return digits.count(".") > 1 or (len(digits) > 1 and digits[0] == "0" and digits[1] != ".")


def _scaled(number: Fraction, like: Quantity) -> frozenset[Measure]:
    if not like.number:
        return frozenset()
    return frozenset((unit, number * (total / like.number)) for unit, total in like.measures)


def _parsed(text: str) -> Iterator[Quantity]:
    for match in _NUMBER.finditer(text):
        if match["multiple"]:
            number = Fraction(_MULTIPLES[match["multiple"].lower()])
            times = match["multiple"].lower() != "couple"
            measures = frozenset({("time", number)} if times else ())
            yield Quantity(Span(*match.span()), number, "", measures, ())
        elif match["place"]:
            number = Fraction(_ORDINALS[match["place"].lower()])
            yield Quantity(Span(*match.span()), number, "", frozenset(), (), ordinal=True)
        elif match["words"]:
            yield from _said(text, match)
        elif match["decade"]:
            number = Fraction(match["decade"])
            measures = frozenset({("decade", number)})
            yield Quantity(Span(*match.span()), number, "", measures, ())
        elif match["digits"]:
            digits, number = _value(match["digits"])
            scale = match["magnitude"] or match["letter"]
            if scale:
                number *= _SCALES[scale.lower()]
            if match["half"]:
                number += Fraction(1, 2)
            if match["sign"]:
                number = -number
            plain = "" if scale or match["half"] else digits
            currency = (match["currency"] or "").strip()
            yield _with_unit(text, Span(*match.span()), number, plain, currency, match["ordinal"])


def _said(text: str, match: re.Match[str]) -> Iterator[Quantity]:
    """Yield a number in words, if it is one."""
    total, current = Fraction(0), Fraction(0)
    said = re.findall(r"[^\W\d_]+", match["words"].lower())
    counts = [word for word in said if word not in ("and", "a")]
    for word in counts:
        if word == "half":
            current += Fraction(1, 2)
        elif word == "hundred" or word == "dozen":
            current = (current or Fraction(1)) * _SCALES[word]
        elif word in _SCALES:
            total += (current or Fraction(1)) * _SCALES[word]
            current = Fraction(0)
        else:
            current += _SMALL.get(word, _TENS.get(word, 0))
    end = match.start() + len(match["words"].rstrip())
    span = Span(match.start(), end)
    found = _with_unit(text, span, total + current, "", "", None)
    if counts == ["one"] and not found.measures:
        return
    if counts == ["half"] and not found.measures:
        found = found._replace(measures=frozenset({("%", Fraction(50))}), counted=())
    yield found


def _value(written: str) -> tuple[str, Fraction]:
    """Return digits without separators of thousands, and the number that they are."""
    plain = written.replace(" ", "").replace("'", "")
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", plain):
        plain = plain.replace(",", "")
    elif re.fullmatch(r"\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?|\d{1,3}(?:\.\d{3})+,\d+", plain):
        plain = plain.replace(".", "").replace(",", ".")  # 1.000.000,5
    elif re.fullmatch(r"\d+,\d+", plain):
        plain = plain.replace(",", ".")
    whole = re.match(r"\d+(?:\.\d+)?", plain)
    return plain, Fraction(whole[0]) if whole else Fraction(0)


def _with_unit(
    text: str, span: Span, number: Fraction, digits: str, currency: str, ordinal: str | None
) -> Quantity:
    if ordinal:
        return Quantity(span, number, digits, frozenset(), (), ordinal=True)
    if currency:
        units: Sequence[Measure] | None = _NAMES.get(currency.lower())
        end = span.end
    else:
        units, end = _unit(text, span.end)
    if units:
        measures = frozenset((dimension, number * factor) for dimension, factor in units)
        return Quantity(Span(span.start, end), number, digits, measures, ())
    counted: list[str] = []
    end = span.end
    while len(counted) < COUNTED and (following := _FOLLOWING.match(text, end)):
        if following[1].lower() in _BREAK:
            break
        # "three more weeks", "90 full days": what measures may have words before it.
        units = _NAMES.get(following[1].lower()) if len(following[1]) > 2 else None
        if units:
            measures = frozenset((dimension, number * factor) for dimension, factor in units)
            return Quantity(Span(span.start, following.end()), number, digits, measures, ())
        counted.append(stem(following[1]))
        end = following.end()
    return Quantity(span, number, digits, frozenset(), tuple(counted))


def _unit(text: str, end: int) -> tuple[Sequence[Measure] | None, int]:
    """Return the unit that stands at a place, and where it ends."""
    if phrase := _UNIT_PHRASE.match(text, end):
        return _PHRASES[re.sub(r"[\s-]", " ", phrase["unit"].lower())], phrase.end()
    word = _UNIT_WORD.match(text, end)
    if word is None:
        return None, end
    unit = word["unit"]
    # One letter after a space is as likely a word.
    if len(unit) == 1 and unit.isalpha() and word[0] != unit and unit not in "gmhstlVW":
        return None, end
    return unit_measures(unit) or None, word.end()


_ENDING = re.compile(r"['’]s?\Z|(?<=\w{3})(?:ing|ed|es|ly|s)\Z")


def stem(word: str) -> str:
    """Return a word in lower case without its ending, as far as a rule can tell.

    Examples
    --------
    >>> stem("Files"), stem("filed")
    ('fil', 'fil')
    """
    plain = _ENDING.sub("", word.lower())
    return plain[:-1] if len(plain) > 3 and plain.endswith("e") else plain
