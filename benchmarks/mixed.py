"""Readers at full load beside a writer: ``mixed.py [--readers 8] [--changes 10000] [--faults]``.

Groups of small documents are added, edited and deleted, several groups in a commit and each as a
whole. Every text names its group and version, so each reader can tell of each answer whether it is
of one commit: all hits of a group have one version, none is missing, and each text is that of its
version to the letter. Readers work alone first, then beside the writer until it has made its
changes, then alone again: what the writer costs them is measured within one run.

With ``--faults``, which runs for ``--minutes``, the writer's calls that change files fail now and
then (the disk is full, the device fails), and it is killed and started again. What it was told is
committed must be there, and memory, open files and the size of the index, which are printed every
ten seconds, mustn't grow. Faults need Linux and gcc; so do the figures about processes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import faulting
from rag_tools import Document, Engine
from rag_tools.disk import bytes_on_disk
from rag_tools.errors import IndexCorruptError, RagToolsError

GROUPS, SIZE = 40, 10
TOGETHER = 10  # groups in a commit
VERSIONS = 6  # after which texts come again
WORDS = [
    "river",
    "lake",
    "heron",
    "pike",
    "reed",
    "tide",
    "ferry",
    "mill",
    "bridge",
    "island",
    "harbour",
    "lantern",
]

SLOWER = 1.5
"""Limit: the 95th percentile of a search beside the writer, as a multiple of that without."""


def text(group: int, member: int, version: int) -> str:
    """Return the text of a document, which tells all about it."""
    rng = random.Random(f"{group} {member} {version % VERSIONS}")
    said = " ".join(rng.choices(WORDS, k=8))
    return f"Group {group} member {member} says in version {version % VERSIONS}: {said}."


def documents(group: int, version: int) -> list[Document]:
    """Return a group whole."""
    return [
        Document(
            uri=f"mixed:{group}:{member}",
            id=f"g{group}-{member}",
            text=text(group, member, version),
            metadata={"group": group, "version": version},
        )
        for member in range(SIZE)
    ]


# -- reading -------------------------------------------------------------------------------------


def read(directory: str, seed: int) -> None:
    """Search until standard input ends; say how long each search took, and what was wrong."""
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    rng = random.Random(seed)
    with Engine.open(directory) as engine:
        engine.warm()
        print(json.dumps({"ready": True}), flush=True)
        taken: list[tuple[float, float]] = []
        while not stop.is_set():
            group = rng.randrange(GROUPS)
            began = time.perf_counter()
            try:
                found = engine.search(
                    f"what does group {group} say about the {rng.choice(WORDS)}",
                    limit=2 * SIZE,
                    filter={"group": group} if rng.random() < 0.5 else None,
                )
                problem = wrong(found.results, group)
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
            taken.append((time.time(), time.perf_counter() - began))
            if problem:
                print(json.dumps({"problem": problem}), flush=True)
            if len(taken) >= 50:
                print(json.dumps({"taken": taken}), flush=True)
                taken = []
        print(json.dumps({"taken": taken}), flush=True)


def wrong(hits: tuple, asked: int) -> str:
    """Return what shows that hits aren't of one commit; nothing if they are."""
    versions: dict[int, set[int]] = defaultdict(set)
    members: dict[int, set[str]] = defaultdict(set)
    for hit in hits:
        group, member = map(int, hit.document_id[1:].split("-"))
        version = int(hit.metadata["version"])
        if hit.text != text(group, member, version):
            return f"{hit.document_id} in version {version} says {hit.text!r}"
        if any(hit.text[each.start : each.end] != each.quote for each in hit.citations):
            return f"{hit.document_id}: a quote isn't where it is said to be"
        versions[group].add(version)
        members[group] |= {hit.document_id, *(each.id.split(":")[0] for each in hit.also_in)}
    mixed = {group: found for group, found in versions.items() if len(found) > 1}
    if mixed:
        return f"versions of two commits: {mixed}"
    if len(versions) == 1 and asked in versions and len(members[asked]) != SIZE:
        return f"of group {asked}, there are {sorted(members[asked])}"
    return ""


# -- writing -------------------------------------------------------------------------------------


def write(directory: str, changes: int, seed: int, library: str) -> None:
    """Change groups; say before and after each commit what is in it."""
    rng = random.Random(seed)
    faults = _Faults(directory, library, rng) if library else None
    with Engine.open(directory) as engine:
        now = versions(engine)
        made = 0
        while made < changes:
            chosen = rng.sample(range(GROUPS), TOGETHER)
            gone = {group: None for group in chosen if group in now and rng.random() < 0.3}
            other = {group: now.get(group, 0) + 1 for group in chosen if group not in gone}
            for some in filter(None, (other, gone)):
                if faults is not None:
                    faults.arm()
                print(json.dumps({"begin": some}), flush=True)
                try:
                    _change(engine, some)
                except RagToolsError as error:
                    if faults is not None:
                        faults.disarm()
                    damage = isinstance(error, IndexCorruptError)
                    said = {"problem": str(error)} if damage else {"failed": versions(engine)}
                    print(json.dumps(said), flush=True)
                else:
                    print(json.dumps({"done": some}), flush=True)
                    made += SIZE * len(some)
                if faults is not None:
                    faults.disarm()
            now = versions(engine)


def _change(engine: Engine, some: dict[int, int] | dict[int, None]) -> None:
    """Add or replace groups in one commit, or delete them, where they have no version."""
    if None in some.values():
        engine.delete(f"g{group}-{member}" for group in some for member in range(SIZE))
    else:
        engine.add(each for group, version in some.items() for each in documents(group, version))


class _Faults:
    """Has calls that change files fail now and then, in this process."""

    def __init__(self, directory: str, library: str, rng: random.Random) -> None:
        self._directory, self._rng, self._faults = os.fsencode(directory), rng, ctypes.CDLL(library)
        number = ctypes.c_long
        self._faults.fault_arm.argtypes = [
            ctypes.c_char_p,
            number,
            ctypes.c_int,
            number,
            ctypes.c_int,
        ]

    def arm(self) -> None:
        rng = self._rng
        if rng.random() < 0.3:
            kind, lasting = ord(rng.choice("nnniiik")), rng.choice([1, 1, 5, 1000])
            self._faults.fault_arm(self._directory, rng.randint(1, 250), kind, lasting, -1)

    def disarm(self) -> None:
        self._faults.fault_disarm()


def versions(engine: Engine) -> dict[int, int]:
    """Return the version of each group that is there; raise if it isn't there as a whole."""
    found: dict[int, list[int]] = defaultdict(list)
    for entry in engine.documents():
        found[int(entry.metadata["group"])].append(int(entry.metadata["version"]))
    for group, some in found.items():
        assert len(some) == SIZE and len(set(some)) == 1, (group, some)
    return {group: some[0] for group, some in found.items()}


# -- both ----------------------------------------------------------------------------------------


class Run:
    """The processes of a run, and what they said."""

    def __init__(self, directory: Path, readers: int, library: Path | None) -> None:
        self.directory, self.library = directory, library
        self.taken: list[tuple[float, float]] = []
        self.problems: list[str] = []
        self.committed: dict[str, int | None] = {}
        self.begun: dict[str, int | None] = {}
        self.changes = self.failures = self.kills = 0
        self.readers = [self._start("read", str(number)) for number in range(readers)]
        self._listening = [
            threading.Thread(target=self._listen, args=(each,), daemon=True)
            for each in self.readers
        ]
        for each in self.readers:
            each.stdout.readline()
        for thread in self._listening:
            thread.start()

    def _start(self, *arguments: str, **environment: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, __file__, "--as", *arguments, str(self.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )

    def _listen(self, reader: subprocess.Popen) -> None:
        for line in reader.stdout:
            said = json.loads(line)
            self.taken += said.get("taken", [])
            self.problems += [said["problem"]] if "problem" in said else []

    def write(self, changes: int, seed: int, until: float) -> None:
        """Run one writer to its end, or until it is killed."""
        preload = {"LD_PRELOAD": str(self.library)} if self.library else {}
        library = str(self.library or "")
        writer = self._start("write", f"{changes},{seed},{library}", **preload)
        timer = threading.Timer(max(until - time.monotonic(), 0.1), writer.kill)
        timer.start()
        self.writer = writer
        for line in writer.stdout:
            said = json.loads(line)
            if "begin" in said:
                self.begun = said["begin"]
            elif "done" in said:
                self.committed |= said["done"]
                self.changes += SIZE * len(said["done"])
                self.begun = {}
            elif "failed" in said:
                self.failures += 1
                self._settle({int(group): found for group, found in said["failed"].items()})
            else:
                self.problems.append(said["problem"])
        code = writer.wait()
        timer.cancel()
        self.kills += code == -9
        if code not in (0, -9):
            self.problems.append(f"the writer ended with {code}")
        self._settle(self._versions())

    def _versions(self) -> dict[int, int]:
        with Engine.open(self.directory) as engine:
            return versions(engine)

    def _settle(self, now: dict[int, int]) -> None:
        """After a failure, what was begun is there or isn't, and what was done is there."""
        for group, version in self.committed.items():
            allowed = {version, self.begun.get(group, version)}
            if now.get(int(group)) not in allowed:
                self.problems.append(f"group {group}: {now.get(int(group))} instead of {allowed}")
        self.committed |= {group: now.get(int(group)) for group in self.begun}
        self.begun = {}

    def close(self) -> None:
        """End the readers, and check the index."""
        for each in self.readers:
            each.stdin.close()
        for each, thread in zip(self.readers, self._listening, strict=True):
            if each.wait(60):
                self.problems.append(f"a reader ended with {each.returncode}")
            thread.join(60)
        with Engine.open(self.directory) as engine:
            engine.check()
        self._settle(self._versions())

    def figures(self) -> dict[str, float]:
        """Return memory in MiB and open files, the most of a reader and those of the writer."""
        figures = {"index": bytes_on_disk(self.directory) / 2**20}
        log = self.directory / "catalog.sqlite-wal"
        figures["log"] = log.stat().st_size / 2**20 if log.exists() else 0.0
        for name, some in (("reader", self.readers), ("writer", [self.writer])):
            with_figures = [each for each in map(_figures, (p.pid for p in some)) if each]
            figures[f"{name} MiB"] = max((each[0] for each in with_figures), default=0.0)
            figures[f"{name} files"] = max((each[1] for each in with_figures), default=0)
        return figures


def _figures(pid: int) -> tuple[float, int] | None:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(
            list(Path(f"/proc/{pid}/fd").iterdir())
        )
    except (OSError, IndexError):
        return None


def quiet_and_busy(run: Run, given: argparse.Namespace) -> float:
    """Measure searches without the writer, beside it, and without; return how much slower."""
    marks = [time.time()]
    time.sleep(given.alone)
    marks.append(time.time())
    run.write(given.changes, given.seed, time.monotonic() + 60 * given.minutes)
    marks.append(time.time())
    time.sleep(given.alone)
    marks.append(time.time())
    run.close()
    worst = []
    for name, low, high in (
        ("without", marks[0], marks[1]),
        ("beside the writer", marks[1], marks[2]),
        ("without", marks[2], marks[3]),
    ):
        some = sorted(taken for when, taken in run.taken if low <= when < high)
        p50, p95 = (some[int(share * len(some))] for share in (0.5, 0.95))
        worst.append(p95)
        print(
            f"{name:<18}{high - low:>6.0f} s{len(some):>8,} searches   p50 {1000 * p50:6.1f} ms   "
            f"p95 {1000 * p95:6.1f} ms"
        )
    ratio = worst[1] / statistics.mean([worst[0], worst[2]])
    print(f"{run.changes:,} changes; p95 beside the writer is {ratio:.2f} times that without")
    return ratio


def with_faults(run: Run, given: argparse.Namespace) -> None:
    """Write with faults for some minutes, and print figures every ten seconds."""
    began, seed = time.monotonic(), given.seed
    until = began + 60 * given.minutes
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(10):
            figures = "  ".join(f"{name} {value:.1f}" for name, value in run.figures().items())
            print(
                f"{time.monotonic() - began:5.0f} s  {figures}  {len(run.taken):,} searches  "
                f"{run.changes:,} changes  {run.failures} failures  {run.kills} kills",
                flush=True,
            )

    looking = threading.Thread(target=look)
    while time.monotonic() < until:
        seed += 1
        if seed == given.seed + 1:
            threading.Timer(1, looking.start).start()
        run.write(1 << 40, seed, until)
    ended.set()
    looking.join()
    run.close()


def main() -> int:
    """Run; return 1 if anything was wrong, or the writer cost the readers too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--changes", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=5, help="for the writer, at most")
    parser.add_argument("--alone", type=float, default=30, help="seconds without the writer")
    parser.add_argument("--faults", action="store_true", help="see above")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="fail above the limit")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with TemporaryDirectory() as folder:
        library = faulting.library(Path(folder)) if given.faults else None
        directory = Path(folder) / "index"
        with Engine.open(directory, create=True) as engine:
            engine.add(each for group in range(GROUPS) for each in documents(group, 0))
        run = Run(directory, given.readers, library)
        slower = 0.0
        if given.faults:
            with_faults(run, given)
        else:
            slower = quiet_and_busy(run, given)
    print(
        f"{len(run.taken):,} searches, {run.changes:,} changes, {run.failures} failures, "
        f"{run.kills} kills: {len(run.problems)} problems"
    )
    for problem in run.problems[:20]:
        print(problem[:500])
    return int(bool(run.problems) or (given.check and slower > SLOWER))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as"]:
        role, argument, index = sys.argv[2:]
        if role == "read":
            read(index, int(argument))
        else:
            count, number, path = argument.split(",", 2)
            write(index, int(count), int(number), path)
    else:
        sys.exit(main())
