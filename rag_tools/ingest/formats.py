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
# The section of the manual that a page is in, but for versions, of libraries and logs too.
_PAGE = re.compile(r"(?!v?\d[\d.]*\Z|.*\.(?:so|log|dll|dylib)\.)[\w.:+@\[-]+\.[1-9][a-z]{0,4}")
_PREFIXES = ("dockerfile.", "containerfile.")
_PACKED = {".tar.bz2": ".tbz2", ".tar.gz": ".tgz", ".tar.xz": ".txz"}

PICTURES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Suffixes of pictures, whose text can be recognised."""

ARCHIVES = frozenset({".zip", ".tar", *_PACKED.values()})
"""Suffixes of files that are nothing but archives of others."""


def format_suffix(name: str) -> str:
    """Return the suffix, in lower case, of the format that a file's name tells.

    Examples
    --------
    >>> format_suffix("Notes.MD"), format_suffix("Makefile"), format_suffix("Dockerfile.dev")
    ('.md', '.mk', '.dockerfile')
    >>> format_suffix("grep.1"), format_suffix("libc.so.6"), format_suffix("page.3pm")
    ('.man', '.6', '.man')
    >>> format_suffix("notes.tar.gz"), format_suffix("notes.gz")
    ('.tgz', '.gz')
    >>> format_suffix("v1.2"), format_suffix("2024.1")
    ('.2', '.1')
    """
    lower = PurePath(name).name.lower()
    if lower.startswith(_PREFIXES):
        return ".dockerfile"
    if _PAGE.fullmatch(lower):
        return ".man"
    suffixes = PurePath(lower).suffixes
    packed = _PACKED.get("".join(suffixes[-2:]))
    return packed or _NAMES.get(lower, suffixes[-1] if suffixes else "")
