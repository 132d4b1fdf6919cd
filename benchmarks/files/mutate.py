"""Damage files in every way that a disk, a mail or an enemy does, and load them.

    python benchmarks/files/mutate.py STATE SEEDS... [--number 100000] [--seconds 5] [--lanes 1]

Each mutation is a pure function of its number: from a seed (a file of the folders SEEDS), one to
three operators make the bytes (bytes flipped, cut out, doubled, spliced in from another seed of the
format, numbers made huge, members of a ZIP exchanged or nested, brackets and tags nested deep). The
loaders read it, members and all, in a process with limits of time and memory. What is found:

- *crash*: the process ended, or an error came out that isn't one of `rag_tools.errors`;
- *hang*: loading took more than ``--seconds`` of the processor;
- *span*: the blocks or the units don't tile the text, or a citation isn't verbatim.

STATE is a folder: a run goes on where the last one with as many lanes ended. ``found.jsonl`` lists
what was found, with the bytes of each beside it, and ``caught.jsonl`` counts the errors of parsers
that were turned into `UnreadableFileError`. Linux only, since the limits are those of the system.
"""

from __future__ import annotations

import faulthandler
import io
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple, cast

import typer

from rag_tools.cite.locate import cite_span
from rag_tools.errors import RagToolsError
from rag_tools.ingest.contents import Contents
from rag_tools.ingest.load import load_bytes, supported
from rag_tools.ingest.members import Allowance, Members, read_members
from rag_tools.ingest.worker import MAX_MEMORY, Worker
from rag_tools.types import Document, Span
from rag_tools.units import units

LARGEST_SEED = 100_000
"""Bytes above which a file isn't a seed: mutations of a long file change the same."""
_BATCH = 200  # mutations of one process
_DEEP = 30_000
_CITED = 20  # units of a document whose place is determined


class Case(NamedTuple):
    """A mutation: its number, the seed, the name to load it under, and its bytes."""

    number: int
    seed: str
    name: str
    data: bytes


def main(
    state: Annotated[Path, typer.Argument(file_okay=False, help="Folder of the state.")],
    seeds: Annotated[list[Path], typer.Argument(exists=True, help="Folders of files.")],
    number: Annotated[int, typer.Option(help="Mutations altogether.")] = 100_000,
    seconds: Annotated[float, typer.Option(help="What counts as a hang.")] = 5.0,
    lanes: Annotated[int, typer.Option(help="Processes at the same time.")] = 1,
) -> None:
    """Run the mutations that haven't run yet."""
    state.mkdir(parents=True, exist_ok=True)
    files = _seeds(seeds)
    lane = partial(_lane, state, files, number, seconds, lanes)
    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(lane, range(lanes)))


def mutation(files: Sequence[tuple[str, bytes]], number: int) -> Case:
    """Return the mutation of a number; `files` are names and contents of the seeds."""
    chance = random.Random(number)
    # Formats come equally often, however many seeds they have.
    suffix = chance.choice(sorted({Path(name).suffix for name, _ in files}))
    same = [each for each in files if Path(each[0]).suffix == suffix]
    name, data = chance.choice(same)
    other = chance.choice(same)[1]
    for _ in range(chance.choice((1, 1, 2, 3))):
        data = chance.choice(_OPERATORS)(data, other, chance)
    return Case(number, name, Path(name).name, data)


def check(document: Document) -> str:
    """Return what is wrong with the spans of a document; nothing if they are verbatim."""
    at = 0
    for block in document.blocks:
        if block.start != at or block.end < block.start:
            return f"a block begins at {block.start}, not at {at}"
        at = block.end
    if document.blocks and at != len(document.text):
        return f"the blocks end at {at} of {len(document.text)}"
    at, found = 0, units(document.text, document.blocks)
    for unit in found:
        if unit.start != at or unit.end < unit.start:
            return f"a unit begins at {unit.start}, not at {at}"
        at = unit.end
    for unit in found[:: max(1, len(found) // _CITED)]:
        if unit.end > unit.start:
            citation = cite_span(document, Span(unit.start, unit.end))
            if citation.quote != document.text[citation.start : citation.end]:
                return f"the citation of {unit.start}:{unit.end} isn't verbatim"
    document.text.encode("utf-8")
    return ""


def _lane(
    state: Path,
    files: Sequence[tuple[str, bytes]],
    number: int,
    seconds: float,
    lanes: int,
    lane: int,
) -> None:
    """Run every mutation of a lane, in one process after the other."""
    mark = state / f"lane-{lane}-of-{lanes}.txt"
    forked = multiprocessing.get_context("fork")
    at = int(mark.read_text()) if mark.exists() else lane
    while at < number:
        numbers = range(at, min(at + _BATCH * lanes, number), lanes)
        process = forked.Process(target=_batch, args=(state, files, numbers, seconds, mark))
        process.start()
        process.join()
        at = int(mark.read_text())
        if process.exitcode:
            signalled = process.exitcode == -signal.SIGPROF
            message = (state / f"{mark.stem}.trace").read_text(errors="replace")
            case = mutation(files, at)
            ended = message if signalled else f"exit status {process.exitcode}: {message}"
            _note(state, case, "hang" if signalled else "crash", ended)
            at += lanes
            mark.write_text(str(at))


def _batch(
    state: Path, files: Sequence[tuple[str, bytes]], numbers: range, seconds: float, mark: Path
) -> None:
    """Run some mutations in this process, within its limits; `mark` holds the one that runs."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    caught: Counter[str] = Counter()
    with (state / f"{mark.stem}.trace").open("w") as trace:
        faulthandler.enable(trace)
        faulthandler.register(signal.SIGPROF, trace, chain=True)
        for number in numbers:
            mark.write_text(str(number))
            case = mutation(files, number)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            kind, message = _load(case, caught)
            signal.setitimer(signal.ITIMER_PROF, 0)
            if kind:
                _note(state, case, kind, message)
    mark.write_text(str(numbers[-1] + numbers.step))
    if caught:
        with (state / "caught.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(caught) + "\n")
    os._exit(0)  # a fork of a process with threads can't be shut down in order


def _note(state: Path, case: Case, kind: str, message: str) -> None:
    entry = {"number": case.number, "seed": case.seed, "kind": kind, "message": message[:3000]}
    with (state / "found.jsonl").open("a", encoding="utf-8") as out:
        out.write(json.dumps(entry, ensure_ascii=False) + "\n")
    (state / f"{case.number}-{case.name}").write_bytes(case.data)


class _Here:
    """What `Contents` asks of a worker, done in this process."""

    def load(self, data: bytes, *, name: str, uri: str) -> Document:
        return load_bytes(data, name=name, uri=uri)

    def members(self, data: bytes, *, name: str, allowance: Allowance) -> Members:
        return read_members(data, name, allowance)


def _load(case: Case, caught: Counter[str]) -> tuple[str, str]:
    """Return what is wrong, and take note of the errors of parsers."""
    contents = Contents(
        cast(Worker, _Here()),
        case.data,
        name=case.name,
        uri=f"memory:{case.number}",
        max_bytes=64 * 1024**2,
    )
    try:
        for each in contents:
            if each.error is not None:
                if wrong := _unnamed(each.error, case, caught):
                    return wrong
            elif each.document is not None and (message := check(each.document)):
                return "span", f"{each.path}: {message}"
    except Exception as error:
        return _unnamed(error, case, caught) or ("", "")
    return "", ""


def _unnamed(error: Exception, case: Case, caught: Counter[str]) -> tuple[str, str] | None:
    """Return what an error counts as, unless it is the reason why a damaged file can't be read."""
    message = str(error)
    if not isinstance(error, RagToolsError):
        return "crash", f"{type(error).__name__}: {message}"
    if "can't be parsed" in message:
        cause = type(error.__cause__).__name__
        caught[f"{Path(case.name).suffix} {cause}"] += 1
    return None


def _seeds(folders: Sequence[Path]) -> list[tuple[str, bytes]]:
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and supported(path) and path.stat().st_size <= LARGEST_SEED:
                found.append((str(path.relative_to(folder)), path.read_bytes()))
    return found


Operator = Callable[[bytes, bytes, random.Random], bytes]


def _flip(data: bytes, _: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _each in range(chance.choice((1, 3, 10, 100))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _scribble(data: bytes, _: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.choice((1, 4, 64))) + data[at + 4 :]


def _cut(data: bytes, _: bytes, chance: random.Random) -> bytes:
    start, end = sorted(chance.randrange(len(data) + 1) for _each in range(2))
    return data[:start] + data[end:]


def _end(data: bytes, _: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _double(data: bytes, _: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(data) + 1)
    piece = data[start : start + chance.choice((1, 10, 1000))]
    times = chance.choice((2, 100, 10_000)) if len(piece) <= 10 else chance.choice((2, 100))
    return data[:start] + piece * times + data[start:]


def _splice(data: bytes, other: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]


def _huge(data: bytes, _: bytes, chance: random.Random) -> bytes:
    numbers = list(re.finditer(rb"\d+", data))
    if not numbers:
        return data
    number = chance.choice(numbers)
    huge = chance.choice((b"0", b"-1", b"4294967295", b"9" * 30, b"1e999", b"9" * 5000))
    return data[: number.start()] + huge + data[number.end() :]


def _deep(data: bytes, _: bytes, chance: random.Random) -> bytes:
    opening = chance.choice(
        (b"[", b"{", b'{"a":', b"<a>", b"<div><p>", b"{\\b ", b"> ", b"- ", b"* ", b"((", b"  ")
    )
    at = chance.randrange(len(data) + 1)
    return data[:at] + opening * chance.choice((50, 1000, _DEEP)) + data[at:]


def _members(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Change the members of a ZIP; what isn't one is flipped."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            held = [(each, archive.read(each)) for each in archive.namelist()]
        with zipfile.ZipFile(io.BytesIO(other)) as archive:
            more = [(each, archive.read(each)) for each in archive.namelist()]
    except Exception:
        return _flip(data, other, chance)
    if not held:
        return data
    at = chance.randrange(len(held))
    name, content = held[at]
    what = chance.randrange(5)
    if what == 0:
        held[at] = (name, chance.choice(_OPERATORS[:8])(content, chance.choice(held)[1], chance))
    elif what == 1:
        held[at] = (name, chance.choice(held)[1])
    elif what == 2 and more:
        held[at] = (name, chance.choice(more)[1])
    elif what == 3:
        del held[at]
    else:
        held.append((f"inner/{name}", data))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for each, inside in held:
            archive.writestr(each, inside)
    return made.getvalue()


# The members of a ZIP are changed more often than other bytes: flipped bits end in its checksums.
_OPERATORS: tuple[Operator, ...] = (
    *(_flip, _scribble, _cut, _end, _double, _splice, _huge, _deep),
    *(_members, _members, _members),
)


if __name__ == "__main__":
    typer.run(main)
