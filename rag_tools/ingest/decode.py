"""Bytes of a text file → its characters.

The result is the canonical text of text formats, so nothing but the encoding is undone: line
endings, control characters and odd spaces stay as they are. Structure is the loaders' business.
"""

from __future__ import annotations

import codecs
import re

from rag_tools.errors import UnreadableFileError

_BYTE_ORDER_MARKS = (
    # UTF-32 first: its little-endian mark starts with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Without their mark these fit almost any bytes: "café" in Windows-1252 reads as UTF-16 "捡曩".
_ONLY_WITH_MARK = (
    "utf_7",
    "utf_8",
    "utf_8_sig",
    "utf_16",
    "utf_16_be",
    "utf_16_le",
    "utf_32",
    "utf_32_be",
    "utf_32_le",
)
# Code pages of mainframes and of printers, which files on disk aren't in: nearly any bytes are
# letters in them, so short texts fit them too well.
_NOT_IN_FILES = ("cp037", "cp273", "cp424", "cp500", "cp875", "cp1026", "cp1140", "hp_roman8")
_LATIN = "cp1252"
# What curly quotes, dashes and € may add to the chaos that charset-normalizer sees in a text. Of
# 26 short texts in 17 encodings 0 gets 20 right, 0.15 gets 23 and none wrong that was right.
_TYPOGRAPHY = 0.15

# C0 controls and DEL, less those that text uses: \b \t \n \v \f \r and ESC (terminal colours).
_CONTROLS = bytes(set(range(32)) - {*range(8, 14), 27}) + b"\x7f"
# Valid UTF-8 is text unless a good part of it is controls; UTF-16 without a mark has 50 %.
_MAX_CONTROLS_UTF8 = 0.3
# Any bytes are valid in some code page; random ones hold 10 % controls, prose has none.
_MAX_CONTROLS_LEGACY = 0.02


def decode(data: bytes, *, name: str) -> str:
    """Return the characters of a text file.

    UTF-8 wins if the bytes are valid UTF-8; then UTF-16 and UTF-32 by their byte order mark;
    then the legacy encoding that charset-normalizer finds most plausible. A byte order mark is
    dropped; every other character is kept, NUL included.

    Parameters
    ----------
    data
        The whole file.
    name
        Of the file, for messages.

    Returns
    -------
    str
        Without lone surrogates.

    Raises
    ------
    UnreadableFileError
        The bytes are binary data, damaged, or in no encoding that can be told.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return _decode_strictly(data, encoding, name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        _refuse_binary(data, _MAX_CONTROLS_LEGACY, name)
        _refuse_damaged_utf8(data, error, name)
        return _decode_strictly(data, _legacy_encoding(data, name), name)
    _refuse_binary(data, _MAX_CONTROLS_UTF8, name)
    return text


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
    from charset_normalizer import from_bytes

    matches = from_bytes(data, cp_exclusion=[*_ONLY_WITH_MARK, *_NOT_IN_FILES])
    best = matches.best()
    if best is None:
        raise UnreadableFileError(
            f"{name}: not UTF-8 and in no other encoding that can be told; convert it to UTF-8"
        )
    if _mostly_ascii_letters(data):
        # Short texts in Western languages fit several code pages equally well, and the first
        # by name would turn "plage à" into "plage ŕ", or "it’s" into "itís".
        for match in matches:
            as_good = match.coherence >= best.coherence and match.chaos <= best.chaos + _TYPOGRAPHY
            if as_good and _LATIN in match.could_be_from_charset:
                return _LATIN
    return str(best.encoding)


def _mostly_ascii_letters(data: bytes) -> bool:
    letters = len(re.findall(rb"[A-Za-z]", data))
    others = len(re.findall(rb"[\x80-\xff]", data))
    return letters > others
