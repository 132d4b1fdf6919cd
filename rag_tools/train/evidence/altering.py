"""Claims by rules: from a sentence, one that still holds and ones that don't any more."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)*(?![\w.]*\w)")
_UNITS = [
    row.split()
    for row in (
        "seconds minutes hours days weeks months years milliseconds",
        "second minute hour day week month year millisecond",
        "bytes kilobytes megabytes gigabytes terabytes bits",
        "KB MB GB TB KiB MiB GiB",
        "metres kilometres miles feet inches centimetres millimetres meters kilometers",
        "kg grams pounds tonnes",
        "percent pixels points",
        "MHz GHz kHz Hz",
    )
]
_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_AUXILIARY = re.compile(
    r"\b(is|are|was|were|can|will|should|must|may|could|would|does|do|has been|have been)\b"
    r"(?! not|n't)"
)
_NEGATION = re.compile(r"\b(is|are|was|were|can|will|should|must|may|could|would|does|do) ?not\b")
_OPPOSITES = (
    ("before", "after"),
    ("always", "never"),
    ("enabled", "disabled"),
    ("enable", "disable"),
    ("allow", "forbid"),
    ("allowed", "forbidden"),
    ("increase", "decrease"),
    ("increases", "decreases"),
    ("first", "last"),
    ("minimum", "maximum"),
    ("more", "less"),
    ("higher", "lower"),
    ("larger", "smaller"),
    ("required", "optional"),
    ("include", "exclude"),
    ("includes", "excludes"),
    ("open", "close"),
    ("opens", "closes"),
    ("true", "false"),
    ("with", "without"),
    ("above", "below"),
    ("inside", "outside"),
    ("start", "stop"),
    ("starts", "stops"),
    ("added", "removed"),
    ("add", "remove"),
    ("adds", "removes"),
    ("accept", "reject"),
    ("accepts", "rejects"),
    ("accepted", "rejected"),
    ("internal", "external"),
    ("local", "remote"),
    ("public", "private"),
    ("success", "failure"),
    ("succeeds", "fails"),
    ("older", "newer"),
    ("longer", "shorter"),
    ("upper", "lower"),
    ("import", "export"),
    ("read", "write"),
    ("client", "server"),
    ("ascending", "descending"),
    ("synchronous", "asynchronous"),
    ("positive", "negative"),
    ("oldest", "newest"),
    ("sender", "recipient"),
    ("most", "least"),
    ("everyone", "nobody"),
    ("everything", "nothing"),
    ("faster", "slower"),
    ("at least", "at most"),
)
_OPPOSITE = {a: b for pair in _OPPOSITES for a, b in (pair, pair[::-1])}
_OPPOSITE_PATTERN = re.compile(r"\b(" + "|".join(sorted(_OPPOSITE, key=len)[::-1]) + r")\b", re.I)
_RELATION = re.compile(
    r"^(?P<a>[\w' -]{3,50}?) (?P<verb>(?:is|are) (?:faster|slower|larger|smaller|older|newer|"
    r"better|higher|lower|more \w+|less \w+) than|overrides?|precedes?|follows?|replaces?|calls?|"
    r"contains?|requires?|depends? on|defeated|beat|succeeded|includes?|inherits? from|"
    r"takes precedence over|is (?:part|a subset) of|supersedes?|was founded by|is followed by) "
    r"(?P<b>[\w' -]{3,50}?)(?P<rest>[.,;(].*)?$",
    re.DOTALL,
)
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][\w-]+(?: [A-Z][\w-]+)*")
_CLAUSE = re.compile(
    r"(?:,? (?:if|when|unless|while|because|since|although|which|so that|where)\b"
    r"|;|, (?:and|but) ).*$",
    re.S,
)
_PARENTHESIS = re.compile(r" ?\([^()]*\)")


def contradicted(sentence: str, names: list[str], chance: random.Random) -> tuple[str, str] | None:
    """Return a claim that the sentence contradicts, and what was done; None if no rule applies.

    Parameters
    ----------
    names
        Other names that might stand in a name's place.
    """
    makers: list[tuple[str, Callable[[str, random.Random], str | None]]] = [
        ("number", _other_number),
        ("unit", _other_unit),
        ("date", _other_month),
        ("negated", _negated),
        ("opposite", _opposed),
        ("turned", _turned),
    ]
    chance.shuffle(makers)
    if chance.random() < 0.3:
        makers.insert(0, ("name", lambda text, by: _other_name(text, names, by)))
    for name, make in makers:
        claim = make(sentence, chance)
        if claim is not None and claim != sentence:
            return claim, name
    return None


def entailed(sentence: str, chance: random.Random) -> str:
    """Return a claim that follows from the sentence: shortened at a clause that may go, or whole.

    A condition is never dropped, so that what holds on a condition isn't claimed without it.
    """
    claim = _PARENTHESIS.sub("", sentence)
    cut = _CLAUSE.search(claim)
    safe = cut and not re.match(r",? (?:if|when|unless|while|where)\b", cut[0])
    if safe and cut and cut.start() > 30 and chance.random() < 0.6:
        claim = claim[: cut.start()] + "."
    return claim


def _other_number(text: str, chance: random.Random) -> str | None:
    found = list(_NUMBER.finditer(text))
    if not found:
        return None
    match = chance.choice(found)
    digits = match[0].replace(",", "")
    try:
        value = float(digits)
    except ValueError:
        return None
    if 1900 <= value <= 2100 and digits.isdigit():
        other = str(int(value) + chance.choice([-12, -5, -3, -2, -1, 1, 2, 3, 7, 15]))
    elif digits.isdigit():
        choices = {int(value) + 1, int(value) * 2, int(value) * 10, max(int(value) // 2, 0)} | {
            chance.randint(1, 9) * 10 ** chance.randint(0, 2)
        }
        other = str(chance.choice(sorted(choices - {int(value)})))
    else:
        other = f"{value * chance.choice([0.5, 2, 3, 10]):g}"
    return text[: match.start()] + other + text[match.end() :]


def _other_unit(text: str, chance: random.Random) -> str | None:
    for row in _UNITS:
        match = re.search(r"(?<=\d )(" + "|".join(row) + r")\b", text)
        if match:
            other = chance.choice([each for each in row if each != match[0]])
            return text[: match.start()] + other + text[match.end() :]
    return None


def _other_month(text: str, chance: random.Random) -> str | None:
    match = re.search(r"\b(" + "|".join(_MONTHS) + r")(?= \d|,? \d{4})", text)
    if not match:
        return None
    other = chance.choice([month for month in _MONTHS if month != match[0]])
    return text[: match.start()] + other + text[match.end() :]


def _negated(text: str, chance: random.Random) -> str | None:
    match = _NEGATION.search(text)
    if match:
        return text[: match.start()] + match[1] + text[match.end() :]
    match = _AUXILIARY.search(text)
    if not match:
        return None
    first, *rest = match[0].split(" ")
    negator = chance.choice([" not", "n't" if first not in ("may", "can", "will") else " not"])
    return text[: match.start()] + " ".join([first + negator, *rest]) + text[match.end() :]


def _opposed(text: str, chance: random.Random) -> str | None:
    found = list(_OPPOSITE_PATTERN.finditer(text))
    if not found:
        return None
    match = chance.choice(found)
    other = _OPPOSITE[match[0].lower()]
    other = other.capitalize() if match[0][0].isupper() else other
    return text[: match.start()] + other + text[match.end() :]


def _turned(text: str, chance: random.Random) -> str | None:
    match = _RELATION.match(text)
    if not match:
        return None
    one, two = match["a"], match["b"]
    first, last = two[:1].upper() + two[1:], one[:1].lower() + one[1:]
    return f"{first} {match['verb']} {last}{match['rest'] or ''}"


def _other_name(text: str, names: list[str], chance: random.Random) -> str | None:
    found = list(_NAME.finditer(text))
    others = [name for name in names if name not in text]
    if not found or not others:
        return None
    match = chance.choice(found)
    return text[: match.start()] + chance.choice(others) + text[match.end() :]


def names_in(text: str) -> list[str]:
    """Return the names in running text: capitalised words that don't begin a sentence."""
    return [match[0] for match in _NAME.finditer(text)]
