"""Mail to canonical text: messages (.eml), folders of them (.mbox) and Outlook's (.msg).

Of each message, the text holds the subject, who wrote to whom and when, and the body. A quotation
of an earlier message and a signature are marked by their headings and kinds. The headers are
metadata too. What is attached are documents of their own, see ``members``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import suppress
from email import message_from_bytes, policy
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from pathlib import PurePath
from typing import NamedTuple

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.decode import decode, valid
from rag_tools.ingest.extraction import Extraction
from rag_tools.ingest.html import load_html
from rag_tools.ingest.html_encoding import as_page
from rag_tools.ingest.properties import iso_time
from rag_tools.ingest.text import load_text
from rag_tools.types import Document, Metadata

_SUPERSETS = {
    "euc-kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "shift_jis": "cp932",
}
_MEDIA_TYPES = {".mbox": "application/mbox", ".eml": "message/rfc822"}
_SHOWN = ("From", "To", "Cc", "Date")
_FIELDS = {
    "From": "from",
    "To": "to",
    "Cc": "cc",
    "Subject": "subject",
    "Message-ID": "message_id",
    "In-Reply-To": "in_reply_to",
    "List-Id": "list",
}
_LONGEST_HEADER = 2000
_MOST_MESSAGES = 100_000
_MOST_PARTS = 1000  # of a message
_FROM_LINE = re.compile(rb"(?:\A|(?:\r?\n){2})From [^\r\n]{1,300}\d{4}[^\r\n]{0,40}\r?\n")
_ESCAPED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_HEADER = re.compile(rb"(?:[!-9;-~]{1,80}:|From )")
_QUOTED = re.compile(r"[ \t]*>")
_MARK = re.compile(r"(?:[ \t]{0,3}>)+ ?")
_INTRODUCTION = re.compile(r"[^\n]{0,200}(?:\d|@|\bwrote|\bschrieb|\bécrit)[^\n]{0,200}:\s*")
_ORIGINAL = re.compile(
    r"\s*(?:-{2,} ?(?:Original Message|Forwarded message|Ursprüngliche Nachricht|Message d'origine)"
    r" ?-{2,}|_{20,})\s*",
    re.IGNORECASE,
)
_MESSAGE = "message {}"
_QUOTE = "quoted message"
"""The last entry of the heading path of what a message quotes."""


def load_mail(data: bytes, *, uri: str, name: str) -> Document:
    """Return the document in a message or in a folder of messages.

    Each subject is a heading. Metadata are ``from``, ``to``, ``cc``, ``subject``, ``date`` (ISO
    8601), ``message_id``, ``in_reply_to`` and ``list`` of a single message, and the names of its
    ``attachments``. What a message quotes has ``quoted message`` as the last entry of its heading
    path, without the marks ``>`` before its lines. The parts of the source map of a folder are
    ``message 12`` and so on. A `Loader`, see `rag_tools.ingest.load`.
    """
    out = Extraction()
    metadata: Metadata = {}
    is_folder = data.startswith(b"From ")
    if is_folder:
        for number, raw in enumerate(_messages(data), 1):
            if number > _MOST_MESSAGES:
                raise UnreadableFileError(
                    f"{name}: more than {_MOST_MESSAGES:,} messages: split the folder"
                )
            MessageWriter(out, _MESSAGE.format(number)).write(read_message(raw, name))
    else:
        if not _HEADER.match(data.lstrip()):
            raise UnreadableFileError(
                f"{name}: not a message, which begins with its headers: export it again"
            )
        message = read_message(data, name)
        metadata = message.metadata
        MessageWriter(out).write(message)
    return out.document(
        uri=uri,
        name=name,
        media_type=_MEDIA_TYPES[".mbox" if is_folder else ".eml"],
        title="" if not is_folder else name,
        metadata=metadata,
    )


def mail_attachments(data: bytes) -> Iterator[tuple[str, Attachment]]:
    """Yield what is attached to a message, or to the messages of a folder.

    The string is the name of the message in its folder, ``message 12``, or ``""``.
    """
    if not data.startswith(b"From "):
        for each in _divided(message_from_bytes(data, policy=policy.compat32))[1]:
            yield "", each
        return
    for number, raw in enumerate(itertools.islice(_messages(data), _MOST_MESSAGES), 1):
        for each in _divided(message_from_bytes(raw, policy=policy.compat32))[1]:
            yield _MESSAGE.format(number), each


class Attachment(NamedTuple):
    """A file in a message, or another message."""

    name: str
    data: bytes


class Read(NamedTuple):
    """A message that was read, whatever its format.

    Attributes
    ----------
    headers
        Those that are shown, in order: name and value.
    body
        What it says; None if nothing.
    """

    subject: str
    headers: list[tuple[str, str]]
    body: Document | None
    attachments: list[Attachment]
    metadata: Metadata


class MessageWriter:
    """Writes messages to an extraction.

    Parameters
    ----------
    out
        Where to.
    label
        Name of the message within its file, ``""`` if it is the whole file.
    """

    def __init__(self, out: Extraction, label: str = "") -> None:
        self._out = out
        self._label = label
        self._start = out.length

    def write(self, message: Read) -> None:
        """Add a message."""
        self._out.sections.close(1)
        if message.subject:
            self._out.heading(1, message.subject)
            self._out.write(message.subject)
        for number, (header, value) in enumerate(message.headers):
            if number:
                self._out.append("\n")
            else:
                self._out.start_block("lines")
            self._out.append(f"{header}: {value}")
        if message.body is not None:
            self._out.insert(message.body)
        if self._label:
            self._out.mark(self._start, self._label)


def _messages(data: bytes) -> Iterator[bytes]:
    """Yield the messages of a folder in the format mbox, without their first lines."""
    starts = [(match.start(), match.end()) for match in _FROM_LINE.finditer(data)]
    if not starts or starts[0][0]:  # the first of these lines is damaged
        starts.insert(0, (0, data.find(b"\n") + 1))
    ends = [start for start, _ in starts[1:]] + [len(data)]
    for (_, start), end in zip(starts, ends, strict=True):
        yield _ESCAPED_FROM.sub(rb"\1", data[start:end])


def read_message(data: bytes, name: str) -> Read:
    """Return what a message of the Internet Message Format says (RFC 5322, MIME)."""
    message = message_from_bytes(data, policy=policy.compat32)
    headers = {field: _header(message, field) for field in (*_FIELDS, "Date")}
    bodies: dict[str, list[Document]] = {"plain": [], "html": []}
    shown, attachments = _divided(message)
    for part in shown:
        text = _text(part, name)
        if text.strip():
            subtype = part.get_content_subtype()
            read = _html_body if subtype == "html" else plain_body
            bodies[subtype].append(read(text, name))
    chosen = bodies["plain"] or bodies["html"]
    return Read(
        headers["Subject"],
        [(field, headers[field]) for field in _SHOWN if headers[field]],
        joined(chosen),
        attachments,
        metadata_of(headers, attachments),
    )


def _divided(message: Message) -> tuple[list[Message], list[Attachment]]:
    """Return the parts of a message that are its text, and what is attached to it."""
    shown: list[Message] = []
    attachments: list[Attachment] = []
    for number, part in enumerate(_parts(message)):
        if number >= _MOST_PARTS:
            break
        kind = part.get_content_type()
        file_name = _file_name(part)
        is_attached = part.get_content_disposition() == "attachment" or bool(file_name)
        if kind == "message/rfc822":
            inner = part.get_payload()
            first = inner[0] if isinstance(inner, list) and inner else None
            raw = first.as_bytes() if isinstance(first, Message) else b""
            attachments.append(
                Attachment(f"{file_name.removesuffix('.eml') or 'message'}.eml", raw)
            )
        elif is_attached:
            attachments.append(Attachment(file_name or "unnamed", _content(part)))
        elif kind in ("text/plain", "text/html"):
            shown.append(part)
    return shown, attachments


def metadata_of(headers: dict[str, str], attachments: list[Attachment]) -> Metadata:
    """Return the headers of a message as metadata."""
    found: Metadata = {
        field: headers[header] for header, field in _FIELDS.items() if headers.get(header)
    }
    if date := iso_time(headers.get("Date", "")):
        found["date"] = date
    if attachments:
        found["attachments"] = [each.name for each in attachments]
    return found


def joined(bodies: list[Document]) -> Document | None:
    """Return several bodies as one document."""
    if len(bodies) < 2:
        return bodies[0] if bodies else None
    out = Extraction()
    for body in bodies:
        out.insert(body)
    return out.document(uri="body:", name="body", media_type="text/plain")


def _parts(message: Message) -> Iterator[Message]:
    """Yield the parts of a message, without those of messages inside it."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        content = part.get_payload()
        if part.get_content_maintype() == "multipart" and isinstance(content, list):
            waiting += [each for each in reversed(content) if isinstance(each, Message)]
        else:
            yield part


def _header(message: Message, name: str) -> str:
    raw = message.get(name)
    if raw is None:
        return ""
    return valid(" ".join(_decoded(str(raw)[:_LONGEST_HEADER]).split()))


def _decoded(stated: str) -> str:
    """Return what a header says; one whose encoded words can't be decoded, as it stands."""
    with suppress(MessageError, LookupError, ValueError):
        return "".join(  # what isn't encoded comes as that, if other words of the header are
            each if isinstance(each, str) else _characters(each, charset or "raw-unicode-escape")
            for each, charset in decode_header(stated)
        )
    return stated


def _characters(content: bytes, charset: str) -> str:
    """Return bytes as characters, of which damaged ones are replaced.

    Programs name the smaller one of two character sets although they use the larger one.

    Raises
    ------
    LookupError
        There is no such character set.
    """
    return content.decode(_SUPERSETS.get(charset.lower(), charset), "replace")


def _file_name(part: Message) -> str:
    try:
        stated = _decoded(part.get_filename() or "")
    except (MessageError, LookupError, TypeError, ValueError):
        return ""
    return PurePath(valid(" ".join(stated.replace("\\", "/").split()))).name[:200]


def _content(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _text(part: Message, name: str) -> str:
    content = _content(part)
    charset = part.get_content_charset()
    if charset:
        try:
            return valid(_characters(content, charset))
        except (LookupError, UnicodeError, ValueError):
            pass
    try:
        return decode(content, name=name)
    except UnreadableFileError:
        return content.decode("latin-1")


def _html_body(text: str, name: str) -> Document:
    return load_html(as_page(text), uri="body:", name=name)


def plain_body(text: str, name: str) -> Document:
    """Return the body of a message in plain text: what it says, quotes, and is signed with."""
    out = Extraction()
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for is_quoted, is_signature, run in _runs(lines):
        words = (
            "\n".join(_MARK.sub("", line, count=1) for line in run) if is_quoted else "\n".join(run)
        )
        if not words.strip():
            continue
        out.sections.close(1)
        if is_quoted:
            out.sections.open(1, _QUOTE)
        if is_signature:
            out.start_block("navigation")
            out.append(words.strip("\n"))
        else:
            content = words.strip("\n").encode("utf-8", "replace")
            out.insert(load_text(content, uri="body:", name="body.txt"))
    return out.document(uri="body:", name=name, media_type="text/plain")


def _runs(lines: list[str]) -> Iterator[tuple[bool, bool, list[str]]]:
    """Yield runs of lines, with whether they are quoted and whether they are a signature."""
    run: list[str] = []
    quoted = False
    for number, line in enumerate(lines):
        if line == "-- " or (line.rstrip() == "--" and len(lines) - number < 12):
            yield quoted, False, run
            yield False, True, lines[number:]
            return
        if _ORIGINAL.fullmatch(line):
            yield quoted, False, run
            yield True, False, lines[number:]
            return
        is_quoted = _QUOTED.match(line) is not None
        if is_quoted != quoted and line.strip():
            if is_quoted and run:
                introduction = _introduction(run)
                yield False, False, run[: len(run) - len(introduction)]
                run = introduction
            else:
                yield quoted, False, run
                run = []
            quoted = is_quoted
        run.append(line)
    yield quoted, False, run


def _introduction(run: list[str]) -> list[str]:
    """Return the lines at the end that say who wrote what is quoted next."""
    filled = [number for number, line in enumerate(run) if line.strip()]
    for count in (1, 2):
        if len(filled) >= count:
            last = run[filled[-count] :]
            if _INTRODUCTION.fullmatch(" ".join("\n".join(last).split())):
                return last
    return []
