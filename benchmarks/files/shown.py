"""What another program shows of a file: its text, as words to compare with.

Each function takes a path and returns text. Only what people use for the format is used here:
pandoc, LibreOffice, openpyxl, xlrd, python-pptx, Python's email and csv, nbformat, man, PDFium's
peer poppler. A format that is its own text (code, Markdown, mark-up) is compared with its decoded
characters, of which nothing may be lost.
"""

from __future__ import annotations

import email
import email.policy
import html.parser
import json
import mailbox
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

_TIMEOUT = 120.0


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=True)
    return done.stdout.decode("utf-8", "replace")


def _itself(path: Path) -> str:
    data = path.read_bytes()
    for encoding in ("utf-8-sig", "utf-32", "gb18030", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def _pandoc(path: Path) -> str:
    return _run(["pandoc", "-t", "plain", "--wrap=none", str(path)])


def _office(kind: str) -> Callable[[Path], str]:
    def shown(path: Path) -> str:
        with tempfile.TemporaryDirectory() as folder:
            profile = Path(tempfile.gettempdir(), "rag-tools-soffice").as_uri()
            command = ["soffice", "--headless", f"-env:UserInstallation={profile}"]
            subprocess.run(
                [*command, "--convert-to", kind, "--outdir", folder, str(path)],
                capture_output=True,
                timeout=_TIMEOUT,
                check=True,
            )
            made = sorted(Path(folder).iterdir())
            if not made:
                raise ValueError("LibreOffice makes nothing of it")
            if kind.startswith("pdf"):
                return _run(["pdftotext", "-layout", str(made[0]), "-"])
            return "\n".join(_itself(each) for each in made)

    return shown


# All sheets, as they are shown, separated by tabs.
_SHEETS = "csv:Text - txt - csv (StarCalc):9,34,76,1,,0,false,false,true,false,false,-1"


def _pptx(path: Path) -> str:
    from pptx import Presentation

    found: list[str] = []

    def shapes(held: object) -> None:
        for shape in held:  # type: ignore[attr-defined]
            if shape.has_text_frame:
                found.append(shape.text_frame.text)
            if getattr(shape, "has_table", False) and shape.has_table:
                found.extend(cell.text for row in shape.table.rows for cell in row.cells)
            if hasattr(shape, "shapes"):
                shapes(shape.shapes)

    for slide in Presentation(str(path)).slides:
        shapes(slide.shapes)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame:
            found.append(slide.notes_slide.notes_text_frame.text)
    return "\n".join(found)


def _mail(path: Path) -> str:
    if path.suffix == ".msg":
        return ""
    if path.suffix == ".mbox":
        messages = [
            email.message_from_bytes(each.as_bytes(), policy=email.policy.default)
            for each in mailbox.mbox(path)
        ]
    else:
        messages = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default)]
    found = []
    for message in messages:
        assert isinstance(message, EmailMessage)
        found += [str(message.get("subject", "")), str(message.get("from", ""))]
        body = message.get_body(("plain", "html"))
        if body is not None:
            content = body.get_content()
            found.append(_stripped(content) if body.get_content_subtype() == "html" else content)
    return "\n".join(found)


class _Text(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._silent += tag in ("script", "style", "title")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("script", "style", "title")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.found.append(data)


def _stripped(page: str) -> str:
    parser = _Text()
    parser.feed(page)
    return "".join(parser.found)


def _notebook(path: Path) -> str:
    """Return the sources of the cells and the text that they put out."""
    held = json.loads(path.read_text(encoding="utf-8"))
    cells = held.get("cells") or [c for sheet in held.get("worksheets", []) for c in sheet["cells"]]
    found = []
    for cell in cells:
        found.append("".join(cell.get("source", cell.get("input", ""))))
        for output in cell.get("outputs", []):
            plain = output.get("text") or output.get("data", {}).get("text/plain", "")
            found.append("".join(plain)[:4000])
    return "\n".join(found)


def _man(path: Path) -> str:
    text = _run(["man", "--warnings=", "--nh", "--nj", "-E", "UTF-8", "-l", str(path)])
    return re.sub(r".\x08", "", text)


def _captions(path: Path) -> str:
    """Return what is spoken: no times, notes, styles and tags (braces of ASS too)."""
    blocks = re.split(r"\n\s*\n", _itself(path).replace("\r\n", "\n"))
    spoken = [block.partition("-->")[2].partition("\n")[2] for block in blocks if "-->" in block]
    return re.sub(r"<[^>]*>|\{\\[^}]*\}", "", "\n".join(spoken))


def _archive(path: Path) -> str:
    """Return the members that are text of suffixes that need no program to be read."""
    suffixes = (".py", ".md", ".rst", ".toml", ".srt", ".vtt", ".org")
    with tempfile.TemporaryDirectory() as folder:
        if path.suffix == ".zip":
            zipfile.ZipFile(path).extractall(folder)
        else:
            with tarfile.open(path) as opened:
                opened.extractall(folder, filter="data")
        members = sorted(each for each in Path(folder).rglob("*") if each.suffix in suffixes)
        seen = [
            each
            for each in members
            if not any(part.startswith(".") for part in each.relative_to(folder).parts)
        ]
        return "\n".join(
            (_captions if each.suffix in (".srt", ".vtt") else _itself)(each) for each in seen
        )


SHOWN: dict[str, Callable[[Path], str]] = {
    **dict.fromkeys(
        (
            *("asciidoc", "code", "csv", "json", "latex", "markdown", "org", "rst", "toml"),
            *("xml", "yaml"),
        ),
        _itself,
    ),
    "archive": _archive,
    "captions": _captions,
    "doc": _office("txt:Text"),
    "docx": _pandoc,
    "epub": _pandoc,
    "html": _pandoc,
    "mail": _mail,
    "man": _man,
    "notebook": _notebook,
    "odp": _office("pdf"),
    "ods": _office(_SHEETS),
    "odt": _pandoc,
    "pdf": lambda path: _run(["pdftotext", str(path), "-"]),
    "ppt": _office("pdf"),
    "pptx": _pptx,
    "rtf": _office("txt:Text"),
    "xls": _office(_SHEETS),
    "xlsx": _office(_SHEETS),
}
"""Format → what its program shows."""

if not shutil.which("pandoc"):
    raise SystemExit("pandoc is needed: apt-get install pandoc libreoffice-writer poppler-utils")
