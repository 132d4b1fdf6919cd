"""URIs of what is inside of a file: members of archives, attachments of messages, files of git.

The fragment is a path that begins with a slash, as that of a JSON Pointer does in a URI:
``file:///a.zip#/inner/notes.md``. What leads to a place in the member follows after ``&``, which a
path has percent-encoded: ``file:///a.zip#/inner/notes.md&L10-L14``. A text directive (``:~:text=``)
follows the path at once, as it does any fragment. Taking the fragment away gives the file, which
every program can open.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

_SAFE = "/!$'()*+,;=@"
_DIRECTIVE = ":~:"


def member_uri(uri: str, path: str) -> str:
    """Return the URI of a member.

    Parameters
    ----------
    uri
        Of the file, or of a member that is an archive itself.
    path
        Of the member inside of it, without a slash at its beginning.

    Examples
    --------
    >>> member_uri("file:///a.zip", "inner/R&D notes.md")
    'file:///a.zip#/inner/R%26D%20notes.md'
    >>> member_uri("file:///a.zip#/b.zip", "c.md")
    'file:///a.zip#/b.zip/c.md'
    """
    joint = "/" if is_member(uri) else "#/"
    return uri.partition("#")[0] + _inside(uri) + joint + quote(path, safe=_SAFE, errors="replace")


def is_member(uri: str) -> bool:
    """Tell whether a URI names something inside of a file."""
    return uri.partition("#")[2].startswith("/")


def member_path(uri: str) -> str:
    """Return the path of a member inside of its file; ``""`` if the URI is that of no member.

    Examples
    --------
    >>> member_path("file:///a.zip#/inner/R%26D%20notes.md&L10")
    'inner/R&D notes.md'
    """
    return unquote(_inside(uri).removeprefix("#/"), errors="replace")


def split_locator(uri: str) -> tuple[str, str]:
    """Return the URI of a document and what leads to a place in it, without the mark between them.

    Examples
    --------
    >>> split_locator("file:///a.zip#/notes.md&L10-L14")
    ('file:///a.zip#/notes.md', 'L10-L14')
    >>> split_locator("file:///notes.md#L10")
    ('file:///notes.md', 'L10')
    """
    address, _, fragment = uri.partition("#")
    inside = _inside(uri)
    return address + inside, fragment[len(inside) - 1 :].lstrip("&") if inside else fragment


def with_locator(uri: str, locator: str) -> str:
    """Return the URI of a place in a document, the inverse of `split_locator`."""
    if not locator:
        return uri
    if is_member(uri):
        joint = "" if locator.startswith(_DIRECTIVE) else "&"
        return f"{split_locator(uri)[0]}{joint}{locator}"
    return f"{uri.partition('#')[0]}#{locator}"


def _inside(uri: str) -> str:
    """Return the part of a URI that names the member, from its ``#`` on, or ``""``."""
    if not is_member(uri):
        return ""
    return "#" + uri.partition("#")[2].partition(_DIRECTIVE)[0].partition("&")[0]
