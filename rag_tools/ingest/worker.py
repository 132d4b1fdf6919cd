"""Parses documents in a separate process, with a deadline and a memory limit.

A hostile or unusual file may keep a parser busy for hours, make it use up all memory, or crash it.
In a worker process, that file is skipped and the sync goes on. The worker is this module, run by
`subprocess` with a bare interpreter rather than by `multiprocessing`, which would run the caller's
``__main__`` again. It and its parent exchange pickles, each preceded by its length, over the
worker's standard input and output; anything else that it prints is discarded.
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from io import BytesIO
from typing import Any, BinaryIO, NamedTuple

from rag_tools import errors
from rag_tools.closing import Closing
from rag_tools.errors import IngestError, UnreadableFileError
from rag_tools.ingest.load import disguised, harmless, load_bytes
from rag_tools.ingest.members import Allowance, Member, Members, read_members
from rag_tools.ingest.reading import printable
from rag_tools.types import Document

DEFAULT_TIMEOUT = 60.0
"""Seconds after which the parsing of a document is given up."""

MAX_MEMORY = 4 * 1024**3
"""Bytes of address space that a worker may use, where the system can limit it (Linux)."""

_START_SECONDS = 60.0
_POLL_SECONDS = 0.1  # on Windows, Ctrl-C doesn't interrupt a wait
_CPU_SECONDS_MORE = 5.0
_GRACE_SECONDS = 1.0  # a process that has closed its pipes may take a moment to end
_LENGTH = struct.Struct(">Q")
_READY = b"ready"

# The worker imports the same modules as its parent, from the same places.
_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from rag_tools.ingest.worker import main; main()"
)

_logger = logging.getLogger(__name__)


class _Request(NamedTuple):
    """What is asked for: the document in a file, or what is inside of it, within an allowance."""

    data: bytes
    name: str
    uri: str
    timeout: float
    allowance: Allowance | None = None

    def carry_out(self) -> Document | Members:
        """Return it; errors as of `load_bytes` and `read_members`."""
        if self.allowance is None:
            return load_bytes(self.data, name=self.name, uri=self.uri)
        return read_members(self.data, self.name, self.allowance)


class _Failure(NamedTuple):
    """Why a document couldn't be loaded: an exception of `rag_tools.errors`."""

    error: str
    message: str


class Worker(Closing):
    """Loads documents, in a worker process where a parser could do harm; a context manager.

    The process is started when it is first needed, serves many documents, and is replaced if it
    had to be ended. A worker must not be shared between threads.

    Parameters
    ----------
    timeout
        Seconds that loading a document may take.
    """

    def __init__(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        self._timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._ready: Future[bytes] | None = None
        self._pipe = ThreadPoolExecutor(1, thread_name_prefix="rag-tools-worker")

    def close(self) -> None:
        """End the process."""
        self._end()
        self._pipe.shutdown()

    def load(self, data: bytes, *, name: str, uri: str) -> Document:
        """Return the document in the content of a file, as `load_bytes` does, within the limits.

        Raises
        ------
        UnsupportedFormatError
            As `load_bytes` does.
        UnreadableFileError
            As `load_bytes` does; also if parsing takes too long or too much memory, or crashes.
        """
        if harmless(name, len(data)) and not disguised(name, data):
            return load_bytes(data, name=name, uri=uri)
        found = self._answer(_Request(data, name, uri, self._timeout))
        assert isinstance(found, Document)
        return found

    def members(self, data: bytes, *, name: str, allowance: Allowance) -> Members:
        """Return what is inside of a file, as `read_members` does, within the limits.

        Raises
        ------
        UnreadableFileError
            As `read_members` does; also if unpacking takes too long or too much memory.
        """
        found = self._answer(_Request(data, name, "", self._timeout, allowance))
        assert isinstance(found, Members)
        return found

    def _answer(self, request: _Request) -> Document | Members:
        """Have the process carry out a request; without a process, do so here."""
        process = self._started()
        if process is None:
            return request.carry_out()
        name = printable(request.name)
        sent = pickle.dumps(request, pickle.HIGHEST_PROTOCOL)
        try:
            answer = self._wait(self._pipe.submit(_exchange, process, sent), self._timeout)
        except TimeoutError:
            self._end()
            raise UnreadableFileError(
                f"{name}: not parsed within {self._timeout:g} seconds; simplify or "
                "split it, or allow more time (--document-timeout, document_timeout)"
            ) from None
        except (OSError, EOFError):
            status = self._end(grace=_GRACE_SECONDS)
            raise UnreadableFileError(_obituary(name, status)) from None
        except BaseException:
            self._end()  # the next document would get the rest of this answer
            raise
        found = _Answers(BytesIO(answer)).load()
        if isinstance(found, _Failure):
            raise getattr(errors, found.error)(found.message)
        assert isinstance(found, Document | Members)
        return found

    def start(self) -> None:
        """Start the process, without waiting until it is ready, for a document that needs it."""
        if self._process is not None and self._process.poll() is None:
            return
        self._end()
        try:
            self._process = _spawn()
        except OSError as error:
            _logger.warning("can't start a process to parse files in: %s", error)
            return
        self._ready = self._pipe.submit(_receive, self._process.stdout)

    def _started(self) -> subprocess.Popen[bytes] | None:
        """Return the process once it is ready, or None if it can't run, as in a frozen program."""
        self.start()
        if self._process is None or self._ready is None:
            return None
        try:
            if self._wait(self._ready, _START_SECONDS) == _READY:
                return self._process
        except (OSError, EOFError) as error:  # TimeoutError is an OSError
            _logger.warning("the process to parse files in didn't start: %s", error)
        self._end()
        return None

    def _wait(self, answer: Future[bytes], seconds: float) -> bytes:
        """Return the answer of the worker; raises TimeoutError if there is none in time."""
        until = time.monotonic() + seconds
        while not answer.done():
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            wait([answer], timeout=min(left, _POLL_SECONDS))
        return answer.result()

    def _end(self, *, grace: float = 0) -> int:
        """End the process if it doesn't end by itself in `grace` seconds; return its status."""
        process, self._process, self._ready = self._process, None, None
        if process is None:
            return 0
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=grace)
        process.kill()
        status = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                # A thread that still reads or writes sees the end of the pipe.
                self._pipe.submit(_close, pipe)
        return status


def _close(pipe: Any) -> None:  # noqa: ANN401 - typeshed's IO[bytes]
    with contextlib.suppress(OSError):
        pipe.close()


def _spawn() -> subprocess.Popen[bytes]:
    if not sys.executable or getattr(sys, "frozen", False):
        raise OSError("the Python interpreter that runs this program can't be started again")
    return subprocess.Popen(
        # -P: no file in the working directory can replace a module.
        [sys.executable, "-P", "-c", _COMMAND, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # each thread of it reserves memory
        # Only the parent receives Ctrl-C, and ends the worker; on Windows, no console window opens.
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _exchange(process: subprocess.Popen[bytes], request: bytes) -> bytes:
    assert process.stdin is not None
    _send(process.stdin, request)
    return _receive(process.stdout)


def _send(pipe: Any, message: bytes) -> None:  # noqa: ANN401 - typeshed's IO[bytes]
    pipe.write(_LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def _receive(pipe: Any) -> bytes:  # noqa: ANN401 - typeshed's IO[bytes]
    """Return the next message; raises EOFError if there is none, or only a part of one."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    message: bytes = pipe.read(length)
    if len(message) < length:
        raise EOFError
    return message


def _obituary(name: str, status: int) -> str:
    """Return why a document is skipped: the worker ended by itself while it parsed it."""
    if status < 0:
        with contextlib.suppress(ValueError):
            cause = signal.Signals(-status).name
            return (
                f"{name}: the parser crashed ({cause}), or the system ran out of memory; "
                "convert the file to another format, and please report it"
            )
    return (
        f"{name}: the parser crashed (exit status {status}); convert the file to another format, "
        "and please report it"
    )


_ANSWERS = {
    (each.__module__, each.__name__) for each in (_Failure, Member, Members, collections.Counter)
}


class _Answers(pickle.Unpickler):
    """Reads the answer of a worker, which may hold values of our own types and nothing else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        """Return a class that an answer may hold."""
        own = module == Document.__module__ and "." not in name  # a dot leads into other modules
        if own or (module, name) in _ANSWERS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"a worker answered with {module}.{name}")


# -- in the worker -----------------------------------------------------------------------------


def main() -> None:
    """Serve requests until standard input ends."""
    requests, answers = _take_pipes()
    _end_with_parent()
    _limit_memory()
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests, inbox), daemon=True).start()
    _send(answers, _READY)
    while True:
        request: _Request = pickle.loads(inbox.get())
        _limit_cpu(request.timeout)
        _send(answers, _answer(request))


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Return standard input and output, and redirect both to the null device for other code."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "r+b") as null:  # noqa: PTH123 - a device
        os.dup2(null.fileno(), 0)
        os.dup2(null.fileno(), 1)
    return requests, answers


def _read(requests: BinaryIO, inbox: queue.SimpleQueue[bytes]) -> None:
    """Pass requests on; when the parent has ended, end this process, whatever it is doing."""
    try:
        while True:
            inbox.put(_receive(requests))
    except (EOFError, OSError):
        os._exit(0)


def _answer(request: _Request) -> bytes:
    found: Document | Members | _Failure
    try:
        found = request.carry_out()
        return pickle.dumps(found, pickle.HIGHEST_PROTOCOL)
    except IngestError as error:
        found = _Failure(type(error).__name__, str(error))
    except Exception as error:
        reason = errors.fault(printable(request.name), "can't be parsed", error)
        found = _Failure(UnreadableFileError.__name__, reason)
    return pickle.dumps(found, pickle.HIGHEST_PROTOCOL)


def _end_with_parent() -> None:
    """Make Linux end the worker with its parent, even while a parser holds the interpreter."""
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1  # PR_SET_PDEATHSIG
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _limit_memory() -> None:
    if sys.platform == "linux":
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = MAX_MEMORY if hard == resource.RLIM_INFINITY else min(MAX_MEMORY, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _limit_cpu(timeout: float) -> None:
    """Make the system end the worker some time after its parent should have ended it."""
    if sys.platform != "win32":
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(usage.ru_utime + usage.ru_stime + timeout + _CPU_SECONDS_MORE) + 1
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))
