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
