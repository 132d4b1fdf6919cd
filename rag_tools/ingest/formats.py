"""The format of a file, told by its name: a suffix, also for names that have none or another."""

from __future__ import annotations

from pathlib import PurePath

_NAMES = {
    "containerfile": ".dockerfile",
    "dockerfile": ".dockerfile",
    "gemfile": ".rb",
    "gnumakefile": ".mk",
    "makefile": ".mk",
    "podfile": ".rb",
    "rakefile": ".rb",
    "vagrantfile": ".rb",
}
_PREFIXES = ("dockerfile.", "containerfile.")


def format_suffix(name: str) -> str:
    """Return the suffix, in lower case, of the format that a file's name tells.

    Examples
    --------
    >>> format_suffix("Notes.MD"), format_suffix("Makefile"), format_suffix("Dockerfile.dev")
    ('.md', '.mk', '.dockerfile')
    """
    lower = PurePath(name).name.lower()
    if lower.startswith(_PREFIXES):
        return ".dockerfile"
    return _NAMES.get(lower, PurePath(lower).suffix)
