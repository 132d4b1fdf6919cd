"""Tables and plots of what ``run.py`` measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

Row = dict[str, Any]
Point = dict[str, Any]

_OURS = "rag-tools"
_CEILING = 0.99  # share of an engine's best recall at which engines are compared


def tables(rows: Sequence[Row], *, kernel: str) -> str:
    """Return everything measured, as Markdown."""
    sizes = dict.fromkeys(row["passages"] for row in rows)
    sections = [f"rag-tools runs its kernel {kernel}."]
    for size in sizes:
        chosen = [row for row in rows if row["passages"] == size]
        sections += [
            f"## {size:,} passages",
            _indexes(chosen),
            "Searches; of each index and number of threads those that no other beats in both "
            "recall@10 and median latency.",
            _searches(chosen),
            f"At {_CEILING} of the best recall@10 that a peer's index reaches, and the fastest "
            "search of rag-tools with no lower recall@10.",
            _compared(chosen),
            "Exhaustive scoring.",
            _exhaustive(chosen),
        ]
    return "\n\n".join(sections)


def plot(rows: Sequence[Row], out: Path) -> None:
    """Write a plot of recall against latency for every corpus."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    for size in dict.fromkeys(row["passages"] for row in rows):
        figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), sharey=True)
        for axis, threads in zip(axes, (1, 2), strict=True):
            for row in rows:
                points = front(_points(row, threads))
                if row["passages"] == size and points:
                    axis.plot(
                        [point["p50_ms"] for point in points],
                        [point["recall@10"] for point in points],
                        marker="o",
                        markersize=4,
                        label=_name(row),
                    )
            axis.set_xscale("log")
            axis.set_xticks([2, 5, 10, 20, 50, 100], [2, 5, 10, 20, 50, 100])
            axis.minorticks_off()
            axis.set_xlabel("median latency, ms")
            axis.set_title(f"{size:,} passages, {threads} thread{'s' if threads > 1 else ''}")
            axis.grid(alpha=0.3)
        axes[0].set_ylabel("recall@10 against exact MaxSim")
        axes[1].legend(fontsize="small", loc="lower right")
        figure.tight_layout()
        figure.savefig(out / f"recall-latency-{size}.png", dpi=110)
        pyplot.close(figure)


def front(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other beats in both recall@10 and median latency, by latency."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: (point["p50_ms"], -point["recall@10"])):
        if not kept or point["recall@10"] > kept[-1]["recall@10"]:
            kept.append(point)
    return kept


def markdown(head: list[str], lines: list[list[str]]) -> str:
    """Return a Markdown table."""
    if not lines:
        return "(none)"
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines])


def _indexes(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        if "built" not in row:
            lines.append([_name(row), row["failed"], "", "", "", ""])
            continue
        built = row["built"]
        searched = {entry["threads"]: entry for entry in row["searched"]}
        lines.append(
            [
                _name(row),
                f"{built['seconds']:.1f}" + (f"; {row['failed']}" if "failed" in row else ""),
                f"{built['index_bytes'] / built['tokens']:.1f}",
                f"{built['building_bytes'] / 1e6:,.0f}",
                f"{row['points'][0]['resident_bytes'] / 1e6:,.0f}" if 1 in searched else "",
                f"{searched[1]['open_seconds']:.3f}" if 1 in searched else "",
            ]
        )
    return markdown(
        ["index", "build s", "bytes/token", "MB building", "MB searching", "open s"], lines
    )


def _searches(rows: Sequence[Row]) -> str:
    return markdown(
        ["index", "threads", "search", "recall@10", "recall@100", "p50 ms", "p95 ms", "CPU ms",
         "queries/s", "queries"],
        [
            [_name(row), str(threads), _settings(point), f"{point['recall@10']:.4f}",
             f"{point['recall@100']:.4f}", f"{point['p50_ms']:.2f}", f"{point['p95_ms']:.2f}",
             f"{point['cpu_ms']:.2f}",
             f"{point['queries_per_second']:.0f}", str(len(point["recalls@10"]))]
            for row in rows
            for threads in (1, 2)
            for point in front(_points(row, threads))
        ],
    )  # fmt: skip


def _compared(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        for mine in rows:
            if mine["engine"] != _OURS or row["engine"] in (_OURS, "exhaustive"):
                continue
            for threads in (1, 2):
                theirs, ours = _points(row, threads), _points(mine, threads)
                if theirs and ours:
                    lines.append([_name(row), str(threads), _name(mine), *_against(theirs, ours)])
    return markdown(
        ["peer", "threads", "rag-tools", "peer's recall@10", "p50 ms", "recall@10", "p50 ms",
         "faster"],
        lines,
    )  # fmt: skip


def _against(theirs: list[Point], ours: list[Point]) -> list[str]:
    # A slow search may have answered fewer queries: recall is compared on those that all have.
    n = min(len(point["recalls@10"]) for point in theirs + ours)
    recall = {id(point): fmean(point["recalls@10"][:n]) for point in theirs + ours}
    ceiling = max(recall[id(point)] for point in theirs)
    peer = min((point for point in theirs if recall[id(point)] >= _CEILING * ceiling), key=_latency)
    figures = [f"{recall[id(peer)]:.4f}", f"{peer['p50_ms']:.2f}"]
    enough = [point for point in ours if recall[id(point)] >= recall[id(peer)]]
    if not enough:
        best = max(recall[id(point)] for point in ours)
        return [*figures, f"at most {best:.4f}", "", ""]
    point = min(enough, key=_latency)
    faster = peer["p50_ms"] / point["p50_ms"]
    return [*figures, f"{recall[id(point)]:.4f}", f"{point['p50_ms']:.2f}", f"{faster:.1f}×"]


def _latency(point: Point) -> float:
    return float(point["p50_ms"])


def _exhaustive(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        for point in row.get("points", ()):
            if row["engine"] == "exhaustive" or point["settings"].get("quality") == "exact":
                per_thousand = point["p50_ms"] / row["passages"] * 1000
                lines.append(
                    [_name(row), str(point["threads"]), f"{per_thousand:.3f}",
                     f"{point['recall@10']:.4f}", f"{point['recall@100']:.4f}"]
                )  # fmt: skip
    return markdown(
        ["kernel", "threads", "ms per 1,000 passages", "recall@10", "recall@100"], lines
    )


def _points(row: Row, threads: int) -> list[Point]:
    return [point for point in row.get("points", ()) if point["threads"] == threads]


def _name(row: Row) -> str:
    return row["build"] if row["engine"] == "exhaustive" else f"{row['engine']}, {row['build']}"


def _settings(point: Point) -> str:
    return ", ".join(f"{key} {value}" for key, value in point["settings"].items()) or "all"
