"""The text of an HTML page from its bytes, by what the page declares about its encoding.

Detecting an encoding that nothing declares is in ``decode``.
"""

from __future__ import annotations

import codecs
import re

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.decode import decode, is_utf8

_DECLARED_CHARSET = re.compile(
    rb"<\?xml[^>]*?\bencoding\s*=\s*[\"']?([\w.:-]+)|<meta[^>]*?\bcharset\s*=\s*[\"']?\s*([\w.:-]+)",
    re.I,
)
# The Encoding Standard reads these labels as the superset that pages really use, and takes a
# UTF-16 declared in ASCII bytes for the mistake it is.
_SUPERSET = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "utf-16": "utf-8",
    "utf-16-be": "utf-8",
    "utf-16-le": "utf-8",
}
# Runs of bytes beyond ASCII: this many of them in a page that is valid UTF-8 are no accident.
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]+")
_SURELY_UTF8 = 2
_SURELY_ANOTHER = 3
_PAGE_CODEC = re.compile(r"utf-8|cp\d+|iso8859|koi8|mac-|gb18030|big5|euc_|iso2022_jp|johab")


def as_page(text: str) -> bytes:
    """Return the text of a page as bytes that `load_html` reads as UTF-8, whatever it declares."""
    return codecs.BOM_UTF8 + text.encode("utf-8", "replace")


def decode_page(data: bytes, name: str) -> str:
    """Decode by byte order mark, then as UTF-8 if it can only be that, then as declared.

    If a page declares UTF-8 but isn't valid UTF-8, or declares nothing, its encoding is detected.
    """
    has_mark = data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE))
    declared = None if has_mark else _DECLARED_CHARSET.search(data[:1024])
    if declared is None or _is_utf8_whatever_it_says(data):
        return decode(data, name=name)
    label = (declared[1] or declared[2]).decode("ascii").lower()
    try:
        codec = codecs.lookup(label).name
    except LookupError:
        return decode(data, name=name)
    codec = _SUPERSET.get(codec, codec)
    if not _PAGE_CODEC.match(codec):
        return decode(data, name=name)
    if codec == "utf-8":
        return _decode_declared_utf8(data, name)
    return data.decode(codec, errors="replace")


def _is_utf8_whatever_it_says(data: bytes) -> bool:
    """Tell whether data is certainly UTF-8: several characters beyond ASCII, all of them valid."""
    return is_utf8(data) and len(_BEYOND_ASCII.findall(data)) >= _SURELY_UTF8


def _decode_declared_utf8(data: bytes, name: str) -> str:
    """Decode a page that declares UTF-8, unless several of its bytes are invalid and none valid."""
    text = data.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    valid = any(character > "\x7f" and character != "\ufffd" for character in text)
    if valid or broken < _SURELY_ANOTHER:
        return text  # at worst, the page is damaged
    try:
        return decode(data, name=name)
    except UnreadableFileError:
        return text
