r"""``file:`` URIs and paths: drive letters, shares, names that aren't Unicode.

`pathlib` turns a path into a URI (``as_uri``); this module turns a URI into a path. It never looks
at the file system, so paths of Windows can be parsed, and tested, on every system.
"""

from __future__ import annotations

import os
import re
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from urllib.parse import unquote_to_bytes, urlsplit


def path_of(uri: str, *, windows: bool = os.name == "nt") -> PurePath | None:
    """Return the path that a URI names, without its fragment; None if it isn't a local file.

    Parameters
    ----------
    uri
        Any string.
    windows
        Whether paths are those of Windows. Default: whether this program runs on Windows.

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
    if not windows:  # a URI with a host names a file of another machine
        return PurePosixPath(os.fsdecode(name)) if here else None
    path = name.decode("utf-8", "replace")
    if not here:
        return PureWindowsPath(f"//{parts.netloc}{path}")
    return PureWindowsPath(re.sub(r"^/(?=[A-Za-z]:)", "", path))


def sqlite_uri(path: PurePath) -> str:
    """Return an absolute path as a URI for SQLite, which doesn't accept a host in a URI.

    See https://www.sqlite.org/uri.html.

    Examples
    --------
    >>> sqlite_uri(PureWindowsPath("//server/share/my index/catalog.sqlite"))
    'file:////server/share/my%20index/catalog.sqlite'
    """
    uri = path.as_uri()
    return uri if uri.startswith("file:///") else uri.replace("file://", "file:////", 1)
