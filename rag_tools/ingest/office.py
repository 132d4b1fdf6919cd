"""Old Word and PowerPoint documents (.doc, .ppt), which LibreOffice converts if it is installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from rag_tools.errors import UnreadableFileError, UnsupportedFormatError
from rag_tools.ingest.docx import load_docx
from rag_tools.ingest.pptx import load_pptx
from rag_tools.types import Document

_SECONDS = 50  # less than the time that a document may take by default
_PROGRAMS = ("soffice", "libreoffice")
_PLACES = (
    "/Applications/LibreOffice.app/Contents/MacOS/soffice",
    r"C:\Program Files\LibreOffice\program\soffice.exe",
)
_SLIDES = "PowerPoint Document\0".encode("utf-16-le")

# No macros, nothing fetched from elsewhere, whatever the user's own settings are.
_SETTINGS = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Office.Common/Security/Scripting">
<prop oor:name="MacroSecurityLevel" oor:op="fuse"><value>3</value></prop>
<prop oor:name="DisableMacrosExecution" oor:op="fuse"><value>true</value></prop>
<prop oor:name="BlockUntrustedRefererLinks" oor:op="fuse"><value>true</value></prop></item>
<item oor:path="/org.openoffice.Office.Writer/Content/Update">
<prop oor:name="Link" oor:op="fuse"><value>0</value></prop></item>
</oor:items>
"""


def load_office(data: bytes, *, uri: str, name: str) -> Document:
    """Return what ``load_docx`` or ``load_pptx`` reads from what LibreOffice makes of a document.

    A `Loader`, see `rag_tools.ingest.load`.

    Raises
    ------
    UnsupportedFormatError
        LibreOffice isn't installed.
    UnreadableFileError
        As every loader does; also if LibreOffice fails or takes too long.
    """
    has_slides = _SLIDES in data
    if has_slides:
        converted = _converted(data, name, "ppt", "pptx")
        document = load_pptx(converted, uri=uri, name=name)
        media_type = "application/vnd.ms-powerpoint"
    else:
        converted = _converted(data, name, "doc", "docx")
        document = load_docx(converted, uri=uri, name=name)
        media_type = "application/msword"
    return document.model_copy(update={"media_type": media_type})


def _program() -> str | None:
    """Return the path of LibreOffice, or None if it isn't installed."""
    found = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    return found or next((place for place in _PLACES if Path(place).is_file()), None)


def _converted(data: bytes, name: str, old: str, new: str) -> bytes:
    program = _program()
    if program is None:
        raise UnsupportedFormatError(
            f"{name}: an old .{old} document, which is read through LibreOffice: install that, or "
            f"save the document as .{new}"
        )
    with tempfile.TemporaryDirectory(prefix="rag-tools-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        profile = folder / "profile" / "user"
        profile.mkdir(parents=True)
        (profile / "registrymodifications.xcu").write_text(_SETTINGS, encoding="utf-8")
        source = folder / f"document.{old}"
        source.write_bytes(data)
        _run(
            [
                program,
                f"-env:UserInstallation={profile.parent.as_uri()}",
                *("--headless", "--norestore", "--nologo", "--nolockcheck"),
                *("--convert-to", new, "--outdir", str(folder), str(source)),
            ],
            name,
        )
        try:
            return (folder / f"document.{new}").read_bytes()
        except OSError as error:
            raise UnreadableFileError(
                f"{name}: LibreOffice can't read this .{old} document; it may be damaged or "
                f"encrypted: save it as .{new} without a password"
            ) from error


def _run(command: list[str], name: str) -> None:
    """Run a program with the processes that it starts, and end them all when time is up."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        raise UnreadableFileError(f"{name}: LibreOffice doesn't start: {error}") from error
    try:
        process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        raise UnreadableFileError(
            f"{name}: LibreOffice didn't convert it within {_SECONDS} seconds: save it as .docx or "
            ".pptx"
        ) from None
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()
