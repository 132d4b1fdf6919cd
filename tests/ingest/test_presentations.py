"""Presentations: slides in order with their tables and notes, cited by slide."""

import io
import zipfile

import pytest

from outlines import DOCUMENTS, brief, opened, said
from rag_tools.errors import UnreadableFileError


@pytest.mark.parametrize("name", ["harbour.pptx", "harbour.odp"])
def test_slides_tables_and_notes_are_cited_by_slide(name):
    found = said(opened(name))
    places = {each.quote: (each.kind, each.part, each.heading) for each in found}
    assert places["Tides"] == ("heading", "slide 2", "Tides")
    assert places["The tide rises twice a day."] == ("sentence", "slide 2", "Tides")
    assert places["Port\tDepth\tPrice"] == ("header", "slide 2", "Tides")
    assert places["Kiel\t9 m\t4.25"] == ("row", "slide 2", "Tides")
    assert places["Remember to mention the lock."] == ("sentence", "slide 2, notes", "Tides")
    assert places["Boats"] == ("heading", "slide 3", "Boats")
    slides = [each.part for each in found]
    assert slides == sorted(slides)


def test_the_bullets_of_a_slide_are_items():
    assert [(kind, quote) for kind, _, quote in brief(opened("harbour.pptx"))][5:8] == [
        ("item", "first item"),
        ("item", "second item"),
        ("item", "nested"),
    ]


def test_properties_are_metadata():
    document = opened("harbour.pptx")
    assert document.title == "The harbour report"
    assert document.metadata["author"] == "Ada Lovelace"
    assert document.media_type.endswith("presentationml.presentation")
    assert opened("harbour.odp").metadata["author"] == "Ada Lovelace"


def changed(name: str, member: str, change) -> bytes:
    """Return an archive of the test data with one member changed."""
    result = io.BytesIO()
    with (
        zipfile.ZipFile(DOCUMENTS / name) as old,
        zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for each in old.namelist():
            content = old.read(each)
            new.writestr(each, change(content) if each == member else content)
    return result.getvalue()


def test_the_order_is_that_of_the_show_not_of_the_files():
    def reversed_slides(content: bytes) -> bytes:
        head, _, rest = content.partition(b"<p:sldIdLst>")
        slides, _, tail = rest.partition(b"</p:sldIdLst>")
        each = [part + b"/>" for part in slides.split(b"/>") if part.strip()]
        return head + b"<p:sldIdLst>" + b"".join(reversed(each)) + b"</p:sldIdLst>" + tail

    data = changed("harbour.pptx", "ppt/presentation.xml", reversed_slides)
    document = opened("a.pptx", data)
    assert [each.part for each in said(document) if each.quote == "Boats"] == ["slide 2"]


def test_a_damaged_slide_is_named():
    data = changed("harbour.pptx", "ppt/slides/slide2.xml", lambda content: content[:300])
    with pytest.raises(
        UnreadableFileError, match=r"a\.pptx: not a PowerPoint presentation .*slide2"
    ):
        opened("a.pptx", data)


def test_entities_are_not_expanded():
    def declare(content: bytes) -> bytes:
        head, mark, tail = content.partition(b"?>")
        bomb = b'<!DOCTYPE x [<!ENTITY a "' + b"x" * 1000 + b'"><!ENTITY b "&a;&a;&a;">]>'
        return head + mark + bomb + tail.replace(b"Tides", b"&b;")

    document = opened("a.pptx", changed("harbour.pptx", "ppt/slides/slide2.xml", declare))
    assert "xxx" not in document.text


CHART = b"""<office:document-content
 xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:chart="urn:oasis:names:tc:opendocument:xmlns:chart:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body><office:chart>
 <chart:chart><chart:title><text:p>Boats a year</text:p></chart:title>
 <table:table table:name="local-table">
 <table:table-header-rows><table:table-row><table:table-cell/><table:table-cell><text:p>Ferries
 </text:p></table:table-cell></table:table-row></table:table-header-rows>
 <table:table-rows><table:table-row><table:table-cell><text:p>2024</text:p></table:table-cell>
 <table:table-cell><text:p>17</text:p></table:table-cell></table:table-row></table:table-rows>
 </table:table></chart:chart></office:chart></office:body></office:document-content>"""


def with_object(link: bytes, times: int) -> bytes:
    """Return the slides of the test data with a chart, which the first of them shows."""
    shown = b'<draw:frame><draw:object xmlns:xlink="http://www.w3.org/1999/xlink" xlink:href="'
    shown += link + b'"/></draw:frame>'
    data = changed(
        "harbour.odp",
        "content.xml",
        lambda content: content.replace(b"</draw:page>", shown * times + b"</draw:page>", 1),
    )
    result = io.BytesIO(data)
    with zipfile.ZipFile(result, "a") as archive:
        archive.writestr("Object 1/content.xml", CHART)
    return result.getvalue()


@pytest.mark.parametrize("times", [1, 1000])
def test_charts_that_a_slide_embeds_are_read_once_where_they_are_shown(times):
    found = said(opened("a.odp", with_object(b"./Object 1", times)))
    shown = [(each.kind, each.quote, each.part) for each in found if each.part == "slide 1"]
    assert shown[-3:] == [
        ("sentence", "Boats a year", "slide 1"),
        ("header", "Ferries", "slide 1"),
        ("row", "2024\t17", "slide 1"),
    ]


@pytest.mark.parametrize("link", [b"", b".", b"./Object 2", b"../other", b"https://example.com/"])
def test_an_object_that_is_not_in_the_file_is_left_out(link):
    found = said(opened("a.odp", with_object(link, 1)))
    assert [each.quote for each in found] == [each.quote for each in said(opened("harbour.odp"))]
