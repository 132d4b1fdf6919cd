"""What is done to an index while calls fail, and what must be true of it afterwards.

Each `Operation` prepares a place, does something to it with public means, and says what state the
place is in: what every way of reading finds there. `faulting` runs it, in processes of their own.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from rag_tools import Document, Engine
from rag_tools.audit.log import AuditLog
from rag_tools.audit.verify import verify
from rag_tools.encode.embeddings import EncodedQuery
from rag_tools.maintenance.backup import backup, restore
from rag_tools.maintenance.checking import check
from rag_tools.maintenance.manifest import Manifest
from rag_tools.maintenance.repair import repair
from rag_tools.maintenance.space import compact, set_quota, vacuum
from rag_tools.maintenance.transfer import export, import_
from rag_tools.watch import Watcher

FORMATS = Path(__file__).parents[1] / "data" / "formats"

State = Any
"""What is in a place, as JSON."""

QUERIES: list[str | EncodedQuery] = ["where do herons nest", "backups tides"]
"""What is searched for; a server puts the encoded queries here."""

_THINGS = ("river", "lake", "heron", "pike", "reed", "tide", "backup", "ferry", "mill", "bridge")
_DOES = ("flows past", "rises above", "nests beside", "feeds", "hides below", "turns towards")
_KEY = b"sixteen bytes or more"


def text(rng: random.Random, sentences: int) -> str:
    """Return made-up sentences about few things."""
    return " ".join(
        f"The {rng.choice(_THINGS)} {rng.choice(_DOES)} the {rng.choice(_THINGS)} "
        f"{rng.randint(2, 99)} times."
        for _ in range(sentences)
    )


def documents(rng: random.Random, names: str, sentences: int = 2) -> list[Document]:
    """Return documents with one-letter names."""
    return [Document(uri=f"test:{name}", id=name, text=text(rng, sentences)) for name in names]


def index_state(directory: Path) -> State:
    """Return what every way of reading finds in an index; raise if two of them disagree."""
    if not (directory / "catalog.sqlite").exists():
        return None
    damage = [f"{each.kind}: {each.problem}" for each in check(directory).damage]
    with Engine.open(directory) as engine:
        status = engine.status()
        state: dict[str, Any] = {
            "roots": sorted(status.roots),
            "quota": set_quota(directory).model_dump(),
            "passages": status.passages,
        }
        if damage:
            # What a message says of damaged files names them, so only their number is compared.
            return state | {"damage": sorted(each.split(":")[0] for each in damage)}
        found = {entry.id: engine.document(entry.id) for entry in engine.documents()}
        state["documents"] = {id: each.model_dump(mode="json") for id, each in found.items()}
        assert status.documents == len(found), "status and documents agree"
        if found:
            state["hits"] = [_hits(engine, found, query) for query in QUERIES]
    return state


def _hits(engine: Engine, found: dict[str, Document], query: str | EncodedQuery) -> list[Any]:
    """Return passages, quotes and the spans of their tokens, best first."""
    hits = []
    for hit in engine.search(query, limit=50, explain=True).results:
        body = found[hit.document_id].text
        assert hit.text == body[hit.start : hit.end] == engine.fetch(hit.id).text
        quotes = []
        for each in hit.citations:
            assert each.quote == body[each.start : each.end]
            pairs = [(pair.start, pair.end) for pair in each.alignment or ()]
            quotes.append([each.start, each.end, each.quote, pairs])
        hits.append([hit.id, hit.text, quotes, [each.id for each in hit.also_in]])
    return hits


def _passages(state: State) -> State:
    """Return a state with the passages that are found alone, without quotes and ranks.

    Deleted passages count in how often a word occurs until their segment is merged. Where several
    commits or merges follow each other, it depends on the interruption which are.
    """
    if state and "hits" in state:
        state["hits"] = [sorted(hit[:2] for hit in hits) for hits in state["hits"]]
    return state


def litter(directory: Path) -> list[str]:
    """Return the files in an index that no commit lists, after a session has ended well."""
    if not (directory / "catalog.sqlite").exists():
        return []
    with Engine.open(directory) as engine:
        segments = engine.status().segments
    found = sorted(path.name for path in directory.rglob("*.tmp"))
    found += sorted(path.name for path in directory.glob("repair-*"))
    found += sorted(path.name for path in directory.glob("catalog.new*"))
    there = sorted(path.name for path in (directory / "segments").iterdir())
    return found + (there if len(there) != 2 * segments else [])  # embeddings and postings


class Operation:
    """Something that is done to an index.

    Attributes
    ----------
    steps
        What is done, one after the other; the state between two of them may be found as well.
    """

    name = ""

    def __init__(self, place: Path, seed: int = 0) -> None:
        self.place = place
        self.disk = place / "disk"  # the calls under it fail
        self.index = self.disk / "index"
        self.seed = seed

    @property
    def rng(self) -> random.Random:
        return random.Random(self.seed)

    def prepare(self) -> None:
        """Make what is there before."""
        with Engine.open(self.index, create=True) as engine:
            engine.add(documents(self.rng, "abc", 16))
            engine.add(documents(self.rng, "de"))
            engine.delete(["e"])

    def steps(self) -> list[Callable[[], object]]:
        return [self.operate]

    def operate(self) -> None:
        """Do all of it."""
        for step in self.steps():
            step()

    def state(self) -> State:
        return index_state(self.index)

    def litter(self) -> list[str]:
        return litter(self.index)

    def engine(self, **options: Any) -> Engine:
        return Engine.open(self.index, **options)


class _Files(Operation):
    """What is done with files in a folder."""

    def prepare(self) -> None:
        self.notes = self.place / "notes"
        self.notes.mkdir()
        rng = self.rng
        for name in "abc":
            self._write(f"{name}.md", f"# {name}\n\n{text(rng, 16)}\n")
        with self.engine(create=True) as engine:
            engine.sync([self.notes])

    def _write(self, name: str, content: str, *, at: int = 1_700_000_000) -> None:
        path = self.place / "notes" / name
        path.write_text(content, encoding="utf-8")
        os.utime(path, (at, at))

    def _change(self, stamp: int) -> None:
        """Edit one file, add one, delete one, rename one."""
        notes = self.place / "notes"
        rng = random.Random(f"{self.seed} {stamp}")
        self._write("a.md", f"# a\n\n{text(rng, 3)}\n\n{text(self.rng, 16)}\n", at=stamp)
        self._write(f"d{stamp}.md", f"# d\n\n{text(rng, 5)}\n", at=stamp)
        (notes / "b.md").unlink(missing_ok=True)
        if (notes / "c.md").exists():
            (notes / "c.md").rename(notes / "e.md")


class Index(_Files):
    """Syncing a folder that has changed."""

    name = "index"

    def prepare(self) -> None:
        super().prepare()
        self._change(1_700_000_100)

    def operate(self) -> None:
        with self.engine() as engine:
            engine.sync([self.place / "notes"])


class Create(_Files):
    """Making an index of a folder."""

    name = "create"

    def prepare(self) -> None:
        super().prepare()
        shutil.rmtree(self.index)
        self.disk.mkdir(exist_ok=True)

    def steps(self) -> list[Callable[[], object]]:
        return [lambda: self.engine(create=True).close(), self._sync]

    def _sync(self) -> None:
        with self.engine() as engine:
            engine.sync([self.place / "notes"])


class Watch(_Files):
    """A process that syncs whenever files change."""

    name = "watch"

    def steps(self) -> list[Callable[[], object]]:
        return [lambda: self._watch(0), lambda: self._watch(1)]

    def operate(self) -> None:
        self._watch(1)

    def state(self) -> State:
        return _passages(super().state())

    def _watch(self, changes: int) -> None:
        stop, failed, left = threading.Event(), [], [changes]
        self._change(1_700_000_100)

        def report(state: Any, found: Any) -> None:
            if found is None:
                failed.append(state.error)
                if len(failed) > 2:
                    stop.set()
            elif left[0]:
                left[0] -= 1
                self._change(1_700_000_200)
            else:
                stop.set()

        with self.engine() as engine:
            opened = engine._opened
            Watcher(opened, every=0.01, events=False, report=report).run(stop)
        if len(failed) > 2:
            raise Failed(failed[-1])


class Failed(Exception):
    """What a program says that goes on after failures."""


class Add(Operation):
    """Adding documents and replacing one, which makes so many segments that they are merged."""

    name = "add"

    def prepare(self) -> None:
        rng = self.rng
        with self.engine(create=True) as engine:
            for letter in "abcdefgh":
                engine.add(documents(rng, letter))

    def operate(self) -> None:
        rng = random.Random(self.seed + 1)
        with self.engine() as engine:
            engine.add([*documents(rng, "ai", 16), *documents(self.rng, "j", 3)])

    def steps(self) -> list[Callable[[], object]]:
        return [self.operate]


class Delete(Operation):
    """Deleting documents."""

    name = "delete"

    def operate(self) -> None:
        with self.engine() as engine:
            engine.delete(["a", "d", "unknown"])


class Terms(Operation):
    """Holding a document, letting another expire, and setting a quota."""

    name = "terms"

    def steps(self) -> list[Callable[[], object]]:
        return [self._hold, self._expire, lambda: set_quota(self.index, documents=50)]

    def _hold(self) -> None:
        with self.engine() as engine:
            engine.retention.hold(["a"])

    def _expire(self) -> None:
        with self.engine() as engine:
            engine.retention.expire(["b"], 4_102_444_800)


class Purge(Operation):
    """Erasing documents; what was done is recorded in an audit log."""

    name = "purge"

    def _audit(self) -> AuditLog:
        return AuditLog(self.disk / "audit.jsonl", queries="on", key=_KEY)

    def prepare(self) -> None:
        super().prepare()
        with self.engine(audit=self._audit()) as engine:
            engine.search("where is the river?")

    def operate(self) -> None:
        with self.engine(audit=self._audit()) as engine:
            report = engine.retention.purge(["a", "c"])
        assert not report.findings, report.findings

    def state(self) -> State:
        log = self.disk / "audit.jsonl"
        if log.exists():
            report = verify(log, key=_KEY)
            assert not report.problems, report.problems
        return _passages(super().state())


class Compact(Operation):
    """Merging segments, and packing the catalog."""

    name = "compact"

    def prepare(self) -> None:
        rng = self.rng
        with self.engine(create=True) as engine:
            for letter in "abcdef":
                engine.add(documents(rng, letter, 12))
            engine.delete(["b"])

    def steps(self) -> list[Callable[[], object]]:
        return [lambda: compact(self.index), lambda: vacuum(self.index)]


class _Upgrade(Operation):
    """Writing to an index of some format, which is upgraded if it is an earlier one."""

    archive = Path()

    def prepare(self) -> None:
        with ZipFile(self.archive) as archive:
            archive.extractall(self.index)

    def operate(self) -> None:
        with self.engine() as engine:
            engine.add(documents(self.rng, "t", 12))


UPGRADES = [
    type("Upgrade", (_Upgrade,), {"name": f"upgrade{path.stem.partition('-')[2]}", "archive": path})
    for path in sorted(FORMATS.glob("format-*.zip"))
]


class Backup(Operation):
    """Bringing a backup up to date."""

    name = "backup"

    def prepare(self) -> None:
        super().prepare()
        backup(self.index, self.disk / "backup")
        with self.engine() as engine:
            engine.add(documents(random.Random(self.seed + 1), "fg", 12))
            engine.delete(["b"])

    def operate(self) -> None:
        backup(self.index, self.disk / "backup")

    def state(self) -> State:
        """Of the index, which stays the same, and of what the backup holds."""
        restored = self.place / "restored"
        shutil.rmtree(restored, ignore_errors=True)
        restore(self.disk / "backup", restored)
        return [index_state(self.index), index_state(restored)]

    def litter(self) -> list[str]:
        manifest = Manifest.read(self.disk / "backup")
        assert manifest is not None
        files = [path for path in (self.disk / "backup").rglob("*") if path.is_file()]
        known = {*manifest.by_path, "manifest.json", "backup.lock"}
        names = {str(path.relative_to(self.disk / "backup")) for path in files}
        return sorted(names - known) + super().litter()


class Restore(Operation):
    """Restoring a backup into a new directory."""

    name = "restore"

    def prepare(self) -> None:
        super().prepare()
        backup(self.index, self.place / "backup")
        shutil.rmtree(self.index)
        self.disk.mkdir(exist_ok=True)

    def operate(self) -> None:
        if index_state(self.index) is None:
            restore(self.place / "backup", self.index)


class Replace(Operation):
    """Restoring a backup in place of an index."""

    name = "replace"

    def prepare(self) -> None:
        super().prepare()
        backup(self.index, self.place / "backup")
        with self.engine() as engine:
            engine.add(documents(random.Random(self.seed + 1), "fg", 12))
            engine.delete(["a", "b"])
        compact(self.index)

    def operate(self) -> None:
        restore(self.place / "backup", self.index, replace=True)


class Repair(Operation):
    """Repairing an index of which a segment is damaged."""

    name = "repair"

    def prepare(self) -> None:
        super().prepare()
        path = min((self.index / "segments").glob("*.seg"), key=lambda path: path.stat().st_size)
        data = bytearray(path.read_bytes())
        data[200] ^= 0x10
        path.write_bytes(data)

    def operate(self) -> None:
        repair(self.index)


class Import(Operation):
    """Importing an export with embeddings, into an index with other documents."""

    name = "import"
    embeddings = True

    def prepare(self) -> None:
        super().prepare()
        other = self.place / "other"
        with Engine.open(other, create=True) as engine:
            engine.add(documents(random.Random(self.seed + 1), "afgh", 12))
            export(engine._opened, self.place / "export.jsonl", embeddings=self.embeddings)
        shutil.rmtree(other)

    def operate(self) -> None:
        with self.engine() as engine:
            import_(engine._opened, self.place / "export.jsonl")


class Export(Operation):
    """Replacing an export by one of the present state."""

    name = "export"

    def prepare(self) -> None:
        super().prepare()
        self._export()
        with self.engine() as engine:
            engine.add(documents(random.Random(self.seed + 1), "f", 12))

    def _export(self) -> None:
        with self.engine() as engine:
            export(engine._opened, self.disk / "export.jsonl", embeddings=True)

    def operate(self) -> None:
        self._export()

    def state(self) -> State:
        lines = (self.disk / "export.jsonl").read_text(encoding="utf-8").splitlines()
        return [super().state(), [json.loads(line) for line in lines]]


class _Careless(Operation):
    """Not one of ours: it changes three documents in three commits, and says it is one."""

    def operate(self) -> None:
        with self.engine() as engine:
            for name in "abd":
                engine.add(documents(random.Random(self.seed + 1), name))


def operations() -> Iterator[type[Operation]]:
    """Yield every operation that has a name."""
    waiting = [Operation]
    while waiting:
        kind = waiting.pop(0)
        waiting += kind.__subclasses__()
        if kind.name:
            yield kind


OPERATIONS = {kind.name: kind for kind in operations()}
RUN = OPERATIONS | {"careless": _Careless}
"""Those that a server runs."""
