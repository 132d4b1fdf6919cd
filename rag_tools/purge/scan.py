"""Looking for traces of documents in files, byte by byte, and in the tokens of segments."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag_tools.catalog.catalog import Catalog
from rag_tools.index.codebook import Codebook
from rag_tools.index.segment import SEGMENTS, Segment
from rag_tools.purge.report import Finding, Scanned
from rag_tools.purge.traces import RUN_TOKENS


def files_in(places: Iterable[Path]) -> list[Path]:
    """Return the files in some folders, and those that are named themselves, once each."""
    found: dict[Path, None] = {}
    for place in places:
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        found |= dict.fromkeys(path for path in inside if path.is_file() and not path.is_symlink())
    return list(found)


def scan(
    paths: Iterable[Path], content: Mapping[bytes, str]
) -> tuple[list[Scanned], list[Finding]]:
    """Look for byte strings in files: O(sizes times their number).

    Parameters
    ----------
    content
        What to look for, and what each is.

    Raises
    ------
    OSError
        If a file can't be read: it might hold anything.
    """
    scanned: list[Scanned] = []
    found: list[Finding] = []
    for path in paths:
        try:
            size = path.stat().st_size
            kinds = _kinds_in(path, content) if size else {}
        except FileNotFoundError:  # a log of commits that was cut off meanwhile
            continue
        scanned.append(Scanned(path=str(path), bytes=size))
        found += [
            Finding(path=str(path), kind=kind, offset=offset) for kind, offset in kinds.items()
        ]
    return scanned, found


def _kinds_in(path: Path, content: Mapping[bytes, str]) -> dict[str, int]:
    """Return which kinds of traces a file holds, and where the first of each stands."""
    found: dict[str, int] = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for trace, kind in content.items():
            if kind not in found and (offset := mapped.find(trace)) >= 0:
                found[kind] = offset
    return found


def tokens_of(
    catalog: Catalog, directory: Path, codebook: Codebook | None, document: int
) -> list[bytes]:
    """Return the token ids of a document's passages, each as little-endian int32."""
    if codebook is None:
        return []
    files = {row.id: directory / SEGMENTS / row.file for row in catalog.segments()}
    return [
        Segment(files[row.address.segment], codebook).token_ids(row.address.position).tobytes()
        for row in catalog.encoded_rows(document)
    ]


def dead_runs(segment: Segment, runs: Iterable[bytes], live: NDArray[np.bool_]) -> int:
    """Return how many runs of token ids stand in passages of a segment that aren't live."""
    content = segment.token_ids().tobytes()
    return sum(
        any(not live[_passage(segment, place)] for place in _places(content, run)) for run in runs
    )


def _places(content: bytes, run: bytes) -> Iterator[int]:
    """Yield the numbers of the tokens at which a run begins."""
    place = content.find(run)
    while place >= 0:
        if place % 4 == 0:
            yield place // 4
        place = content.find(run, place + 1)


def _passage(segment: Segment, token: int) -> int:
    """Return the passage in which most of a run stands that begins at a token."""
    middle = token + RUN_TOKENS // 2
    return int(np.searchsorted(segment.token_offsets, middle, side="right")) - 1
