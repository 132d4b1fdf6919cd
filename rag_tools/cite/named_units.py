"""Units that a text names, with a number or without one: "in kilobytes", "every week"."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from rag_tools.cite.quantities import Measure, quantities, unit_measures
from rag_tools.types import Span

_LETTERS = re.compile(
    r"(?P<every>\b(?:per|each|every|an?(?!\ssecond\b))[\s-])?(?P<unit>[^\W\d_]{2,})", re.IGNORECASE
)
# Units that are hardly ever anything else where they stand without a number.
_ALONE = re.compile(
    r"(?:(?:nano|micro|milli)?seconds|minutes|hours|days|weeks|months|years|decades"
    r"|(?:kilo|mega|giga|tera|kibi|mebi|gibi)?(?:bytes|bits)|(?:kilo|mega|giga)?hertz"
    r"|(?:milli|centi|kilo)?met(?:re|er)s|inches|miles|(?:milli|kilo)?grams|tonnes|pixels"
    r"|percent|dollars|euros|cents|[kKMGT]i?B|[kKMG]bit|[kKMG]bps|[kMG]Hz)"
)
_PERIODS: dict[str, Measure] = {
    "hourly": ("s", Fraction(3600)),
    "daily": ("s", Fraction(86400)),
    "nightly": ("s", Fraction(86400)),
    "weekly": ("s", Fraction(604800)),
    "monthly": ("month", Fraction(1)),
    "yearly": ("month", Fraction(12)),
    "annually": ("month", Fraction(12)),
}
# Dimensions between which nothing is converted, and that measure the same for all that.
_BROADER = {"month": "s", "workday": "s", "bit": "byte", "bit/s": "byte", "inch": "m", "oz": "g"}


class NamedUnit(NamedTuple):
    """A unit that a text names.

    Attributes
    ----------
    measures
        What one of it may amount to.
    alone
        Whether it is named without a number, as in "the size in kilobytes", "every week".
    """

    span: Span
    measures: frozenset[Measure]
    alone: bool


def named_units(text: str) -> list[NamedUnit]:
    """Return the units that a folded text names, in order.

    Examples
    --------
    >>> text = "The limit is 5 MB, the delay is in minutes."
    >>> [(each.span.of(text), each.alone) for each in named_units(text)]
    [('MB', False), ('minutes', True)]
    """
    numbers = [each.span for each in quantities(text) if each.measures]
    found = []
    for match in _LETTERS.finditer(text):
        word, span = match["unit"], Span(*match.span("unit"))
        period = _PERIODS.get(word.lower())
        measures = [period] if period else unit_measures(word)
        alone = not any(span.overlaps(each) for each in numbers)
        named = period or _ALONE.fullmatch(word) or _ALONE.fullmatch(word.lower())
        if measures and (not alone or named or (match["every"] and len(word) > 2)):
            found.append(NamedUnit(span, frozenset(measures), alone))
    return found


def same_dimension(one: NamedUnit, other: NamedUnit) -> bool:
    """Tell whether two units measure the same, such as minutes and months."""
    sets = ({_BROADER.get(kind, kind) for kind, _ in each.measures} for each in (one, other))
    return not set.isdisjoint(*sets)
