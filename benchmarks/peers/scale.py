"""How an index grows: 1 k to 1 M passages; latency, build, memory, bytes and opening.

    python benchmarks/peers/scale.py EMBEDDINGS --out OUT [--sizes 1000,10000,100000,1000000]
        [--tokens 50] [--no-search]

Passages are the saved ones, shuffled. Beyond those that are there they come again in another order
and with noise: a normal vector of norm `NOISE` is added to every token's, which is scaled to unit
length; token ids stay. With ``--tokens`` a passage is one run of so many of its tokens, so that a
million of them take less time and disk. Recall is against a scan of the same index, quantised as it
is. Indexes are kept in OUT with what building them took, and measured again by the next run;
``--no-search`` builds alone. The time to make up passages is taken off. Every step runs in a
process of its own.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from embeddings import Passages, read_passages, read_queries
from engines.ragtools import matches_of
from memory import forget_peak, peak_bytes, resident_bytes
from numpy.typing import NDArray
from replay import PART, index_bytes, write_index
from report import markdown

from rag_tools.cores import available_cores
from rag_tools.engine import Engine
from rag_tools.reader import Reader

NOISE = 0.3  # cosine of 0.96 with the token it was made from
_K = 10
_WARM_UP = 5


def main(
    embeddings: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="Indexes, results and plots.")],
    sizes: Annotated[str, typer.Option(help="Passages.")] = "1000,10000,100000,1000000",
    queries: int = 100,
    bits: int = 4,
    tokens: Annotated[int, typer.Option(help="Most of a passage; 0: it stays whole.")] = 0,
    search: Annotated[bool, typer.Option(help="Measure; else build what isn't there.")] = True,
    patience: Annotated[float, typer.Option(help="Seconds for scans.")] = 30.0,
    rebuild: bool = False,
) -> None:
    """Measure every size, print a table and plot it."""
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for size in (int(size) for size in sizes.split(",")):
        folder = out / (f"scale-{size}-{tokens}" if tokens else f"scale-{size}")
        record = folder / "built.json"
        if rebuild or not record.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _log(f"{size} passages: build")
            built = _alone(build, embeddings, folder / "index", size, bits, tokens)
            record.write_text(json.dumps(built), encoding="utf-8")
        row = {"passages": size, **json.loads(record.read_text(encoding="utf-8"))}
        if not search:
            continue
        _log(f"{size} passages: open")
        row |= _alone(open_engine, folder / "index")
        for threads in (n for n in (1, 2) if n <= available_cores()):
            _log(f"{size} passages: search on {threads} threads")
            measured = _alone(
                search_index, embeddings, folder / "index", queries, threads, patience
            )
            row |= {f"{name}, {threads}": value for name, value in measured.items()}
        rows.append(row)
        (out / "scale.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    if search:
        whole = f"cut to {tokens} tokens" if tokens else "whole"
        print(f"Passages are {whole}; of a size beyond the saved ones most are made up.\n")
        print(table(rows))
        plot(rows, out / "scale.png")


def build(embeddings: Path, folder: Path, size: int, bits: int, cut: int) -> dict[str, float]:
    """Build an index of `size` passages of at most `cut` tokens."""
    saved = read_passages(embeddings)
    held = resident_bytes()
    forget_peak()
    tokens, making = 0, 0.0

    def part(number: int) -> Passages:
        nonlocal tokens, making
        start = time.perf_counter()
        passages = _sample(saved, number, size, cut)
        making += time.perf_counter() - start
        tokens += len(passages.token_ids)
        return passages

    start = time.perf_counter()
    write_index(folder, part, size, bits=bits)
    seconds = time.perf_counter() - start - making
    return {
        "build_seconds": seconds,
        "build_peak_bytes": peak_bytes() - held,
        "tokens": tokens,
        "index_bytes": index_bytes(folder),
    }


def open_engine(folder: Path) -> dict[str, float]:
    """Open an index that this process knows nothing of."""
    before = resident_bytes()
    start = time.perf_counter()
    with Engine.open(folder):
        seconds = time.perf_counter() - start
        after = resident_bytes()
    return {
        "open_seconds": seconds,
        "open_bytes": after - before,
        "open_process_bytes": after,
    }


def search_index(
    embeddings: Path, folder: Path, n_queries: int, threads: int, patience: float
) -> dict[str, float]:
    """Search with the defaults, then scan, as far as time allows."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    os.environ["RAG_TOOLS_THREADS"] = str(threads)
    queries = read_queries(embeddings)[:n_queries]
    with Reader(folder).view() as view:
        snapshot = view.snapshot
    start = time.perf_counter()
    matches_of(snapshot, queries[0], _K, quality="balanced")
    first = time.perf_counter() - start
    for query in queries[:_WARM_UP]:
        matches_of(snapshot, query, _K, quality="balanced")
    found, milliseconds = _timed(
        lambda query: matches_of(snapshot, query, _K, quality="balanced"), queries
    )
    resident = resident_bytes()
    exact, scan = _timed(
        lambda query: matches_of(snapshot, query, _K, quality="exact"), queries, patience
    )
    # Passages that tie with the last of the exact are as right: scores decide.
    recall = np.mean(
        [
            np.mean([match.score >= right[-1].score for match in best])
            for best, right in zip(found, exact, strict=False)
        ]
    )
    return {
        "first_ms": first * 1e3,
        "p50_ms": float(np.percentile(milliseconds, 50)),
        "p95_ms": float(np.percentile(milliseconds, 95)),
        "scan_p50_ms": float(np.percentile(scan, 50)),
        "recall@10": float(recall),
        "scanned": len(scan),
        "resident_bytes": resident,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    return markdown(
        ["passages", "tokens", "build s", "passages/s", "build MB", "bytes/token", "open s",
         "open MB", "open MB, process", "searching MB", "p50 / p95 ms, 1 thread",
         "p50 / p95 ms, 2 threads", "scan ms, 1 thread", "recall@10"],
        [
            [f"{row['passages']:,}", f"{row['tokens']:,}", f"{row['build_seconds']:.1f}",
             f"{row['passages'] / row['build_seconds']:.0f}",
             f"{row['build_peak_bytes'] / 1e6:,.0f}",
             f"{row['index_bytes'] / row['tokens']:.1f}",
             f"{row['open_seconds']:.3f}", f"{row['open_bytes'] / 1e6:.1f}",
             f"{row['open_process_bytes'] / 1e6:.0f}",
             f"{row['resident_bytes, 1'] / 1e6:,.0f}",
             *(f"{row[f'p50_ms, {n}']:.2f} / {row[f'p95_ms, {n}']:.2f}"
               if f"p50_ms, {n}" in row else "" for n in (1, 2)),
             f"{row['scan_p50_ms, 1']:.1f}", f"{row['recall@10, 1']:.4f}"]
            for row in rows
        ],
    )  # fmt: skip


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw how everything grows."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    sizes = [row["passages"] for row in rows]
    figure, axes = pyplot.subplots(1, 4, figsize=(15, 3.6))
    for name, label in (
        ("p50_ms, 1", "median, 1 thread"),
        ("p95_ms, 1", "95 %, 1 thread"),
        ("p50_ms, 2", "median, 2 threads"),
        ("scan_p50_ms, 1", "scan, 1 thread"),
    ):
        axes[0].plot(sizes, [row.get(name) for row in rows], marker="o", label=label)
    axes[0].set_title("search, ms")
    axes[1].plot(sizes, [row["build_seconds"] for row in rows], marker="o")
    axes[1].set_title("build without encoding, s")
    for name, label in (
        ("build_peak_bytes", "building, passages aside"),
        ("resident_bytes, 1", "searching"),
        ("open_process_bytes", "opened"),
    ):
        axes[2].plot(sizes, [row[name] / 1e6 for row in rows], marker="o", label=label)
    axes[2].set_title("resident, MB")
    axes[3].plot(sizes, [row["index_bytes"] / row["tokens"] for row in rows], marker="o")
    axes[3].set_title("bytes per token")
    axes[3].set_ylim(bottom=0)
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xlabel("passages")
        axis.grid(alpha=0.3)
    for axis in axes[:3]:
        axis.set_yscale("log")
    for axis in (axes[0], axes[2]):
        axis.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _sample(saved: Passages, number: int, size: int, cut: int) -> Passages:
    """Return the passages from `number` times `PART` on; the same at every call."""
    numbers = np.arange(number * PART, min((number + 1) * PART, size))
    rounds, rows = np.divmod(numbers, len(saved))
    positions = np.concatenate(
        [
            np.random.default_rng(again).permutation(len(saved))[rows[rounds == again]]
            for again in np.unique(rounds)
        ]
    )
    passages = saved.take(positions)
    if cut:
        passages = _cut(passages, cut, number)
    made_up = np.repeat(rounds > 0, passages.sizes)
    if not made_up.any():
        return passages
    vectors = passages.vectors[made_up].astype(np.float32)
    random = np.random.default_rng([number, size])
    noise = random.standard_normal(vectors.shape, dtype=np.float32)
    vectors += noise * np.float32(NOISE / np.sqrt(vectors.shape[1]))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    passages.vectors[made_up] = vectors
    return passages


def _cut(passages: Passages, cut: int, seed: int) -> Passages:
    """Return of each passage one run of at most `cut` tokens, drawn among those that tile it."""
    runs = -(-passages.sizes // cut)
    starts = np.random.default_rng([seed, cut]).integers(0, np.maximum(runs, 1)) * cut
    sizes = np.minimum(passages.sizes - starts, cut)
    ends = np.cumsum(sizes)
    rows = np.repeat(passages.offsets[:-1] + starts - (ends - sizes), sizes)
    rows += np.arange(len(rows))
    return Passages(
        passages.vectors[rows],
        passages.token_ids[rows],
        passages.spans[rows],
        sizes,
        passages.pooled,
    )


def _timed(
    work: Callable[[NDArray[np.float32]], list[Any]],
    queries: list[NDArray[np.float32]],
    patience: float = float("inf"),
) -> tuple[list[list[Any]], list[float]]:
    results, milliseconds = [], []
    began = time.perf_counter()
    for query in queries:
        start = time.perf_counter()
        results.append(work(query))
        milliseconds.append((time.perf_counter() - start) * 1e3)
        if time.perf_counter() - began > patience:
            break
    return results, milliseconds


def _alone(work: Callable[..., dict[str, float]], *arguments: object) -> dict[str, float]:
    """Run `work` in a new process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *arguments).result()


def _log(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
