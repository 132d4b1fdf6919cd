"""Messages of Outlook (.msg) to canonical text, through olefile; see ``mail`` for what is shown."""

from __future__ import annotations

import io
import struct
from datetime import UTC, datetime, timedelta
from email import message_from_string, policy
from typing import Any

import olefile

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.decode import decode, valid
from rag_tools.ingest.extraction import Extraction
from rag_tools.ingest.html import load_html
from rag_tools.ingest.html_encoding import as_page
from rag_tools.ingest.mail import Attachment, MessageWriter, Read, metadata_of, plain_body
from rag_tools.types import Document

_MEDIA_TYPE = "application/vnd.ms-outlook"

# Tags of the properties that are read [MS-OXPROPS].
_SUBJECT, _BODY, _HTML, _HEADERS = "0037", "1000", "1013", "007D"
_SENDER, _SENDER_SMTP, _SENDER_ADDRESS = "0C1A", "5D01", "0C1F"
_TO, _CC, _MESSAGE_ID, _IN_REPLY_TO = "0E04", "0E03", "1035", "1042"
_DATA, _LONG_NAME, _NAME = "3701", "3707", "3704"
_SENT, _DELIVERED = 0x0039_0040, 0x0E06_0040  # times are in the list of properties
_UNICODE, _STRING, _BINARY = "001F", "001E", "0102"
_HEADER_BYTES, _ENTRY_BYTES = 32, 16  # of the list of properties
_LONGEST_HEADER = 2000
_MOST_ATTACHMENTS = 1000
_DAMAGED = (OSError, ValueError, struct.error, IndexError, KeyError, TypeError)


def load_msg(data: bytes, *, uri: str, name: str) -> Document:
    """Return the document in a message of Outlook, with the metadata that ``load_mail`` gives.

    A message inside the message is named in the metadata, and isn't read. A `Loader`, see
    `rag_tools.ingest.load`.
    """
    try:
        with olefile.OleFileIO(io.BytesIO(data)) as container:
            message = _read(container, name)
    except _DAMAGED as error:
        raise UnreadableFileError(
            f"{name}: not a message of Outlook that can be read ({error}): save it again"
        ) from error
    out = Extraction()
    MessageWriter(out).write(message)
    return out.document(uri=uri, name=name, media_type=_MEDIA_TYPE, metadata=message.metadata)


def msg_attachments(data: bytes) -> list[Attachment]:
    """Return what is attached to a message; nothing if it is damaged, which `load_msg` reports."""
    try:
        with olefile.OleFileIO(io.BytesIO(data)) as container:
            return _attachments(container)
    except _DAMAGED:
        return []


def _read(container: Any, name: str) -> Read:  # noqa: ANN401 - olefile has no types
    sender = _line(container, _SENDER)
    address = _line(container, _SENDER_SMTP) or _line(container, _SENDER_ADDRESS)
    if "@" in address and address not in sender:
        sender = f"{sender} <{address}>".strip()
    stated = message_from_string(_text(container, _HEADERS), policy=policy.compat32)
    headers = {
        "Subject": _line(container, _SUBJECT),
        "From": sender,
        "To": _line(container, _TO),
        "Cc": _line(container, _CC),
        "Message-ID": _line(container, _MESSAGE_ID),
        "In-Reply-To": _line(container, _IN_REPLY_TO),
        "Date": _one_line(str(stated.get("Date") or "")) or _time(container),
    }
    attachments = _attachments(container)
    return Read(
        headers["Subject"],
        [(field, headers[field]) for field in ("From", "To", "Cc", "Date") if headers[field]],
        _body(container, name),
        attachments,
        metadata_of(headers, attachments),
    )


def _body(container: Any, name: str) -> Document | None:  # noqa: ANN401
    if text := _text(container, _BODY).strip():
        return plain_body(text, name)
    page = _stream(container, f"__substg1.0_{_HTML}{_BINARY}")
    if not page and (text := _text(container, _HTML)):
        page = as_page(text)
    return load_html(page, uri="body:", name=name) if page.strip() else None


def _attachments(container: Any) -> list[Attachment]:  # noqa: ANN401
    found = []
    for entry in container.listdir(streams=False, storages=True)[:_MOST_ATTACHMENTS]:
        if len(entry) != 1 or not entry[0].startswith("__attach_version1.0_"):
            continue
        folder = f"{entry[0]}/"
        called = _line(container, _LONG_NAME, folder) or _line(container, _NAME, folder)
        content = _stream(container, f"{folder}__substg1.0_{_DATA}{_BINARY}")
        called = called.replace("\\", "/").rpartition("/")[2][:200]
        found.append(Attachment(called or "message", content))
    return found


def _text(container: Any, tag: str, folder: str = "") -> str:  # noqa: ANN401
    """Return a property that is text, in either of the two ways of storing it; else ``""``."""
    if raw := _stream(container, f"{folder}__substg1.0_{tag}{_UNICODE}"):
        text = raw.decode("utf-16-le", "replace")
    elif raw := _stream(container, f"{folder}__substg1.0_{tag}{_STRING}"):
        try:
            text = decode(raw, name=tag)
        except UnreadableFileError:
            text = raw.decode("latin-1")
    else:
        return ""
    return valid(text.replace("\0", ""))


def _line(container: Any, tag: str, folder: str = "") -> str:  # noqa: ANN401
    return _one_line(_text(container, tag, folder))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_HEADER]


def _stream(container: Any, path: str) -> bytes:  # noqa: ANN401
    if not container.exists(path) or container.get_type(path) != olefile.STGTY_STREAM:
        return b""
    content: bytes = container.openstream(path).read()
    return content


def _time(container: Any) -> str:  # noqa: ANN401
    """Return when the message was sent, as the header of a mail has it, or ``""``."""
    raw = _stream(container, "__properties_version1.0")[_HEADER_BYTES:]
    times = {}
    for place in range(0, len(raw) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
        tag, _, value = struct.unpack_from("<IIQ", raw, place)
        times[tag] = value
    ticks = times.get(_SENT) or times.get(_DELIVERED) or 0
    try:
        moment = datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=ticks // 10)
    except OverflowError:
        return ""
    return moment.strftime("%a, %d %b %Y %H:%M:%S +0000") if ticks else ""
