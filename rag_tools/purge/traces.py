"""What a document leaves in files, so that it can be looked for once the document is gone."""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from rag_tools.catalog.catalog import Catalog
from rag_tools.catalog.rows import encode_document
from rag_tools.types import Document

RUN_TOKENS = 12
"""Tokens in a row that are looked for in segments."""

_RUN_CHARACTERS = 40
_TEXT_RUNS, _STORED_RUNS, _TOKEN_RUNS, _WORDS = 24, 8, 48, 24  # of each document, at most
_STORED_BYTES = 24
_LEAST = 8  # bytes: shorter ones are found by chance
# Words that are in no other document are looked for too. Those with a digit are names of something.
_WORD = re.compile(r"\w{8,60}")


@dataclass
class Traces:
    """What is looked for.

    Attributes
    ----------
    content
        Bytes that no file may hold, and what each is.
    stored
        Parts of the documents as the catalog stores them; as with words.
    words
        Words of the texts, in lower case; those that other documents hold aren't looked for.
    values
        Titles, addresses and values of metadata; as with words.
    token_runs
        Runs of `RUN_TOKENS` token ids, as little-endian int32.
    """

    content: dict[bytes, str] = field(default_factory=dict)
    stored: set[bytes] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    values: set[str] = field(default_factory=set)
    token_runs: set[bytes] = field(default_factory=set)

    def add(self, document: Document, tokens: Iterable[bytes]) -> None:
        """Add what a document leaves.

        Parameters
        ----------
        tokens
            The token ids of its passages, as little-endian int32.
        """
        for run in _text_runs(document.text):
            for encoding in (run.encode(), json.dumps(run)[1:-1].encode()):
                if len(encoding) >= _LEAST:
                    self.content[encoding] = "text"
        columns = encode_document(document)
        for stored in (columns.text, columns.structure):
            self.stored |= set(_spread(stored[8:], _STORED_BYTES, _STORED_RUNS))
        self.values |= {document.title, document.uri}
        self.values |= set(_strings(document.metadata))
        found = sorted(
            {word.lower() for word in _WORD.findall(document.text)},
            key=lambda word: (not any(map(str.isdigit, word)), -len(word), word),
        )
        self.words |= set(found[:_WORDS])
        runs = (run for passage in tokens for run in _spread(passage, 4 * RUN_TOKENS, 2, step=4))
        self.token_runs |= set(list(runs)[:_TOKEN_RUNS])

    def runs(self) -> list[bytes]:
        """Return the pieces of the texts that are looked for."""
        return [content for content, kind in self.content.items() if kind == "text"]

    def beside(self, catalog: Catalog, shared: Container[str]) -> dict[bytes, str]:
        """Return the bytes to look for: none that stand in a document that is still there.

        Parameters
        ----------
        shared
            The words that other documents hold.
        """
        kept = dict(self.content)
        kept |= {run: "stored document" for run in self.stored if not catalog.stores(run)}
        words = {word for word in self.words if word not in shared}
        values = self.values - catalog.stated(self.values)
        for kind, texts in (("word", words), ("metadata", values)):
            for text in texts:
                if len(text.encode()) >= _LEAST:
                    kept[text.encode()] = kind
                    kept[json.dumps(text)[1:-1].encode()] = kind
        return kept


def _text_runs(text: str) -> Iterator[str]:
    step = max(_RUN_CHARACTERS, len(text) // _TEXT_RUNS)
    for start in range(0, len(text), step):
        run = text[start : start + _RUN_CHARACTERS].strip()
        if len(run) >= min(_RUN_CHARACTERS // 2, len(text.strip())):
            yield run


def _spread(content: bytes, size: int, number: int, *, step: int = 1) -> Iterator[bytes]:
    """Yield up to `number` runs of some size, evenly spread, that begin at multiples of `step`."""
    last = len(content) - size
    if last < 0:
        return
    for at in range(number):
        start = last * at // max(1, number - 1) // step * step
        yield content[start : start + size]


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _strings(each)
