"""The format of a file, told by its name: a suffix, also for names that have none or another."""

from __future__ import annotations

import re
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
# The section of the manual that a page is in, but for the versions of libraries and of logs.
_PAGE = re.compile(r"(?!.*\.(?:so|log|dll|dylib)\.)[\w.:+@\[-]+\.[1-9][a-z]{0,4}")
_PREFIXES = ("dockerfile.", "containerfile.")


def format_suffix(name: str) -> str:
    """Return the suffix, in lower case, of the format that a file's name tells.

    Examples
    --------
    >>> format_suffix("Notes.MD"), format_suffix("Makefile"), format_suffix("Dockerfile.dev")
    ('.md', '.mk', '.dockerfile')
    >>> format_suffix("grep.1"), format_suffix("libc.so.6"), format_suffix("page.3pm")
    ('.man', '.6', '.man')
    """
    lower = PurePath(name).name.lower()
    if lower.startswith(_PREFIXES):
        return ".dockerfile"
    if _PAGE.fullmatch(lower):
        return ".man"
    return _NAMES.get(lower, PurePath(lower).suffix)
