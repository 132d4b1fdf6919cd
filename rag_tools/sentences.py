"""Borders in running text: lines, paragraphs and sentences, as spans that tile it.

By rule, without a model or a dependency, for any script that marks the end of a sentence.
Passages and quotes are built from these spans elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rag_tools.types import Span

# One line end, never half of one: the atomic group can't give "\n" back.
_EOL = r"(?>\r\n|[\r\n])"
_LINE_END = re.compile(_EOL)
_BLANK_LINES = re.compile(rf"{_EOL}(?:[^\S\r\n]*+{_EOL})++")

# Also “ and ‘, which close in German; they open after white space only. French has a space inside.
_CLOSERS = r"(?:[^\S\r\n]?+»(?=\s|\Z)|[\"'’‘”“»›)\]}*_`」』）】〉》])*+"

# Where a sentence may end. Each alternative takes the white space after it and begins with what
# can't match again inside itself, so that the scan is linear.
_BORDER = re.compile(
    rf"""
      (?P<blank>{_EOL}(?:[^\S\r\n]*+{_EOL})++\s*+)
    | (?P<line>{_EOL}[^\S\r\n]*+)(?=
            [-*+•‣◦▪][^\S\r\n]                    # list items
          | \(?(?:\d{{1,3}}[.)]|[a-z]\))[^\S\r\n]
          | \||\+[-=]                             # table rows
          | \#{{1,6}}[^\S\r\n]                    # headings
          | >>>[^\S\r\n])
    | (?<![.!?…])(?P<stop>[.!?…]++){_CLOSERS}(?:\[\d{{1,4}}\])*+(?P<space>\s++|\Z)
    | [。！？｡।॥؟۔]++{_CLOSERS}\s*+
    """,
    re.VERBOSE,
)
# A table row or a heading ends with its line, and nowhere before.
_OWN_LINE = re.compile(rf"\s*+(?:\||\+[-=]|#{{1,6}}[^\S\r\n])[^\r\n]*+(?:{_EOL}\s*+|\Z)")

_WORD_BEFORE = re.compile(r"[\w.&-]*\Z")
_ACRONYM = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")  # "U.S", "e.g", "p.m"
_LIST_NUMBER = re.compile(r"(?:^|[\r\n])[^\S\r\n]*\(?\d{1,3}\Z")

# "am 3. Oktober", "im 19. Jahrhundert", "den 3. maj": what stands before an ordinal, which many
# languages write with a full stop, and the months, which tell one as well.
_ORDINAL = re.compile(
    r"\b(?:(?<!\bI )am|zum|zur|beim|vom|im|bis|ab|seit|der|die|das|dem|den|des|ein|eine[mr]?)"
    r"[^\S\r\n]+\d{1,3}\Z",
    re.IGNORECASE,
)
_DAY = re.compile(r"(?<![\d.,])(?:[12]?\d|3[01])\Z")
_MONTH = re.compile(
    r"(?:jan|feb|mar|mär|apr|ma[ijy]|jun|jul|aug|sep|o[ck]t|nov|de[cz]|mars|avr|aoû|ene|abr|ago|dic"
    r"|gen|mag|giu|lug|set|ott|янв|фев|мар|апр|ма[йя]|июн|июл|авг|сен|окт|ноя|дек)\w*",
    re.IGNORECASE,
)
# "z. B.", "i. d. R.": letters that stand for words, with spaces between them.
_LETTER_FOLLOWS = re.compile(r"[^\W\d_]\.")
_LETTER_BEFORE = re.compile(r"(?<!\w)[^\W\d_]\.[^\S\r\n]?[^\W\d_]\Z")
_COMPANY = re.compile(r"(?:KG|KGaA|OHG|Ltd|Inc|GmbH|AG|SA|Nachf)\b")
# Words that begin a sentence: before them, letters with full stops end the one before.
_OPENING = re.compile(
    r"(?:The|She|He|It|They|We|This|That|These|Those|There|In|On|At|But|And|However|A|An|You|His|Her"
    r"|Its|Their|Our|If|When|While|As|For|Then|After|Before|No|Not|Most|Many|Some|All)\s"
)
_HALF_OF_DAY = frozenset({"a.m", "p.m"})
_AFTER_TIME = re.compile(r"(?:(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day|[A-Z]{2,4}\b)")
_NAME_BEFORE = re.compile(r"(?:\b[A-Z][\w'’-]+\s+[A-Z][\w'’-]+,?|\d)\s+\w+\Z")

# Words whose full stop doesn't end a sentence.
_ABBREVIATIONS = frozenset(
    """
    abb adm al allg anm approx assn ave avda bd beisp betr bijv bldg blvd blz brig bspw bzgl bzw ca
    capt cf ch chap cmdr col comdr corr cpl dept dhr dott dr dra eds ee eq eqs esp est etw evtl ex
    exkl fig figs fn fr geb gen gesch ggf gov hon hrsg ibid ill inkl insb jan feb mar apr jun jul
    aug sep sept oct okt nov dec dez lt maj messrs mevr mlle mme mr mrs ms mt mwst núm op pag pg
    ph.d pl pp prof pt ref refs rep resp rev sec sen sgt sid sig sog sra srta st supt tel trans
    univ v vgl viz vol vols vs zob zzgl гл им илл пер рис см ср стр тыс ул
    """.split()  # noqa: SIM905 - a list literal would be a page long
)
# Words that may end a sentence: they do if a capital follows.
_ABBREVIATIONS_UNLESS_CAPITAL = frozenset(
    {"bros", "co", "corp", "ed", "etc", "inc", "jr", "ltd", "usw"}
)
# Words that are abbreviations before a number only, or before a sign of a section.
_ABBREVIATIONS_IF_DIGIT = frozenset(
    """
    abs al art av bl c cap env ext gem kap kl lit max min n no nos nr num p par para pos s tab tel
    tit ust ziff г л п ст
    """.split()  # noqa: SIM905 - a list literal would be a page long
)
# Words before a name; after one, "John Smith Sr.", or a number they may end a sentence.
_BEFORE_NAMES = frozenset({"sr", "av", "ft"})

_LONGEST_ABBREVIATION = 24


def lines(text: str, start: int = 0, end: int | None = None) -> list[Span]:
    r"""Return the lines of ``text[start:end]``; they tile it, line ends included.

    Lines end at ``\n``, ``\r\n`` and ``\r`` only, as editors count them.

    Examples
    --------
    >>> [line.of("a\r\nb\rc") for line in lines("a\r\nb\rc")]
    ['a\r\n', 'b\r', 'c']
    """
    end = len(text) if end is None else end
    return _tile(start, end, (match.end() for match in _LINE_END.finditer(text, start, end)))


def paragraphs(text: str, start: int = 0, end: int | None = None) -> list[Span]:
    r"""Return the paragraphs of ``text[start:end]``; they tile it.

    Blank lines separate paragraphs and belong to the one before.

    Examples
    --------
    >>> [paragraph.of("a\nb\n\nc") for paragraph in paragraphs("a\nb\n\nc")]
    ['a\nb\n\n', 'c']
    """
    end = len(text) if end is None else end
    return _tile(start, end, (match.end() for match in _BLANK_LINES.finditer(text, start, end)))


def sentences(text: str, start: int = 0, end: int | None = None) -> list[Span]:
    """Return the sentences of ``text[start:end]``; they tile it.

    White space after a sentence belongs to it. Blank lines always end a sentence; so does the
    end of a line before a list item and around a table row or a Markdown heading. The end of
    any other line, as in hard-wrapped prose, doesn't.

    Parameters
    ----------
    text
        Any text.
    start, end
        Range of code points to look at; to the end of the text by default.

    Examples
    --------
    >>> text = "Dr. Smith paid $3.50. He left."
    >>> [sentence.of(text) for sentence in sentences(text)]
    ['Dr. Smith paid $3.50. ', 'He left.']
    """
    end = len(text) if end is None else end
    return _tile(start, end, _sentence_ends(text, start, end))


def _tile(start: int, end: int, borders: Iterable[int]) -> list[Span]:
    spans = []
    for border in borders:
        spans.append(Span(start, border))
        start = border
    if start < end:
        spans.append(Span(start, end))
    return spans


def _sentence_ends(text: str, start: int, end: int) -> Iterator[int]:
    position = start
    at_line_start = True
    while position < end:
        own_line = _OWN_LINE.match(text, position, end) if at_line_start else None
        match = own_line or _BORDER.search(text, position, end)
        if match is None:
            return
        position = match.end()
        at_line_start = True
        if match.re is _BORDER and match["stop"] is not None:
            at_line_start = match["space"].strip(" \t") != ""
            if not _ends_sentence(text, start, match):
                position = match.end("stop")
                at_line_start = False
                continue
        yield position


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    """Tell whether a run of ``.!?…`` followed by white space ends a sentence."""
    following = text[match.end() : match.end() + 1]
    if following.islower():
        return False
    if match["stop"] != ".":
        return True
    stop = match.start()
    before = text[max(start, stop - _LONGEST_ABBREVIATION) : stop]
    rest = text[match.end() : match.end() + _LONGEST_ABBREVIATION]
    closed = match.end("stop") < match.start("space")  # a mark closes after the full stop
    if _LIST_NUMBER.search(before):
        return False
    if _DAY.search(before) and _MONTH.match(rest) and not closed:
        return False
    if _ORDINAL.search(before) and not closed:
        return False
    found = _WORD_BEFORE.search(before)
    word = found.group() if found else ""
    return not word or not _is_abbreviation(word, before, rest)


def _is_abbreviation(word: str, before: str, rest: str) -> bool:
    """Tell whether the full stop after a word belongs to it, given what stands before and after."""
    opening = _OPENING.match(rest) is not None
    letters = _LETTER_BEFORE.search(before) or _LETTER_FOLLOWS.match(rest)
    if len(word) == 1 and word.isalpha() and (word.isupper() or letters):
        return not opening
    if _ACRONYM.fullmatch(word):
        if word.lower() in _HALF_OF_DAY:
            return not rest[:1].isupper() or _AFTER_TIME.match(rest) is not None
        return not opening
    capital, word = rest[:1].isupper(), word.lower()
    if word in _BEFORE_NAMES and not _NAME_BEFORE.search(before):
        return True
    if word in _ABBREVIATIONS_IF_DIGIT and (rest[:1].isdigit() or rest[:1] == "§"):
        return True
    if word in _ABBREVIATIONS_UNLESS_CAPITAL:
        return not capital or (word == "co" and _COMPANY.match(rest) is not None)
    return word in _ABBREVIATIONS
