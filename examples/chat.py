"""Chat with your documents: every answer is made of quotes that were checked in their sources.

rag-tools index rag_tools/sample
python examples/chat.py

No model takes part and no key is needed: what isn't in the documents isn't said. With --model NAME
a language model writes the answers over the same quotes, and what no quote supports is marked.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from chat_model import ModelError, connect
from conversation import (
    CHANGED,
    INSTRUCTIONS,
    TOOLS,
    UNSUPPORTED,
    Conversation,
    ModelConversation,
    Turn,
    markdown,
    matches,
    place,
    unnumbered,
)
from rich.text import Text

from rag_tools import Engine
from rag_tools.cli.output import complain, console, one_line, visible
from rag_tools.cli.show import location
from rag_tools.errors import RagToolsError
from rag_tools.sentences import sentences
from rag_tools.types import Citation

CONTEXT_LINES = 4  # shown by /open on each side of a quote
CONTEXT_CHARACTERS = 600  # the same, where lines are long

# Times and numbers of a transcript's segments: on lines of their own in SRT and WebVTT, in brackets
# where Whisper writes to a terminal.
_TIMES = re.compile(
    r"\A\s*WEBVTT.*|^(?:\d+\n)?[\d:.,]+ --> [\d:.,]+.*$|^\[[\d:.]+ --> [\d:.]+\]", re.MULTILINE
)


class Chat:
    """Shows a conversation in a terminal, or as plain sentences for a voice to read."""

    HELP = """\
/sources       the sources of all answers
/explain       which words of the question the quotes match, and how well
/open N        source N, where it is quoted
/save FILE.md  the conversation with its references, as Markdown
/help          this list
/quit          the end; Ctrl-C and Ctrl-D too"""

    def __init__(self, conversation: Conversation, *, speak: bool = False) -> None:
        self.conversation = conversation
        self.speak = speak
        self.out = console()

    def say(self, *parts: str | tuple[str, str]) -> None:
        """Print a line: text, or text with a style."""
        self.out.print(Text.assemble(*parts), soft_wrap=True)

    def run(self, lines: Iterable[str]) -> None:
        """Respond to each line; what goes wrong with one ends nothing."""
        for line in lines:
            if line == "/quit":
                return
            try:
                self.respond(line)
            except (RagToolsError, ModelError) as error:
                complain(str(error))

    def respond(self, line: str) -> None:
        """Answer a question or obey a command."""
        command, _, rest = line.partition(" ")
        match command:
            case "/help":
                self.say(self.HELP)
            case "/sources":
                self.show_sources()
            case "/explain":
                self.explain()
            case "/open":
                self.open(rest.strip())
            case "/save":
                self.save(rest.strip(), markdown(self.conversation))
            case _ if command.startswith("/"):
                self.say(f"There is no {one_line(command)}.\n{self.HELP}")
            case _:
                self.show(self.conversation.ask(line))

    def show(self, turn: Turn) -> None:
        """Print an answer; what a model wrote was shown as it came, unless it is to be spoken."""
        if turn.text:
            if self.speak:
                self.say(_spoken(unnumbered(turn.text)[0]))
            for claim in turn.unsupported:
                self.say((f"{UNSUPPORTED} ", "bold red"), visible(claim.text))
        elif not turn.cited:
            self.say(turn.refusal)
        elif not self.speak:
            if turn.searched != (turn.question,):
                self.say((f"({one_line(turn.searched[0])})", "dim"))
            for number, citation in turn.cited.items():
                self.say(visible(citation.quote), (f" [{number}]", "bold cyan"))
            self.say()
        for number, citation in turn.cited.items():
            if self.speak and not turn.text:
                self.say(_spoken(citation.quote))
            self.show_source(number, citation)
            if turn.text and not self.speak:
                self.say((visible(citation.quote), "dim"))

    def show_source(self, number: int, citation: Citation) -> None:
        """Print where a quote stands."""
        if self.speak:
            self.say(f"Source {number}: {_spoken_place(citation)}.")
        else:
            self.say((f"[{number}] ", "bold cyan"), (place(citation), "blue"))

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
            support = claim.support
            self.say((visible(claim.text), "bold"), f"  {support.verdict}, {support.score:.2f}")
            for citation in support.citations[:1]:
                self.explain_quote("", claim.text, citation)
        if turn.text and not turn.claims:
            self.say("The model claims nothing.")
        if not turn.text:
            if turn.confidence is not None:
                low = ", low" if turn.doubtful else ""
                self.say(f"confidence {turn.confidence:.2f}{low}")
            cited = [(f"[{number}] ", citation) for number, citation in turn.cited.items()]
            for label, citation in cited or [("Not cited: ", each) for each in turn.found]:
                self.explain_quote(label, turn.searched[0], citation)

    def explain_quote(self, label: str, query: str, citation: Citation) -> None:
        """Print which words of a query match which of a quote."""
        self.say((label, "bold cyan"), f"score {citation.score:.2f}")
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

    def save(self, name: str, text: str) -> None:
        """Write a text to a file that isn't there yet."""
        try:
            with Path(name).expanduser().open("x", encoding="utf-8", newline="\n") as file:
                file.write(text)
        except (OSError, ValueError) as error:  # ValueError: a null character in the name
            self.say(f"That takes the name of a new file: {one_line(str(error))}")
        else:
            self.say(f"Saved {one_line(name)}.")


def _spoken(quote: str) -> str:
    """Return a quote on one line, without the marks of Markdown and reStructuredText."""
    return " ".join(re.sub(r"`+|\*\*", "", visible(quote)).split())


def _spoken_place(citation: Citation) -> str:
    where = re.sub(r":(\d+)-(\d+)$", r", lines \1 to \2", location(citation.url))
    return one_line(re.sub(r":(\d+)$", r", line \1", where))


def typed() -> Iterator[str]:
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


def spoken(transcript: str) -> list[str]:
    r"""Return the sentences of a transcript: text, SRT, WebVTT, or what Whisper prints.

    Examples
    --------
    >>> spoken("1\n00:00:00,000 --> 00:00:02,100\nWhat is a tide?\n\n2\n00:00:02,100 --> 00:00:03,"
    ...        "000\nAnd how\n\n3\n00:00:03,000 --> 00:00:04,000\nmany are there?\n")
    ['What is a tide?', 'And how many are there?']
    """
    text = " ".join(_TIMES.sub("", transcript.replace("\r\n", "\n")).split())
    # Without the slash that would make a command of one.
    found = (span.of(text).strip("/ ") for span in sentences(text))
    return [sentence for sentence in found if sentence]


def heard(file: str, *, echo: bool) -> Iterator[str]:
    """Yield the sentences of the transcript in a file, or of standard input for ``-``.

    Nobody typed them: with `echo` they are shown.
    """
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(str(error)) from None
    for sentence in spoken(data.decode("utf-8-sig", "replace")):
        if echo:
            print(f"> {visible(sentence)}", flush=True)
        yield sentence


def open_conversation(
    engine: Engine, model: str | None, instructions: str, *, stream: bool
) -> Conversation:
    """Return a conversation: in quotes alone, or with a model that is named."""
    if model is None:
        return Conversation(engine)

    def show(piece: str) -> None:
        if stream:
            print(visible(piece), end="", flush=True)

    return ModelConversation(engine, connect(model, instructions, TOOLS), show)


@contextlib.contextmanager
def session() -> Iterator[None]:
    """End a program with one line on what went wrong, and on Ctrl-C with none."""
    for stream in (sys.stdin, sys.stdout):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        yield
    except (RagToolsError, ModelError) as error:
        complain(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print()


ModelOption = Annotated[
    str | None,
    typer.Option(
        help="Model that writes the answers, sent your questions and quotes: at Anthropic with "
        "$ANTHROPIC_API_KEY, else at OpenAI or $OPENAI_BASE_URL."
    ),
]


def main(
    index: Annotated[Path | None, typer.Option(help="Directory of the index.")] = None,
    model: ModelOption = None,
    speak: Annotated[bool, typer.Option("--speak", help="Plain sentences, for a voice.")] = False,
    voice: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-",
            help="Transcript of a voice to answer, as Whisper writes it: text, SRT or WebVTT.",
        ),
    ] = None,
) -> None:
    """Ask questions, one a line, and get the words of your documents that answer them."""
    with session(), Engine.open(index) as engine:
        chat = Chat(open_conversation(engine, model, INSTRUCTIONS, stream=not speak), speak=speak)
        if sys.stdin.isatty() and voice is None:
            chat.say(f"{engine.status().documents:,} documents. Ask, or /help.")
        chat.run(typed() if voice is None else heard(voice, echo=not speak))


if __name__ == "__main__":
    typer.run(main)
