"""The files that a folder's owner wants left out: ``.ragignore``, and the ignore files of git.

Git's rules are followed as ``git status`` follows them: the ``.gitignore`` of each folder, then
``.git/info/exclude``, then the file that ``core.excludesFile`` names. The first of them that
matches a path decides. Git isn't run; the settings that matter here are read from its
configuration.

Walking a folder is in ``discover``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pathspec import GitIgnoreSpec

from rag_tools.ingest.reading import printable

RAGIGNORE = ".ragignore"
"""Its patterns, as in ``.gitignore``, apply to indexing only and take precedence over git's."""

_MAX_BYTES = 1024 * 1024
"""Bytes up to which an ignore or configuration file is read."""

_MAX_INCLUDES = 10  # depth to which files include one another, as in git

_SECTION = re.compile(r'\[\s*(?P<name>[\w.-]+)\s*(?:"(?P<subsection>(?:[^"\\]|\\.)*)"\s*)?\]')
_VARIABLE = re.compile(r"(?P<name>[A-Za-z][\w-]*)\s*(?:=\s*(?P<value>.*))?", re.DOTALL)
_TRUE = frozenset({"", "1", "on", "true", "yes"})
_ESCAPED = {"n": "\n", "t": "\t", "b": "\b"}


Report = Callable[[Path, OSError], None]
"""Called with a file that can't be read and the reason."""


class _Patterns(NamedTuple):
    """The patterns of one file, relative to a folder."""

    folder: str
    spec: GitIgnoreSpec
    ignore_case: bool = False

    def verdict(self, path: str) -> bool | None:
        """Return whether the patterns ignore `path` or bring it back, or None if none matches."""
        relative = path[len(self.folder) :].lstrip(f"/{os.sep}").replace(os.sep, "/")
        relative = printable(relative)
        return self.spec.check_file(relative.lower() if self.ignore_case else relative).include


class Ignores(NamedTuple):
    """The rules that hold in one folder.

    Attributes
    ----------
    own
        Patterns of ``.ragignore`` files, innermost first. Where they match a path, git's don't
        count.
    git
        Patterns of git's ignore files, innermost first.
    ignore_case
        Whether the repository around the folder sets ``core.ignoreCase``.
    """

    own: tuple[_Patterns, ...] = ()
    git: tuple[_Patterns, ...] = ()
    ignore_case: bool = False

    def ignored(self, path: str) -> bool:
        """Tell whether a path is to be left out; the path of a folder ends with a slash."""
        for patterns in (*self.own, *self.git):
            verdict = patterns.verdict(path)
            if verdict is not None:
                return verdict
        return False

    def below(self, folder: str, *, git: bool, report: Report) -> Ignores:
        """Return the rules inside `folder`, given these, which apply around it.

        Parameters
        ----------
        git
            Whether git's ignore files count.
        report
            Called with each ignore file that exists but can't be read; the others count.
        """
        inner = self
        if git and os.access(Path(folder, ".git"), os.F_OK):
            inner = inner._in_repository(folder, report)
        if own := _read(Path(folder, RAGIGNORE), folder, report):
            inner = inner._replace(own=(own, *inner.own))
        if git and (found := _read(Path(folder, ".gitignore"), folder, report, inner.ignore_case)):
            inner = inner._replace(git=(found, *inner.git))
        return inner

    def _in_repository(self, folder: str, report: Report) -> Ignores:
        """Add the rules of a repository itself; ``.gitignore`` files take precedence over them."""
        git = _git_directory(Path(folder, ".git"))
        settings = _settings(git / "config")
        ignore_case = settings.get("core.ignorecase", "false").lower() in _TRUE
        excludes = settings.get("core.excludesfile")
        files = (
            git / "info" / "exclude",
            _expanded(excludes, Path(folder)) if excludes else _configuration_home() / "ignore",
        )
        found = (_read(path, folder, report, ignore_case) for path in files)
        return self._replace(git=(*filter(None, found), *self.git), ignore_case=ignore_case)


def ignores_above(root: Path, *, git: bool, report: Report) -> Ignores:
    """Return the rules that the folders above `root`, up to its repository, set for it.

    Outside a repository, folders above don't count.
    """
    ignores = Ignores()
    repository = _repository_around(root)
    if repository is None or repository == root or not git:
        return ignores
    for folder in reversed(root.parents):
        if folder.is_relative_to(repository):
            ignores = ignores.below(str(folder), git=git, report=report)
    # Whoever names an ignored folder wants the files in it.
    return Ignores() if ignores.ignored(f"{root}/") else ignores


def _repository_around(folder: Path) -> Path | None:
    """Return the innermost folder that contains ``.git``: `folder` itself or one above it."""
    for each in (folder, *folder.parents):
        if os.access(each / ".git", os.F_OK):  # exists() would raise where access is denied
            return each
    return None


def pattern_lines(data: bytes) -> list[str]:
    r"""Return the lines of an ignore file as git tells them apart.

    A byte order mark isn't part of a line, and only line feeds end one.

    Examples
    --------
    >>> pattern_lines("\ufeffa\r\nb".encode())
    ['a', 'b']
    """
    text = data.decode("utf-8", "replace").removeprefix("\N{BYTE ORDER MARK}")
    return [line.removesuffix("\r") for line in text.split("\n")]


def _read(path: Path, folder: str, report: Report, ignore_case: bool = False) -> _Patterns | None:
    """Return the patterns of a file, relative to `folder`, or None if it can't be read."""
    try:
        data = _content(path)
    except OSError as error:
        report(path, error)
        return None
    if data is None:
        return None
    lines = pattern_lines(data)
    if ignore_case:
        lines = [line.lower() for line in lines]
    return _Patterns(folder, GitIgnoreSpec.from_lines(lines), ignore_case)


def _content(path: Path) -> bytes | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(_MAX_BYTES)


def _git_directory(git: Path) -> Path:
    """Return the directory that holds a repository's configuration.

    It is ``.git`` itself. In a worktree or a submodule ``.git`` is a file, which names it.
    """
    try:
        data = _content(git)
        if data is None or not data.startswith(b"gitdir:"):
            return git
        named = git.parent / os.fsdecode(data.removeprefix(b"gitdir:").strip())
        common = _content(named / "commondir")
    except OSError:
        return git
    return named if common is None else named / os.fsdecode(common.strip())


def _settings(repository: Path) -> Mapping[str, str]:
    """Return git's settings for a repository by lower-case name; the last of a name counts."""
    files = [Path(os.environ.get("GIT_CONFIG_SYSTEM") or "/etc/gitconfig")]
    if os.environ.get("GIT_CONFIG_NOSYSTEM"):
        files = []
    if own := os.environ.get("GIT_CONFIG_GLOBAL"):
        files.append(Path(own))
    else:
        files += [_configuration_home() / "config", _home() / ".gitconfig"]
    files.append(repository)
    return dict(pair for file in files for pair in _variables(file, _MAX_INCLUDES))


def _variables(path: Path, includes: int) -> Iterator[tuple[str, str]]:
    """Yield the names and values in a configuration file and in those that it includes."""
    try:
        data = _content(path)
    except OSError:  # it may belong to another user; git goes on without it, too
        return
    for name, value in _parsed(data.decode("utf-8", "replace") if data else ""):
        yield name, value
        if name == "include.path" and includes:
            yield from _variables(_expanded(value, path.parent), includes - 1)


def _parsed(text: str) -> Iterator[tuple[str, str]]:
    r"""Yield the names, in lower case, and values in the text of a configuration file.

    Examples
    --------
    >>> list(_parsed('[core]\n excludesFile = "~/a b" ; mine\n[core "x"] y = 1\nbare'))
    [('core.excludesfile', '~/a b'), ('core.x.y', '1'), ('core.x.bare', '')]
    """
    text = text.removeprefix("\N{BYTE ORDER MARK}").replace("\r\n", "\n")
    section = ""
    for whole in re.sub(r"(?<!\\)\\\n", "", text).split("\n"):
        line = whole.strip()
        if heading := _SECTION.match(line):
            section = heading["name"].lower()
            if heading["subsection"] is not None:
                section += "." + heading["subsection"]
            line = line[heading.end() :].strip()
        variable = _VARIABLE.match(line)
        if variable:
            yield f"{section}.{variable['name'].lower()}", _value(variable["value"] or "")


def _value(raw: str) -> str:
    """Return a value without its quotation marks, escapes and the comment after it."""
    parts: list[str] = []
    end = 0  # parts up to here aren't white space to be stripped
    quoted = False
    characters = iter(raw)
    for character in characters:
        if character == "\\":
            following = next(characters, "")
            parts.append(_ESCAPED.get(following, following))
        elif character == '"':
            quoted = not quoted
            continue
        elif character in "#;" and not quoted:
            break
        else:
            parts.append(character)
        if quoted or not character.isspace():
            end = len(parts)
    return "".join(parts[:end])


def _expanded(path: str, folder: Path) -> Path:
    """Return a path from a configuration file, which may begin with a tilde."""
    if path == "~" or path.startswith(("~/", "~\\")):
        return _home() / path[2:]
    return folder / path


def _configuration_home() -> Path:
    stated = os.environ.get("XDG_CONFIG_HOME")
    return (Path(stated) if stated else _home() / ".config") / "git"


def _home() -> Path:
    # Git goes by HOME on Windows too, where Path.home() doesn't.
    stated = os.environ.get("HOME")
    try:
        return Path(stated) if stated else Path.home()
    except RuntimeError:  # the user has no home directory, so there is no file to read
        return Path(os.sep, "nonexistent")
