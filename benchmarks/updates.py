"""What updates cost: ``updates.py [--sizes 1000 10000] [--passage-tokens 32]``.

A folder of made-up text is synced, then changed: one line in a document of about 2,000 passages, a
rename, a move, a copy, a file deleted and brought back. Each line tells how many passages were
encoded, the seconds of the sync, and the seconds from saving the file until another process finds
the change. Then one document is added to indexes of several sizes. Passages are short, so that this
takes minutes, and a large index is filled with copies of some documents, which aren't encoded. With
``--check`` the exit code says whether the limits are kept.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rag_tools import Document, Engine

ENCODED = 5
"""Limit: passages that are encoded when one line changes in a document of 2,000 passages."""

GROWTH = 1.2
"""Limit: the cost of adding a document to the largest index, as a multiple of the smallest."""

VISIBLE = 1.0
"""Limit: seconds from saving the file until another process finds the line."""

PASSAGES = 2000
_DISTINCT = 20  # documents whose copies fill an index
_READER = """
import sys, time
from rag_tools import Engine

with Engine.open(sys.argv[1]) as engine:
    print("ready", flush=True)
    for word in sys.stdin:
        while not any(word.strip() in hit.text for hit in engine.search(word, limit=1).results):
            time.sleep(0.02)
        print(time.time(), flush=True)
"""


def text(seed: int, sentences: int) -> str:
    """Return paragraphs of made-up sentences."""
    rng = random.Random(seed)
    syllables = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(4000)]
    lines = []
    for _ in range(sentences):
        line = " ".join(rng.choices(words, k=rng.randint(6, 24))).capitalize() + "."
        lines.append(line + ("\n" if rng.random() < 0.25 else "") + "\n")
    return "".join(lines)


def sentences_for(engine: Engine, passages: int) -> int:
    """Return how many sentences make about so many passages."""
    engine.add([Document(uri="probe:0", id="probe", text=text(0, 400))])
    found = engine.status().passages
    engine.delete(["probe"])
    return 400 * passages // found


def changes(directory: Path, passage_tokens: int) -> tuple[dict[str, int], float]:
    """Print the cost of each change to one document.

    Returns
    -------
    dict
        How many passages each kind of change encoded, at most.
    float
        The seconds until another process found a line, at most.
    """
    folder = directory / "notes"
    folder.mkdir()
    encoded = {}
    with Engine.open(directory / "i", create=True, passage_tokens=passage_tokens) as engine:
        body = text(1, sentences_for(engine, PASSAGES))
        # With a title of its own: where the file's name is the title, a rename changes what is
        # encoded ahead of each passage.
        lines = ["# An island\n", "\n", *body.splitlines(keepends=True)]
        large, renamed, moved = folder / "large.md", folder / "renamed.md", folder / "in" / "a.md"
        large.write_text("".join(lines), encoding="utf-8")
        report = engine.sync([folder])
        print(f"{engine.status().passages:,} passages, {report.seconds:.1f} s")
        arguments = [sys.executable, "-c", _READER, str(directory / "i")]
        with subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as reader:
            assert reader.stdin is not None and reader.stdout is not None
            reader.stdout.readline()
            print(f"\n{'change':<24}{'encoded':>9}{'seconds':>9}{'visible':>9}")
            worst, latest = 0, 0.0
            for n, share in enumerate((0.0, 0.1, 0.35, 0.5, 0.65, 0.9, 1.0)):
                word = f"Zanzibar{n}"
                lines[2 + round(share * (len(lines) - 3))] = f"{word} is an island.\n"
                reader.stdin.write(f"{word}\n")
                reader.stdin.flush()
                large.write_text("".join(lines), encoding="utf-8")
                saved = time.time()
                report = engine.sync([folder])
                visible = float(reader.stdout.readline()) - saved
                _line(f"line {share:.0%} of the way", report, visible)
                worst, latest = max(worst, report.encoded_passages), max(latest, visible)
            encoded["line"] = worst
            reader.stdin.close()
        (folder / "in").mkdir()
        for name, change in (
            ("rename", lambda: large.rename(renamed)),
            ("move", lambda: renamed.rename(moved)),
            ("copy", lambda: large.write_bytes(moved.read_bytes())),
            ("delete", moved.unlink),
            ("restore", lambda: moved.write_bytes(large.read_bytes())),
        ):
            change()
            report = engine.sync([folder])
            _line(name, report)
            encoded[name] = report.encoded_passages
        engine.check()
    return encoded, latest


def _line(name: str, report, visible: float | None = None) -> None:  # noqa: ANN001
    last = "" if visible is None else f"{visible:9.2f}"
    print(f"{name:<24}{report.encoded_passages:>9}{report.seconds:>9.2f}{last}", flush=True)


def additions(directory: Path, sizes: list[int], passage_tokens: int) -> list[float]:
    """Print and return the processor seconds of adding one document to indexes of some sizes."""
    medians = []
    print(f"\n{'passages':>9}{'processor':>11}{'seconds':>9}   adding one document, medians of 9")
    with Engine.open(directory / "j", create=True, passage_tokens=passage_tokens) as engine:
        per_document = 50
        n_sentences = sentences_for(engine, per_document)
        number = 0
        for size in sizes:
            missing = max(size - engine.status().passages, 0) // per_document + 1
            some = range(number, number + missing)
            engine.add(
                Document(uri=f"bench:{n}", text=text(n % _DISTINCT, n_sentences)) for n in some
            )
            number += missing
            clock, processor = [], []
            for _ in range(9):
                document = Document(
                    uri=f"bench:{number}", text=text(number, n_sentences)
                )  # no copy
                number += 1
                began = time.perf_counter(), time.process_time()
                engine.add([document])
                clock.append(time.perf_counter() - began[0])
                processor.append(time.process_time() - began[1])
            medians.append(statistics.median(processor))
            print(
                f"{engine.status().passages:>9,}{medians[-1]:>11.3f}"
                f"{statistics.median(clock):>9.3f}",
                flush=True,
            )
    return medians


def main() -> int:
    """Print the tables; return 1 if a limit was to be checked and wasn't kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--passage-tokens", type=int, default=32)
    parser.add_argument("--check", action="store_true", help="fail above the limits")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with TemporaryDirectory() as directory:
        encoded, visible = changes(Path(directory), given.passage_tokens)
        medians = additions(Path(directory), given.sizes, given.passage_tokens)
    kept = (
        encoded.pop("line") <= ENCODED
        and visible <= VISIBLE
        and not any(encoded.values())
        and all(median <= GROWTH * medians[0] for median in medians)
    )
    return int(given.check and not kept)


if __name__ == "__main__":
    sys.exit(main())
