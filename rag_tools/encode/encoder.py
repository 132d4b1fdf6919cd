"""The encoder: text to token embeddings with ONNX Runtime.

The embeddings of a text depend only on the text: the same text gives the same bytes, whatever else
is encoded at the same time. Every passage is run alone, without padding and on one thread. Queries
are run together if the model is marked as one in which the rows of a batch don't depend on each
other. Texts longer than the model's window are read in overlapping windows.
`rag_tools.encode.checkpoint` reads checkpoints, and `rag_tools.encode.batch` collects the queries
that are waiting.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rag_tools.cores import available_cores
from rag_tools.encode.checkpoint import Checkpoint, Expansion
from rag_tools.encode.embeddings import Embeddings
from rag_tools.encode.recurring import without_recurring_lines
from rag_tools.encode.session import Model, load_tokenizer
from rag_tools.errors import CheckpointError
from rag_tools.tracing import stage

Ids = NDArray[np.int64]
Spans = NDArray[np.int32]
Vectors = NDArray[np.float32]

INDEPENDENT_ROWS = "rag_tools.independent_rows"
"""Metadata of a model file whose outputs are the same, to the bit, alone and in a batch."""

WIDTH = 4
"""Queries are padded to a multiple of this number of tokens.

The order in which a softmax adds its terms depends on the width, so the width may depend only on
the query. With 8, a single query takes a tenth longer; with 2, fewer queries are run together.
"""

BATCH = 16
"""Maximum number of queries that are run together; more bring no gain."""

_UNKNOWN = 5  # times that a token counts that isn't in the vocabulary, at least

# A text longer than this is tokenised in pieces: the tokenizer takes about 300 bytes per token
# while it works, which would be gigabytes for a document of 100 MB.
_PIECE = 100_000


class _Window(NamedTuple):
    """A range of a text's tokens that is one input of the model, and the part taken from it."""

    start: int
    end: int
    owned_start: int
    owned_end: int


class _Tokens(NamedTuple):
    """A text's tokens between the markers: the prompt's, the context's, the text's own."""

    prompt: Ids
    context: Ids
    text: Ids
    spans: Spans


class _Row(NamedTuple):
    """An input of the model, and the number of its first tokens that are attended to."""

    ids: Ids
    n_attended: int


class _Layout(NamedTuple):
    """How the model reads a text: what is put around its tokens, and the windows on them.

    No token attends to the last `n_hidden` of `behind`.
    """

    ahead: Ids
    text: Ids
    behind: Ids
    n_hidden: int
    spans: Spans
    windows: list[_Window]

    def row(self, window: _Window) -> _Row:
        text = self.text[window.start : window.end]
        ids = np.concatenate([self.ahead, text, self.behind])
        return _Row(ids, len(ids) - self.n_hidden)


class Encoder:
    """Encodes queries and passages with a checkpoint.

    Safe to use from several threads at once.

    Parameters
    ----------
    checkpoint
        What `rag_tools.encode.checkpoint.load_checkpoint` returned.
    threads
        Passages encoded at the same time by `encode_passages`; None is one per available core.
        It doesn't change the result.
    dim
        Dimensions of an embedding: the first `dim` that the model gives, scaled to unit length.
        None keeps all. Fewer suffice if the first ones hold the most, as in the bundled
        checkpoint, which was also trained at 96 and 64.

    Attributes
    ----------
    checkpoint
        As given.
    dim
        Dimensions of an embedding.

    Raises
    ------
    CheckpointError
        If the model or the tokenizer can't be loaded, or they don't fit the metadata.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, threads: int | None = None, dim: int | None = None
    ) -> None:
        self.checkpoint = checkpoint
        self.dim = dim or checkpoint.dim
        self._threads = threads or available_cores()
        self._tokenizer = load_tokenizer(checkpoint)
        self._model = Model(checkpoint)
        self._together = INDEPENDENT_ROWS in self._model.metadata
        self._lead, self._trail = self._marker_ids()
        self._query_skiplist = self._token_ids(checkpoint.query_skiplist)
        self._document_skiplist = self._token_ids(checkpoint.document_skiplist)
        self._filling = self._filling_id(checkpoint.expansion)
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        self._unknown = self._token_ids([unknown] if unknown else [])

    @stage("rag_tools.encode")
    def encode_query(self, text: str) -> Embeddings:
        """Encode a query or claim of any length.

        Short queries are filled up if the checkpoint was trained that way. Only recurring lines
        are left out, see `without_recurring_lines`.
        """
        (embeddings,) = self.encode_queries([text])
        return embeddings

    def encode_queries(self, texts: Sequence[str]) -> list[Embeddings]:
        """Encode queries or claims together: the results are the same as one by one, in less time.

        Queries of about the same length share a run of the model. Queries that are longer than its
        window are run alone, and so are all queries if the model isn't marked, see
        `INDEPENDENT_ROWS`.
        """
        layouts = [self._query(text) for text in texts]
        outputs = (
            self._read_together(layouts)
            if self._together
            else [self._read(layout) for layout in layouts]
        )
        return [
            self._embeddings(layout, output, self._query_skiplist)
            for layout, output in zip(layouts, outputs, strict=True)
        ]

    def encode_passage(self, text: str, context: str = "") -> Embeddings:
        """Encode a passage of any length.

        Parameters
        ----------
        text
            The passage; spans refer to it.
        context
            Text that the model reads before the passage, such as its heading path. Its tokens
            become embeddings of the passage, too, with the span ``(0, 0)``. If a context would
            fill more than half of the model's window, only its last part is used.
        """
        layout = self._passage(text, context)
        return self._embeddings(layout, self._read(layout), self._document_skiplist)

    def encode_passages(
        self, passages: Iterable[tuple[str, str]]
    ) -> Generator[Embeddings, None, None]:
        """Encode ``(text, context)`` pairs on all threads, in order, a few ahead of the caller."""
        with ThreadPoolExecutor(self._threads, thread_name_prefix="encode") as pool:
            pending: deque[Future[Embeddings]] = deque()
            try:
                for text, context in passages:
                    pending.append(pool.submit(self.encode_passage, text, context))
                    if len(pending) > 4 * self._threads:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def token_spans(self, text: str) -> Spans:
        """Return the span of each token of `text`, markers left out.

        Returns
        -------
        Shape ``(n_tokens, 2)``, int32, half-open code points, starts in ascending order.
        """
        pieces = []
        for start, end in _pieces(text):
            encoding = self._tokenizer.encode(text[start:end], add_special_tokens=False)
            pieces.append(_as_spans(encoding.offsets) + np.int32(start))
        return np.concatenate(pieces) if pieces else np.empty((0, 2), np.int32)

    def pieces_per_word(self, text: str, embeddings: Embeddings) -> float:
        """Return the mean number of tokens per word: few if the model knows the words.

        With the bundled checkpoint, English has 1.0 to 1.3 tokens per word and other languages
        have 1.8 to 10. A token that isn't in the vocabulary counts as many times as it has
        characters, and `_UNKNOWN` times at least: its embedding says nothing.
        """
        lengths = embeddings.spans[:, 1] - embeddings.spans[:, 0]
        unknown = np.isin(embeddings.token_ids, self._unknown) & (lengths > 0)
        n_pieces = np.where(unknown, np.maximum(lengths, _UNKNOWN), np.minimum(lengths, 1)).sum()
        return float(n_pieces) / max(_count_words(text), 1)

    def inputs(self, text: str, *, query: bool = False) -> dict[str, Ids]:
        """Return the inputs of the model for a text's first window.

        Returns
        -------
        ``input_ids`` and ``attention_mask``, shape ``(1, n_tokens)``, int64.
        """
        layout = self._query(text) if query else self._passage(text, "")
        return _inputs([layout.row(layout.windows[0])])

    def _query(self, text: str) -> _Layout:
        telling = without_recurring_lines(text)
        tokens = self._tokenise(self.checkpoint.query_prompt, "", telling)
        return self._lay_out(tokens, self.checkpoint.expansion)

    def _passage(self, text: str, context: str) -> _Layout:
        return self._lay_out(self._tokenise(self.checkpoint.document_prompt, context, text), None)

    def _tokenise(self, prompt: str, context: str, text: str) -> _Tokens:
        """Tokenise everything as one string, as in training, and separate its parts."""
        ahead = f"{prompt}{context}\n" if context else prompt
        encoding = self._tokenizer.encode(ahead + text, add_special_tokens=False)
        ids = np.array(encoding.ids, np.int64)
        offsets = _as_spans(encoding.offsets)
        n_prompt = _count_within(offsets, len(prompt))
        n_ahead = _count_within(offsets, len(ahead))
        # A byte-pair tokenizer may merge the last character before the text with its first one.
        spans = np.clip(offsets[n_ahead:] - len(ahead), 0, len(text))
        context_ids = ids[n_prompt:n_ahead]
        room = self._room(n_prompt) // 2
        return _Tokens(
            prompt=ids[:n_prompt],
            context=context_ids[max(len(context_ids) - room, 0) :],
            text=ids[n_ahead:],
            spans=spans,
        )

    def _room(self, n_ahead: int) -> int:
        """Return the number of a text's tokens that fit into a window with `n_ahead` others."""
        room = self.checkpoint.max_tokens - len(self._lead) - len(self._trail) - n_ahead
        if room < 1:
            raise CheckpointError(
                f"The checkpoint {self.checkpoint.name!r} takes {self.checkpoint.max_tokens} "
                "tokens at once, which its prompt and markers fill."
            )
        return room

    def _lay_out(self, tokens: _Tokens, expansion: Expansion | None) -> _Layout:
        ahead = np.concatenate([self._lead, tokens.prompt, tokens.context])
        behind, n_hidden = self._trail, 0
        if expansion is not None:
            n_tokens = len(ahead) + len(tokens.text) + len(behind)
            filling = np.full(max(expansion.length - n_tokens, 0), self._filling, np.int64)
            behind = np.concatenate([behind, filling])
            n_hidden = 0 if expansion.attend else len(filling)
        windows = _windows(len(tokens.text), self._room(len(ahead) - len(self._lead)))
        return _Layout(ahead, tokens.text, behind, n_hidden, tokens.spans, windows)

    def _read(self, layout: _Layout) -> list[list[Vectors]]:
        """Run the model on a text, window by window.

        Returns
        -------
        Of each window the vectors, shape ``(n_tokens, dim)``, and, if there is one, the pooled
        vector, shape ``(pooled_dim,)``.
        """
        outputs = []
        for window in layout.windows:
            found = self._model.run(_inputs([layout.row(window)]))
            outputs.append([output[0] for output in found])
        return outputs

    def _read_together(self, layouts: Sequence[_Layout]) -> list[list[list[Vectors]]]:
        """Do what `_read` does for several texts; those of the same padded width share a run."""
        outputs: list[list[list[Vectors]]] = [[] for _ in layouts]
        rows: defaultdict[int, list[tuple[int, _Row]]] = defaultdict(list)  # by padded width
        for place, layout in enumerate(layouts):
            if len(layout.windows) > 1:
                outputs[place] = self._read(layout)
            else:
                row = layout.row(layout.windows[0])
                width = min(-(-len(row.ids) // WIDTH) * WIDTH, self.checkpoint.max_tokens)
                rows[width].append((place, row))
        for width, placed in rows.items():
            for first in range(0, len(placed), BATCH):
                batch = placed[first : first + BATCH]
                inputs = _inputs([row for _, row in batch], width)
                found = self._model.run(inputs)
                for i, (place, _) in enumerate(batch):
                    outputs[place] = [[output[i] for output in found]]
        return outputs

    def _embeddings(
        self, layout: _Layout, outputs: list[list[Vectors]], skiplist: Ids
    ) -> Embeddings:
        """Join the outputs for the windows of a text."""
        vectors: list[Vectors] = []
        pooled: list[Vectors] = []
        for window, (window_vectors, *window_pooled) in zip(layout.windows, outputs, strict=True):
            offset = len(layout.ahead) - window.start
            first = 0 if window is layout.windows[0] else window.owned_start + offset
            last = window.owned_end + offset
            if window is layout.windows[-1]:
                last += len(layout.behind)
            vectors.append(window_vectors[first:last])
            pooled.extend(window_pooled)
        ids = np.concatenate([layout.ahead, layout.text, layout.behind])
        spans = np.zeros((len(ids), 2), np.int32)
        spans[len(layout.ahead) : len(layout.ahead) + len(layout.spans)] = layout.spans
        # A text of which the skiplist would leave nothing keeps all its tokens, to remain findable.
        keep = ~np.isin(ids, skiplist)
        keep |= not keep.any()
        return Embeddings(
            vectors=self._cut(np.concatenate(vectors)[keep]),
            token_ids=ids[keep].astype(np.int32),
            spans=spans[keep],
            pooled=_pool(pooled, layout.windows) if pooled else None,
        )

    def _cut(self, vectors: Vectors) -> Vectors:
        """Return the first `dim` dimensions, as unit vectors."""
        if self.dim == vectors.shape[1]:
            return vectors
        cut = vectors[:, : self.dim]
        unit: Vectors = cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-12)
        return unit

    def _marker_ids(self) -> tuple[Ids, Ids]:
        """Return the ids that the tokenizer puts before and after every text."""
        encoding = self._tokenizer.encode("a", add_special_tokens=True)
        ids = np.array(encoding.ids, np.int64)
        text = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
        return ids[: text[0]], ids[text[-1] + 1 :]

    def _token_ids(self, words: Iterable[str]) -> Ids:
        """Return the ids of those words that are single tokens of the vocabulary."""
        ids = (self._tokenizer.token_to_id(word) for word in words)
        return np.array([token_id for token_id in ids if token_id is not None], np.int64)

    def _filling_id(self, expansion: Expansion | None) -> int:
        if expansion is None:
            return -1
        token_id = self._tokenizer.token_to_id(expansion.token)
        if token_id is None:
            raise CheckpointError(
                f"The checkpoint {self.checkpoint.name!r} fills up queries with "
                f"{expansion.token!r}, which its vocabulary lacks."
            )
        return token_id


def _count_words(text: str) -> int:
    """Count runs of letters, digits and the marks on them, without which Thai falls apart."""
    runs = groupby(text, key=lambda character: unicodedata.category(character)[0] in "LMN")
    return sum(is_word for is_word, _ in runs)


def _inputs(rows: Sequence[_Row], width: int | None = None) -> dict[str, Ids]:
    """Return the inputs of one run, shape ``(n_rows, width)``; None is the first row's own."""
    ids = np.zeros((len(rows), width or len(rows[0].ids)), np.int64)
    attention = np.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = row.ids
        attention[i, : row.n_attended] = 1
    return {"input_ids": ids, "attention_mask": attention}


def _as_spans(offsets: list[tuple[int, int]]) -> Spans:
    return np.array(offsets, np.int32).reshape(-1, 2)


def _count_within(spans: Spans, end: int) -> int:
    """Count the leading spans that lie before `end`."""
    beyond = np.flatnonzero(spans[:, 1] > end)
    return int(beyond[0]) if len(beyond) else len(spans)


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """Cut `text` into ranges of at most `_PIECE` characters, ahead of a space where there is one.

    No token reaches across a space, so the tokens are those of the whole text.
    """
    start = 0
    while len(text) - start > _PIECE:
        limit = start + _PIECE
        end = max(text.rfind(" ", start + 1, limit), text.rfind("\n", start + 1, limit))
        end = end if end > start else limit
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)


def _windows(n_tokens: int, room: int) -> list[_Window]:
    """Cover `n_tokens` tokens by windows of `room` tokens that overlap by a quarter or more.

    Windows are spread evenly. The border between the parts two neighbours answer for is the
    middle of their overlap, so each token comes from the window in which it has the most context
    on its shorter side.

    Examples
    --------
    >>> [tuple(window) for window in _windows(10, 8)]
    [(0, 8, 0, 5), (2, 10, 5, 10)]
    """
    if n_tokens <= room:
        return [_Window(0, n_tokens, 0, n_tokens)]
    step = max(room - room // 4, 1)
    count = 1 + -(-(n_tokens - room) // step)
    starts = [round(i * (n_tokens - room) / (count - 1)) for i in range(count)]
    borders = [(left + right + room) // 2 for left, right in pairwise(starts)]
    owned = [0, *borders, n_tokens]
    return [_Window(start, start + room, owned[i], owned[i + 1]) for i, start in enumerate(starts)]


def _pool(pooled: list[Vectors], windows: list[_Window]) -> Vectors:
    """Combine the windows' pooled vectors, each weighted by the tokens it answers for."""
    owned = [max(window.owned_end - window.owned_start, 1) for window in windows]
    total = np.array(owned, np.float32) @ np.stack(pooled)  # (pooled_dim,)
    unit: Vectors = total / np.linalg.norm(total)
    return unit
