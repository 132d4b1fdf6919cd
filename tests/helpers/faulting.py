"""Running operations on an index in processes of their own, while calls that change files fail.

A server process loads everything once, and forks a child for each operation and for each look at
what it left, so that a fault costs tenths of a second. `faults.c` is loaded ahead of the C library
in all of them; a child arms it. Linux only: other systems have no such loading, or not for programs
that are signed.

    server = Server(folder)
    point = server.fault("delete", Fault(call=17, kind="kill"))
"""

from __future__ import annotations

import gc
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

SOURCE = Path(__file__).with_name("faults.c")
LIMIT = 60.0  # seconds for one operation
ALWAYS = 1 << 40  # calls

KINDS = ("kill", "torn", "short", "full", "full for good", "failing", "failing for good")
_CODES = {"kill": "k", "torn": "t", "short": "s", "full": "n", "failing": "i"}


def missing() -> str:
    """Return why faults can't be injected here; nothing if they can."""
    if sys.platform != "linux":
        return "faults are injected by LD_PRELOAD, which is Linux's"
    return "" if shutil.which("gcc") else "needs gcc, to make the library that injects faults"


def library(folder: Path) -> Path:
    """Compile the library that injects faults."""
    made = folder / "faults.so"
    command = ["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(made), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return made


class Call(NamedTuple):
    """A call that changes files, as the library tells it."""

    name: str
    size: int
    room: bool
    path: str

    @classmethod
    def read(cls, line: str) -> Call:
        name, size, room, path = line.split(" ", 3)
        return cls(name, int(size), room == "1", path)

    def can(self, kind: str) -> bool:
        """Tell whether a kind of fault is another than those at the calls before and after."""
        if kind in ("torn", "short"):
            return self.size > 1
        return self.room if kind.startswith("full") else True


@dataclass(frozen=True)
class Fault:
    """What happens at the call with a number, counted from 1."""

    call: int
    kind: str

    @property
    def arguments(self) -> tuple[int, int, int]:
        code = _CODES[self.kind.removesuffix(" for good")]
        return self.call, ord(code), ALWAYS if self.kind.endswith("for good") else 1


@dataclass(frozen=True)
class Point:
    """What became of a fault.

    Attributes
    ----------
    outcome
        ``killed``, ``done``, or the name of the exception.
    state
        Number of the state that was found, of those that are allowed.
    problem
        What is wrong; empty if nothing is.
    """

    operation: str
    call: int
    at: str
    kind: str
    outcome: str
    state: int | None
    problem: str
    seconds: float


class Server:
    """Runs operations; a context manager.

    Parameters
    ----------
    folder
        For what it makes; it should be on a fast disk.
    """

    def __init__(self, folder: Path, *, seed: int = 0) -> None:
        self._folder, self._seed = folder, seed
        self._known: dict[str, tuple[list[Call], list[Any]]] = {}
        environment = {
            **os.environ,
            "LD_PRELOAD": str(library(folder)),
            # Threads don't survive a fork.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        environment.pop("RAG_TOOLS_AUDIT", None)
        self._process = subprocess.Popen(
            [sys.executable, __file__, environment["LD_PRELOAD"]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(LIMIT)

    def calls(self, operation: str) -> list[Call]:
        """Return the calls that an operation makes that change files, in order."""
        return self._prepared(operation)[0]

    def faults(self, operation: str, kinds: tuple[str, ...] = KINDS) -> Iterator[Fault]:
        """Yield every fault of an operation that is another than the others."""
        for number, call in enumerate(self.calls(operation), 1):
            for kind in kinds:
                if call.can(kind):
                    yield Fault(number, kind)

    def fault(self, operation: str, fault: Fault) -> Point:
        """Run an operation with a fault, and look at what it left."""
        began = time.perf_counter()
        calls, allowed = self._prepared(operation)
        place = self._place(operation)
        _copy(self._template(operation), place)
        done = self._ask(operation, "fault", fault=fault.arguments, again=fault.kind in _CODES)
        outcome, problem = self._outcome(done, fault)
        state = None
        if not problem:
            state, problem = self._after(operation, allowed)
        at = calls[fault.call - 1] if fault.call <= len(calls) else None
        return Point(
            operation,
            fault.call,
            f"{at.name} {at.path}" if at else "",
            fault.kind,
            outcome,
            state,
            problem,
            round(time.perf_counter() - began, 3),
        )

    def _outcome(self, done: dict[str, Any], fault: Fault) -> tuple[str, str]:
        if fault.kind in ("kill", "torn"):
            killed = done["signal"] == signal.SIGKILL
            # Other files in a run can make another number of calls.
            return ("killed", "") if killed else ("done", done.get("problem", ""))
        if done["signal"] or "outcome" not in done:
            return "ended", f"the process ended by signal {done['signal']}: {done}"
        return done["outcome"], done["problem"]

    def _after(self, operation: str, allowed: list[Any]) -> tuple[int | None, str]:
        """Look at what is left in one process, do it again in another, and look again."""
        found = self._ask(operation, "state")
        if "state" not in found:
            return None, f"what is left can't be read: {found.get('problem') or found}"
        if found["state"] not in allowed:
            return None, f"what is left is no state of before or after: {_differ(found, allowed)}"
        number = allowed.index(found["state"])
        done = self._ask(operation, "operate")
        if done.get("outcome") != "done":
            return number, f"a second run doesn't complete: {done.get('problem') or done}"
        found = self._ask(operation, "state", litter=True)
        if found.get("state") != allowed[-1]:
            said = found.get("problem") or _differ(found, allowed)
            return number, f"a second run gives another state: {said}"
        if found["litter"]:
            return number, f"a second run leaves {found['litter']}"
        return number, ""

    def _prepared(self, operation: str) -> tuple[list[Call], list[Any]]:
        """Return the calls of an operation, and the states from before to after."""
        if operation not in self._known:
            place, template = self._place(operation), self._template(operation)
            spare = template.with_name("spare")
            shutil.rmtree(template.parent, ignore_errors=True)
            place.mkdir(parents=True)
            self._sure(operation, "prepare")
            _copy(place, template)
            states = [self._sure(operation, "state")["state"]]
            for number in range(self._sure(operation, "count")["count"]):
                # What counts how often a word occurs counts deleted passages too, until segments
                # are merged, so that other quotes can be chosen between the two.
                _copy(place, spare)
                self._sure(operation, "step", number=number, merge=False)
                states.append(self._sure(operation, "state")["state"])
                _copy(spare, place)
                self._sure(operation, "step", number=number, merge=True)
                states.append(self._sure(operation, "state", litter=True)["state"])
            _copy(template, place)
            log = template.with_name("calls")
            self._sure(operation, "operate", log=str(log))
            assert self._sure(operation, "state")["state"] == states[-1], operation
            # The name of a file that another thread closes at this moment may be cut off anywhere.
            lines = log.read_text(encoding="utf-8", errors="backslashreplace").splitlines()
            self._known[operation] = [Call.read(line) for line in lines], states
        return self._known[operation]

    def _place(self, operation: str) -> Path:
        return self._folder / operation / "place"

    def _template(self, operation: str) -> Path:
        return self._folder / operation / "template"

    def _sure(self, operation: str, what: str, **more: Any) -> dict[str, Any]:
        answer = self._ask(operation, what, **more)
        assert answer["signal"] == 0 and not answer.get("problem"), (operation, what, answer)
        return answer

    def _ask(self, operation: str, what: str, **more: Any) -> dict[str, Any]:
        question = {"operation": operation, "do": what, "seed": self._seed, **more}
        question["place"] = str(self._place(operation))
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the server ended"
        answer: dict[str, Any] = json.loads(line)
        return answer


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def _differ(found: dict[str, Any], allowed: list[Any]) -> str:
    """Return where a state differs from each that is allowed."""
    return "; ".join(_first(found.get("state"), each, "") for each in allowed)[:2000]


def _first(one: Any, other: Any, place: str) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            if one.get(key) != other.get(key):
                return _first(one.get(key), other.get(key), f"{place}/{key}")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            if left != right:
                return _first(left, right, f"{place}/{number}")
    return f"{place}: {str(one)[:200]} != {str(other)[:200]}"


# -- the server ------------------------------------------------------------------------------------


def serve(path: str) -> None:
    """Answer the questions in standard input, each in a child of its own."""
    import ctypes

    _prepare_to_fork()
    import faulted

    gc.collect()
    gc.freeze()
    armed = ctypes.CDLL(path)
    armed.fault_arm.argtypes = [
        ctypes.c_char_p,
        ctypes.c_long,
        ctypes.c_int,
        ctypes.c_long,
        ctypes.c_int,
    ]
    for line in sys.stdin:
        question = json.loads(line)
        reads, writes = os.pipe()
        child = os.fork()
        if not child:
            os.close(reads)
            code = 1
            try:
                operation = faulted.RUN[question["operation"]](
                    Path(question["place"]), question["seed"]
                )
                answer = _answered(question, operation, armed)
                with os.fdopen(writes, "wb") as file:
                    file.write(json.dumps(answer).encode())
                code = 0
            finally:
                os._exit(code)
        os.close(writes)
        sys.stdout.write(json.dumps(_waited(child, reads)) + "\n")
        sys.stdout.flush()


def _prepare_to_fork() -> None:
    """Load what takes time, once, and have every process of a fork use it."""
    import faulted
    from rag_tools import opened
    from rag_tools.encode import encoder
    from rag_tools.encode.checkpoint import load_checkpoint
    from rag_tools.encode.embeddings import EncodedQuery

    checkpoint = load_checkpoint(None)
    tokenizer, model = encoder.load_tokenizer(checkpoint), encoder.Model(checkpoint)
    encoder.load_tokenizer = lambda _: tokenizer
    encoder.Model = lambda _: model
    opened.load_checkpoint = lambda *_, **__: checkpoint
    encode = encoder.Encoder(checkpoint).encode_query
    faulted.QUERIES[:] = [EncodedQuery(query, encode(query)) for query in faulted.QUERIES]


def _answered(question: dict[str, Any], operation: Any, armed: Any) -> dict[str, Any]:
    what = question["do"]
    if what == "prepare":
        operation.prepare()
        return {}
    if what == "count":
        return {"count": len(operation.steps())}
    if what == "step":
        if not question["merge"]:
            from rag_tools.writer import Writer

            Writer.compact = lambda *_, **__: None  # type: ignore[method-assign]
        operation.steps()[question["number"]]()
        return {}
    if what == "operate":
        if question.get("log"):
            log = os.open(question["log"], os.O_WRONLY | os.O_CREAT)
            armed.fault_arm(os.fsencode(operation.disk), 0, 0, 0, log)
        return _operated(operation)
    if what == "state":
        try:
            answer = {"state": json.loads(json.dumps(operation.state()))}
            return answer | ({"litter": operation.litter()} if question.get("litter") else {})
        except BaseException:
            return {"problem": traceback.format_exc()}
    call, kind, count = question["fault"]
    armed.fault_arm(os.fsencode(operation.disk), call, kind, count, -1)
    answer = _operated(operation)
    if question["again"] and answer["outcome"] != "done" and not answer["problem"]:
        armed.fault_disarm()  # trouble is over, in the same process
        again = _operated(operation)
        if again["outcome"] != "done":
            answer["problem"] = f"it doesn't complete once trouble is over: {again}"
    return answer


def _operated(operation: Any) -> dict[str, Any]:
    """Do it; say how it ended, and what is wrong with that."""
    from faulted import Failed
    from rag_tools.errors import IndexCorruptError, RagToolsError

    try:
        operation.operate()
    except Failed as error:
        damaged = "damaged" in str(error)
        return {"outcome": "Failed", "problem": str(error) if damaged else ""}
    except IndexCorruptError as error:
        return {"outcome": "IndexCorruptError", "problem": f"trouble is called damage: {error}"}
    except RagToolsError as error:
        return {"outcome": type(error).__name__, "problem": ""}
    except BaseException as error:
        return {"outcome": type(error).__name__, "problem": traceback.format_exc()}
    return {"outcome": "done", "problem": ""}


def _waited(child: int, reads: int) -> dict[str, Any]:
    """Return the answer of a child, and how it ended."""
    data, until = b"", time.monotonic() + LIMIT
    while True:
        ready, _, _ = select.select([reads], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reads)
            return {"signal": 0, "problem": f"it takes longer than {LIMIT:.0f} s"}
        piece = os.read(reads, 1 << 20)
        if not piece:
            break
        data += piece
    os.close(reads)
    _, status = os.waitpid(child, 0)
    answer: dict[str, Any] = json.loads(data) if data else {}
    return answer | {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}


def as_json(point: Point, **more: Any) -> str:
    """Return a line for a log."""
    return json.dumps(asdict(point) | more, ensure_ascii=False)


if __name__ == "__main__":
    serve(sys.argv[1])
