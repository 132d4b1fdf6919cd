"""Folder → the files in it to index.

Files are chosen by name and place only; none is opened except the ignore files, which ``ignore``
reads. Reading documents is in ``load``; comparing them with the index is in ``sync``.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from rag_tools.ingest.ignore import Ignores, ignores_above
from rag_tools.ingest.labelling import SIDECAR, has_sidecar
from rag_tools.ingest.load import printable, supported
from rag_tools.ingest.sensitive import is_sensitive, names_sensitive
from rag_tools.types import Skipped

_INDEX_MARK = "catalog.sqlite"
"""A directory that holds this file is an index of ours, not a folder of documents."""


class Discovered(NamedTuple):
    """A file to index.

    Attributes
    ----------
    path
        Absolute; below the resolved root, so not resolved where a link leads to it.
    relative
        POSIX path below the root, as valid Unicode: for patterns and people, not for opening.
    sidecar
        Whether a sidecar with labels lies beside it, see `rag_tools.ingest.labelling`.
    """

    path: Path
    relative: str
    sidecar: bool = False


@dataclass
class LeftOut:
    """What was left out because of what it is, rather than because it can't be read.

    Attributes
    ----------
    unsupported
        Number of files without a loader, by type: see `file_type`.
    sensitive
        Number of files whose names suggest that they hold keys or passwords.
    ignored
        Number of files and folders that ignore files name. The content of such a folder isn't
        counted.
    """

    unsupported: Counter[str] = field(default_factory=Counter)
    sensitive: int = 0
    ignored: int = 0


class Discovery(NamedTuple):
    """What `discover` found.

    Attributes
    ----------
    files
        In ascending order of `Discovered.relative`.
    skipped
        Folders and links that can't be read, and why. Documents below such a folder that are
        already indexed haven't been deleted: they just can't be seen now.
    left_out
        Everything else.
    """

    files: list[Discovered]
    skipped: list[Skipped]
    left_out: LeftOut


SPECIAL = "special"
"""The type under which FIFOs, sockets and the like are counted."""

_LONGEST_TYPE = 16
"""Most characters of a suffix that names a type; a longer one is the end of a sentence."""


def file_type(name: str) -> str:
    """Return the type under which a file is counted: its suffix, or ``""`` if it has none.

    Examples
    --------
    >>> file_type("Photo.PNG"), file_type("core"), file_type("v2. Minutes of the meeting")
    ('.png', '', '')
    """
    suffix = PurePath(printable(name)).suffix.lower()
    return suffix if len(suffix) <= _LONGEST_TYPE and not re.search(r"\s", suffix) else ""


def inside(path: Path, folders: Iterable[Path]) -> bool:
    """Tell whether a resolved path is one of some resolved folders or lies below one."""
    return any(path.is_relative_to(folder) for folder in folders)


def discover(
    root: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    hidden: bool = False,
    gitignore: bool = True,
    apart: Iterable[Path] = (),
    within: Sequence[Path] = (),
) -> Discovery:
    """Find the files to index below a folder, or the file itself if `root` is one.

    Symbolic links are followed. Each real file is found once: by its own path if that lies below
    the root, otherwise through a link. A link to a folder that contains it is a loop and isn't
    followed. ``.git`` folders and indexes of rag-tools are never searched.

    Parameters
    ----------
    root
        Folder or file. A file is returned whatever its format, even if it is hidden or ignored. A
        sensitive file is returned too, unless `within` restricts the caller to some folders.
    include
        Patterns as in ``.gitignore``, relative to the root, or literal paths. If there are any,
        files that match none are left out. They don't bring back hidden or ignored files. They
        bring back sensitive files if they name them, as ``.env`` and ``*.pem`` do and ``*``
        doesn't.
    exclude
        Patterns of the same kind; matching files are left out, even if `include` names them.
    hidden
        Whether files and folders whose names start with a dot are searched, too.
    gitignore
        Whether git's ignore files count, see `rag_tools.ingest.ignore`: those in the folders, in
        the folders above them up to the root of the repository, and those of the repository
        itself. ``.ragignore`` files always count.
    apart
        Resolved paths of files and folders that are passed over.
    within
        Resolved folders. If there are any, a link that leads out of all of them isn't followed.
    """
    try:
        root = Path(root).resolve(strict=True)
        is_file = not root.is_dir()
    except (OSError, RuntimeError) as error:
        return Discovery([], [_skipped(Path(root), error)], LeftOut())
    walk = _Walk(
        root,
        include=include,
        exclude=exclude,
        hidden=hidden,
        gitignore=gitignore,
        apart=apart,
        within=within,
    )
    if is_file:
        if within and is_sensitive(root.name):
            return Discovery([], [], LeftOut(sensitive=1))
        found = Discovered(root, printable(root.name), has_sidecar(root))
        return Discovery([found] if walk.wanted(root.name) else [], [], LeftOut())
    walk.run()
    walk.files.sort(key=lambda file: file.relative)
    return Discovery(walk.files, walk.skipped, walk.left_out)


class _Wanted:
    """The caller's patterns: as in ``.gitignore``, or literal paths."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._paths = frozenset(pattern.removeprefix("./").lstrip("/") for pattern in patterns)
        self._spec = GitIgnoreSpec.from_lines(patterns)
        self.each = [GitIgnoreSpec.from_lines([pattern]) for pattern in patterns]

    def match(self, relative: str) -> bool:
        """Tell whether the last pattern that matches a path lets it in; folders end with /."""
        # A path that contains brackets, such as "[slug]", doesn't match itself as a pattern.
        return relative.rstrip("/") in self._paths or self._spec.match_file(relative)


class _Folder(NamedTuple):
    path: str  # below the root, maybe through links
    relative: str  # "" or ends with a slash
    ignores: Ignores  # around it


class _Walk:
    """One walk over a folder. Real entries come first, links after all of them."""

    def __init__(
        self,
        root: Path,
        *,
        include: Sequence[str],
        exclude: Sequence[str],
        hidden: bool,
        gitignore: bool,
        apart: Iterable[Path],
        within: Sequence[Path],
    ) -> None:
        self.files: list[Discovered] = []
        self.skipped: list[Skipped] = []
        self.left_out = LeftOut()
        self._root = root
        self._include = _Wanted(include) if include else None
        self._exclude = _Wanted(exclude)
        self._hidden = hidden
        self._gitignore = gitignore
        self._within = within
        self._seen = set(map(str, apart))  # real paths of files and folders
        self._folders: deque[_Folder] = deque()
        self._links: deque[tuple[os.DirEntry[str], _Folder]] = deque()
        self._sidecars: set[str] = set()  # paths of the files that they belong to

    def wanted(self, relative: str) -> bool:
        """Tell whether the patterns of the caller let a file in."""
        included = self._include is None or self._include.match(relative)
        return included and not self._exclude.match(relative)

    def run(self) -> None:
        """Fill `files`, `skipped` and `left_out`."""
        above = ignores_above(self._root, git=self._gitignore, report=self._report)
        self._add_folder(_Folder(str(self._root), "", above))
        while self._folders or self._links:
            if self._folders:
                self._list(self._folders.popleft())
            else:
                self._follow(*self._links.popleft())

    def _report(self, path: Path, error: Exception) -> None:
        self.skipped.append(_skipped(path, error))

    def _add_folder(self, folder: _Folder) -> None:
        real = os.path.realpath(folder.path)
        if real not in self._seen:
            self._seen.add(real)
            self._folders.append(folder)

    def _list(self, folder: _Folder) -> None:
        try:
            with os.scandir(folder.path) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            self.skipped.append(_skipped(Path(folder.path), error))
            return
        if any(entry.name == _INDEX_MARK for entry in entries):
            return
        ignores = folder.ignores.below(folder.path, git=self._gitignore, report=self._report)
        folder = folder._replace(ignores=ignores)
        sidecars = [entry.path for entry in entries if entry.name.endswith(SIDECAR)]
        self._sidecars.update(path.removesuffix(SIDECAR) for path in sidecars)
        for entry in entries:
            if entry.path in sidecars:
                continue
            if entry.name == ".git" or (entry.name.startswith(".") and not self._hidden):
                continue
            if _is_link(entry):
                self._links.append((entry, folder))
            else:
                self._enter(entry, folder)

    def _follow(self, link: os.DirEntry[str], folder: _Folder) -> None:
        try:
            target = Path(link.path).resolve(strict=True)
        except (OSError, RuntimeError) as error:
            if self._leave_out(link, folder, is_folder=False):
                return
            if supported(Path(link.name)):
                self._report(Path(link.path), error)
            else:
                self.left_out.unsupported[file_type(link.name)] += 1
            return
        if self._within and not inside(target, self._within):
            reason = "a link that leads out of the folders that may be indexed"
            self.skipped.append(Skipped(path=printable(link.path), reason=reason))
        elif not self._root.is_relative_to(target):
            self._enter(link, folder)

    def _enter(self, entry: os.DirEntry[str], folder: _Folder) -> None:
        """Take a file or folder if no rule leaves it out."""
        try:
            is_folder, is_file = entry.is_dir(), entry.is_file()
        except OSError as error:
            self._report(Path(entry.path), error)
            return
        if self._leave_out(entry, folder, is_folder=is_folder):
            return
        relative = folder.relative + printable(entry.name)
        if is_folder:
            self._add_folder(_Folder(entry.path, relative + "/", folder.ignores))
        elif not (is_file and supported(Path(entry.name))):
            kind = file_type(entry.name) if is_file else SPECIAL
            self.left_out.unsupported[kind] += 1
        elif (real := os.path.realpath(entry.path)) not in self._seen:
            self._seen.add(real)
            sidecar = entry.path in self._sidecars or (_is_link(entry) and has_sidecar(Path(real)))
            self.files.append(Discovered(Path(entry.path), relative, sidecar))

    def _leave_out(self, entry: os.DirEntry[str], folder: _Folder, *, is_folder: bool) -> bool:
        """Tell whether a rule leaves an entry out, and count it if it isn't one of the caller."""
        relative = folder.relative + printable(entry.name)
        if self._exclude.match(relative + "/") if is_folder else not self.wanted(relative):
            return True
        if folder.ignores.ignored(entry.path + "/" * is_folder):
            self.left_out.ignored += 1
            return True
        real = printable(os.path.realpath(entry.path)) if _is_link(entry) else relative
        sensitive = not is_folder and (is_sensitive(relative) or is_sensitive(real))
        if sensitive and not names_sensitive(relative, self._include.each if self._include else ()):
            self.left_out.sensitive += 1
            return True
        return False


def _is_link(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a symbolic link or, on Windows, a junction."""
    if sys.platform == "win32":
        tag = entry.stat(follow_symlinks=False).st_reparse_tag
        return entry.is_symlink() or tag == stat.IO_REPARSE_TAG_MOUNT_POINT
    return entry.is_symlink()


def _skipped(path: Path, error: Exception) -> Skipped:
    reason = error.strerror if isinstance(error, OSError) else None
    return Skipped(path=printable(str(path)), reason=reason or str(error))
