"""The number in a cell of a spreadsheet → what the program shows, by the cell's format code.

Format codes are those of Excel (ECMA-376, part 1, 18.8.31). Formats that depend on the computer's
language, such as that of a short date, are shown in ISO 8601.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache

GENERAL = "General"
BUILT_IN = {
    0: GENERAL,
    1: "0",
    2: "0.00",
    3: "#,##0",
    4: "#,##0.00",
    9: "0%",
    10: "0.00%",
    11: "0.00E+00",
    12: "# ?/?",
    13: "# ??/??",
    14: "yyyy-mm-dd",
    15: "d-mmm-yy",
    16: "d-mmm",
    17: "mmm-yy",
    18: "h:mm AM/PM",
    19: "h:mm:ss AM/PM",
    20: "h:mm",
    21: "h:mm:ss",
    22: "yyyy-mm-dd h:mm",
    37: "#,##0;(#,##0)",
    38: "#,##0;(#,##0)",
    39: "#,##0.00;(#,##0.00)",
    40: "#,##0.00;(#,##0.00)",
    45: "mm:ss",
    46: "[h]:mm:ss",
    47: "mm:ss.0",
    48: "##0.0E+0",
    49: "@",
}
"""Number of a format that a file needn't define → its code."""

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"|\\(?P<escaped>.)|(?P<blank>_.)|\*.'
    r"|\[\$(?P<currency>[^\]-]*)[^\]]*\]|\[(?P<elapsed>h+|m+|s+)\]|\[[^\]]*\]"
    r"|(?P<general>General)|(?P<half>AM/PM|A/P)|(?P<date>y+|m+|d+|h+|s+(?:\.0+)?|e+(?![+-]))"
    r"|(?P<exponent>E[+-])|(?P<digit>[0#?])|(?P<mark>[.,%/])|(?P<text>@)|(?P<literal>.)",
    re.IGNORECASE | re.DOTALL,
)
_LONGEST_CODE = 255  # in Excel
_MOST_PLACES = 30
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September"),
    *("October", "November", "December"),
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_LAST_DATE = 2_958_466  # the day after 9999-12-31
_FALSE_LEAP_DAY = 60  # Excel takes 1900 for a leap year

_Token = tuple[str, str]  # kind and characters


def shown(value: float, code: str, *, from_1904: bool = False) -> str:
    """Return what a program shows for a number.

    Parameters
    ----------
    value
        The number; a date is a number of days.
    code
        The cell's format code. One that isn't understood counts as ``General``.
    from_1904
        Whether the file counts days from 1904-01-01, as old ones of the Macintosh do.

    Examples
    --------
    >>> shown(1234.5, "#,##0.00"), shown(0.256, "0.0%"), shown(-3, '0 "kg";(0)')
    ('1,234.50', '25.6%', '(3)')
    >>> shown(45000.75, "d mmm yyyy h:mm AM/PM"), shown(1.5, "[h]:mm")
    ('15 Mar 2023 6:00 PM', '36:00')
    >>> shown(0.1 + 0.2, "General")
    '0.3'
    """
    sections = _sections(code[:_LONGEST_CODE])
    negative = value < 0
    if negative and len(sections) > 1:
        tokens, negative = sections[1], False
    elif value == 0 and len(sections) > 2:
        tokens = sections[2]
    else:
        tokens = sections[0]
    if not tokens and len(sections) > 1:
        return ""  # such numbers aren't shown
    kinds = {kind for kind, _ in tokens}
    try:
        if kinds & {"date", "elapsed"}:
            return _date(value, tokens, from_1904)
        if "general" in kinds or "text" in kinds or not tokens:
            return _around(tokens, _general(-abs(value) if negative else abs(value)))
        return ("-" if negative else "") + _number(abs(value), tokens)
    except (ArithmeticError, InvalidOperation, ValueError):
        return _general(value)


@lru_cache(maxsize=512)
def _sections(code: str) -> tuple[tuple[_Token, ...], ...]:
    found: list[list[_Token]] = [[]]
    for match in _TOKEN.finditer(code):
        kind = match.lastgroup
        if kind == "literal" and match[0] == ";":
            found.append([])
        elif kind in ("quoted", "escaped", "currency", "literal"):
            found[-1].append(("literal", match[kind]))
        elif kind == "blank":
            found[-1].append(("literal", " "))
        elif kind is not None:
            found[-1].append((kind, match[kind]))
    return tuple(tuple(section) for section in found)


def _general(value: float) -> str:
    if value == int(value) and abs(value) < 1e11:
        return str(int(value))
    return format(value, ".10g").upper()


def _around(tokens: tuple[_Token, ...], number: str) -> str:
    """Return a number with the literals around it."""
    pieces = [number if kind in ("general", "text") else word for kind, word in tokens]
    return "".join(pieces).strip() if tokens else number


def _number(value: float, tokens: tuple[_Token, ...]) -> str:
    places = [place for place, (kind, _) in enumerate(tokens) if kind in ("digit", "exponent")]
    if not places:
        return "".join(word for kind, word in tokens if kind != "mark").strip()
    first, last = places[0], places[-1]
    before = "".join(word for _, word in tokens[:first] if word not in (",", "."))
    after = "".join(word for _, word in tokens[last + 1 :] if word not in (",", "."))
    pattern = tokens[first : last + 1]
    amount = Decimal(repr(value)) * 100 ** [word for _, word in tokens].count("%")
    for _, word in tokens[last + 1 :]:
        if word != ",":
            break
        amount /= 1000
    if any(word == "/" for _, word in pattern):
        return (before + _fraction(amount, pattern) + after).strip()
    return (before + _digits(amount, pattern) + after).strip()


def _digits(amount: Decimal, pattern: tuple[_Token, ...]) -> str:
    mantissa = pattern
    exponent = next((n for n, (kind, _) in enumerate(pattern) if kind == "exponent"), None)
    power = ""
    if exponent is not None:
        mantissa = pattern[:exponent]
        scale = amount.adjusted() if amount else 0
        amount = amount.scaleb(-scale)
        width = sum(1 for kind, _ in pattern[exponent:] if kind == "digit")
        sign = "-" if scale < 0 else "+" if pattern[exponent][1][1] == "+" else ""
        power = f"E{sign}{abs(scale):0{width}d}"
    point = next((n for n, (_, word) in enumerate(mantissa) if word == "."), len(mantissa))
    decimals = [word for kind, word in mantissa[point:] if kind == "digit"][:_MOST_PLACES]
    rounded = format(
        amount.quantize(Decimal(1).scaleb(-len(decimals)), rounding=ROUND_HALF_UP), "f"
    )
    whole, _, rest = rounded.partition(".")
    least = sum(1 for word in decimals if word == "0")
    while len(rest) > least and rest.endswith("0"):
        rest = rest[:-1]
    return _whole(whole, mantissa[:point]) + ("." + rest if rest else "") + power


def _whole(digits: str, pattern: tuple[_Token, ...]) -> str:
    """Return the digits before the point, with thousands separated or literals among them."""
    least = sum(1 for kind, word in pattern if kind == "digit" and word == "0")
    digits = digits.lstrip("0").zfill(least) if least else digits.lstrip("0")
    if any(word == "," for _, word in pattern):
        return re.sub(r"(?<=\d)(?=(?:\d{3})+\Z)", ",", digits)
    if all(kind in ("digit", "mark") for kind, _ in pattern):
        return digits
    left = list(digits)
    pieces: list[str] = []
    for kind, word in reversed(pattern):
        if kind != "digit":
            pieces.append(word)
        elif left:
            pieces.append(left.pop())
    return "".join(left) + "".join(reversed(pieces))


def _fraction(amount: Decimal, pattern: tuple[_Token, ...]) -> str:
    slash = next(n for n, (_, word) in enumerate(pattern) if word == "/")
    width = sum(1 for kind, _ in pattern[slash:] if kind == "digit")
    found = Fraction(amount).limit_denominator(10 ** min(width, 6) - 1)
    whole, rest = divmod(found.numerator, found.denominator)
    if not rest:
        return str(whole)
    return f"{whole} {rest}/{found.denominator}" if whole else f"{rest}/{found.denominator}"


def _date(value: float, tokens: tuple[_Token, ...], from_1904: bool) -> str:
    if not 0 <= value < _LAST_DATE:
        raise ValueError("no date")
    if from_1904:
        start = datetime(1904, 1, 1)
    else:
        start = datetime(1899, 12, 30 if value >= _FALSE_LEAP_DAY else 31)
    milliseconds = round(value * 86_400_000)
    moment = start + timedelta(milliseconds=milliseconds)
    halves = any(kind == "half" for kind, _ in tokens)
    pieces = []
    for place, (kind, word) in enumerate(tokens):
        if kind == "elapsed":
            pieces.append(_elapsed(milliseconds // 1000, word))
        elif kind == "half":
            pieces.append(("AM", "PM")[moment.hour >= 12])
        elif kind == "date":
            minute = word[0] in "mM" and _is_minute(tokens, place)
            pieces.append(_field(moment, word.lower(), minute=minute, halves=halves))
        elif kind not in ("text", "general"):
            pieces.append(word)
    return "".join(pieces).strip()


def _elapsed(seconds: int, word: str) -> str:
    unit = {"h": 3600, "m": 60, "s": 1}[word[0].lower()]
    return str(seconds // unit).zfill(len(word))


def _is_minute(tokens: tuple[_Token, ...], place: int) -> bool:
    """Tell whether an ``m`` is minutes: it is after hours or before seconds."""
    times = ("date", "elapsed")
    before = [word for kind, word in tokens[:place] if kind in times]
    after = [word for kind, word in tokens[place + 1 :] if kind in times]
    return bool(before and before[-1][0] in "hH") or bool(after and after[0][0] in "sS")


def _field(moment: datetime, word: str, *, minute: bool, halves: bool) -> str:
    size = len(word.partition(".")[0])
    match word[0]:
        case "y" | "e":
            return f"{moment.year:04}" if size > 2 or word[0] == "e" else f"{moment.year % 100:02}"
        case "m" if minute:
            return str(moment.minute).zfill(min(size, 2))
        case "m":
            name = _MONTHS[moment.month - 1]
            named = {3: name[:3], 4: name, 5: name[0]}
            return named.get(size, str(moment.month).zfill(size) if size < 3 else name)
        case "d":
            name = _DAYS[moment.weekday()]
            return str(moment.day).zfill(size) if size < 3 else name[:3] if size == 3 else name
        case "h":
            hour = (moment.hour % 12 or 12) if halves else moment.hour
            return str(hour).zfill(min(size, 2))
        case _:
            places = len(word.partition(".")[2])
            fraction = f"{moment.microsecond:06}"[:places]
            return str(moment.second).zfill(min(size, 2)) + ("." + fraction if places else "")
