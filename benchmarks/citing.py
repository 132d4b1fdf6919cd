"""What a citation costs in a large document: ``citing.py [--characters 1000000] [--index DIR]``.

Four documents of a size are indexed: plain text, Markdown, HTML, and one with pages and boxes as a
PDF has them. Questions about each are asked, ten hits each. For each kind of document there is a
line with the milliseconds of the stages (medians after a first search): encoding the query, the
vectors, the lexical index, assembling the hits with their citations, and of that, citing alone,
which is `cite_span`; then the milliseconds of the first search, and the whole search as a multiple
of the same search without citations. With ``--check`` the exit code says whether assembling and
citing keep to their limit.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from rag_tools import Document, Engine, hits, searcher
from rag_tools.types import Block, Page, SourceMap

LIMIT = 5.0
"""Limit: milliseconds in which ten hits are assembled and cited, after the first search."""

_ROUNDS = 15
_SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]


def sentences(seed: int, characters: int) -> list[str]:
    """Return made-up sentences, about so many characters of them."""
    rng = random.Random(seed)
    words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(6000)]
    found, length = [], 0
    while length < characters:
        found.append(" ".join(rng.choices(words, k=rng.randint(6, 24))).capitalize() + ".")
        length += len(found[-1]) + 1
    return found


def files(folder: Path, characters: int) -> None:
    """Write a document of each kind whose source is a file."""
    for number, suffix in enumerate(("txt", "md", "html")):
        paragraphs, written = [], sentences(number, characters)
        for n in range(0, len(written), 5):
            words = " ".join(written[n : n + 5])
            if suffix == "html":
                title = f"<h2 id='s{n}'>Part {n}</h2>" if n % 50 == 0 else ""
                words = f"{title}<p>{words}</p>"
            elif suffix == "md" and n % 50 == 0:
                words = f"## Part {n}\n\n{words}"
            paragraphs.append(words)
        (folder / f"large.{suffix}").write_text("\n\n".join(paragraphs), encoding="utf-8")


def paged(characters: int) -> Document:
    """Return a document with pages and a box for every character, as a PDF has them."""
    written = sentences(3, characters)
    text = "\n".join(" ".join(written[n : n + 3]) for n in range(0, len(written), 3))
    per_page = 3000
    starts = range(0, len(text), per_page)
    pages = tuple(
        Page(n, start, min(start + per_page, len(text)), 595.0, 842.0)
        for n, start in enumerate(starts, 1)
    )
    at = np.arange(len(text))
    left, top = 500 + at % 80 * 60, 500 + at % per_page // 80 * 120
    boxes = np.stack([left, top, left + 60, top + 120], axis=1).astype("<i2")
    return Document(
        text=text,
        uri="file:///large.pdf",
        media_type="application/pdf",
        blocks=tuple(Block("paragraph", page.start, page.end) for page in pages),
        source_map=SourceMap(pages=pages, boxes=zlib.compress(boxes.tobytes())),
    )


def make(directory: Path, characters: int) -> None:
    """Index a document of each kind."""
    with TemporaryDirectory() as made, Engine.open(directory, create=True) as engine:
        files(Path(made), characters)
        engine.sync([made])
        engine.add([paged(characters)])


@contextmanager
def stages() -> Iterator[dict[str, float]]:
    """Sum up the milliseconds of each stage of the searches in a ``with`` block."""
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, called: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:  # noqa: ANN401
            began = time.process_time()
            try:
                return called(*args, **options)
            finally:
                spent[name] += 1000 * (time.process_time() - began)

        return run

    places: list[tuple[Any, str, str]] = [
        (searcher.Searcher, "_encoded", "encode"),
        (searcher, "search", "vectors"),
        (searcher, "_prepared", "lexical"),
        (searcher, "hits", "assembling"),
        (hits, "cite_span", "citing"),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    try:
        for (owner, name, called), (_, _, shown) in zip(before, places, strict=True):
            setattr(owner, name, timed(shown, called))
        yield spent
    finally:
        for owner, name, called in before:
            setattr(owner, name, called)


def measured(engine: Engine, document: str, queries: list[str]) -> dict[str, float]:
    """Return the milliseconds of each stage of a search in a document, medians."""
    filter = {"document_id": document}
    began = time.process_time()
    engine.search(queries[0], filter=filter)
    first = 1000 * (time.process_time() - began)
    rounds: dict[str, list[float]] = defaultdict(list)
    for query in queries:
        with stages() as spent:
            began = time.process_time()
            assert len(engine.search(query, filter=filter).results) == 10
            spent["search"] = 1000 * (time.process_time() - began)
        spent["assembling"] -= spent["vectors"]  # `hits` asks for the matches
        began = time.process_time()
        engine.search(query, filter=filter, cite=False)
        spent["uncited"] = 1000 * (time.process_time() - began)
        for name, value in spent.items():
            rounds[name].append(value)
    found = {name: statistics.median(values) for name, values in rounds.items()}
    return found | {"first": first, "ratio": found["search"] / found["uncited"]}


def main() -> int:
    """Print the table; return 1 if the limit was to be checked and wasn't kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--characters", type=int, default=1_000_000)
    parser.add_argument("--index", type=Path, help="keep the index here, and use it if it is there")
    parser.add_argument("--check", action="store_true", help="fail above the limit")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    names = ("encode", "vectors", "lexical", "assembling", "citing", "search", "first", "ratio")
    worst = 0.0
    with TemporaryDirectory() as temporary:
        directory = given.index or Path(temporary) / "index"
        if not directory.exists():
            make(directory, given.characters)
        rng = random.Random(9)
        print(f"{'':<18}" + "".join(f"{name:>12}" for name in names))
        with Engine.open(directory) as engine:
            for entry in list(engine.documents()):
                text = engine.document(entry.id).text
                places = [rng.randrange(len(text) - 200) for _ in range(_ROUNDS)]
                queries = [" ".join(text[at : at + 80].split()[1:-1]) for at in places]
                found = measured(engine, entry.id, queries)
                worst = max(worst, found["assembling"])
                kind = entry.media_type.rpartition("/")[2]
                print(f"{kind:<18}" + "".join(f"{found[name]:12.2f}" for name in names), flush=True)
    return int(given.check and worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
