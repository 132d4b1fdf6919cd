"""Runs one engine in its own environment; started by ``run.py``, never by hand.

    python drive.py build|search ENGINE JSON

JSON is the job; one JSON document about it is printed. NumPy is all it needs beside the engine.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from embeddings import read_passages, read_queries
from memory import forget_peak, peak_bytes, resident_bytes
from numpy.typing import NDArray

_WARM_UP = 5  # queries answered before the clock starts
_K = 10  # passages of a search that is timed
_DEEP_K = 100  # of one that isn't, for recall@100
_LEAST = 50  # queries of a point, however slow


def main() -> None:
    """Do one job."""
    # What an engine prints must not get into the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    verb, engine, job = sys.argv[1:]
    work = {"build": build, "search": search}[verb]
    result = work(importlib.import_module(f"engines.{engine}"), json.loads(job))
    json.dump(result, answer)
    answer.flush()
    os._exit(0)  # threads of an engine's own may not end by themselves


def build(engine: ModuleType, job: dict[str, Any]) -> dict[str, Any]:
    """Build an index in ``job["index"]``; reading the embeddings isn't counted."""
    folder = Path(job["index"])
    passages = read_passages(Path(job["embeddings"]), limit=job["passages"])
    held = resident_bytes()
    forget_peak()
    start = time.perf_counter()
    engine.build(passages, folder, **job["settings"])
    seconds = time.perf_counter() - start
    files = getattr(engine, "index_bytes", _all_bytes)
    return {
        "seconds": seconds,
        "index_bytes": files(folder),
        "passages": len(passages),
        "tokens": len(passages.token_ids),
        "building_bytes": peak_bytes() - held,
    }


def search(engine: ModuleType, job: dict[str, Any]) -> dict[str, Any]:
    """Measure every point of ``job["searches"]`` with one open index."""
    queries = read_queries(Path(job["embeddings"]))[: job["queries"]]
    start = time.perf_counter()
    searcher = engine.open_index(Path(job["index"]), job["threads"])
    opening = time.perf_counter() - start
    points = [
        {"settings": settings, **_measure(searcher, queries, job, settings)}
        for settings in job["searches"]
    ]
    return {"open_seconds": opening, "points": points}


def _measure(
    searcher: Any,  # noqa: ANN401 - see `engines`
    queries: list[NDArray[np.float32]],
    job: dict[str, Any],
    settings: dict[str, Any],
) -> dict[str, Any]:
    patience = job["patience"]
    began = time.perf_counter()
    for query in queries[:_WARM_UP]:
        searcher.search(query, _K, **settings)
        if time.perf_counter() - began > patience / 4:
            break
    found, milliseconds = [], []
    began, spent = time.perf_counter(), time.process_time()
    for query in queries:
        start = time.perf_counter()
        ids = searcher.search(query, _K, **settings)
        milliseconds.append((time.perf_counter() - start) * 1e3)
        found.append(_plain(ids))
        if len(found) >= _LEAST and time.perf_counter() - began > patience:
            break
    spent = time.process_time() - spent
    resident = resident_bytes()
    answered = queries[: len(found)]
    seconds = sum(milliseconds) / 1e3
    if job["threads"] > 1 and hasattr(searcher, "search_all"):
        seconds = _timed(lambda: searcher.search_all(answered, _K, **settings))
    deep = []
    began = time.perf_counter()
    for query in answered:
        deep.append(_plain(searcher.search(query, _DEEP_K, **settings)))
        if len(deep) >= _LEAST and time.perf_counter() - began > patience / 2:
            break
    return {
        "found": found,
        "deep": deep,
        "resident_bytes": resident,
        "p50_ms": float(np.percentile(milliseconds, 50)),
        "p95_ms": float(np.percentile(milliseconds, 95)),
        "cpu_ms": spent * 1e3 / len(found),
        "queries_per_second": len(found) / seconds,
    }


def _plain(ids: Iterable[Any]) -> list[int]:
    return [int(id) for id in ids]


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _all_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
