"""Chat with your documents: every answer is made of quotes that were checked in their sources.

rag-tools index examples/corpus
python examples/chat.py

No model takes part and no key is needed: what isn't in the documents isn't said. With --model NAME
a language model writes the answers over the same quotes, and what no quote supports is marked.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from chat_model import Model, ModelError, Tool, ToolCall, argument, connect
from rich.text import Text

from rag_tools import Engine
from rag_tools.cli.output import complain, console, one_line, visible
from rag_tools.cli.show import location
from rag_tools.errors import RagToolsError
from rag_tools.sentences import sentences
from rag_tools.types import Citation

# Score that a quote needs to count as an answer. Of 40 questions on examples/corpus the best quote
# reaches it for 40 (lowest 0.627), of 40 on other things for 2 (Haskell's IO monad, PyTorch).
# Asked as follow-ups ("And ...") to 8 of the former, the latter reach it in 3 of 320 pairs; at 0.58
# in 8, at 0.56 in 22.
SUPPORTED = 0.6

QUOTES = 3  # in an answer, at most
CONTEXT_LINES = 4  # shown by /open on each side of a quote
CONTEXT_CHARACTERS = 600  # the same, where lines are long

_CONNECTIVE = re.compile(r"(and|but|or|so|then|what about|how about)\b", re.IGNORECASE)
_PRONOUN = re.compile(r"\b(it|its|they|them|their|this|that|these|those)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\s*\[(\d{1,9})\]")
FEW_WORDS = 6  # in a longer question a pronoun mostly stands for something in the question itself

NOTHING = "I found nothing in these documents that supports an answer."
CHANGED = "What I found has changed in its source since: run rag-tools index, and ask again."
UNSUPPORTED = "Not supported by the documents:"
HELP = """\
/sources       the sources of all answers
/explain       which words of the question the quotes match, and how well
/open N        source N, where it is quoted
/save FILE.md  the conversation with its references, as Markdown
/help          this list
/quit          the end; Ctrl-C and Ctrl-D too"""

INSTRUCTIONS = f"""\
Answer from the user's documents alone. First look with the tools, which return numbered quotes.
After every sentence give the number of the quote it rests on, like this [2]. Be brief. If the
quotes don't answer the question, reply with just this: {NOTHING}"""
TOOLS = (
    Tool("search", "Find quotes in the user's documents that answer a question.", "query"),
    Tool("cite", "Find quotes in the user's documents that bear on a statement.", "claim"),
)
ROUNDS = 8  # of calls of tools, until the model must have an answer


class Claim(NamedTuple):
    """A sentence of a model's answer, and whether the documents support it.

    Attributes
    ----------
    best
        The quote that bears on it best.
    supported
        That quote is strong enough, and every number in the sentence is that of a source. Words
        are compared, not what follows from them.
    """

    text: str
    best: Citation | None
    supported: bool


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    Attributes
    ----------
    query
        What was searched for: the question, after the one before it if it is a follow-up.
    found
        The quotes that bear on it best, strong enough or not.
    cited
        Number → quote of those that are, and that were verified: the answer.
    text, claims
        What a model wrote, and its sentences; `cited` are then the quotes it refers to.
    """

    question: str
    query: str
    found: tuple[Citation, ...]
    cited: Mapping[int, Citation]
    text: str = ""
    claims: tuple[Claim, ...] = ()

    @property
    def refusal(self) -> str:
        """Why there is no answer."""
        return CHANGED if any(each.score >= SUPPORTED for each in self.found) else NOTHING

    @property
    def unsupported(self) -> list[Claim]:
        """The sentences of a model that no quote supports."""
        return [each for each in self.claims if not each.supported]


class Conversation:
    """Questions, answers, and the sources they cite, numbered from 1 throughout."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.turns: list[Turn] = []
        self.sources: list[Citation] = []

    def ask(self, question: str) -> Turn:
        """Answer a question from the documents; one that leans on the question before, with it."""
        query = question
        if self.turns and leans(question):
            query = f"{self.turns[-1].question} {question}"
        found = self.engine.cite(query, limit=QUOTES, explain=True).citations
        cited = self._verified(each for each in found if each.score >= SUPPORTED)
        turn = Turn(question, query, found, cited)
        self.turns.append(turn)
        return turn

    @property
    def cited(self) -> Mapping[int, Citation]:
        """What answers refer to, by number."""
        numbers = sorted({number for turn in self.turns for number in turn.cited})
        return {number: self.sources[number - 1] for number in numbers}

    def _verified(self, citations: Iterable[Citation]) -> dict[int, Citation]:
        """Return, by number, the citations whose quotes still stand in their sources."""
        checked = [self.engine.verify(each) for each in citations]
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

    def markdown(self) -> str:
        """Return the conversation with its references."""
        parts = ["# Conversation\n"]
        for turn in self.turns:
            parts.append(f"## {_escaped(turn.question)}\n")
            if turn.text:
                parts.append(f"{visible(turn.text)}\n")
            parts += [f"{UNSUPPORTED} {_escaped(each.text)}\n" for each in turn.unsupported]
            for number, citation in turn.cited.items():
                longest = max(map(len, re.findall("`+", citation.quote)), default=0)
                fence = "`" * max(3, longest + 1)  # a quote can't end it
                parts.append(f"{fence}text\n{visible(citation.quote)}\n{fence}\n\n[{number}]\n")
            if not turn.cited and not turn.text:
                parts.append(f"{turn.refusal}\n")
        parts.append("## References\n")
        for number, citation in self.cited.items():
            parts.append(
                f"- [{number}] {_escaped(_place(citation))}, <{one_line(citation.url)}>, characters"
                f" {citation.start} to {citation.end} of the text with SHA-256"
                f" {citation.document_sha256}"
            )
        return "\n".join(parts) + "\n"


class ModelConversation(Conversation):
    """A conversation whose answers a model writes, over quotes that were verified before it."""

    def __init__(self, engine: Engine, model: Model, show: Callable[[str], None]) -> None:
        super().__init__(engine)
        self.model = model
        self.show = show

    def ask(self, question: str) -> Turn:
        """Let the model answer, showing its words as they come; then check what it wrote."""
        before = len(self.model.messages)
        try:
            self.model.ask(question)
            text = self._write()
        except ModelError:
            del self.model.messages[before:]  # half a turn would be refused with the next one
            raise
        numbers = dict.fromkeys(map(int, _NUMBER.findall(text)))
        cited = {number: self.sources[number - 1] for number in numbers if self._is_known(number)}
        claims = () if NOTHING in text else tuple(self._claims(text))
        turn = Turn(question, question, (), cited, text, claims)
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
                hits = self.engine.search(asked, limit=5).results
                found = [citation for hit in hits for citation in hit.citations]
            else:
                found = list(self.engine.cite(asked).citations)
            quotes = self._verified(found)
        except RagToolsError as error:
            return str(error)
        listed = [
            {"number": number, "quote": citation.quote, "source": _place(citation)}
            for number, citation in quotes.items()
        ]
        return json.dumps(listed, ensure_ascii=False)

    def _claims(self, text: str) -> Iterator[Claim]:
        # A number after the full stop belongs to the sentence before it.
        text = re.sub(r"([.!?])((?:\s*\[\d+\])+)", r"\2\1", text)
        for span in sentences(text):
            sentence = span.of(text)
            words = _NUMBER.sub("", sentence).strip("#*- \n")
            if not re.search(r"\w", words):
                continue
            best = next(iter(self.engine.cite(words, limit=1, explain=True).citations), None)
            known = all(self._is_known(int(number)) for number in _NUMBER.findall(sentence))
            yield Claim(words, best, known and best is not None and best.score >= SUPPORTED)

    def _is_known(self, number: int) -> bool:
        return 0 < number <= len(self.sources)


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


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_<>\[\]#])", r"\\\1", one_line(text))


def _place(citation: Citation) -> str:
    heading = f"  {citation.heading}" if citation.heading else ""
    return one_line(location(citation.url) + heading)


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


class Chat:
    """Shows a conversation in a terminal, or as plain sentences for a voice to read."""

    def __init__(self, conversation: Conversation, *, speak: bool) -> None:
        self.conversation = conversation
        self.speak = speak
        self.out = console()

    def say(self, *parts: str | tuple[str, str]) -> None:
        """Print a line: text, or text with a style."""
        self.out.print(Text.assemble(*parts), soft_wrap=True)

    def respond(self, line: str) -> None:
        """Answer a question or obey a command."""
        command, _, rest = line.partition(" ")
        match command:
            case "/help":
                self.say(HELP)
            case "/sources":
                self.show_sources()
            case "/explain":
                self.explain()
            case "/open":
                self.open(rest.strip())
            case "/save":
                self.save(rest.strip())
            case _ if command.startswith("/"):
                self.say(f"There is no {one_line(command)}.\n{HELP}")
            case _:
                self.show(self.conversation.ask(line))

    def show(self, turn: Turn) -> None:
        """Print an answer; what a model wrote was shown as it came, unless it is to be spoken."""
        if turn.text:
            if self.speak:
                self.say(_spoken(_NUMBER.sub("", turn.text)))
            for claim in turn.unsupported:
                self.say((f"{UNSUPPORTED} ", "bold red"), visible(claim.text))
            for number, citation in turn.cited.items():
                self.show_source(number, citation)
        elif not turn.cited:
            self.say(turn.refusal)
        elif self.speak:
            for number, citation in turn.cited.items():
                self.say(_spoken(citation.quote))
                self.show_source(number, citation)
        else:
            if turn.query != turn.question:
                self.say((f"({one_line(turn.query)})", "dim"))
            for number, citation in turn.cited.items():
                self.say(visible(citation.quote), (f" [{number}]", "bold cyan"))
            self.say()
            for number, citation in turn.cited.items():
                self.show_source(number, citation)

    def show_source(self, number: int, citation: Citation) -> None:
        """Print where a quote stands."""
        if self.speak:
            self.say(f"Source {number}: {_spoken_place(citation)}.")
        else:
            self.say((f"[{number}] ", "bold cyan"), (_place(citation), "blue"))

    def show_sources(self) -> None:
        """Print the sources of all answers."""
        for number, citation in self.conversation.cited.items():
            self.show_source(number, citation)
        if not self.conversation.cited:
            self.say("Nothing was cited yet.")

    def explain(self) -> None:
        """Print why the last question was answered with these quotes, or wasn't answered."""
        if not self.conversation.turns:
            self.say("Nothing was asked yet.")
            return
        turn = self.conversation.turns[-1]
        for claim in turn.claims:
            self.say((visible(claim.text), "bold"))
            if claim.best:
                self.explain_quote("", claim.text, claim.best)
        if turn.text and not turn.claims:
            self.say("The model claims nothing.")
        if not turn.text:
            cited = [(f"[{number}] ", citation) for number, citation in turn.cited.items()]
            for label, citation in cited or [("Not cited: ", each) for each in turn.found]:
                self.explain_quote(label, turn.query, citation)

    def explain_quote(self, label: str, query: str, citation: Citation) -> None:
        """Print which words of a query match which of a quote."""
        self.say(
            (label, "bold cyan"), f"score {citation.score:.2f} where {SUPPORTED:.2f} is needed"
        )
        self.say((visible(citation.quote), "dim"))
        for asked, matched, similarity in matches(query, citation):
            self.say(f"  {similarity:.2f}  {visible(asked)} → {visible(matched)}")

    def open(self, number: str) -> None:
        """Print a source around its quote. Nothing is launched: a source may be a program."""
        sources = self.conversation.sources
        if not re.fullmatch("[0-9]{1,9}", number) or not 0 < int(number) <= len(sources):
            self.say(f"/open takes the number of a source, 1 to {len(sources)}.")
            return
        citation = sources[int(number) - 1]
        text = self.conversation.engine.document(citation.document_id).text
        if text[citation.start : citation.end] != citation.quote:
            self.say(CHANGED)
            return
        before = "".join(text[: citation.start].splitlines(keepends=True)[-CONTEXT_LINES:])
        after = "".join(text[citation.end :].splitlines(keepends=True)[:CONTEXT_LINES])
        mark = "" if self.out.color_system else "**"
        self.say((one_line(citation.url), "blue"), "\n")
        self.say(
            visible(before[-CONTEXT_CHARACTERS:]),
            (f"{mark}{visible(citation.quote)}{mark}", "black on yellow"),
            visible(after[:CONTEXT_CHARACTERS].rstrip()),
        )

    def save(self, name: str) -> None:
        """Write the conversation to a file that isn't there yet."""
        try:
            with Path(name).expanduser().open("x", encoding="utf-8", newline="\n") as file:
                file.write(self.conversation.markdown())
        except (OSError, ValueError) as error:  # ValueError: a null character in the name
            self.say(f"/save takes the name of a new file: {one_line(str(error))}")
        else:
            self.say(f"Saved {one_line(name)}.")


def _spoken(quote: str) -> str:
    """Return a quote on one line, without the marks of Markdown and reStructuredText."""
    return " ".join(re.sub(r"`+|\*\*", "", visible(quote)).split())


def _spoken_place(citation: Citation) -> str:
    place = re.sub(r":(\d+)-(\d+)$", r", lines \1 to \2", location(citation.url))
    return one_line(re.sub(r":(\d+)$", r", line \1", place))


def write(piece: str) -> None:
    """Write a piece of an answer."""
    print(visible(piece), end="", flush=True)


def mute(piece: str) -> None:
    """Write nothing."""


def lines() -> Iterator[str]:
    """Yield the lines typed until the input ends, blank ones left out."""
    prompt = "> " if sys.stdin.isatty() else ""
    with contextlib.suppress(ImportError):  # Windows has editing and history without it
        import readline  # noqa: F401 - input() uses it
    while True:
        try:
            line = input(prompt).strip()
        except EOFError:
            print(end="\n" if prompt else "")
            return
        if line:
            yield line


def main(
    index: Annotated[Path | None, typer.Option(help="Directory of the index.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Model that writes the answers, sent your questions and quotes: at Anthropic with "
            "$ANTHROPIC_API_KEY, else at OpenAI or $OPENAI_BASE_URL."
        ),
    ] = None,
    speak: Annotated[bool, typer.Option("--speak", help="Plain sentences, for a voice.")] = False,
) -> None:
    """Ask questions, one a line, and get the words of your documents that answer them."""
    for stream in (sys.stdin, sys.stdout):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        with Engine.open(index) as engine:
            conversation = Conversation(engine)
            if model:
                service = connect(model, INSTRUCTIONS, TOOLS)
                conversation = ModelConversation(engine, service, mute if speak else write)
            chat = Chat(conversation, speak=speak)
            if sys.stdin.isatty():
                chat.say(f"{engine.status().documents:,} documents. Ask, or /help.")
            for line in lines():
                if line == "/quit":
                    break
                try:
                    chat.respond(line)
                except (RagToolsError, ModelError) as error:
                    complain(str(error))
    except (RagToolsError, ModelError) as error:
        complain(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    typer.run(main)
