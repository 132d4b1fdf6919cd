"""BM25 over the lexical postings, against FTS5, tantivy and bm25s: time, bytes, exactness.

    python benchmarks/lexical.py FOLDER [--sizes 10000,100000,1000000] [--peers fts5,tantivy,bm25s]
        [--limit 1000] [--queries 100]

Passages are made of the sentences in the text files of FOLDER, drawn at random, up to 100 words
each. A query is two to six words of a sentence of one passage, without those that are in 30 % of
the passages, as a search asks; every third has an identifier. All look for the same words and the
same number of passages. tantivy and bm25s stem and divide otherwise, so they are compared in time
only; FTS5 must return the same first ten, and the definition in NumPy the same of all.

Ours is cut into segments of 125,000 passages, as compaction leaves them. Everything runs on one
thread in one process, in turns: query by query, first one, then the next. Times are of the
processor.
"""

from __future__ import annotations

import os

# Before NumPy loads its BLAS: everything is measured on one thread.
os.environ.update(OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import argparse
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag_tools.index.lexical import Collection, bm25
from rag_tools.index.postings import Postings, Run, merged, write_postings
from rag_tools.index.postings import index as index_passages
from rag_tools.index.terms import terms

WORDS = 100
SEGMENT = 125_000
COMMON = 0.3
REPEATS = 3  # of which the fastest counts
Search = Callable[[list[str]], list[int]]
"""Returns the numbers of the best passages for some words, best first."""


def main() -> None:
    """Measure every size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", default="10000,100000")
    parser.add_argument("--peers", default="fts5,tantivy,bm25s")
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=100)
    given = parser.parse_args()
    sentences = sentences_of(given.folder)
    print(f"{len(sentences)} sentences, the best {given.limit} of {given.queries} queries")
    print("| passages | of | p50 ms | p95 ms | bytes per passage | made in s | first ten |")
    print("|---|---|---|---|---|---|---|")
    for size in map(int, given.sizes.split(",")):
        measure(sentences, size, given.peers.split(","), given.limit, given.queries)


def sentences_of(folder: Path) -> list[str]:
    """Return the distinct sentences of the text files below a folder."""
    found: dict[str, None] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".txt", ".md", ".rst", ".json", ".jsonl") and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n", text):
                words = sentence.split()
                if 4 <= len(words) <= WORDS:
                    found[" ".join(words)] = None
    return list(found)


class Passages:
    """Passages as rows of numbers of sentences, drawn at random."""

    def __init__(self, sentences: list[str], size: int) -> None:
        self.sentences = sentences
        rng = np.random.default_rng(size)
        lengths = np.array([len(sentence.split()) for sentence in sentences])
        most = WORDS // 8
        drawn = rng.integers(len(sentences), size=(size, most))
        fits = np.cumsum(lengths[drawn], axis=1) <= WORDS
        fits[:, 0] = True
        self.rows = [row[chosen] for row, chosen in zip(drawn, fits, strict=True)]

    def texts(self) -> Iterator[str]:
        """Yield every passage."""
        for row in self.rows:
            yield " ".join(self.sentences[number] for number in row.tolist())


def measure(sentences: list[str], size: int, peers: list[str], limit: int, n_queries: int) -> None:
    """Make every index of `size` passages, ask all the same, and print a row for each."""
    passages = Passages(sentences, size)
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, tuple[Search, float, float]] = {}
        start = time.process_time()
        collection, stored = ours(passages, Path(folder))
        seconds = time.process_time() - start
        made["ours"] = (ask_ours(collection, limit), stored / size, seconds)
        for peer in peers:
            start = time.process_time()
            try:
                search, stored = PEERS[peer](passages, Path(folder) / peer, limit)
            except ImportError as error:
                print(f"({peer} isn't installed: {error})")
                continue
            made[peer] = (search, stored / size, time.process_time() - start)
        queries = queries_of(passages, collection, n_queries)
        times: dict[str, list[float]] = {name: [] for name in made}
        alike = dict.fromkeys(made, 0)
        for number, query in enumerate(queries):
            exact = reference(collection, query, limit)
            for name, (search, _, _) in made.items():
                found = search(query)  # what it reads is in memory then
                times[name].append(min(_milliseconds(search, query) for _ in range(REPEATS)))
                wanted = exact if name == "ours" else exact[:10]
                alike[name] += found[: len(wanted)] == wanted
            if number == n_queries - 1:
                break
        for name, (_, stored, seconds) in made.items():
            p50, p95 = np.percentile(times[name], [50, 95])
            same = f"{alike[name]} of {len(queries)}" if name in ("ours", "fts5") else "–"
            cells = [
                f"{size:,}",
                name,
                f"{p50:.2f}",
                f"{p95:.2f}",
                f"{stored:.0f}",
                f"{seconds:.0f}",
            ]
            print("| " + " | ".join([*cells, same]) + " |", flush=True)


def _milliseconds(search: Search, query: list[str]) -> float:
    start = time.process_time()
    search(query)
    return 1000 * (time.process_time() - start)


def queries_of(passages: Passages, collection: Collection, number: int) -> list[list[str]]:
    """Return queries: words of a sentence that not every other passage has."""
    rng = np.random.default_rng(7)
    common = COMMON * collection.n_passages
    found = []
    while len(found) < number:
        row = passages.rows[int(rng.integers(len(passages.rows)))]
        sentence = passages.sentences[int(rng.choice(row))]
        words = [
            word for word in dict.fromkeys(re.findall(r"\w+", sentence.lower())) if terms(word)
        ]
        rng.shuffle(words)
        telling = [word for word in words if _frequency(collection, word) <= common]
        joined = [
            each for each in re.findall(r"\w+(?:[-./:]\w+)+", sentence) if len(found) % 3 == 0
        ]
        if telling:
            found.append(telling[: int(rng.integers(2, 7))] + joined[:1])
    return found


def _frequency(collection: Collection, word: str) -> int:
    phrase = terms(word)
    return sum(len(postings.of_phrase(phrase)[0]) for postings in collection.postings)


def reference(collection: Collection, query: list[str], limit: int) -> list[int]:
    """Return the best by the definition in NumPy, ties by number."""
    os.environ["RAG_TOOLS_KERNEL"] = "numpy"
    try:
        return ask_ours(collection, limit)(query)
    finally:
        del os.environ["RAG_TOOLS_KERNEL"]


def ours(passages: Passages, folder: Path) -> tuple[Collection, int]:
    """Write the postings in segments, from the terms of the sentences."""
    postings = []
    # A sentence is divided into terms once: what is measured here is the index.
    words = [terms(sentence) for sentence in passages.sentences]
    numbers: dict[bytes, int] = {}
    ids = [
        np.array([numbers.setdefault(t, len(numbers)) for t in each], np.int64) for each in words
    ]
    ordered = sorted(numbers)
    rank = np.empty(len(ordered), np.int64)
    rank[[numbers[term] for term in ordered]] = np.arange(len(ordered))
    ranked = [rank[each] for each in ids]
    rows = iter(passages.rows)
    while segment := list(islice(rows, SEGMENT)):
        part = iter(segment)
        runs = []
        while some := list(islice(part, SEGMENT // 5)):
            runs.append(_run(some, ranked, ordered))
        path = folder / f"{len(postings)}.lex"
        write_postings(path, [merged(runs)])
        postings.append(Postings.open(path))
    live = [np.ones(len(each), np.bool_) for each in postings]
    stored = sum(path.stat().st_size for path in folder.glob("*.lex"))
    return Collection(postings, live), stored


def _run(
    rows: list[NDArray[np.int64]], ranked: list[NDArray[np.int64]], ordered: list[bytes]
) -> Run:
    """Return what `index` does of passages, from the numbers of their terms."""
    parts = [np.concatenate([ranked[number] for number in row.tolist()]) for row in rows]
    lengths = np.array([len(part) for part in parts])
    ranks = np.concatenate(parts)
    owners = np.repeat(np.arange(len(rows)), lengths)
    places = np.arange(len(ranks)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    order = np.argsort(ranks, kind="stable")
    ranks, owners = ranks[order], owners[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (ranks[1:] != ranks[:-1]) | (owners[1:] != owners[:-1])
    starts = np.flatnonzero(first)
    counts = np.bincount(ranks[starts], minlength=len(ordered))
    none = index_passages([])
    return Run(
        [term for term, count in zip(ordered, counts.tolist(), strict=True) if count],
        counts[counts > 0],
        owners[starts].astype(np.uint32),
        np.diff(starts, append=len(order)).astype(np.uint32),
        places[order].astype(np.uint32),
        lengths.astype(np.uint32),
        np.zeros(len(rows), np.uint32),
        np.zeros(len(rows), none.digests.dtype),
    )


def ask_ours(collection: Collection, limit: int) -> Search:
    """Return the search of ours."""
    firsts = np.cumsum([0, *(len(each) for each in collection.postings)])

    def search(query: list[str]) -> list[int]:
        places, _ = bm25(collection, query, limit=limit)
        return (firsts[places[:limit, 0]] + places[:limit, 1]).tolist()

    return search


def fts5(passages: Passages, path: Path, limit: int) -> tuple[Search, int]:
    """Make an index of FTS5, as format 5 had it."""
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE VIRTUAL TABLE t USING fts5 (x, content = '', "
        "tokenize = 'porter unicode61 remove_diacritics 2')"
    )
    connection.executemany("INSERT INTO t (rowid, x) VALUES (?, ?)", enumerate(passages.texts()))
    connection.commit()

    def search(query: list[str]) -> list[int]:
        match = " OR ".join(f'"{word}"' for word in dict.fromkeys(map(str.lower, query)))
        rows = connection.execute(
            "SELECT rowid FROM t WHERE t MATCH ? ORDER BY rank, rowid LIMIT ?", [match, limit]
        )
        return [row for (row,) in rows]

    return search, path.stat().st_size


def tantivy(passages: Passages, path: Path, limit: int) -> tuple[Search, int]:
    """Make an index of tantivy, whose tokenizer ``en_stem`` divides and stems."""
    import tantivy as library

    path.mkdir()
    builder = library.SchemaBuilder()
    builder.add_text_field("x", stored=False, tokenizer_name="en_stem", index_option="position")
    schema = builder.build()
    index = library.Index(schema, path=str(path))
    writer = index.writer(heap_size=256 << 20, num_threads=1)
    for text in passages.texts():
        writer.add_document(library.Document(x=text))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def search(query: list[str]) -> list[int]:
        parsed = index.parse_query(" ".join(f'"{word}"' for word in query), ["x"])
        return [address.doc for _, address in searcher.search(parsed, limit).hits]

    return search, sum(each.stat().st_size for each in path.iterdir())


def bm25s(passages: Passages, path: Path, limit: int) -> tuple[Search, int]:
    """Make an index of bm25s, on the terms that we have; it has no phrases."""
    import bm25s as library

    words = [terms(sentence) for sentence in passages.sentences]
    numbers: dict[bytes, int] = {}
    ids = [[numbers.setdefault(t, len(numbers)) for t in each] for each in words]
    corpus = [[t for number in row.tolist() for t in ids[number]] for row in passages.rows]
    vocabulary = {term.decode("utf-8", "replace"): number for term, number in numbers.items()}
    retriever = library.BM25(method="lucene", k1=1.2, b=0.75, backend="numba")
    retriever.index((corpus, vocabulary), show_progress=False)
    retriever.save(path)

    def search(query: list[str]) -> list[int]:
        asked = [term.decode("utf-8", "replace") for word in query for term in terms(word)]
        known = [term for term in asked if term in vocabulary]
        found, _ = retriever.retrieve(
            [known], k=limit, show_progress=False, n_threads=0, sorted=True
        )
        return found[0].tolist()

    return search, sum(each.stat().st_size for each in path.iterdir())


PEERS: dict[str, Callable[[Passages, Path, int], tuple[Search, int]]] = {
    "fts5": fts5,
    "tantivy": tantivy,
    "bm25s": bm25s,
}


if __name__ == "__main__":
    main()
