"""Books (.epub) to canonical text: the chapters in reading order, each read as an HTML page."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from lxml import etree

from rag_tools.errors import NoTextError, UnreadableFileError
from rag_tools.ingest.archive import Archive, local
from rag_tools.ingest.extraction import Extraction
from rag_tools.ingest.html import load_html
from rag_tools.ingest.properties import core_properties
from rag_tools.types import Document

_MEDIA_TYPE = "application/epub+zip"
_PAGES = frozenset(("application/xhtml+xml", "text/html", "application/x-dtbook+xml"))
_MOST_PAGES = 20_000
_HTML = "http://www.w3.org/1999/xhtml"
_OBFUSCATION = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")  # of fonts


def load_epub(data: bytes, *, uri: str, name: str) -> Document:
    """Extract the text of a book.

    The parts of the source map are the files that the book consists of, such as
    ``text/ch003.xhtml``, and its elements have paths such as
    ``text/ch003.xhtml#html/body/section/p[2]``. A page without a heading has its entry of the
    table of contents as its heading path. A `Loader`, see `rag_tools.ingest.load`.

    Raises
    ------
    UnreadableFileError
        As every loader does; also if the book is encrypted (DRM).
    """
    archive = Archive(data, name, "an EPUB book")
    package = _package(archive)
    _refuse_encrypted(archive, package)
    root = archive.xml(package)
    folder = posixpath.dirname(package)
    titles = _contents(archive, root, folder)
    out = Extraction()
    for number, member in enumerate(_pages(archive, root, folder), 1):
        if number > _MOST_PAGES:
            raise UnreadableFileError(f"{name}: more than {_MOST_PAGES:,} pages: split the book")
        try:
            page = load_html(_as_html(archive.read(member)), uri=uri, name=name)
        except NoTextError:
            continue
        out.sections.close(1)
        has_heading = any(block.kind == "heading" for block in page.blocks)
        if member in titles and not has_heading:
            out.sections.open(1, titles[member])
        start = out.length
        shown = posixpath.relpath(member, folder) if folder else member
        out.insert(page, shown)
        out.mark(start, shown)
    properties = core_properties(root.find("{*}metadata"))
    return out.document(
        uri=uri,
        name=name,
        media_type=_MEDIA_TYPE,
        title=properties.title,
        metadata=properties.metadata,
    )


def _package(archive: Archive) -> str:
    """Return the name of the member that lists the others."""
    container = archive.xml_if_any("META-INF/container.xml")
    for file in () if container is None else container.iter("{*}rootfile"):
        if (path := file.get("full-path", "")) in archive:
            return str(path)
    raise UnreadableFileError(f"{archive.name}: not an EPUB book (no package): get the file again")


def _refuse_encrypted(archive: Archive, package: str) -> None:
    encryption = archive.xml_if_any("META-INF/encryption.xml")
    if encryption is None:
        return
    for each in encryption.iter("{*}EncryptedData"):
        method = each.find("{*}EncryptionMethod")
        if method is None or method.get("Algorithm") not in _OBFUSCATION:
            raise UnreadableFileError(
                f"{archive.name}: encrypted (DRM): only a copy without encryption can be read"
            )


def _pages(archive: Archive, root: Any, folder: str) -> Iterator[str]:  # noqa: ANN401 - lxml
    """Yield the names of the pages in reading order, each once."""
    items = {item.get("id"): item for item in root.iterfind("{*}manifest/{*}item")}
    seen = set()
    for reference in root.iterfind("{*}spine/{*}itemref"):
        item = items.get(reference.get("idref"))
        if item is None or item.get("media-type") not in _PAGES:
            continue
        member = _member(folder, item.get("href", ""))
        if member in archive and member not in seen:
            seen.add(member)
            yield member


def _member(folder: str, link: str) -> str:
    path = unquote(link.partition("#")[0])
    return posixpath.normpath(posixpath.join(folder, path)).lstrip("/")


def _contents(archive: Archive, root: Any, folder: str) -> dict[str, str]:  # noqa: ANN401
    """Return the titles of the table of contents by the page that each leads to."""
    titles: dict[str, str] = {}
    for item in root.iterfind("{*}manifest/{*}item"):
        is_ncx = item.get("media-type") == "application/x-dtbncx+xml"
        if not is_ncx and "nav" not in item.get("properties", "").split():
            continue
        member = _member(folder, item.get("href", ""))
        contents = archive.xml_if_any(member)
        inner = posixpath.dirname(member)
        for link in () if contents is None else contents.iter("{*}navPoint", "{*}a"):
            if local(link) == "a":
                target, words = link.get("href", ""), "".join(link.itertext())
            else:
                content = link.find("{*}content")
                target = "" if content is None else content.get("src", "")
                words = link.findtext("{*}navLabel/{*}text") or ""
            if target and words.strip() and "#" not in target:
                titles.setdefault(_member(inner, target), " ".join(words.split()))
    return titles


def _as_html(page: bytes) -> bytes:
    """Return a page of XHTML as HTML, which closes empty elements otherwise."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, recover=True, remove_pis=True
    )
    try:
        root = etree.fromstring(page, parser=parser)
    except etree.XMLSyntaxError:
        root = None
    if root is None or len(root) == 0:
        return page  # as damaged as it is, it may be HTML
    for element in root.iter(f"{{{_HTML}}}*"):
        with suppress(ValueError):  # a damaged name, which XML in recovery lets pass
            element.tag = local(element)
    etree.cleanup_namespaces(root)
    converted: bytes = etree.tostring(root, method="html", encoding="utf-8", with_tail=False)
    return b"\xef\xbb\xbf" + converted
