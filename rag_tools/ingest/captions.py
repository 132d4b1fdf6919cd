"""Transcripts and subtitles (SubRip ``.srt``, WebVTT ``.vtt``) to what is said, and when, by whom.

The text holds the words of the cues without time stamps and markup. Cues that follow each other are
one paragraph, so that a sentence may run through several of them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.decode import decode
from rag_tools.ingest.extraction import Extraction
from rag_tools.types import Document, label

_MEDIA_TYPES = {True: "text/vtt", False: "application/x-subrip"}
_TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMING = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,200}>|<\d[\d:.]{0,20}>|</?>|\{\\[^{}\n]{0,200}\}")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^<>\n]{1,100})>")
_SPEAKER = re.compile(
    r"\s*(?:[-–>]+\s*)?([^\W\d_a-z][\w.'’-]*(?: [^\W\d_][\w.'’-]*){0,3})\s?:(?=\s)"
)
_SENTENCE_END = (".", "!", "?", "…", '"', "”", "。", "！", "？")
_PAUSE = 2.0  # seconds; after a longer one that follows a sentence, a paragraph begins
_LONG = 800  # characters; after a sentence that ends beyond them, a paragraph begins


class _Cue(NamedTuple):
    start: float  # seconds
    end: float
    speaker: str  # "" if unknown
    text: str


def load_captions(data: bytes, *, uri: str, name: str) -> Document:
    """Return what is said in a transcript, with a time for each cue and the speaker as heading.

    The parts of the source map are times such as ``00:12:31``; a link ends with ``#t=751.2``. A
    speaker is known by a voice tag, or by a name with a colon at the beginning of a cue. A
    `Loader`, see `rag_tools.ingest.load`.

    Raises
    ------
    UnreadableFileError
        As every loader does; also if there is text and yet no cue.
    """
    text = decode(data, name=name)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    is_vtt = lines[0].startswith("WEBVTT")
    out = Extraction()
    speaker, before = "", _Cue(0, 0, "", "")
    paragraph = 0
    for cue in _cues(lines, is_vtt=is_vtt):
        said = before.text.rstrip().endswith(_SENTENCE_END)
        rests = cue.start - before.end > _PAUSE or out.length - paragraph > _LONG
        changes = bool(cue.speaker) and cue.speaker != speaker
        speaker = cue.speaker or speaker
        if not out.length or changes or (said and rests):
            out.start_block("paragraph", path=(label(speaker),) if speaker else ())
            paragraph = out.length
        else:
            out.append("\n")
        start = out.length
        out.append(cue.text)
        out.mark(start, _clock(cue.start), f"t={cue.start:g}")
        before = cue
    if not out.length and text.strip() and not is_vtt:
        raise UnreadableFileError(
            f"{name}: no cue with a time (00:00:01,000 --> 00:00:02,000): rename it to .txt if it "
            "is plain text"
        )
    return out.document(
        uri=uri, name=name, media_type=_MEDIA_TYPES[is_vtt], title=_title(lines[0], is_vtt) or name
    )


def _title(first: str, is_vtt: bool) -> str:
    """Return the title that may follow the signature of WebVTT."""
    return first.removeprefix("WEBVTT").strip(" \t-") if is_vtt else ""


def _cues(lines: list[str], *, is_vtt: bool) -> Iterator[_Cue]:
    place = 0
    while place < len(lines):
        timing = _TIMING.fullmatch(lines[place])
        place += 1
        if timing is None:
            continue
        first = place
        while place < len(lines) and lines[place].strip() and not _TIMING.fullmatch(lines[place]):
            place += 1
        content = lines[first:place]
        # The number of the next cue, where the blank line before it is missing.
        if (
            place < len(lines)
            and lines[place].strip()
            and content
            and content[-1].strip().isdecimal()
        ):
            content.pop()
        cue = _cue(timing, "\n".join(content), is_vtt)
        if cue.text:
            yield cue


def _cue(timing: re.Match[str], content: str, is_vtt: bool) -> _Cue:
    voice = _VOICE.search(content)
    words = _TAG.sub("", content)
    if is_vtt:
        words = html.unescape(words).replace("\0", "")
    words = "\n".join(filter(None, (line.strip() for line in words.split("\n"))))
    named = _SPEAKER.match(words)
    speaker = voice[1].strip() if voice else named[1] if named else ""
    fields = timing.groups()
    return _Cue(_seconds(fields[:4]), _seconds(fields[4:]), speaker, words)


def _seconds(fields: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (field or "0" for field in fields)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
