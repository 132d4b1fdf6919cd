"""Questions and answers whose every word was checked in its source.

`Conversation` answers in quotes alone. In a `ModelConversation` a language model writes the answers
over the same quotes, and what no quote supports is told from the rest. How they are shown is the
business of `chat` and `support_bot`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from chat_model import Model, ModelError, Tool, ToolCall, argument

from rag_tools import Engine
from rag_tools.cite.markers import markers, resolve
from rag_tools.cite.quote import strongest
from rag_tools.cli.output import one_line, visible
from rag_tools.cli.show import location
from rag_tools.errors import RagToolsError
from rag_tools.sentences import sentences
from rag_tools.types import Citation, Filter, Support

QUOTES = 3  # in an answer, at most
ROUNDS = 8  # of calls of tools, until a model must have an answer

_CONNECTIVE = re.compile(r"(and|but|or|so|then|what about|how about)\b", re.IGNORECASE)
_PRONOUN = re.compile(r"\b(it|its|they|them|their|this|that|these|those)\b", re.IGNORECASE)
FEW_WORDS = 6  # in a longer question a pronoun mostly stands for something in the question itself

NOTHING = "I found nothing in these documents that supports an answer."
CHANGED = "What I found has changed in its source since it was indexed: index it again, and ask."
UNSUPPORTED = "Not supported by the documents:"

INSTRUCTIONS = f"""\
Answer from the user's documents alone. First look with the tools, which return numbered quotes.
After every sentence give the number of the quote it rests on, like this [2]. Be brief. If the
quotes don't answer the question, reply with just this: {NOTHING}"""
TOOLS = (
    Tool("search", "Find quotes in the user's documents that answer a question.", "query"),
    Tool("cite", "Find quotes in the user's documents that bear on a statement.", "claim"),
)


class Claim(NamedTuple):
    """A sentence of a model's answer, and whether the documents support it.

    Attributes
    ----------
    support
        What the documents say of it: words are compared, not what follows from them.
    known
        Every number in it is that of a source that still holds its quote.
    """

    text: str
    support: Support
    known: bool

    @property
    def supported(self) -> bool:
        """Whether the sentence may stand as it is."""
        return self.known and self.support.verdict == "supported"


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    Attributes
    ----------
    searched
        What was searched for: the question, after the one before it if it is a follow-up; what
        a model called its tools with.
    found
        The quotes that bear on that best, whether they answer it or not.
    cited
        Number → quote of those that were verified, if they can be taken for an answer.
    confidence
        How likely the documents answer the question; None if that isn't known.
    doubtful
        It is unlikely: nothing is cited.
    text, claims
        What a model wrote, and its sentences; `cited` are then the quotes it refers to.
    """

    question: str
    searched: tuple[str, ...]
    found: tuple[Citation, ...]
    cited: Mapping[int, Citation]
    confidence: float | None = None
    doubtful: bool = False
    text: str = ""
    claims: tuple[Claim, ...] = ()

    @property
    def refused(self) -> bool:
        """Whether the documents gave no answer."""
        return NOTHING in self.text if self.text else not self.cited

    @property
    def refusal(self) -> str:
        """Why there is no answer."""
        return CHANGED if self.found and not self.doubtful else NOTHING

    @property
    def unsupported(self) -> list[Claim]:
        """The sentences of a model that no quote supports."""
        return [each for each in self.claims if not each.supported]


class Conversation:
    """Questions, answers, and the sources they cite, numbered from 1 throughout.

    Attributes
    ----------
    scope
        Documents to answer from, a filter; None: all of them.
    quoted
        What to quote, given what was searched for and a citation that was found: by default, just
        that.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.scope: Filter | None = None
        self.quoted: Callable[[str, Citation], Citation] = lambda _, citation: citation
        self.turns: list[Turn] = []
        self.sources: list[Citation] = []

    def ask(self, question: str) -> Turn:
        """Answer a question from the documents; one that leans on the question before, with it."""
        query = question
        if self.turns and leans(question):
            query = f"{self.turns[-1].question} {question}"
        results = self.engine.search(query, limit=2 * QUOTES, filter=self.scope, explain=True)
        best = strongest(citation for hit in results.results for citation in hit.citations)
        found, doubtful = tuple(best[:QUOTES]), results.low_confidence
        cited = {} if doubtful else self._verified(query, found)
        turn = Turn(question, (query,), found, cited, results.confidence, doubtful)
        self.turns.append(turn)
        return turn

    @property
    def cited(self) -> Mapping[int, Citation]:
        """What answers refer to, by number."""
        numbers = sorted({number for turn in self.turns for number in turn.cited})
        return {number: self.sources[number - 1] for number in numbers}

    def _verified(self, query: str, found: Iterable[Citation]) -> dict[int, Citation]:
        """Return, by number, what to quote of what was found, if it still stands in its source."""
        checked = [self.engine.verify(self.quoted(query, each)) for each in found]
        held = [each.citation for each in checked if each.status in ("exact", "moved")]
        return {self._number(each): each for each in held}

    def _number(self, citation: Citation) -> int:
        """Return the number of a source, a new one if it wasn't cited before."""
        place = (citation.document_id, citation.start, citation.end)
        for number, source in enumerate(self.sources, 1):
            if place == (source.document_id, source.start, source.end):
                return number
        self.sources.append(citation)
        return len(self.sources)


class ModelConversation(Conversation):
    """A conversation whose answers a model writes, over quotes that were verified before it."""

    def __init__(self, engine: Engine, model: Model, show: Callable[[str], None]) -> None:
        super().__init__(engine)
        self.model = model
        self.show = show
        self._found: dict[str, list[Citation]] = {}  # in this turn, by what was searched for

    def ask(self, question: str) -> Turn:
        """Let the model answer, showing its words as they come; then check what it wrote."""
        self._found = {}
        before = len(self.model.messages)
        try:
            self.model.ask(question)
            text = self._write()
        except ModelError:
            del self.model.messages[before:]  # half a turn would be refused with the next one
            raise
        cited = self._resolved(text)
        claims = () if NOTHING in text else tuple(self._claims(text, cited))
        found = sorted(itertools.chain(*self._found.values()), key=lambda each: -each.score)
        searched, best = tuple(self._found), tuple(found[:QUOTES])
        turn = Turn(question, searched, best, cited, text=text, claims=claims)
        self.turns.append(turn)
        return turn

    def _write(self) -> str:
        for _ in range(ROUNDS):
            text, calls = "", []
            for piece in self.model.reply():
                if isinstance(piece, ToolCall):
                    calls.append(piece)
                else:
                    text += piece
                    self.show(piece)
            self.show("\n" if text else "")
            if not calls and not text.strip():
                raise ModelError("the model said nothing")
            if not calls:
                return text
            self.model.give([(call, self._quotes(call)) for call in calls])
        raise ModelError(f"the model called tools {ROUNDS} times and gave no answer")

    def _quotes(self, call: ToolCall) -> str:
        """Return what a tool returns: numbered quotes as JSON, or what was wrong with the call."""
        asked = argument(call, TOOLS)
        if asked is None:
            return f"call {' or '.join(f'{tool.name}({tool.argument})' for tool in TOOLS)}"
        try:
            if call.tool == "search":
                hits = self.engine.search(asked, limit=5, filter=self.scope).results
                found = [citation for hit in hits for citation in hit.citations]
            else:
                found = list(self.engine.cite(asked, filter=self.scope).citations)
            self._found[asked] = found
            quotes = self._verified(asked, found)
        except RagToolsError as error:
            return str(error)
        listed = [
            {"number": number, "quote": citation.quote, "source": place(citation)}
            for number, citation in quotes.items()
        ]
        return json.dumps(listed, ensure_ascii=False)

    def _resolved(self, text: str) -> dict[int, Citation]:
        """Return the sources that a text refers to and that hold their quotes now, by number."""
        cited = {}
        for number, source in resolve(text, self.sources)[0].items():
            checked = self.engine.verify(source)
            if checked.status in ("exact", "moved"):
                cited[number] = self.sources[number - 1] = checked.citation
        return cited

    def _claims(self, text: str, cited: Mapping[int, Citation]) -> Iterator[Claim]:
        words, numbers = unnumbered(text)
        for span in sentences(words):
            claim = span.of(words).strip("#*- \n")
            if not re.search(r"\w", claim):
                continue
            support = self.engine.cite(claim, limit=QUOTES, filter=self.scope, explain=True)
            # A number belongs to the sentence of the word before it, also after the full stop.
            known = all(number in cited for at, number in numbers if span.start < at <= span.end)
            yield Claim(claim, support, known)


def leans(question: str) -> bool:
    """Tell whether a question can't be understood without the one before it.

    Examples
    --------
    >>> leans("And in the mountains?"), leans("Why is it called that?"), leans("What is WSGI?")
    (True, True, False)
    """
    if _CONNECTIVE.match(question):
        return True
    return len(question.split()) <= FEW_WORDS and bool(_PRONOUN.search(question))


def place(citation: Citation) -> str:
    """Return where a quote stands: file and lines or page, then its heading."""
    heading = f"  {citation.heading}" if citation.heading else ""
    return one_line(location(citation.url) + heading)


def unnumbered(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return a text without the numbers of its sources, and where in it each of them stood.

    Examples
    --------
    >>> unnumbered("It floats [1, 2]. It sinks. [3]")
    ('It floats. It sinks.', [(9, 1), (9, 2), (20, 3)])
    """
    words, numbers, end = "", [], 0
    for marker in markers(text):
        words += text[end : marker.span.start].rstrip(" ")
        numbers += [(len(words), number) for number in marker.numbers]
        end = marker.span.end
    return words + text[end:], numbers


def matches(query: str, citation: Citation) -> Iterator[tuple[str, str, float]]:
    """Yield the words of a query, the word of the quote that each matches best, and how well."""
    quoted = list(re.finditer(r"\w+", citation.quote))
    for word in re.finditer(r"\w+", query):
        aligned = [
            each
            for each in citation.alignment or ()
            if word.start() <= each.query_start < word.end()
        ]
        if aligned:
            best = max(aligned, key=lambda each: each.similarity)
            start, end = best.start - citation.start, best.end - citation.start
            # A token may be part of a word.
            whole = (each[0] for each in quoted if each.start() <= start < each.end())
            yield word[0], next(whole, citation.quote[start:end]), best.similarity


def markdown(conversation: Conversation) -> str:
    """Return a conversation with its references."""
    parts = ["# Conversation\n"]
    for turn in conversation.turns:
        parts.append(f"## {escaped(turn.question)}\n")
        if turn.text:
            parts.append(f"{visible(turn.text)}\n")
        parts += [f"{UNSUPPORTED} {escaped(each.text)}\n" for each in turn.unsupported]
        for number, citation in turn.cited.items():
            longest = max(map(len, re.findall("`+", citation.quote)), default=0)
            fence = "`" * max(3, longest + 1)  # a quote can't end it
            parts.append(f"{fence}text\n{visible(citation.quote)}\n{fence}\n\n[{number}]\n")
        if not turn.cited and not turn.text:
            parts.append(f"{turn.refusal}\n")
    parts.append("## References\n")
    for number, citation in conversation.cited.items():
        parts.append(
            f"- [{number}] {escaped(place(citation))}, <{one_line(citation.url)}>, characters"
            f" {citation.start} to {citation.end} of the text with SHA-256"
            f" {citation.document_sha256}"
        )
    return "\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Return a text as one line of Markdown that says just that."""
    return re.sub(r"([\\`*_<>\[\]#])", r"\\\1", one_line(text))
