"""Text as it is compared: folded, with a way back from each folded character to its source.

Two spellings of the same words fold to the same text: composed and decomposed letters, ligatures,
kinds of quotation marks and dashes, any white space, invisible characters, words divided at the
end of a line and, if asked for, the marks of Markdown. Letters keep their case. What is folded is
compared and never shown: a span of the folded text maps to a span of the source, which is quoted
as it stands.
"""

from __future__ import annotations

import html
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from rag_tools.types import Span

DIVIDED = "\u00ad"
"""Stands where a line ended within a word: there a hyphen may belong to the word or not."""

_MARKS = {
    **dict.fromkeys('"“”„‟«»', '"'),
    **dict.fromkeys("'‘’‚‛`´", "'"),
    **dict.fromkeys("‐‑‒–—―−", "-"),
    "…": "...",
}
_INVISIBLE = r"\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
_LETTER = r"[^\W\d_]"
# Scripts that are written without spaces: white space between their characters says nothing.
_SOLID = r"[\u3040-\u30ff\u3400-\u9fff\uff66-\uff9f\U00020000-\U0003ffff。、，！？；：（）「」『』]"

# A character with the marks that compose with it; Hangul syllables are written in up to three.
_CLUSTER = r"[^\s\x00-\x7f][\u0300-\u036f\u1160-\u11ff\u3099\u309a]*+"
_COMPOSED = r"[A-Za-z<>=][\u0300-\u036f]++"
_PLAIN = rf"""
    (?P<divided>(?<={_LETTER})[-\u00ad\u2010][^\S\r\n]*+(?:\r\n|[\r\n])[^\S\r\n]*+(?={_LETTER}))
  | (?P<solid>(?<={_SOLID})\s++(?={_SOLID}))
  | (?P<invisible>[{_INVISIBLE}]++)
  | (?P<space>\s++)
  | (?P<mark>[{"".join(_MARKS)}])
  | (?P<cluster>{_CLUSTER}|{_COMPOSED})
"""
_TEXT = re.compile(_PLAIN, re.VERBOSE)

# What rendering takes away. Every repetition is bounded or can't give back, so that a scan is
# linear. An asterisk between two letters or digits, or between two spaces, is one of the words.
_MARKUP = re.compile(
    rf"""
    (?P<escaped>\\(?P<character>[!-/:-@\[-`{{-~]))
  | (?P<entity>&(?:\#\d{{1,7}}|\#[xX][0-9a-fA-F]{{1,6}}|[A-Za-z][A-Za-z0-9]{{1,31}});)
  | (?P<rule>^[^\S\r\n]*+\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)++\|?[ \t]*+$)
  | (?P<line>^[ \t]*+(?:>[ \t]?)*+(?:\#{{1,6}}(?=\s)|[-*+•](?=\s)(?:[ \t]++\[[ xX]\](?=\s))?+
        |\d{{1,3}}[.)](?=\s))?+[ \t]*+)
  | (?P<address><(?P<url>(?:https?://|mailto:)[^<>\s]{{1,2000}}+)>)
  | (?P<tag></?(?P<element>[A-Za-z][A-Za-z0-9]*+)(?:\s[^<>]{{0,500}}+)?+>)
  | (?P<note>\[\^[^\]\s]{{1,100}}+\])
  | (?P<opening>!?\[(?=[^\[\]]{{0,1000}}+\][(\[]))
  | (?P<target>\](?:\([^()\s]*+(?:\([^()\s]*+\)[^()\s]*+)*+(?:\s++(?:"[^"]*+"|'[^']*+'))?+\)
        |\[[^\[\]]{{0,200}}+\]))
  | (?P<emphasis>(?<![\s\w*])\*++|(?<=\w)\*++(?!\w)|(?<![\w*])\*++(?!\s)
        |(?<![\w_])_++(?=\w)|(?<=[^\s_])_++(?!\w)|~~)
  | (?P<code>`++)
  | (?P<cell>\|)
  | {_PLAIN}
    """,
    re.VERBOSE | re.MULTILINE,
)
_DROPPED = frozenset({"solid", "invisible", "note", "opening", "target", "emphasis", "code"})
_SPACES = frozenset({"space", "cell", "rule"})
# Formats whose folding would say something else: 10² isn't 102, nor is 1½ 11/2.
_KEPT = ("<super>", "<sub>", "<fraction>", "<circle>")


class Folded(NamedTuple):
    """A folded text, and where it comes from.

    Attributes
    ----------
    text
        The folded text.
    starts
        Where each piece starts in `text`, rising.
    pieces
        What each piece was folded from, in order. A piece as long as its source stands for it
        character by character; any other stands for all of it.
    """

    text: str
    starts: list[int]
    pieces: list[Span]

    def source(self, span: Span) -> Span:
        """Return the range of the source that a range of the folded text, not empty, stands for."""
        return Span(self._place(span.start).start, self._place(span.end - 1).end)

    def _place(self, position: int) -> Span:
        number = bisect_right(self.starts, position) - 1
        start, piece = self.starts[number], self.pieces[number]
        end = self.starts[number + 1] if number + 1 < len(self.starts) else len(self.text)
        if end - start == piece.end - piece.start:
            return Span(piece.start + position - start, piece.start + position - start + 1)
        return piece


def fold(text: str, *, markup: bool = False, divided: str = DIVIDED) -> Folded:
    """Return a text as it is compared.

    Parameters
    ----------
    markup
        Leave out what a renderer of Markdown takes away: marks of emphasis, code, headings, lists,
        quotations and tables, targets of links, backslashes, tags; read entities.
    divided
        What stands where a line ends within a word, instead of the hyphen and the line end.

    Examples
    --------
    >>> folded = fold("the “ﬁrst”  word")
    >>> folded.text
    'the "first" word'
    >>> folded.source(Span(5, 10))
    Span(start=5, end=9)
    >>> fold("Press **Save**, see [the guide](https://example.org).", markup=True).text
    'Press Save, see the guide.'
    """
    parts: list[str] = []
    starts: list[int] = []
    pieces: list[Span] = []
    length = 0
    for written, source in _pieces(text, markup=markup, divided=divided):
        if written == " " and parts and parts[-1].endswith(" "):
            continue
        parts.append(written)
        starts.append(length)
        pieces.append(source)
        length += len(written)
    return Folded("".join(parts), starts, pieces)


def _pieces(text: str, *, markup: bool, divided: str) -> Iterator[tuple[str, Span]]:
    end = 0
    for match in (_MARKUP if markup else _TEXT).finditer(text):
        if match.end() == match.start():  # the start of a line without marks
            continue
        if end < match.start():
            yield text[end : match.start()], Span(end, match.start())
        end = match.end()
        if written := _written(match, divided):
            yield written, Span(*match.span())
    if end < len(text):
        yield text[end:], Span(end, len(text))


def _written(match: re.Match[str], divided: str) -> str:
    """Return what a match is folded to; nothing if it is left out."""
    kind = match.lastgroup or ""
    if match.re is _MARKUP:
        # The innermost group is the last that closed; what holds it says what it is.
        kind = {"character": "escaped", "url": "address", "element": "tag"}.get(kind, kind)
    if kind in _DROPPED:
        return ""
    if kind in _SPACES:
        return " "
    found = match[0]
    if kind == "divided":
        return divided
    if kind == "mark":
        return _MARKS[found]
    if kind == "line":
        return " " if found.strip() or found else ""
    if kind == "tag":
        return " " if match["element"].lower() in ("br", "td", "th", "tr", "li", "p") else ""
    if kind == "address":
        return match["url"]
    if kind == "escaped":
        return _MARKS.get(match["character"], match["character"])
    if kind == "entity":
        return fold(html.unescape(found)).text
    return _composed(found)


def _composed(cluster: str) -> str:
    if any(unicodedata.decomposition(each).startswith(_KEPT) for each in cluster):
        return unicodedata.normalize("NFC", cluster)
    written = unicodedata.normalize("NFKC", cluster)
    if any(each in _MARKS for each in written):
        written = "".join(_MARKS.get(each, each) for each in written)
    return " ".join(written.split()) if not written.isspace() else " "
