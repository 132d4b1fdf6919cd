"""A draft answer → the statements in it that need a citation, and the answer with its citations.

By rule, as people and models write answers in Markdown. Which quotes support a statement is the
caller's business.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from markdown_it import MarkdownIt

from rag_tools.cite.answer import without_references
from rag_tools.cite.formats import references
from rag_tools.cite.markers import markers, unmarkable, unmarked
from rag_tools.errors import InvalidQueryError
from rag_tools.limits import check_answer, check_query
from rag_tools.sentences import lines, sentences
from rag_tools.types import Citation, CitedAnswer, Claim, Span, Support

QUOTES = 3
"""Quotes of a statement, at most: a reader shall check them."""

MIN_WORDS = 3
"""Words of a statement; what has fewer says too little by itself to be looked for."""

MAX_NESTING = 20
"""Markers inside each other: each level takes another look at the whole answer."""

_WORD = re.compile(r"\w+")
_LEADING = re.compile(r"(?:\s|(?:[-*+•>|]|\(?\d{1,3}[.)]|\[[ xX]\])(?=\s))*")
_TRAILING = " \t\r\n|"
# Marks of emphasis, code, quotations, tables and links, and the targets of links.
_MARKUP = re.compile(
    r"\*+|~~|`+|(?<!\w)_++|(?<!_)_++(?!\w)|^[ ]{0,3}>+|\||!?\[(?=[^\[\]]*\]\()|\]\([^()\s]*\)",
    re.MULTILINE,
)
_STOPS = ".!?…。！？"
# Characters before which a marker would become the text of a link, or a definition.
_JOINING = ("(", "[", ":")

# Sentences that speak to the reader, or of the writer, or announce what follows.
_NEEDLESS = re.compile(
    r"""
      (?>.*[^\W_]|)[\W_]*?[?？:：]     # after the last word; atomic, so that it is looked for once
    | (?:hi|hello|hey|dear|greetings|welcome|sorry|apologies|unfortunately,?\s+i)\b
    | (?:many\s+)?thank(?:s|\s+you)\b | (?:good|great|excellent)\s+question\b
    | you(?:['’]re|\s+are)\s+(?:very\s+)?welcome\b
    | (?:best|kind)\s+regards\b | (?:of\s+course|sure|certainly|absolutely)\b[\W_]
    | here(?:['’]s|\s+is|\s+are)\b | below\s+(?:is|are)\b | the\s+following\b
    | (?:please\s+)?(?:let\s+me|feel\s+free|note\s+that\s+i)\b | (?:i\s+)?hope\b
    | i(?:['’](?:m|d|ll|ve)|\s+(?:am|can(?:not|['’]t)?|could(?:n['’]t)?|did(?:n['’]t)?|do(?:n['’]t)?
        |found|had|have|looked|recommend|searched|suggest|think|was|will|would))\b
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


class Statement(NamedTuple):
    """A sentence of a draft that needs a citation.

    Attributes
    ----------
    span
        Where it stands in the draft, without marks of lists, quotations and tables.
    marker
        Where its marker goes: before the full stop.
    """

    span: Span
    marker: int


def cited_answer(answer: str, cite: Callable[[str], Support]) -> CitedAnswer:
    """Return a draft answer with citations.

    Parameters
    ----------
    cite
        Tells how far a statement is supported, and by which quotes. Those of an unsupported one
        are not cited. It is given blanks in place of mark-up.

    Raises
    ------
    InvalidQueryError
        If the answer is blank, too long or isn't valid Unicode, or a statement of it is longer
        than a claim may be: nothing was asked then.
    """
    check_answer(answer)
    text = draft(answer)
    found = statements(text)
    for statement in found:
        start, end = statement.span
        check_query(text[start:end], f"the statement that starts with {text[start : start + 40]!r}")
    numbers: dict[tuple[str, int, int], int] = {}
    citations: list[Citation] = []
    claims: list[Claim] = []
    for statement in found:
        support = cite(_plain(statement.span.of(text)))
        cited = support.citations if support.verdict != "unsupported" else ()
        places = [(each.document_id, each.start, each.end) for each in cited]
        for place, citation in zip(places, cited, strict=True):
            if place not in numbers:
                citations.append(citation)
                numbers[place] = len(citations)
        claims.append(
            Claim(
                start=statement.span.start,
                end=statement.span.end,
                numbers=tuple(sorted(numbers[place] for place in places)),
                support=support,
            )
        )
    numbered = zip(found, (claim.numbers for claim in claims), strict=True)
    return CitedAnswer(
        text=annotated(text, numbered),
        references=references(citations),
        draft=text,
        claims=tuple(claims),
        citations=tuple(citations),
    )


def draft(answer: str) -> str:
    """Return an answer without the markers and the list of references that it may have.

    Raises
    ------
    InvalidQueryError
        If markers stand in each other more than `MAX_NESTING` deep.
    """
    plain = without_references(answer)
    for _ in range(MAX_NESTING):
        if not markers(plain):
            return plain
        plain = unmarked(plain)  # without one, brackets around it may make another
    raise InvalidQueryError(
        f"brackets with numbers stand in each other {MAX_NESTING} deep or more: write [1][2]"
    )


def statements(text: str) -> list[Statement]:
    r"""Return the sentences of a draft that need a citation, in order.

    The text is read as Markdown: sentences of paragraphs, list items and block quotations, and rows
    of tables. Code, headings, questions, greetings, announcements (``Here is …``, whatever ends
    with a colon), what the writer says of itself (``I found …``) and what has fewer than
    `MIN_WORDS` words need none.

    Examples
    --------
    >>> text = "# Water\n\nHere is what I know:\n\n- It boils at 100 °C.\n- It is wet!\n\nIs it?"
    >>> [statement.span.of(text) for statement in statements(text)]
    ['It boils at 100 °C.', 'It is wet!']
    """
    barred = unmarkable(text)
    found = []
    for block in _blocks(text):
        start = block.start
        for sentence in sentences(text, *block):
            span = _trimmed(text, Span(start, sentence.end))
            place = _place(text, span, barred)
            if place is None:  # such as a full stop in code: the sentence goes on
                continue
            start = sentence.end
            if _needs_citation(span.of(text)):
                found.append(Statement(span, place))
    return found


def annotated(text: str, numbered: Iterable[tuple[Statement, Sequence[int]]]) -> str:
    """Return a draft with the numbers of the citations of its statements, in order of the text.

    Nothing else is changed: `unmarked` gives the draft back.

    Examples
    --------
    >>> text = "It floats. It sinks."
    >>> annotated(text, zip(statements("It does float. It sinks."), [[1]]))
    'It floats. It [1] sinks.'
    """
    parts, end = [], 0
    for statement, numbers in numbered:
        if numbers:
            parts += [text[end : statement.marker], f" [{', '.join(map(str, numbers))}]"]
            end = statement.marker
    return "".join([*parts, text[end:]])


def _blocks(text: str) -> Iterator[Span]:
    """Yield the paragraphs, wherever they are nested, and the rows of tables below their heads."""
    parser = MarkdownIt("commonmark").enable("table").disable("inline")
    rows = lines(text)
    heading = False
    for token in parser.parse(text):
        if token.type in ("thead_open", "thead_close"):
            heading = token.type == "thead_open"
        running = token.type == "paragraph_open" or (token.type == "tr_open" and not heading)
        if running and token.map:
            first, end = token.map
            yield Span(rows[first].start, rows[min(end, len(rows)) - 1].end)


def _trimmed(text: str, span: Span) -> Span:
    leading = _LEADING.match(text, *span)
    start = leading.end() if leading else span.start
    return Span(start, start + len(text[start : span.end].rstrip(_TRAILING)))


def _place(text: str, span: Span, barred: Sequence[Span]) -> int | None:
    """Return where the marker of a sentence can stand, if anywhere."""
    words = span.of(text).rstrip(_STOPS).rstrip()
    for place in (span.start + len(words), span.end):
        before = bisect_right(barred, place - 1, key=lambda each: each.start)
        inside = before > 0 and place < barred[before - 1].end
        if place > span.start and not inside and not text.startswith(_JOINING, place):
            return place
    return None


def _plain(statement: str) -> str:
    """Return a statement with blanks for its mark-up: positions stay what they are."""
    return _MARKUP.sub(lambda match: " " * len(match[0]), statement)


def _needs_citation(sentence: str) -> bool:
    if len(_WORD.findall(sentence)) < MIN_WORDS:
        return False
    opening = re.search(r"\w", sentence)
    return opening is None or not _NEEDLESS.match(sentence, opening.start())
