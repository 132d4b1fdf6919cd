"""Late-interaction engines on the same embeddings, in one run: recall, latency, build, memory.

    python benchmarks/peers/setup.sh ENVIRONMENTS
    python benchmarks/peers/embed.py DATA EMBEDDINGS
    python benchmarks/peers/run.py EMBEDDINGS --environments ENVIRONMENTS --out OUT

Engines run one after the other, each in a process and an environment of its own, once bound to one
core and once to two. Searches for ten passages are timed, another for a hundred gives recall@100.
Recall is against exact float MaxSim, memory that after searching with the first settings. There are
two corpora: all passages, and a small sample for what would take too long on all. Indexes are kept
in OUT with what building them took; ``--rebuild ENGINE`` makes them anew. Tables go to the output;
plots and ``results.json`` to OUT.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Annotated, Any

import report
import typer
from embeddings import count_passages
from truth import exact_ranking, recalls

from rag_tools.cores import available_cores
from rag_tools.index.dispatch import kernel_name

_HERE = Path(__file__).parent
_DEEPEST = 100  # rank that recall is measured to
_ENGINES = {
    "rag-tools": "ragtools",
    "TACHIOM": "tachiom",
    "fast-plaid": "fastplaid",
    "Qdrant": "qdrant",
    "exhaustive": "exhaustive",
}
# Every library's own way of counting threads; the affinity binds them all the same.
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS",
    "NUMBA_NUM_THREADS", "RAG_TOOLS_THREADS",
)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What one run shares."""

    embeddings: Path
    environments: Path | None
    out: Path
    queries: int
    patience: float
    build_limit: float
    threads: tuple[int, ...]


def main(
    embeddings: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="Indexes, results and plots.")],
    environments: Annotated[Path | None, typer.Option(help="What setup.sh made.")] = None,
    engines: Annotated[str, typer.Option(help="Some of them, comma-separated.")] = ",".join(
        _ENGINES
    ),
    passages: Annotated[int | None, typer.Option(help="Large corpus; default: all.")] = None,
    small: Annotated[int, typer.Option(help="Small corpus; 0: none.")] = 5_000,
    queries: Annotated[int, typer.Option(help="At most so many.")] = 150,
    patience: Annotated[float, typer.Option(help="Seconds for one point's queries.")] = 10.0,
    build_limit: Annotated[float, typer.Option(help="Seconds for one index.")] = 600.0,
    rebuild: Annotated[str, typer.Option(help="Engines to build anew, comma-separated.")] = "",
) -> None:
    """Measure every engine and report."""
    unknown = {*engines.split(","), *rebuild.split(",")} - {*_ENGINES, ""}
    if unknown:
        raise typer.BadParameter(f"{sorted(unknown)}: there are {', '.join(_ENGINES)}")
    out.mkdir(parents=True, exist_ok=True)
    threads = tuple(n for n in (1, 2) if n <= available_cores())
    bench = Bench(embeddings, environments, out, queries, patience, build_limit, threads)
    total = count_passages(embeddings)
    large = min(passages or total, total)
    results: list[dict[str, Any]] = []
    for size in dict.fromkeys([large, min(small, large)] if small else [large]):
        _log(f"{size} passages: exact ranking")
        exact = exact_ranking(embeddings, out, limit=None if size == total else size, k=_DEEPEST)
        for name in engines.split(","):
            engine = importlib.import_module(f"engines.{_ENGINES[name]}")
            if engine.SMALL and size != small and size == large:
                continue
            for build_name in engine.INDEXES:
                row = {"engine": name, "build": build_name, "passages": size}
                row |= _measure(bench, engine, name, build_name, size, rebuild.split(","))
                for point in row.get("points", ()):
                    point["recalls@10"] = recalls(point.pop("found"), exact, 10)
                    point["recall@10"] = fmean(point["recalls@10"])
                    point["recall@100"] = fmean(recalls(point.pop("deep"), exact, 100))
                results.append(row)
                (out / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    print(report.tables(results, kernel=kernel_name()))
    report.plot(results, out)


def _measure(
    bench: Bench, engine: ModuleType, name: str, build_name: str, size: int, rebuild: list[str]
) -> dict[str, Any]:
    """Build an index unless it is there, and search it with each number of threads."""
    python = _python(bench, engine)
    if python is None:
        _log(f"{name}: not installed")
        return {"failed": "not installed"}
    index = bench.out / "indexes" / f"{_ENGINES[name]}-{build_name.replace(' ', '-')}-{size}"
    if name in rebuild:
        shutil.rmtree(index, ignore_errors=True)
    built = _build(bench, engine, python, index, build_name, size)
    if "failed" in built:
        return built
    row: dict[str, Any] = {"built": built, "searched": [], "points": []}
    searches = engine.INDEXES[build_name].searches
    for threads in bench.threads:
        _log(f"{name}, {build_name}, {size} passages: search on {threads} threads")
        job = {
            "embeddings": str(bench.embeddings),
            "index": str(index / "index"),
            "threads": threads,
            "queries": bench.queries,
            "patience": bench.patience,
            "searches": searches,
        }
        limit = 120 + 4 * bench.patience * len(searches)
        answer = _drive(python, "search", engine, job, threads, limit)
        if "failed" in answer:
            return row | answer
        row["points"] += [{"threads": threads, **point} for point in answer.pop("points")]
        row["searched"].append({"threads": threads, **answer})
    return row


def _build(
    bench: Bench, engine: ModuleType, python: Path, index: Path, build_name: str, size: int
) -> dict[str, Any]:
    """Build an index with all cores, or return what building it took, or that it failed."""
    record = index / "built.json"
    if record.exists():
        built: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        # A failure is kept too, or every run would wait for the limit again.
        if built["limit"] >= bench.build_limit or "failed" not in built:
            return built
    shutil.rmtree(index, ignore_errors=True)
    (index / "index").mkdir(parents=True)
    _log(f"{index.name}: build")
    job = {
        "embeddings": str(bench.embeddings),
        "index": str(index / "index"),
        "passages": size,
        "settings": engine.INDEXES[build_name].build,
    }
    threads = max(bench.threads)
    built = _drive(python, "build", engine, job, threads, bench.build_limit)
    built |= {"limit": bench.build_limit, "threads": threads}
    if "failed" in built:
        shutil.rmtree(index / "index")
    record.write_text(json.dumps(built), encoding="utf-8")
    return built


def _drive(
    python: Path, verb: str, engine: ModuleType, job: dict[str, Any], threads: int, limit: float
) -> dict[str, Any]:
    """Run one job in a process of its own, on so many cores."""
    environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}
    cores = sorted(os.sched_getaffinity(0))[:threads]
    name = engine.__name__.removeprefix("engines.")
    with subprocess.Popen(
        [python, _HERE / "drive.py", verb, name, json.dumps(job)],
        env=environment,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return {"failed": f"> {limit:.0f} s to {verb}"}
    if process.returncode:
        return {"failed": f"{verb} ended with {process.returncode}"}
    answer: dict[str, Any] = json.loads(output)
    return answer


def _python(bench: Bench, engine: ModuleType) -> Path | None:
    if engine.ENVIRONMENT is None:
        return Path(sys.executable)
    if bench.environments is None:
        return None
    folder = bench.environments / engine.ENVIRONMENT
    return folder.absolute() / "bin" / "python" if (folder / "ready").exists() else None


def _log(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
