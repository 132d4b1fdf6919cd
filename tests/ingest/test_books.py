"""Books and archives of web pages: their pages are read as HTML is."""

import io
import zipfile

import pytest

from outlines import DOCUMENTS, opened, said
from rag_tools.errors import UnreadableFileError


def test_a_book_is_read_in_order_and_cited_by_its_pages():
    document = opened("harbour.epub")
    found = said(document)
    places = {each.quote: (each.kind, each.part, each.heading) for each in found}
    assert places["The tide rises twice a day."] == ("sentence", "text/ch001.xhtml", "Tides")
    assert places["Kiel\t9 m\t4.25"] == ("row", "text/ch001.xhtml", "Tides > Table")
    assert places["Boats"] == ("heading", "text/ch002.xhtml", "Boats")
    assert (document.title, document.metadata["author"]) == ("The harbour report", "Ada Lovelace")
    assert document.metadata["date"] == "2026-03-01"
    assert document.source_map is not None
    texts = {
        each.path: document.text[each.start : each.end] for each in document.source_map.elements
    }
    assert texts["text/ch001.xhtml#html/body/section/p"].startswith("The tide rises")


def book(
    pages: dict[str, str], *, navigation: str = "", more: dict[str, str] | None = None
) -> bytes:
    made = io.BytesIO()
    items = "".join(
        f'<item id="{n}" href="{name}" media-type="application/xhtml+xml"/>'
        for n, name in enumerate(pages)
    )
    spine = "".join(f'<itemref idref="{n}"/>' for n in range(len(pages)))
    if navigation:
        items += (
            '<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
        )
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        )
        archive.writestr(
            "OPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf"><metadata/>'
            f"<manifest>{items}</manifest><spine>{spine}</spine></package>",
        )
        for name, body in {**pages, **({"nav.xhtml": navigation} if navigation else {})}.items():
            page = f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{body}</body></html>'
            archive.writestr(f"OPS/{name}", page)
        for name, content in (more or {}).items():
            archive.writestr(name, content)
    return made.getvalue()


def test_a_page_without_a_heading_has_that_of_the_contents():
    pages = {"a b.xhtml": "<p>The first.</p>", "c.xhtml": "<h1>Own</h1><p>The second.</p>"}
    links = '<li><a href="a%20b.xhtml">Chapter One</a></li><li><a href="c.xhtml">Two</a></li>'
    navigation = f"<nav><ol>{links}</ol></nav>"
    found = said(opened("a.epub", book(pages, navigation=navigation)))
    assert [(each.quote, each.part, each.heading) for each in found] == [
        ("The first.", "a b.xhtml", "Chapter One"),
        ("Own", "c.xhtml", "Own"),
        ("The second.", "c.xhtml", "Own"),
    ]


def test_elements_that_xhtml_closes_at_once_do_not_swallow_the_rest():
    body = (
        '<p><a id="x"/>Before.</p><script src="a.js"/><p>After &amp; on.</p>'
        '<iframe src="b"/><p>End.</p>'
    )
    assert [each.quote for each in said(opened("a.epub", book({"a.xhtml": body})))] == [
        "Before.",
        "After & on.",
        "End.",
    ]


def test_an_encrypted_book_is_named_and_hidden_fonts_are_not():
    def encryption(algorithm: str) -> dict[str, str]:
        return {
            "META-INF/encryption.xml": '<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#">'
            f'<e:EncryptedData><e:EncryptionMethod Algorithm="{algorithm}"/></e:EncryptedData>'
            "</encryption>"
        }

    pages = {"a.xhtml": "<p>The first.</p>"}
    data = book(pages, more=encryption("http://www.w3.org/2001/04/xmlenc#aes128-cbc"))
    with pytest.raises(UnreadableFileError, match=r"a\.epub: encrypted \(DRM\)"):
        opened("a.epub", data)
    data = book(pages, more=encryption("http://www.idpf.org/2008/embedding"))
    assert opened("a.epub", data).text == "The first."


def test_a_saved_page_is_read_as_the_page():
    document = opened("page.mhtml")
    assert [(each.kind, each.quote) for each in said(document)] == [
        ("heading", "Tides"),
        ("sentence", "The tide rises twice a day."),
        ("sentence", "Höfn."),
    ]
    assert (document.title, document.metadata) == (
        "Tides",
        {"page_url": "https://example.org/tides"},
    )


def test_an_archive_without_a_page_is_named():
    data = (DOCUMENTS / "page.mhtml").read_bytes().replace(b"text/html", b"text/css")
    with pytest.raises(UnreadableFileError, match=r"a\.mhtml: no page"):
        opened("a.mhtml", data)
