"""What a file is by its first bytes, where its name may say something else."""

from __future__ import annotations

import io
import re
import zipfile
import zlib

from rag_tools.errors import UnreadableFileError, UnsupportedFormatError
from rag_tools.ingest.archive import ZIP_SIGNATURE

OLE_SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SIGNATURES = {b"%PDF-": "pdf", b"{\\rtf": "rtf"}
_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<!--.{0,2000}?-->\s*)?<(?:!doctype html|html)\b", re.I | re.S
)

# Type of the main part, in the list of types of an OOXML document → loader.
_MAIN_PARTS = (
    (re.compile(rb"(?:ms-word|wordprocessingml)\.[\w.]*main\+xml", re.I), "docx"),
    (re.compile(rb"(?:ms-powerpoint|presentationml)\.[\w.]*main\+xml", re.I), "pptx"),
    (re.compile(rb"(?:ms-excel|spreadsheetml)\.[\w.]*main(?:\+xml)?", re.I), "xlsx"),
)
_TYPES = "[Content_Types].xml"
_MEDIA_TYPE = "mimetype"
_MOST_BYTES = 1024 * 1024  # of a member that tells the type

# Name of a stream → loader. The names are in the directory of the file, in UTF-16.
_STREAMS = (
    ("EncryptedPackage", ""),
    ("WordDocument", "office"),
    ("PowerPoint Document", "office"),
    ("Workbook", "xls"),
    ("__properties_version1.0", "msg"),
    ("Book", "xls"),
)


def has_signature(data: bytes) -> bool:
    """Tell whether a file begins as one that isn't plain text, whatever its name is."""
    return data.startswith((ZIP_SIGNATURE, OLE_SIGNATURE, *_SIGNATURES))


def recognise(data: bytes, name: str, *, archive: bool = False) -> str | None:
    """Return the loader for what a file is by its content, or None if only its name can tell.

    Parameters
    ----------
    archive
        Whether the file is an archive by its name, so that it may be one by its content.

    Raises
    ------
    UnreadableFileError
        It is an encrypted document of Office.
    UnsupportedFormatError
        It is an archive or a container of something that no loader reads.
    """
    for signature, loader in _SIGNATURES.items():
        if data.startswith(signature):
            return loader
    if data.startswith(ZIP_SIGNATURE):
        return _zip(data, name, is_archive=archive)
    if data.startswith(OLE_SIGNATURE):
        return _ole(data, name)
    return None


def is_page(data: bytes) -> bool:
    """Tell whether a file begins as a page of HTML."""
    return _PAGE.match(data[:4096]) is not None


def _zip(data: bytes, name: str, *, is_archive: bool) -> str | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {member.filename: member for member in archive.infolist()}
            for told in (_MEDIA_TYPE, _TYPES):
                member = members.get(told)
                if member is None or member.file_size > _MOST_BYTES:
                    continue
                if loader := _zip_loader(archive.read(member)):
                    return loader
    except (
        EOFError,
        NotImplementedError,
        OSError,
        RuntimeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ):
        return None  # the loader for the name says what is wrong
    if is_archive or _TYPES in members or _MEDIA_TYPE in members:
        return None
    raise UnsupportedFormatError(
        f"{name}: a ZIP archive of {len(members):,} files: name it .zip to index them"
    )


def _zip_loader(told: bytes) -> str | None:
    if told.strip() == b"application/epub+zip":
        return "epub"
    if told.startswith(b"application/vnd.oasis.opendocument."):
        return "odf"
    return next((loader for pattern, loader in _MAIN_PARTS if pattern.search(told)), None)


def _ole(data: bytes, name: str) -> str:
    for stream, loader in _STREAMS:
        if (stream + "\0").encode("utf-16-le") in data:
            if not loader:
                raise UnreadableFileError(f"{name}: encrypted: save it without a password")
            return loader
    raise UnsupportedFormatError(
        f"{name}: a compound file (OLE), but no document of Word, Excel, PowerPoint or Outlook"
    )
