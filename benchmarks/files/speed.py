"""Megabytes a second of each loader, beside the extractor that people use for the format.

    python benchmarks/files/speed.py FILES [--only FORMAT] [--repeat 3]

FILES is what ``fetch.py`` made. Both read the same bytes in the same process, alternately; the
better of ``--repeat`` runs counts, in seconds of the processor rather than of the clock, so that
other work on the machine hardly matters. The extractors only yield text; they don't say where it
stands, or what is a heading, a row or a cell. They are installed with:

    pip install pypdf pdfminer.six python-docx openpyxl python-pptx xlrd odfpy EbookLib
        beautifulsoup4 striprtf mail-parser nbconvert
"""

from __future__ import annotations

import contextlib
import io
import json
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rag_tools.errors import RagToolsError
from rag_tools.ingest.load import load_bytes

# Third parties have no types, and are imported in the functions, since each is optional.
# mypy: disable-error-code="import-untyped, import-not-found"

Extract = Callable[[bytes], object]


def main(
    files: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    only: Annotated[str, typer.Option(help="A format.")] = "",
    repeat: Annotated[int, typer.Option(help="Runs, of which the best counts.")] = 3,
) -> None:
    """Print a row for each format and extractor."""
    warnings.simplefilter("ignore")
    print(f"{'format':10} {'extractor':14}    MB  MB/s ours  MB/s theirs  ours/theirs")
    for kind, (suffixes, peers) in PEERS.items():
        if only and kind != only:
            continue
        paths = [each for each in sorted((files / kind).iterdir()) if each.suffix in suffixes]
        for name, extract in peers.items():
            _row(kind, name, [(path.name, path.read_bytes()) for path in paths], extract, repeat)


def _row(
    kind: str, peer: str, held: list[tuple[str, bytes]], extract: Extract, repeat: int
) -> None:
    ours, theirs, size = 0.0, 0.0, 0
    for name, data in held:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # some print what they can't parse
                extract(data)
            load_bytes(data, name=name, uri=f"memory:{name}")
        except ImportError as error:
            print(f"{kind:10} {peer:14} isn't installed: {error}")
            return
        except RagToolsError:
            continue
        except Exception as error:
            print(f"  {peer} can't read {name}: {type(error).__name__}: {str(error)[:60]}")
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            runs = [_times(name, data, extract) for _ in range(repeat)]
        ours += min(first for first, _ in runs)
        theirs += min(second for _, second in runs)
        size += len(data)
    if size:
        mb = size / 1e6
        print(
            f"{kind:10} {peer:14} {mb:5.2f} {mb / ours:10.2f} {mb / theirs:12.2f} "
            f"{theirs / ours:12.2f}",
            flush=True,
        )


def _times(name: str, data: bytes, extract: Extract) -> tuple[float, float]:
    began = time.process_time()
    load_bytes(data, name=name, uri=f"memory:{name}")
    between = time.process_time()
    extract(data)
    return between - began, time.process_time() - between


def _pypdf(data: bytes) -> object:
    from pypdf import PdfReader

    return [page.extract_text() for page in PdfReader(io.BytesIO(data)).pages]


def _pdfminer(data: bytes) -> object:
    from pdfminer.high_level import extract_text

    return extract_text(io.BytesIO(data))


def _python_docx(data: bytes) -> object:
    from docx import Document

    held = Document(io.BytesIO(data))
    cells = [c.text for table in held.tables for row in table.rows for c in row.cells]
    return [each.text for each in held.paragraphs] + cells


def _openpyxl(data: bytes) -> object:
    from openpyxl import load_workbook

    book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    return [row for sheet in book for row in sheet.iter_rows(values_only=True)]


def _xlrd(data: bytes, *, formatted: bool = False) -> object:
    from xlrd import open_workbook

    book = open_workbook(file_contents=data, formatting_info=formatted)
    return [sheet.row_values(row) for sheet in book.sheets() for row in range(sheet.nrows)]


def _python_pptx(data: bytes) -> object:
    from pptx import Presentation

    slides = Presentation(io.BytesIO(data)).slides
    return [s.text_frame.text for slide in slides for s in slide.shapes if s.has_text_frame]


def _odfpy(data: bytes) -> object:
    from odf import teletype
    from odf.opendocument import load

    return teletype.extractText(load(io.BytesIO(data)).body)


def _ebooklib(data: bytes) -> object:
    import ebooklib
    from bs4 import BeautifulSoup
    from ebooklib import epub

    book = epub.read_epub(io.BytesIO(data))
    items = book.get_items_of_type(ebooklib.ITEM_DOCUMENT)
    return [BeautifulSoup(each.get_content(), "html.parser").get_text() for each in items]


def _soup(data: bytes) -> object:
    from bs4 import BeautifulSoup

    return BeautifulSoup(data, "html.parser").get_text()


def _soup_lxml(data: bytes) -> object:
    from bs4 import BeautifulSoup

    return BeautifulSoup(data, "lxml").get_text()


def _striprtf(data: bytes) -> object:
    from striprtf.striprtf import rtf_to_text

    return rtf_to_text(data.decode("latin-1"), errors="ignore")


def _mailparser(data: bytes) -> object:
    import mailparser

    return mailparser.parse_from_bytes(data).body


def _email(data: bytes) -> object:
    import email
    from email import policy

    message = email.message_from_bytes(data, policy=policy.default)
    return [p.get_content() for p in message.walk() if p.get_content_maintype() == "text"]


def _nbconvert(data: bytes) -> object:
    import nbformat
    from nbconvert import MarkdownExporter

    return MarkdownExporter().from_notebook_node(nbformat.reads(data.decode(), as_version=4))


def _json(data: bytes) -> object:
    return json.loads(data)


def _yaml(data: bytes) -> object:
    import yaml

    return yaml.safe_load(data)


def _tomllib(data: bytes) -> object:
    import tomllib

    return tomllib.loads(data.decode())


def _elementtree(data: bytes) -> object:
    from xml.etree import ElementTree

    return ElementTree.fromstring(data)


def _csv(data: bytes) -> object:
    import csv

    return list(csv.reader(io.StringIO(data.decode("utf-8", "replace"))))


PEERS: dict[str, tuple[tuple[str, ...], dict[str, Extract]]] = {
    "docx": ((".docx",), {"python-docx": _python_docx}),
    "xlsx": ((".xlsx",), {"openpyxl": _openpyxl}),
    "xls": ((".xls",), {"xlrd": _xlrd, "xlrd formatted": partial(_xlrd, formatted=True)}),
    "pptx": ((".pptx",), {"python-pptx": _python_pptx}),
    "odt": ((".odt",), {"odfpy": _odfpy}),
    "ods": ((".ods",), {"odfpy": _odfpy}),
    "odp": ((".odp",), {"odfpy": _odfpy}),
    "epub": ((".epub",), {"ebooklib+bs4": _ebooklib}),
    "html": ((".html",), {"bs4": _soup, "bs4+lxml": _soup_lxml}),
    "rtf": ((".rtf",), {"striprtf": _striprtf}),
    "mail": ((".eml",), {"email": _email, "mail-parser": _mailparser}),
    "notebook": ((".ipynb",), {"nbconvert": _nbconvert}),
    "json": ((".json",), {"json": _json}),
    "yaml": ((".yaml", ".yml"), {"PyYAML": _yaml}),
    "toml": ((".toml",), {"tomllib": _tomllib}),
    "xml": ((".xml",), {"ElementTree": _elementtree}),
    "csv": ((".csv", ".tab"), {"csv": _csv}),
    "pdf": ((".pdf",), {"pypdf": _pypdf, "pdfminer.six": _pdfminer}),
}
"""Format → the suffixes that are measured, and the extractors. Code that isn't parsed has none."""


if __name__ == "__main__":
    typer.run(main)
