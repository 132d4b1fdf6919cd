"""Erasing documents from the files of an index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rag_tools.catalog.catalog import RETIRED
from rag_tools.index.codebook import CODEBOOKS, Codebook
from rag_tools.index.lexical import Collection
from rag_tools.index.postings import Postings
from rag_tools.index.segment import SEGMENTS, Segment
from rag_tools.purge.report import Finding, Purged
from rag_tools.purge.scan import dead_runs, tokens_of
from rag_tools.purge.traces import Traces
from rag_tools.segment_files import SegmentFiles
from rag_tools.writer import Writer


def erase(
    writer: Writer, directory: Path, ids: Sequence[str], traces: Traces
) -> tuple[tuple[Purged, ...], list[str]]:
    """Delete documents and write anew what they stand in; note the traces that they leave."""
    purged: list[Purged] = []
    remarks: list[str] = []
    codebook = _codebook(writer, directory)
    for id in ids:
        catalog = writer.catalog
        texts = [catalog.version(each) for each in catalog.version_keys(id)]
        for version in texts:
            traces.add(version, ())
        key, path, passages = catalog.document_key(id), None, 0
        if key is not None:
            texts.append(catalog.document(key))
            traces.add(texts[-1], tokens_of(catalog, directory, codebook, key))
            passages = len(catalog.encoded_rows(key))
            path, _ = catalog.source(key)
        assert texts, "it was looked up before"
        purged.append(
            Purged(
                id=id,
                sha256=texts[-1].sha256,
                passages=passages,
                versions=len(texts) - (key is not None),
            )
        )
        if path is not None:
            writer.forget_root(path)  # if it was synced by its own name
            if Path(path).exists():
                remarks.append(f"{path} still exists; a sync indexes it again only if it is named")
        writer.delete(id)
    if ids:
        writer.set_setting(RETIRED, sorted(writer.catalog.retired.union(ids)))
        writer.commit()
        writer.drop_dead()
        if not writer.catalog.scrub():
            remarks.append("the log of commits couldn't be cut off: a process still reads from it")
    return tuple(purged), remarks


def _codebook(writer: Writer, directory: Path) -> Codebook | None:
    paths = [directory / CODEBOOKS / file for file in writer.catalog.codebook_files()]
    return Codebook.read(paths) if paths else None


def shared_words(writer: Writer, directory: Path, words: Iterable[str]) -> set[str]:
    """Return those of some words that live passages hold, or that are a part of their terms."""
    rows = writer.catalog.segments()
    files = SegmentFiles(directory)
    postings = [files.postings(row) for row in rows]
    live = Collection(postings, [writer.catalog.live(row.id, row.passages) for row in rows])
    stored = b"\0".join(term for each in postings for term in each.terms)
    return {word for word in words if live.holds(word) or word.encode() in stored}


def dead_tokens(writer: Writer, directory: Path, traces: Traces) -> list[Finding]:
    """Return the segments in which tokens of purged documents stand outside of live passages.

    A term of the lexical postings that no live passage holds is found too.
    """
    if not traces.token_runs:
        return []
    found = []
    codebook = _codebook(writer, directory)
    assert codebook is not None, "there were tokens"
    known = set()
    for row in writer.catalog.segments():
        path = directory / SEGMENTS / row.file
        known |= {directory / SEGMENTS / file for file in row.files}
        live = writer.catalog.live(row.id, row.passages)
        lexical = path.with_name(row.files[-1])
        if number := Postings.open(lexical).dead_terms(live):
            found.append(Finding(path=str(lexical), kind="terms", offset=number))
        if number := dead_runs(Segment(path, codebook), traces.token_runs, live):
            found.append(Finding(path=str(path), kind="tokens", offset=number))
    return found + [
        Finding(path=str(path), kind="a segment that couldn't be deleted", offset=0)
        for path in sorted((directory / SEGMENTS).iterdir())
        if path not in known
    ]
