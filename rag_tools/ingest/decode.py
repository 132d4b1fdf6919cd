"""Bytes of a text file → its characters.

The result is the canonical text of text formats, so only the encoding is undone: line endings,
control characters and unusual spaces are kept. Finding the structure is the task of the loaders.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter

from rag_tools.errors import UnreadableFileError

_BYTE_ORDER_MARKS = (
    # UTF-32 first: its little-endian mark starts with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The most common legacy encodings. Every further one would fit some short texts by chance.
_LEGACY = [
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "macroman"),
    *("cp852", "cp866", "cp874", "tis-620", "iso-8859-2", "iso-8859-5", "iso-8859-7"),
    *("koi8-r", "koi8-u", "cp932", "euc-jp", "cp949", "big5hkscs", "gb18030"),
]
_LATIN = "cp1252"
# Short texts in Western languages fit the code pages of other languages nearly as well. Of 51
# short texts in 23 encodings, 0.65 gets 48 right, 0.5 and 0.75 get 47; without a preference 44.
_AS_GOOD = 0.65
# Letters of the Western languages that are written with the Latin alphabet, less those of
# Icelandic, which are what other languages' letters look like in this code page.
_WESTERN = frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüÿßœŒÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜŸªº")
_ALPHABETS = ("CYRILLIC", "GREEK", "HEBREW", "ARABIC", "THAI")
_WORDS = 1000  # words that are examined for a mixture of alphabets
_DETECTED_BYTES = 200_000  # bytes from the start of a file that are enough to detect its encoding
_UTF16_CHARACTERS = 4096  # characters that are examined to tell UTF-16 from binary data
_UTF16_SHARE = 0.8  # share of these characters that must be ASCII or of one alphabet

# C0 controls and DEL, less those that text uses: \b \t \n \v \f \r and ESC (terminal colours).
_CONTROLS = bytes(set(range(32)) - {*range(8, 14), 27}) + b"\x7f"
# Valid UTF-8 is text unless a good part of it is controls; UTF-16 without a mark has 50 %.
_MAX_CONTROLS_UTF8 = 0.3
# Any bytes are valid in some code page; random ones hold 10 % controls, prose has none.
_MAX_CONTROLS_LEGACY = 0.02


def valid(text: str) -> str:
    r"""Return a text as valid Unicode: half a character, which UTF-8 can't hold, becomes ``?``.

    Examples
    --------
    >>> valid("caf\udce9")
    'caf?'
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def decode(data: bytes, *, name: str) -> str:
    """Return the characters of a text file.

    A byte order mark decides. Without one, the encoding is UTF-8 if the bytes are valid UTF-8,
    UTF-16 if they read as text in it, ISO-2022-JP if they contain its escapes, and otherwise the
    legacy encoding that chardet finds most plausible. A byte order mark is dropped; every other
    character is kept, including NUL.

    Parameters
    ----------
    data
        The whole file.
    name
        Name of the file, for messages.

    Returns
    -------
    str
        Text without lone surrogates.

    Raises
    ------
    UnreadableFileError
        The bytes are binary data, damaged, or in an encoding that can't be detected.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _decode_strictly(data, encoding, name)
    if (unmarked := _utf16_without_mark(data) or _iso_2022_jp(data)) is not None:
        return unmarked
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse_binary(data, _MAX_CONTROLS_LEGACY, name)
        _refuse_damaged_utf8(data, error, name)
        return _decode_strictly(data, _legacy_encoding(data, name), name)
    _refuse_binary(data, _MAX_CONTROLS_UTF8, name)
    return text


def is_utf8(data: bytes) -> bool:
    """Tell whether bytes are valid UTF-8 and more than ASCII."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not data.isascii()


def _utf16_without_mark(data: bytes) -> str | None:
    """Return the text of UTF-16 data without a byte order mark, or None for other data."""
    if len(data) % 2 or b"\0" not in data:
        return None
    # Blanks and line ends, at least, have a zero byte, and always on the same side.
    low, high = data[::2].count(0), data[1::2].count(0)
    if low and high:
        return None
    try:
        text = data.decode("utf-16-be" if low else "utf-16-le")
        text.encode("utf-8")
    except UnicodeError:
        return None
    sample = text[:_UTF16_CHARACTERS]
    if not all(character.isprintable() or character in "\t\r\n\f" for character in sample):
        return None
    # An alphabet is 256 characters of one range; a stray zero byte in other data makes many.
    ranges = Counter(ord(character) >> 8 for character in sample)
    ascii_share = ranges.pop(0, 0) / max(1, len(sample))
    alphabet = max(ranges.values(), default=0) / max(1, len(sample))
    return text if ascii_share + alphabet >= _UTF16_SHARE else None


def _iso_2022_jp(data: bytes) -> str | None:
    """Return the text of ISO-2022-JP, which is ASCII with escapes, or None for other data."""
    if not data.isascii() or b"\x1b$" not in data:
        return None
    try:
        text = data.decode("iso2022_jp_2")
    except UnicodeDecodeError:
        return None
    return None if text.isascii() else text


def _decode_strictly(data: bytes, encoding: str, name: str) -> str:
    try:
        text = data.decode(encoding)
        text.encode("utf-8")  # some codecs let lone surrogates through
    except UnicodeError as error:
        raise UnreadableFileError(
            f"{name}: looks like {encoding} but isn't valid: {error}; convert it to UTF-8"
        ) from error
    return text


def _refuse_binary(data: bytes, limit: float, name: str) -> None:
    controls = len(data) - len(data.translate(None, delete=_CONTROLS))
    if controls > limit * len(data):
        raise UnreadableFileError(
            f"{name}: looks like binary data ({controls} of {len(data)} bytes are control "
            "characters); if it is text, convert it to UTF-8"
        )


def _refuse_damaged_utf8(data: bytes, error: UnicodeDecodeError, name: str) -> None:
    """Refuse UTF-8 with some broken bytes, which a code page would turn into mojibake."""
    text = data.decode("utf-8", errors="replace")
    broken = text.count("\ufffd")
    valid = len(re.findall(r"[^\x00-\x7f\ufffd]", text))
    cut = error.end == len(data) and error.reason == "unexpected end of data"
    if valid > broken or (cut and valid):  # cut: all before the last character is valid
        raise UnreadableFileError(
            f"{name}: damaged UTF-8, byte 0x{data[error.start]:02X} at offset {error.start}: "
            f"{error.reason}; repair it or convert it to UTF-8"
        )


def _legacy_encoding(data: bytes, name: str) -> str:
    from chardet import detect_all

    sample = data[:_DETECTED_BYTES]
    found = [
        (str(match["encoding"]), match["confidence"])
        for match in detect_all(
            sample, ignore_threshold=True, include_encodings=_LEGACY, compat_names=False
        )
        if match["encoding"]
    ]
    found = [(encoding, score) for encoding, score in found if _reads(data, encoding)]
    if not found:
        raise UnreadableFileError(
            f"{name}: not UTF-8, and its encoding can't be detected; convert it to UTF-8"
        )
    likely = [each for each in found if not _mixes_scripts(sample, each[0])] or found
    best, confidence = likely[0]
    if dict(likely).get(_LATIN, -1.0) >= _AS_GOOD * confidence and _is_western(sample):
        return _LATIN
    return best


def _reads(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeError:
        return False
    return True


def _mixes_scripts(data: bytes, encoding: str) -> bool:
    """Tell whether many words mix ASCII letters with those of another alphabet."""
    text = data.decode(encoding, errors="ignore")
    words = re.findall(r"[^\W\d_]*[^\W\d_\x00-\x7f][^\W\d_]*", text)[:_WORDS]
    mixed = sum(
        re.search("[A-Za-z]", word) is not None
        and any(unicodedata.name(letter, "").startswith(_ALPHABETS) for letter in word)
        for word in words
    )
    return mixed > len(words) / 4


def _is_western(data: bytes) -> bool:
    """Tell whether the data, read as Windows-1252, has only Western letters, no marks in words."""
    text = data.decode(_LATIN, errors="replace")
    letters = {character for character in text if character > "\x7f" and character.isalpha()}
    marks = re.search(r"[^\W\d_][^\w\s\x00-\x7f’‘–—…·\xad][^\W\d_]", text)
    return letters <= _WESTERN and marks is None
