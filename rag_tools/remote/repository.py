"""Git repositories, read through the program ``git``: the files of a revision.

Nothing is checked out, and nothing that a repository configures is run: no hooks, no filters, no
helpers of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from rag_tools.closing import Closing
from rag_tools.errors import InvalidQueryError, UnreadableFileError
from rag_tools.file_uri import path_of
from rag_tools.remote.addresses import resolve

SCHEMES = ("git+https", "git+http", "git+file")

_SECONDS = 900.0  # for one run of git
_MOST_BYTES = 4 * 1024**3  # of a clone
_WATCHED_EVERY = 0.5  # seconds
_REVISION = re.compile(r"(?!-)(?!.*\.\.)[\w./+@-]{1,200}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_RESOLVES_SINCE = (2, 37)  # http.curloptResolve
_REGULAR = frozenset({"100644", "100755"})
_CHANGE = "\x01"  # begins a commit in the log
_MOST_COMMITS = 200_000
_PRECAUTIONS = (
    *("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}"),
    *("-c", "log.showSignature=false", "-c", "http.followRedirects=false"),
    *("-c", "core.quotePath=false", "-c", "gc.auto=0", "-c", "http.proxy="),
)


class Repository(NamedTuple):
    """Where a repository is, and which revision of it is meant.

    Attributes
    ----------
    url
        For git: ``https://…`` or ``file://…``.
    revision
        A branch, a tag or a commit; ``""`` for the default branch.
    """

    url: str
    revision: str

    @property
    def root(self) -> str:
        """The form in which it is given and stored."""
        return f"git+{self.url}" + (f"@{self.revision}" if self.revision else "")


class File(NamedTuple):
    """A file of a revision: its path, the id of its content, its size in bytes."""

    path: str
    blob: str
    size: int


class Change(NamedTuple):
    """The last change of a file: when, in ISO 8601, and by whom."""

    time: str
    author: str


def parse_root(root: str) -> Repository:
    """Return the repository that ``git+https://host/path@revision`` means.

    Raises
    ------
    InvalidQueryError
        It has another form.

    Examples
    --------
    >>> parse_root("git+https://example.org/tides.git@v1.2")
    Repository(url='https://example.org/tides.git', revision='v1.2')
    >>> parse_root("git+file:///srv/tides.git").revision
    ''
    """
    scheme, _, rest = root.partition("://")
    place, slash, path = rest.partition("/")
    path, _, revision = path.partition("@")
    is_file = scheme.lower() == "git+file"
    if scheme.lower() not in SCHEMES or not slash or "@" in place or bool(place) == is_file:
        raise InvalidQueryError(
            f"{root!r} isn't a repository: write git+https://host/path@revision or "
            "git+file:///path@revision, without a user name"
        )
    if revision and not _REVISION.fullmatch(revision):
        raise InvalidQueryError(f"{revision!r} can't be the name of a revision")
    return Repository(f"{scheme.lower().removeprefix('git+')}://{place}/{path}", revision)


def is_bare(folder: Path) -> bool:
    """Tell whether a folder is a repository of git without a working tree."""
    try:
        return (
            (folder / "HEAD").is_file()
            and (folder / "objects").is_dir()
            and (folder / "refs").is_dir()
            and folder.name != ".git"
        )
    except OSError:  # it can't be looked into
        return False


def current_commit(repository: Repository, *, allow_private: bool) -> str:
    """Return the commit that a revision means now, without fetching anything else.

    Raises
    ------
    UnreadableFileError
        Git isn't installed, or there is no such repository or revision.
    """
    if _COMMIT.fullmatch(repository.revision):
        return repository.revision
    wanted = repository.revision or "HEAD"
    git = _Git(repository, allow_private=allow_private)
    if git.folder:
        return git.text("rev-parse", "--verify", "--end-of-options", f"{wanted}^{{commit}}").strip()
    lines = git.text("ls-remote", "--", repository.url, wanted, f"{wanted}^{{}}").splitlines()
    refs = {name: commit for commit, _, name in (line.partition("\t") for line in lines)}
    for name in (wanted, f"refs/tags/{wanted}^{{}}", f"refs/tags/{wanted}", f"refs/heads/{wanted}"):
        if name in refs:
            return refs[name]
    raise UnreadableFileError(f"{repository.root}: there is no revision {wanted!r}")


class Revision(Closing):
    """The files of a revision; a repository of another machine is cloned for the time being.

    Raises
    ------
    UnreadableFileError
        Git isn't installed, the repository can't be read, or it has no such commit.
    """

    def __init__(self, repository: Repository, commit: str, *, allow_private: bool) -> None:
        self.commit = commit
        self._git = _Git(repository, allow_private=allow_private)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._reader: subprocess.Popen[bytes] | None = None
        if not self._git.folder:
            self._temporary = tempfile.TemporaryDirectory(
                prefix="rag-tools-", ignore_cleanup_errors=True
            )
            try:
                self._git.clone(Path(self._temporary.name) / "clone.git")
            except BaseException:
                self._temporary.cleanup()
                raise

    def close(self) -> None:
        """End the process that reads, and delete the clone."""
        if self._reader is not None:
            self._reader.kill()
            self._reader.communicate()
        if self._temporary is not None:
            self._temporary.cleanup()

    def files(self) -> list[File]:
        """Return the files, without links and submodules."""
        listed = self._git.output("ls-tree", "-r", "-l", "-z", "--full-tree", self.commit)
        found = []
        for entry in listed.split(b"\0"):
            about, _, name = entry.partition(b"\t")
            if len(fields := about.split()) == 4:
                mode, kind, blob, size = (each.decode() for each in fields)
                if mode in _REGULAR and kind == "blob" and size.isdecimal():
                    path = name.decode("utf-8", "replace")
                    found.append(File(path, blob, int(size)))
        return found

    def read(self, file: File) -> bytes:
        """Return the content of a file."""
        if self._reader is None:
            self._reader = self._git.start("cat-file", "--batch")
        process = self._reader
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(f"{file.blob}\n".encode())
            process.stdin.flush()
            head = process.stdout.readline().split()
            if len(head) == 3 and head[1] == b"blob":
                data = process.stdout.read(int(head[2]) + 1)
                if len(data) == int(head[2]) + 1:
                    return data[:-1]
        except OSError:
            pass
        raise UnreadableFileError(f"{file.path}: git can't read it: the repository is damaged")

    def changes(self) -> dict[str, Change]:
        """Return the last change of each file, from the history of the revision."""
        found: dict[str, Change] = {}
        for line in self._git.lines(
            "log",
            "-z",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
            f"--max-count={_MOST_COMMITS}",
            "--name-only",
            f"--format={_CHANGE}%aI%x02%an",
            self.commit,
        ):
            text = line.decode("utf-8", "replace").strip("\n")
            if text.startswith(_CHANGE):
                time_, _, author = text[1:].partition("\x02")
                change = Change(time_, author)
            elif text:
                found.setdefault(text, change)
        return found


class _Git:
    """Runs git on a repository."""

    def __init__(self, repository: Repository, *, allow_private: bool) -> None:
        self._repository = repository
        self._program = shutil.which("git")
        if self._program is None:
            raise UnreadableFileError(
                f"{repository.root}: git isn't installed: install it, or index a folder with the "
                "files"
            )
        parts = urlsplit(repository.url)
        self.folder: Path | None = None
        self._options: list[str] = [*_PRECAUTIONS]
        if parts.scheme == "file":
            path = path_of(repository.url)
            self.folder = Path(path) if path else Path()
            if not self.folder.is_dir():
                raise UnreadableFileError(f"{repository.root}: no such folder")
            self._protocols = ""
        else:
            self._protocols = parts.scheme
            if not allow_private:
                self._pin(
                    parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
                )

    def _pin(self, host: str, port: int) -> None:
        """Have git connect to addresses that were checked, and to no others."""
        version = re.findall(r"\d+", self.text("version"))[:2]
        if tuple(map(int, version)) < _RESOLVES_SINCE:
            raise UnreadableFileError(
                f"{self._repository.root}: git {'.'.join(version)} can't be told which address to "
                "connect to: install a newer one, or allow every address (--allow-private)"
            )
        addresses = resolve(host, port, allow_private=False)
        shown = ",".join(f"[{each}]" if ":" in each else each for each in addresses)
        self._options += ["-c", f"http.curloptResolve={host}:{port}:{shown}"]

    def clone(self, folder: Path) -> None:
        """Clone the repository; from then on, git works on the clone."""
        revision = self._repository.revision
        chosen = ["--single-branch"] if not _COMMIT.fullmatch(revision) else []
        if chosen and revision:
            chosen += ["--branch", revision]
        process = self.start(
            "clone", "--bare", "--quiet", *chosen, "--", self._repository.url, str(folder)
        )
        until = time.monotonic() + _SECONDS
        with _ended(process):
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    _, message = process.communicate(timeout=_WATCHED_EVERY)
                    break
                if time.monotonic() > until:
                    raise self._failed(f"not cloned within {_SECONDS:g} seconds")
                if _size(folder) > _MOST_BYTES:
                    raise self._failed(f"larger than {_MOST_BYTES:,} bytes")
        if process.returncode:
            raise self._failed(_reason(message))
        self.folder = folder

    def text(self, *arguments: str) -> str:
        """Return what git prints."""
        return self.output(*arguments).decode("utf-8", "replace")

    def output(self, *arguments: str) -> bytes:
        """Return the bytes that git prints; raise UnreadableFileError with its message if none."""
        process = self.start(*arguments)
        with _ended(process):
            try:
                output, message = process.communicate(timeout=_SECONDS)
            except subprocess.TimeoutExpired:
                raise self._failed(f"git took more than {_SECONDS:g} seconds") from None
        if process.returncode:
            raise self._failed(_reason(message))
        return output

    def lines(self, *arguments: str) -> Iterator[bytes]:
        """Yield what git prints, separated by NUL."""
        yield from self.output(*arguments).split(b"\0")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start git with arguments."""
        assert self._program is not None
        place = [f"--git-dir={_git_dir(self.folder)}"] if self.folder else []
        return subprocess.Popen(
            [self._program, "--no-pager", *self._options, *place, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(self._protocols),
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )

    def _failed(self, reason: str) -> UnreadableFileError:
        return UnreadableFileError(f"{self._repository.root}: {reason}")


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process that still runs when the block is left."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _git_dir(folder: Path) -> Path:
    inner = folder / ".git"
    return inner if inner.is_dir() else folder


def _environment(protocols: str) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return {
        **kept,
        "GIT_ALLOW_PROTOCOL": protocols or "none",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }


def _size(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            size += path.stat().st_size
    return size


def _reason(message: bytes) -> str:
    lines = message.decode("utf-8", "replace").strip().splitlines()
    fatal = (line for line in lines if line.startswith("fatal:"))
    return next(fatal, lines[-1] if lines else "git failed")
