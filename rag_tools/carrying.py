"""What was encoded before isn't encoded again: where the passages of a commit take embeddings from.

Embeddings depend on what the encoder saw alone, and spans are relative to their passage, so those
of a passage serve wherever the same passage turns up: after an edit elsewhere in its document, a
rename, a move, a copy, or when a deleted document is back.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rag_tools.catalog.catalog import Catalog
from rag_tools.catalog.rows import Address, EncodedRow
from rag_tools.index.segment import Segment, Tokens
from rag_tools.types import Passage


class Wanted(NamedTuple):
    """A passage to insert.

    Attributes
    ----------
    document
        The id of its document.
    passage
        Its range and heading path.
    encoded
        The key of what the encoder sees of it.
    digest
        Of what is looked up of it, see `Worded`.
    """

    document: str
    passage: Passage
    encoded: bytes
    digest: int


class Source(NamedTuple):
    """Where a passage takes its embeddings from.

    Attributes
    ----------
    address
        Of the embeddings.
    row
        Key of the row that the passage takes over, see `NewPassage`.
    copied
        Whether the address is another passage's, or has other words, so that the embeddings must be
        copied.
    """

    address: Address
    row: int | None = None
    copied: bool = False


def assign(
    wanted: Sequence[Wanted],
    freed: Mapping[str, Sequence[EncodedRow]],
    fresh: Mapping[bytes, Address],
    catalog: Catalog,
    digest: Callable[[Address], int],
) -> list[Source]:
    """Choose where each passage takes its embeddings from: O(passages wanted and freed).

    Parameters
    ----------
    wanted
        What was encoded for this commit or before.
    freed
        The passages of the documents that this commit deletes, by the id of the document.
    fresh
        Where the embeddings stand that were made for this commit.
    catalog
        As it stands before the commit.
    digest
        Of what is looked up at an address.

    Returns
    -------
    list of Source
        One for each passage. No two take one address without copying. A row is taken over by a
        passage with its heading path, of its own document rather than of another.
    """
    sources: dict[int, Source] = {}
    rows = [(id, row) for id, some in freed.items() for row in some]
    for likeness in (_in_document, _on_path, _encoded):
        taken = {source.address for source in sources.values()}
        offered: dict[Hashable, deque[EncodedRow]] = defaultdict(deque)
        for id, row in rows:
            if row.encoded is not None and row.address not in taken:
                offered[likeness(id, row.path, row.encoded)].append(row)
        for at, (id, passage, encoded, _) in enumerate(wanted):
            found = offered.get(likeness(id, passage.path, encoded))
            if at not in sources and found:
                row = found.popleft()
                key = row.key if row.path == passage.path else None
                sources[at] = Source(row.address, key)
    without = [at for at in range(len(wanted)) if at not in sources]
    number = Counter(wanted[at].encoded for at in without)
    free = {
        encoded: deque(
            [fresh[encoded]]
            if encoded in fresh
            else catalog.dead_addresses(encoded, limit=number[encoded])
        )
        for encoded in number
    }
    first = {wanted[at].encoded: source.address for at, source in reversed(sources.items())}
    for at in without:
        encoded = wanted[at].encoded
        if free[encoded]:
            sources[at] = Source(free[encoded].popleft())
            first.setdefault(encoded, sources[at].address)
        else:
            address = first.get(encoded) or catalog.address_of(encoded)
            assert address is not None, "a passage that was neither queued nor encoded before"
            sources[at] = Source(address, copied=True)
    # What the encoder sees is the same for some passages whose words are looked up apart: of the
    # path ("Guide",) in a document "Guide", and of no path.
    return [
        source
        if source.row is not None or source.copied or digest(source.address) == wish.digest
        else source._replace(copied=True)
        for source, wish in ((sources[at], wish) for at, wish in enumerate(wanted))
    ]


def _in_document(id: str, path: tuple[str, ...], encoded: bytes) -> Hashable:
    return id, path, encoded


def _on_path(id: str, path: tuple[str, ...], encoded: bytes) -> Hashable:
    return path, encoded


def _encoded(id: str, path: tuple[str, ...], encoded: bytes) -> Hashable:
    return encoded


def copies(
    addresses: Iterable[Address], open_segment: Callable[[int], Segment]
) -> Iterator[Tokens]:
    """Yield the compressed tokens at addresses, in order: O(tokens), nothing is decoded."""
    for segment, positions in _rising(addresses):
        yield from open_segment(segment).runs(np.array(positions, np.intp))


def _rising(addresses: Iterable[Address]) -> Iterator[tuple[int, list[int]]]:
    """Yield runs of addresses in one segment at positions in strictly ascending order."""
    runs: list[tuple[int, list[int]]] = []
    for segment, position in addresses:
        if not runs or segment != runs[-1][0] or position <= runs[-1][1][-1]:
            runs.append((segment, []))
        runs[-1][1].append(position)
    return iter(runs)
