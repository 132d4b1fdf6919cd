"""Whether an index wears out: ``churn.py DATASET [--share 0.5] [--rounds 20] [--check]``.

An index of a data set is made at once. Another begins with other documents: of a share of them, cut
versions of their texts, and as many that don't belong to it. Edits, additions and deletions in
random order and in some rounds, each with a commit, make it hold the same documents. After
compaction, it is compared with the first: nDCG@10, recall@10 and size on the disk. Both take what
has been encoded once from memory. With ``--check``, the exit code says whether the limits are kept.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from rag_tools import Document, Engine
from rag_tools.disk import bytes_on_disk
from rag_tools.encode.embeddings import Embeddings
from rag_tools.encode.encoder import Encoder
from rag_tools.evaluate.dataset import Dataset, read
from rag_tools.evaluate.measures import measure
from rag_tools.evaluate.retrieve import documents, run_engine
from rag_tools.ingest.seen import Seen
from rag_tools.maintenance.space import compact, vacuum

MEASURES = ("nDCG@10", "R@10")

WORSE = 0.002
"""Limit: the difference of a measure."""

LARGER = 0.05
"""Limit: the difference of the size, as a share."""


def remember() -> None:
    """Have every encoder of this process take from memory what was encoded before."""
    known: dict[Seen, Embeddings] = {}
    encode = Encoder.encode_passages

    def remembered(self: Encoder, passages: Iterable[Seen]) -> Iterator[Embeddings]:
        wanted = list(passages)
        new = list(dict.fromkeys(each for each in wanted if each not in known))
        known.update(zip(new, encode(self, new), strict=True))
        yield from (known[each] for each in wanted)

    Encoder.encode_passages = remembered  # type: ignore[method-assign, assignment]


def churn(engine: Engine, wanted: list[Document], share: float, rounds: int, seed: int) -> int:
    """Make an index hold documents by way of others; return the number of changes."""
    rng = random.Random(seed)
    churned = rng.sample(range(len(wanted)), round(share * len(wanted)))
    cut = [_cut(wanted[number], rng) for number in churned]
    edited, late = set(churned[::2]), set(churned[1::2])
    foreign = [each.model_copy(update={"id": f"foreign-{each.id}"}) for each in cut]
    engine.add(
        [
            *(each for number, each in enumerate(wanted) if number not in edited | late),
            *(each for number, each in zip(churned, cut, strict=True) if number in edited),
            *foreign,
        ]
    )
    changes: list[Callable[[], Document | str]] = [
        *((lambda number=number: wanted[number]) for number in churned),
        *((lambda each=each: each.id) for each in foreign),
    ]
    rng.shuffle(changes)
    for number in range(rounds):
        some = [change() for change in changes[number::rounds]]
        engine.add(each for each in some if isinstance(each, Document))
        engine.delete(each for each in some if isinstance(each, str))
    return len(changes)


def _cut(document: Document, rng: random.Random) -> Document:
    words = document.text.split(" ")
    text = " ".join(words[: max(1, round(rng.uniform(0.2, 0.6) * len(words)))])
    return Document(uri=document.uri, id=document.id, title=document.title, text=text)


def figures(name: str, directory: Path, dataset: Dataset) -> tuple[list[float], int]:
    """Print and return the measures and the size of an index."""
    with Engine.open(directory) as engine:
        engine.check()
        values = measure(dataset.qrels, run_engine(engine, dataset), MEASURES)
        status = engine.status()
    means = [float(np.mean(values[each])) for each in MEASURES]
    size = bytes_on_disk(directory)
    print(
        f"{name:<10}{status.documents:>8,}{status.passages:>9,}{status.segments:>9}"
        f"{status.centroids:>10,}{means[0]:>9.4f}{means[1]:>9.4f}{size / 1e6:>9.2f} MB",
        flush=True,
    )
    return means, size


def main() -> int:
    """Print the table; return 1 if a limit was to be checked and wasn't kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the documents that change")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="fail above the limits")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    remember()
    dataset = read(given.dataset)
    wanted = list(documents(dataset))
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        fresh, worn = Path(folder) / "fresh", Path(folder) / "worn"
        print(
            f"{'index':<10}{'documents':>8}{'passages':>9}{'segments':>9}{'centroids':>10}"
            f"{MEASURES[0]:>9}{MEASURES[1]:>9}{'size':>12}"
        )
        with Engine.open(fresh, create=True) as engine:
            engine.add(wanted)
        best, small = figures("fresh", fresh, dataset)
        with Engine.open(worn, create=True) as engine:
            changes = churn(engine, wanted, given.share, given.rounds, given.seed)
        figures("churned", worn, dataset)
        compact(worn)
        vacuum(worn)
        found, size = figures("compacted", worn, dataset)
    differences = [after - before for before, after in zip(best, found, strict=True)]
    print(
        f"{changes:,} changes in {given.rounds} rounds: {differences[0]:+.4f} {MEASURES[0]}, "
        f"{differences[1]:+.4f} {MEASURES[1]}, {size / small - 1:+.1%} size "
        f"({time.monotonic() - began:.0f} s)"
    )
    kept = min(differences) >= -WORSE and abs(size / small - 1) <= LARGER
    return int(given.check and not kept)


if __name__ == "__main__":
    sys.exit(main())
