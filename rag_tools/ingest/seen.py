"""What the encoder sees of a passage, and the key that tells whether it has seen the same before.

Encoding it is `rag_tools.encode`; the keys of what an index holds are in its catalog.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

from rag_tools.ingest.chunk import context
from rag_tools.ingest.code_grammars import CODE_TYPES, with_words
from rag_tools.types import Document, Passage

KEY_BYTES = 16
"""Length of a key: two of a billion different passages share one with a likelihood of 1e-21."""


class Seen(NamedTuple):
    """A passage as the encoder sees it: its embeddings depend on this and the checkpoint alone.

    Attributes
    ----------
    text
        Of the passage.
    context
        What it is encoded after: the document's title and the heading path.
    """

    text: str
    context: str

    def key(self, fingerprint: str) -> bytes:
        """Return the key of these embeddings: `KEY_BYTES` bytes.

        Parameters
        ----------
        fingerprint
            Of the checkpoint.
        """
        # The length keeps the end of the context apart from the start of the text.
        known = f"{fingerprint}\n{len(self.context)}\n{self.context}{self.text}"
        return blake2b(known.encode("utf-8"), digest_size=KEY_BYTES).digest()


def seen(document: Document, passage: Passage) -> Seen:
    """Return what the encoder sees of a passage.

    Names of code that are written as one word are followed by the words they consist of.
    """
    code = document.media_type in CODE_TYPES
    path = tuple(map(with_words, passage.path)) if code else passage.path
    return _after(document.title, path, document.text, passage)


def seen_in_format_3(text: str, title: str, passage: Passage) -> Seen:
    """Return what the encoder saw of a passage in an index of format 3: names as they stand.

    Parameters
    ----------
    text, title
        Canonical text and title of the passage's document.
    """
    return _after(title, passage.path, text, passage)


def _after(title: str, path: tuple[str, ...], text: str, passage: Passage) -> Seen:
    titled = path if path and path[0] == title else (title, *path)
    return Seen(text[passage.start : passage.end], context([part for part in titled if part]))
