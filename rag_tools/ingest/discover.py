"""Folder → the files in it to index.

Decides by name and place only; no file is opened but ``.gitignore``. Reading is in ``load``,
comparing with what is indexed in ``sync``.
"""

from __future__ import annotations

import os
import stat
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from rag_tools.ingest.load import printable, supported
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
    """

    path: Path
    relative: str


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
) -> tuple[list[Discovered], list[Skipped], int]:
    """Find the files to index below a folder, or the file itself if `root` is one.

    Symbolic links are followed. Each real file is found once, by its own path rather than
    through a link where it has one below the root; a link to a folder around it is a loop and
    not followed. ``.git`` and indexes of ours are never looked into.

    Parameters
    ----------
    root
        Folder or file. A file is returned whatever its format, hidden or ignored or not.
    include
        Patterns as in ``.gitignore``, relative to the root. If there are any, files that match
        none are left out. They don't bring back what is hidden or ignored.
    exclude
        Patterns of the same kind; what matches is left out, included or not.
    hidden
        Also take files and folders whose names start with a dot.
    gitignore
        Leave out what ``.gitignore`` files in the folders, and above them up to the root of the
        repository, say.
    apart
        Resolved paths of files and folders that aren't found or looked into.
    within
        Resolved folders. If there are any, links that lead out of all of them aren't followed.

    Returns
    -------
    files
        In order of `Discovered.relative`.
    skipped
        Folders and links that can't be read, and why. What was known below such a folder hasn't
        vanished; it can't be seen.
    unsupported
        How many files were left out because there is no loader for them.
    """
    try:
        root = Path(root).resolve(strict=True)
        is_file = not root.is_dir()
    except (OSError, RuntimeError) as error:
        return [], [_skipped(Path(root), error)], 0
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
        return ([Discovered(root, printable(root.name))] if walk.wanted(root.name) else []), [], 0
    walk.run()
    return sorted(walk.files, key=lambda file: file.relative), walk.skipped, walk.unsupported


class _Ignore(NamedTuple):
    """The ``.gitignore`` of one folder."""

    folder: str
    patterns: GitIgnoreSpec


class _Folder(NamedTuple):
    path: str  # below the root, maybe through links
    relative: str  # "" or ends with a slash
    ignores: tuple[_Ignore, ...]  # innermost first


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
        self.unsupported = 0
        self._root = root
        self._include = GitIgnoreSpec.from_lines(include) if include else None
        self._exclude = GitIgnoreSpec.from_lines(exclude)
        self._hidden = hidden
        self._gitignore = gitignore
        self._within = within
        self._seen = set(map(str, apart))  # real paths of files and folders
        self._folders: deque[_Folder] = deque()
        self._links: deque[tuple[os.DirEntry[str], _Folder]] = deque()

    def wanted(self, relative: str) -> bool:
        """Tell whether the patterns of the caller let a file in."""
        included = self._include is None or self._include.match_file(relative)
        return included and not self._exclude.match_file(relative)

    def run(self) -> None:
        """Fill `files`, `skipped` and `unsupported`."""
        self._add_folder(_Folder(str(self._root), "", self._ignores_above()))
        while self._folders or self._links:
            if self._folders:
                self._list(self._folders.popleft())
            else:
                self._follow(*self._links.popleft())

    def _ignores_above(self) -> tuple[_Ignore, ...]:
        """Return the ignore files between the root and the repository around it, if any."""
        if not self._gitignore:
            return ()
        above: list[Path] = []
        for folder in (self._root, *self._root.parents):
            if os.access(folder / ".git", os.F_OK):  # unlike exists(), no where we can't look
                break
            above.append(folder.parent)
        else:
            return ()
        ignores: tuple[_Ignore, ...] = ()
        for folder in reversed(above):
            ignores = self._with_ignore(str(folder), ignores)
        # Who names an ignored folder wants what is in it.
        return () if _ignored(str(self._root) + "/", ignores) else ignores

    def _with_ignore(self, folder: str, ignores: tuple[_Ignore, ...]) -> tuple[_Ignore, ...]:
        path = Path(folder, ".gitignore")
        if not self._gitignore:
            return ignores
        try:
            if not path.is_file():
                return ignores
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            self.skipped.append(_skipped(path, error))
            return ignores
        return (_Ignore(folder, GitIgnoreSpec.from_lines(lines)), *ignores)

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
        folder = folder._replace(ignores=self._with_ignore(folder.path, folder.ignores))
        for entry in entries:
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
            if self._left_out(link, folder, is_folder=False):
                return
            if supported(Path(link.name)):
                self.skipped.append(_skipped(Path(link.path), error))
            else:
                self.unsupported += 1
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
            self.skipped.append(_skipped(Path(entry.path), error))
            return
        if self._left_out(entry, folder, is_folder=is_folder):
            return
        relative = folder.relative + printable(entry.name)
        if is_folder:
            self._add_folder(_Folder(entry.path, relative + "/", folder.ignores))
        elif not (is_file and supported(Path(entry.name))):
            self.unsupported += 1
        elif (real := os.path.realpath(entry.path)) not in self._seen:
            self._seen.add(real)
            self.files.append(Discovered(Path(entry.path), relative))

    def _left_out(self, entry: os.DirEntry[str], folder: _Folder, *, is_folder: bool) -> bool:
        relative = folder.relative + printable(entry.name)
        if is_folder:
            return self._exclude.match_file(relative + "/") or _ignored(
                entry.path + "/", folder.ignores
            )
        return not self.wanted(relative) or _ignored(entry.path, folder.ignores)


def _is_link(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry leads elsewhere; on Windows a junction does, and isn't a symlink."""
    if sys.platform == "win32":
        tag = entry.stat(follow_symlinks=False).st_reparse_tag
        return entry.is_symlink() or tag == stat.IO_REPARSE_TAG_MOUNT_POINT
    return entry.is_symlink()


def _ignored(path: str, ignores: Iterable[_Ignore]) -> bool:
    """Tell whether the innermost ignore file with a word on `path` says to ignore it."""
    for folder, patterns in ignores:
        relative = path[len(folder) :].lstrip(f"/{os.sep}").replace(os.sep, "/")
        verdict = patterns.check_file(printable(relative)).include
        if verdict is not None:
            return verdict
    return False


def _skipped(path: Path, error: Exception) -> Skipped:
    reason = error.strerror if isinstance(error, OSError) else None
    return Skipped(path=printable(str(path)), reason=reason or str(error))
