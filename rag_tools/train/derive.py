"""Training pairs from a user's own documents, without labels: what a document's structure says."""

from __future__ import annotations

import ast
import random
import re
import textwrap
from collections.abc import Iterator

from rag_tools.engine import Engine
from rag_tools.sentences import sentences
from rag_tools.train.pairs import Example
from rag_tools.types import Document

_LONGEST = 1200
"""Characters of a passage: about the 180 tokens of an index's own."""

_SHORTEST = 100
"""Characters of a passage that can answer anything."""

_FEWEST_WORDS = 3
"""Of a sentence or a function's name that asks for anything."""

_FEWEST_SENTENCES = 3
"""Of a passage that says enough without one of them."""

_DOCSTRINGS_KEPT = 0.3
"""Share of the functions that keep the docstring whose first sentence asks for them."""

_WORDINGS = ("{}", "{}", "python {}", "{} in python", "how to {}")

_VERBS = "add|check|compute|convert|create|find|get|load|make|parse|read|remove|return|set|write"


def derive(engine: Engine) -> list[Example]:
    """Make pairs of every document in an index.

    Sources are ``title`` (title → beginning), ``heading`` (heading → its section), ``sentence``
    (each sentence of a passage → the rest of it; the inverse cloze task, Lee et al. 2019, arXiv
    1906.00300), and of Python ``docstring`` (first sentence → the function, mostly without its
    docstring) and ``name`` (the words of its name → the function). What asks for code is worded as
    people word it for a search engine.

    Returns
    -------
    In alphabetical order: what is drawn from them mustn't depend on where the files lie.
    """
    pairs = [
        pair for entry in engine.documents() for pair in derive_from(engine.document(entry.id))
    ]
    return sorted(pairs, key=lambda pair: (pair.source, pair.query, pair.passages))


def derive_from(document: Document) -> Iterator[Example]:
    """Make the pairs of one document."""
    sections = list(_sections(document))
    if document.media_type == "text/x-python":
        yield from _functions(document)
        return
    if sections and not document.uri.endswith(document.title):  # a file's name says little
        yield from _pair("title", document.title, sections[0][1])
    for heading, text in sections:
        if heading and heading != document.title:
            yield from _pair("heading", heading, text)
        for passage in _passages(text.strip()):
            yield from _cloze(passage)


def _sections(document: Document) -> Iterator[tuple[str, str]]:
    """Return each heading, ``""`` for what has none, and the text below it up to the next."""
    heading, start = "", 0
    for block in document.blocks:
        if block.kind == "heading":
            if document.text[start : block.start].strip():
                yield heading, document.text[start : block.start]
            heading, start = " ".join(block.path[-2:]), block.end
    if document.text[start:].strip():
        yield heading, document.text[start:]


def _passages(text: str) -> Iterator[str]:
    """Cut a section between sentences, into as many as fit a passage."""
    start = end = 0
    for sentence in sentences(text):
        if sentence.end - start > _LONGEST:
            yield text[start:end]
            start = end
        end = sentence.end
    yield text[start:end]


def _cloze(passage: str) -> Iterator[Example]:
    """Take each sentence that asks for anything out of a passage of at least three."""
    spans = sentences(passage)
    if len(spans) < _FEWEST_SENTENCES:
        return
    for span in spans:
        if len(span.of(passage).split()) >= _FEWEST_WORDS:
            rest = passage[: span.start] + passage[span.end :]
            yield from _pair("sentence", span.of(passage), rest)


def _functions(document: Document) -> Iterator[Example]:
    for block in document.blocks:
        if block.kind != "function":
            continue
        code = textwrap.dedent(document.text[block.start : block.end])
        try:
            [function] = ast.parse(code).body
        except (SyntaxError, ValueError):  # ValueError: a null byte, or not one definition
            continue
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        generator = random.Random(code)
        said = ast.get_docstring(function)
        summary = sentences(said)[0].of(said) if said else ""
        if len(summary.split()) >= _FEWEST_WORDS:
            string = function.body[0]
            lines = code.splitlines(keepends=True)
            rest = lines[: string.lineno - 1] + lines[string.end_lineno or string.lineno :]
            passage = code if generator.random() < _DOCSTRINGS_KEPT else "".join(rest)
            yield from _pair("docstring", _asked(summary, generator), passage)
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", function.name)
        if len(words) >= _FEWEST_WORDS:
            yield from _pair("name", _asked(" ".join(words).lower(), generator), code)


def _asked(said: str, generator: random.Random) -> str:
    """Word what a function does as a question to a search engine."""
    said = (said[0].lower() + said[1:]).rstrip(". ")
    said = re.sub(rf"^({_VERBS})s\b", r"\1", said)
    return generator.choice(_WORDINGS).format(said)


def _pair(source: str, query: str, passage: str) -> Iterator[Example]:
    words = query.split()
    # An abstract that begins with its title would teach to match words.
    repeated = re.match(r"\W*" + r"\s+".join(map(re.escape, words)) + r"\W*", passage)
    passage = (passage[repeated.end() :] if repeated else passage).strip()
    if len(passage) > _LONGEST:
        passage = passage[: passage.rfind(" ", 0, _LONGEST)].rstrip()
    if words and len(passage) >= _SHORTEST:
        yield Example(source, " ".join(words), (passage,))
