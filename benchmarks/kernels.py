"""How fast the native kernels are: against NumPy, and against the arithmetic itself.

Usage: python benchmarks/kernels.py [--passages N] [--query-tokens N] [--bits 4|2|1]

Codes are random; cells are drawn so that candidates share them as on real text. Refine and scan
look for the ten best, and scores are spread (`SPREAD`) so that as many passages need a second look
as on real text. Times are of the processor.

The floor of an instruction set is the time that its multiply instruction alone takes for as many
products as the stage has, on registers, in the same process (``floor.cpp``, which needs a C++
compiler). Where bytes are multiplied (``avx512vnni``, ``avxvnni``, ``neon``), a score takes two
products for each byte, one for each byte of a 16-bit query value, so 2.0 is the least that a stage
can reach which scores everything ("score all"); with a coarse pass it is 1.0 and what is looked at
twice. The others (``avx2``, ``sse41``) multiply 16 bits at once, and the least is 1.0. The
kernel in plain C++ has no floor.
"""

from __future__ import annotations

import argparse
import ctypes
import os

# Before NumPy loads its BLAS: everything is measured on one thread.
os.environ.update(OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", RAG_TOOLS_THREADS="1")

import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag_tools.index import dispatch, kernels
from rag_tools.index.arrayfile import write_arrays
from rag_tools.index.cells import Gathering
from rag_tools.index.codebook import Codebook
from rag_tools.index.residual import ResidualCodec
from rag_tools.index.segment import Segment

PASSAGE_TOKENS = 180
CANDIDATES = 256
LIMIT = 10
# Standard deviation of scores among the candidates. Of 512 candidates of 60 questions to 46,000
# passages, 21 needed a second look on average; of the 256 here, 25 do.
SPREAD = 0.05
DIM = 128
# Gives the candidates 0.13 distinct cells per token, as the 256 best passages of Cranfield have.
CELL_SKEW = 24
# Products of one multiply instruction of each instruction set.
FLOOR_PRODUCTS = {"avx512vnni": 64, "avxvnni": 32, "avx2": 16, "sse41": 8, "neon": 16}
REPEATS = 51
LONGEST = 3.0  # seconds after which a measurement isn't repeated


def main() -> None:
    """Print one line per stage and kernel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=30_000)
    parser.add_argument("--query-tokens", type=int, default=32)
    parser.add_argument("--bits", type=int, default=4, choices=[4, 2, 1])
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        segment = make_segment(rng, Path(folder) / "segment", arguments.passages, arguments.bits)
        vectors = unit(rng.normal(size=(arguments.query_tokens, DIM)))
        compare(segment, vectors, rng, Floor(Path(folder)))


class Floor:
    """The multiply instructions of ``floor.cpp``, compiled into `folder`."""

    def __init__(self, folder: Path) -> None:
        source, library = Path(__file__).with_name("floor.cpp"), folder / "floor.so"
        compiler = os.environ.get("CXX", "c++")
        subprocess.run([compiler, "-O3", "-shared", "-fPIC", source, "-o", library], check=True)
        self._library = ctypes.CDLL(str(library))

    def seconds(self, kernel: str, products: int) -> float:
        """Return how long the instruction set of a kernel takes for so many products."""
        multiply = self._library[kernel]
        multiply.argtypes = [ctypes.c_uint64]
        return best_of(lambda: multiply(products // FLOOR_PRODUCTS[kernel]))


def compare(
    segment: Segment, vectors: NDArray[np.float32], rng: np.random.Generator, floor: Floor
) -> None:
    """Time every stage with every kernel."""
    n = len(vectors)
    weights = np.full(n, 1 / n, np.float32)
    everything = places_of(np.arange(len(segment)))
    candidates = places_of(np.sort(rng.permutation(len(segment))[:CANDIDATES]))
    nowhere = np.empty((0, 2), np.int64), np.empty(0, np.float32)
    sizes = np.diff(segment.cell_offsets).astype(np.int64)
    live = np.ones(len(segment), np.bool_)
    given = Gathering(
        segment.codebook, vectors, weights, sizes, [segment], [live], *nowhere,
        reach=4096, wanted=512,
    )  # fmt: skip

    def refine(places: NDArray[np.int64], limit: int) -> Callable[[], object]:
        priors = SPREAD * rng.normal(size=len(places))
        return lambda: kernels.refine(
            [segment], vectors, weights, places, priors, limit=limit, slack=1e-6
        )

    stages: dict[str, tuple[Callable[[], object], int]] = {
        "refine": (refine(candidates, LIMIT), CANDIDATES * PASSAGE_TOKENS),
        "score all": (refine(candidates, CANDIDATES), CANDIDATES * PASSAGE_TOKENS),
        "scan": (refine(everything, LIMIT), segment.n_tokens),
        "scan, score all": (refine(everything, len(segment)), segment.n_tokens),
        "centroid scores": (
            lambda: kernels.centroid_scores(segment.codebook, vectors),
            len(segment.codebook),
        ),
        "gather": (
            lambda: kernels.gather(given),
            len(segment.codebook),
        ),
        "align": (lambda: kernels.similarities(segment, vectors, 7), PASSAGE_TOKENS),
    }  # fmt: skip
    print(f"{len(segment)} passages of {PASSAGE_TOKENS} tokens, {DIM} dimensions, "
          f"{segment.codebook.codec.bits} bits, {n} query tokens, 1 thread")  # fmt: skip
    print(f"{'stage':16} {'kernel':12} {'ms':>9} {'numpy/kernel':>13} {'kernel/floor':>13}")
    for stage, (work, tokens) in stages.items():
        reference = timed("numpy", work)
        for kernel in dispatch.kernel_names():
            seconds = reference if kernel == "numpy" else timed(kernel, work)
            ratio = f"{'':13}"
            if kernel in FLOOR_PRODUCTS:
                ratio = f"{seconds / floor.seconds(kernel, tokens * n * DIM):13.2f}"
            print(
                f"{stage:16} {kernel:12} {seconds * 1e3:9.3f} {reference / seconds:13.1f} {ratio}"
            )


def places_of(positions: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return places in the first segment."""
    return np.stack([np.zeros(len(positions), np.int64), positions], axis=1)


def timed(kernel: str, work: Callable[[], object]) -> float:
    """Return how long `work` takes with one kernel."""
    os.environ["RAG_TOOLS_KERNEL"] = kernel
    return best_of(work)


def best_of(work: Callable[[], object]) -> float:
    """Return the least processor time of some runs: noise only ever adds."""
    best = float("inf")
    started = time.perf_counter()
    for _ in range(REPEATS):
        start = time.thread_time()
        work()
        best = min(best, time.thread_time() - start)
        if time.perf_counter() - started > LONGEST:
            break
    return best


def unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return `rows` scaled to unit length."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make_segment(rng: np.random.Generator, path: Path, n_passages: int, bits: int) -> Segment:
    """Write a segment of random codes."""
    n_tokens = n_passages * PASSAGE_TOKENS
    n_centroids = int(16 * np.sqrt(n_tokens))
    centroids = unit(rng.normal(size=(n_centroids, DIM)))
    scales = (np.abs(centroids).max(axis=1) / 127).astype(np.float32)
    codec = ResidualCodec.train(0.05 * rng.normal(size=(2000, DIM)).astype(np.float32), bits)
    codebook = Codebook(
        np.round(centroids / scales[:, None]).astype(np.int8),
        scales,
        np.arange(n_centroids, dtype=np.int32),
        codec,
    )
    blocks = -(-n_tokens // 16)
    # Postings of 50 passages a cell.
    members = rng.integers(0, n_passages, (n_centroids, 50), dtype=np.uint32)
    arrays = {
        "token_offsets": np.arange(n_passages + 1, dtype=np.int64) * PASSAGE_TOKENS,
        "centroids": (n_centroids * rng.random(n_tokens) ** CELL_SKEW).astype(
            np.uint16 if n_centroids <= np.iinfo(np.uint16).max else np.uint32
        ),
        "codes": rng.integers(0, 256, (blocks, DIM * bits // 32, 64), dtype=np.uint8),
        "gains": rng.integers(32, 96, n_tokens, dtype=np.uint8),
        "inverse_norms": rng.uniform(0.9, 1.1, n_tokens).astype(np.float16),
        "span_steps": np.zeros(n_tokens, np.uint8),
        "span_lengths": np.zeros(n_tokens, np.uint8),
        "odd_spans": np.zeros((0, 3), np.int64),
        "cells": np.arange(n_centroids, dtype=np.uint32),
        "cell_offsets": np.arange(0, members.size + 1, 50, dtype=np.uint32),
        "cell_passages": np.sort(members, axis=1).reshape(-1),
        "df_tokens": np.zeros(0, np.uint32),
        "df_counts": np.zeros(0, np.uint32),
    }
    write_arrays(path, "segment", {"bits": bits, "dim": DIM}, arrays)
    return Segment(path, codebook)


if __name__ == "__main__":
    main()
