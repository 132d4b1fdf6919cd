"""A support desk that knows the manuals: steps and sentences quoted, with page and link.

python examples/support_bot.py examples/manuals

What the manuals don't say it doesn't answer: it drafts a ticket for a person instead, with what
was asked, what was searched for and what came closest. Like the chat it needs no model, and takes
one with --model NAME.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from chat import Chat, ModelOption, open_conversation, session, typed
from conversation import NOTHING, Conversation, Turn, escaped, place

from rag_tools import Engine
from rag_tools.cite.locate import cite_span
from rag_tools.cli import show
from rag_tools.cli.output import complain, one_line
from rag_tools.types import Block, Citation, Span

INSTRUCTIONS = f"""\
You are a customer's first contact. Answer from the manuals alone. First look with the tools, which
return numbered quotes. Give instructions as the manual's own steps, none left out, with its
warnings. After every sentence give the number of the quote it rests on, like this [2]. If the
quotes don't answer the question, reply with just this: {NOTHING}"""

# A question that takes steps for an answer, rather than a fact.
_HOW = re.compile(r"\bhow (do|can|could|should|to)\b|\bwhat (do|should|must) i do\b", re.IGNORECASE)
_STEP = re.compile(r"^\s*\d{1,2}[.)] ", re.MULTILINE)
LONGEST = 2000  # characters of a section that is quoted whole


class Desk(Chat):
    """A chat with a customer."""

    HELP = f"""\
/product NAME  answer from manuals with this in their name; without NAME, from all
/ticket FILE   the ticket for a person, as Markdown
{Chat.HELP}"""

    def respond(self, line: str) -> None:
        """Answer a question or obey a command."""
        command, _, rest = line.partition(" ")
        match command:
            case "/product":
                self.choose(rest.strip())
            case "/ticket":
                self.save(rest.strip(), ticket(self.conversation))
            case _:
                super().respond(line)

    def show(self, turn: Turn) -> None:
        """Print an answer, or hand over."""
        super().show(turn)
        if turn.refused:
            self.say(f"\n{ticket(self.conversation)}")
            self.say("/ticket FILE saves this for a person.")

    def show_source(self, number: int, citation: Citation) -> None:
        """Print where a quote stands, and the link to it."""
        super().show_source(number, citation)
        self.say(f"    {one_line(citation.url)}")

    def choose(self, product: str) -> None:
        """Answer from the manuals of a product alone."""
        scope = {"path": f"*{product}*"} if product else None
        if not any(self.conversation.engine.documents(filter=scope)):
            self.say(f"No manual has {one_line(product)} in its name.")
            return
        self.conversation.scope = scope
        self.say(f"Answers come from {one_line(product) or 'all manuals'}.")


def section(engine: Engine, query: str, citation: Citation) -> Citation:
    """Return the whole section of a quote that says too little alone, else the quote.

    A step is never quoted out of its order, nor without the warning before it; and a heading
    answers nothing without what it stands over.
    """
    document = engine.document(citation.document_id)
    blocks: list[Block] = []
    for _, together in groupby(document.blocks, key=lambda block: block.path):
        blocks = list(together)
        if citation.start < blocks[-1].end:
            break
    body = [block for block in blocks if block.kind != "heading"]
    if not body or not body[0].path:
        return citation
    text = document.text[body[0].start : body[-1].end].rstrip()
    steps = _STEP.search(text) or any(block.kind in ("list", "item") for block in body)
    needed = citation.end <= body[0].start or (steps and _HOW.search(query))
    if not needed or len(text) > LONGEST:
        return citation
    return cite_span(
        document,
        Span(body[0].start, body[0].start + len(text)),
        score=citation.score,
        alignment=citation.alignment,
    )


def ticket(conversation: Conversation) -> str:
    """Return what a person needs to take over, as Markdown."""
    parts = ["# Ticket\n", "## The customer asked\n"]
    for turn in conversation.turns:
        places = dict.fromkeys(escaped(place(citation)) for citation in turn.cited.values())
        told = "not answered" if turn.refused else f"answered from {', '.join(places)}"
        parts.append(f"- {escaped(turn.question)}: {told}")
    parts.append("\n## Searched without success\n")
    for turn in conversation.turns:
        if turn.refused:
            parts += [f"- {escaped(query)}" for query in turn.searched]
            parts += [
                f"  - nearest, {citation.score:.2f}: {escaped(' '.join(citation.quote.split()))}"
                f" ({escaped(place(citation))})"
                for citation in turn.found
            ]
    return "\n".join(parts) + "\n"


def main(
    manuals: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Their folder.")],
    index: Annotated[
        Path | None, typer.Option(help="Directory of the index. Default: .rag-tools in MANUALS.")
    ] = None,
    model: ModelOption = None,
) -> None:
    """Answer a customer's questions from a folder of manuals."""
    with session(), Engine.open(index or manuals / ".rag-tools", create=True) as engine:
        with show.progress() as progress:
            for skipped in engine.sync([manuals], progress=progress).skipped:
                complain(f"skipped {skipped.path}: {skipped.reason}")
        talk = open_conversation(engine, model, INSTRUCTIONS, stream=True)
        talk.quoted = partial(section, engine)
        desk = Desk(talk)
        if sys.stdin.isatty():
            desk.say(f"{engine.status().documents:,} manuals. What can I do for you? Or /help.")
        desk.run(typed())


if __name__ == "__main__":
    typer.run(main)
