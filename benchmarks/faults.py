"""Faults at every call that changes files: ``faults.py [--operations index …] [--points 100]``.

For each operation on a small index (indexing, watching, deleting, purging, compacting, upgrading,
backing up, restoring, repairing, importing and others), a call that changes files is made to fail,
and the process is killed, the disk is full, the device fails, or half of the data is written: once
or from then on. Afterwards, a new process must find the state of before or after, byte by byte:
texts, passages, spans, quotes and results; nothing damaged. Then the operation is done again, and
must give the state of after. After a failure that passes, it is done again in the same process too.

Each point is a line of JSON in the log, so a run that was interrupted goes on where it was. The
exit code says whether there were problems. Linux only; needs gcc.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import faulted
import faulting


def main() -> int:
    """Run the points that aren't in the log yet, and print what became of all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = list(faulted.OPERATIONS)
    parser.add_argument("--operations", nargs="*", default=names, choices=names, metavar="NAME")
    parser.add_argument("--kinds", nargs="*", default=faulting.KINDS, choices=faulting.KINDS)
    parser.add_argument("--points", type=int, default=0, help="of each operation; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of the texts, and of which points")
    parser.add_argument("--log", type=Path, default=Path("faults.jsonl"))
    parser.add_argument("--minutes", type=float, default=0, help="stop then; 0: at the end")
    given = parser.parse_args()
    if why := faulting.missing():
        print(why, file=sys.stderr)
        return 2
    known = _read(given.log, given.seed)
    until = time.monotonic() + 60 * given.minutes if given.minutes else float("inf")
    with (
        TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder,
        faulting.Server(Path(folder), seed=given.seed) as server,
        given.log.open("a", encoding="utf-8") as log,
    ):
        for name in given.operations:
            for fault in _chosen(list(server.faults(name, tuple(given.kinds))), given):
                key = (name, fault.call, fault.kind)
                if key in known or time.monotonic() > until:
                    continue
                point = server.fault(name, fault)
                known[key] = point
                log.write(faulting.as_json(point, seed=given.seed) + "\n")
                log.flush()
                if point.problem:
                    print(f"{name} {fault.call} {fault.kind} at {point.at}: {point.problem}")
    _print(list(known.values()))
    return int(any(point.problem for point in known.values()))


def _chosen(faults: list[faulting.Fault], given: argparse.Namespace) -> list[faulting.Fault]:
    """Return all faults, or some of them, spread evenly and shifted by the seed."""
    if not 0 < given.points < len(faults):
        return faults
    step = len(faults) / given.points
    shift = random.Random(given.seed).random() * step
    return [faults[int(shift + number * step)] for number in range(given.points)]


def _read(log: Path, seed: int) -> dict[tuple[str, int, str], faulting.Point]:
    known = {}
    if log.exists():
        for line in log.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            if values.pop("seed") == seed:
                point = faulting.Point(**values)
                known[point.operation, point.call, point.kind] = point
    return known


def _print(points: list[faulting.Point]) -> None:
    by_operation = defaultdict(list)
    for point in points:
        by_operation[point.operation].append(point)
    print(
        f"\n{'operation':<12}{'points':>8}{'before':>8}{'after':>8}{'problems':>10}{'seconds':>9}"
    )
    for name, some in [*by_operation.items(), ("all", points)]:
        states = Counter("before" if point.state == 0 else "after" for point in some)
        problems = sum(bool(point.problem) for point in some)
        seconds = sum(point.seconds for point in some) / max(len(some), 1)
        print(
            f"{name:<12}{len(some):>8,}{states['before']:>8,}{states['after']:>8,}"
            f"{problems:>10,}{seconds:>9.2f}"
        )
    print()
    for kind, number in Counter((point.kind, point.outcome) for point in points).most_common():
        print(f"{number:>7,}  {kind[0]}: {kind[1]}")


if __name__ == "__main__":
    sys.exit(main())
