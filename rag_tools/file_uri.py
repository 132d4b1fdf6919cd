r"""``file:`` URIs and paths: drive letters, shares, names that aren't Unicode.

From path to URI it is `pathlib`'s ``as_uri``, and back is here. Nothing here looks at the file
system, so that paths of Windows are understood, and tested, on every system.
"""

from __future__ import annotations

import os
import re
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from urllib.parse import unquote_to_bytes, urlsplit


def path_of(uri: str, *, windows: bool = os.name == "nt") -> PurePath | None:
    """Return the path that a URI names, without its fragment; None if it names no file of ours.

    Parameters
    ----------
    uri
        Any string.
    windows
        Whether files have paths of Windows; by default, whether this runs there.

    Examples
    --------
    >>> path_of("file:///C:/my%20notes/tides.md#L1", windows=True)
    PureWindowsPath('C:/my notes/tides.md')
    >>> path_of("file://server/share/tides.md", windows=True)
    PureWindowsPath('//server/share/tides.md')
    >>> path_of("https://example.org/tides.md") is None
    True
    """
    try:
        parts = urlsplit(uri)
    except ValueError:  # such as file://[
        return None
    name = unquote_to_bytes(parts.path)
    if parts.scheme != "file" or b"\0" in name:
        return None
    here = parts.netloc in ("", "localhost")
    if not windows:  # what has a host there is a file of another machine
        return PurePosixPath(os.fsdecode(name)) if here else None
    path = name.decode("utf-8", "replace")
    if not here:
        return PureWindowsPath(f"//{parts.netloc}{path}")
    return PureWindowsPath(re.sub(r"^/(?=[A-Za-z]:)", "", path))


def sqlite_uri(path: PurePath) -> str:
    """Return an absolute path as a URI for SQLite, which refuses the name of a share as a host.

    See https://www.sqlite.org/uri.html.

    Examples
    --------
    >>> sqlite_uri(PureWindowsPath("//server/share/my index/catalog.sqlite"))
    'file:////server/share/my%20index/catalog.sqlite'
    """
    uri = path.as_uri()
    return uri if uri.startswith("file:///") else uri.replace("file://", "file:////", 1)
