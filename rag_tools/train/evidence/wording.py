"""Saying the same in other words, by rules: people don't ask in the words of a manual."""

from __future__ import annotations

import random
import re

from rag_tools.train.evidence.examples import words

# Each row: words that say about the same in documentation. Of several words, joined by spaces.
_SAME = [
    row.split(", ")
    for row in """\
delete, remove, get rid of, erase
folder, directory
turn off, disable, switch off, deactivate
turn on, enable, switch on, activate
show, display, print, see
list, show all, enumerate
create, make, set up, generate
change, modify, alter, edit
begin, start, launch
stop, end, terminate, quit
choose, select, pick
specify, set, give, define
allow, permit, let
forbid, prevent, disallow, block
obtain, get, fetch, retrieve
verify, check, make sure
repair, fix, mend
error, failure, problem
argument, parameter
option, setting, switch, flag
maximum, largest, upper limit
minimum, smallest, lower limit
number, count, amount
fast, quick, speedy
use, employ, work with
find, locate, look up, search for
combine, join, merge
split, divide, break up
copy, duplicate, clone
move, transfer, relocate
rename, change the name of
install, set up, add
uninstall, remove
open, load
close, shut
send, transmit
receive, get
contain, hold, include
convert, transform, turn into
execute, run, perform
keep, retain, preserve
ignore, skip, leave out
replace, substitute, swap
display, view
password, passphrase
computer, machine, host
connect to, reach, access
supported, available, possible
required, needed, necessary
optional, not needed
previous, earlier, last
next, following
automatically, by itself, without asking
recursively, including subdirectories
currently, at the moment, now
entire, whole, complete
output, result
input, source
example, sample
description, explanation
determine, find out, work out
compress, shrink, pack
extract, unpack
download, fetch
upload, send
update, upgrade, refresh
configuration, settings, config
timeout, time limit
size, how big
length, how long
location, place, where
reason, why
purpose, what for
wait, pause
repeat, do again
limit, restrict, cap
increase, raise
decrease, lower, reduce
avoid, prevent
permission, right, access
user, account
administrator, admin, root
file, document
line, row
character, letter
multiple, several, many
specific, particular, certain
interactive, asking questions
existing, already there
missing, absent
""".splitlines()
]
_PATTERN = re.compile(
    r"\b(?:"
    + "|".join(sorted({re.escape(w) for row in _SAME for w in row}, key=len)[::-1])
    + r")s?\b",
    re.IGNORECASE,
)
_OTHERS: dict[str, list[str]] = {}
for _row in _SAME:
    for _word in _row:
        _OTHERS.setdefault(_word, []).extend(each for each in _row if each != _word)

_FUNCTION = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "to",
        "in",
        "on",
        "at",
        "by",
        "for",
        "with",
        "from",
        "and",
        "or",
        "is",
        "are",
        "be",
        "was",
        "were",
        "been",
        "it",
        "its",
        "this",
        "that",
        "these",
        "those",
        "as",
        "if",
        "when",
        "which",
        "who",
        "what",
        "how",
        "do",
        "does",
        "did",
        "can",
        "could",
        "may",
        "will",
        "would",
        "should",
        "must",
        "not",
        "no",
        "you",
        "your",
        "i",
        "my",
        "we",
        "our",
        "they",
        "their",
        "he",
        "she",
        "his",
        "her",
        "has",
        "have",
        "had",
        "than",
        "then",
        "there",
    ]
)

_OPENINGS = (
    "",
    "",
    "",
    "",
    "hi, ",
    "quick question: ",
    "I'd like to know, ",
    "can someone tell me ",
    "I read the manual and still wonder: ",
    "we're setting this up at work. ",
    "sorry if this is obvious, but ",
)


def reworded(text: str, chance: random.Random, share: float = 0.6) -> str:
    """Return a text with other words for some of its words, those that a short table knows."""

    def other(match: re.Match[str]) -> str:
        word = match[0].lower()
        choices = _OTHERS.get(word) or _OTHERS.get(word.removesuffix("s"))
        return chance.choice(choices) if choices and chance.random() < share else match[0]

    return _PATTERN.sub(other, text)


def thinned(text: str, chance: random.Random, share: float) -> str:
    """Leave out a share of the words that carry meaning; at least two stay."""
    parts = text.split()
    telling = [i for i, part in enumerate(parts) if set(words(part)) - _FUNCTION]
    count = min(round(share * len(telling)), len(telling) - 2)
    gone = set(chance.sample(telling, count)) if count > 0 else set()
    return " ".join(part for i, part in enumerate(parts) if i not in gone)


def telling(text: str) -> list[str]:
    """Return the words of a text that carry meaning, in lower case."""
    return [word for word in words(text) if word not in _FUNCTION and len(word) > 1]


def asked(question: str, chance: random.Random) -> str:
    """Return a question as people type it: with or without opening, capital and question mark."""
    question = chance.choice(_OPENINGS) + question
    if chance.random() < 0.6:
        question = question[:1].upper() + question[1:]
    return question.rstrip(" .:;?") + ("?" if chance.random() < 0.75 else "")


def decapitalised(text: str) -> str:
    """Lower the first letter, unless the word looks like a name or an abbreviation."""
    first = text.split(None, 1)[0] if text.strip() else ""
    return (
        text if any(c.isupper() or c.isdigit() for c in first[1:]) else text[:1].lower() + text[1:]
    )
