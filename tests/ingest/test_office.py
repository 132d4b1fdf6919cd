"""Texts of office programs: OpenDocument, RTF, and old Word documents through LibreOffice."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outlines import DOCUMENTS, opened, said
from rag_tools.errors import UnreadableFileError, UnsupportedFormatError
from rag_tools.ingest import office
from rag_tools.ingest.rtf import load_rtf
from rag_tools.ingest.worker import Worker

PARTS = [
    ("heading", "Tides"),
    ("sentence", "The tide rises twice a day."),
    ("item", "second item"),
    ("heading", "Table"),
    ("header", "Port\tDepth\tPrice"),
    ("row", "Kiel\t9 m\t4.25"),
    ("sentence", "Herons stand in the reeds.[1]"),
    ("sentence", "[1] Grey ones mostly."),
]


@pytest.mark.parametrize(
    "name", ["harbour.odt", "harbour-libreoffice.odt", "harbour-libreoffice.rtf"]
)
def test_headings_lists_tables_and_notes(name):
    found = said(opened(name))
    kinds = [(each.kind, each.quote) for each in found]
    assert [each for each in kinds if each in PARTS] == PARTS
    row = next(each for each in found if each.kind == "row")
    assert row.heading == "The harbour report > Tides > Table"


def test_the_rtf_of_pandoc():
    found = said(opened("harbour.rtf"))
    kinds = [(each.kind, each.quote) for each in found]
    expected = [each for each in PARTS if each[0] != "item"]
    assert [each for each in kinds if each in expected] == expected
    assert ("item", "•\tsecond item") in kinds


def test_properties_are_metadata():
    assert opened("harbour.odt").title == "The harbour report"
    assert opened("harbour.odt").metadata["author"] == "Ada Lovelace"
    rtf = opened("harbour-libreoffice.rtf")
    assert (rtf.title, rtf.metadata["author"]) == ("The harbour report", "Ada Lovelace")


def test_elements_name_the_paragraph():
    document = opened("harbour.odt")
    assert document.source_map is not None
    texts = {
        each.path: document.text[each.start : each.end] for each in document.source_map.elements
    }
    assert texts["text/h[1]"] == "Tides"
    assert texts["text/table[1]/table-row[2]"] == "Hull\t12 m\t3.50"


def rtf(body: bytes) -> str:
    document = load_rtf(b"{\\rtf1\\ansi\\ansicpg1252 " + body + b"}", uri="x:", name="a.rtf")
    return document.text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (rb"caf\'e9", "café"),
        (rb"\u233?t\u233?", "été"),
        (rb"\uc2\u8364\'80\'80x", "€x"),
        (rb"\u-10179?\u-8704?", "😀"),
        (rb"{\fonttbl{\f1\fcharset204 Arial;}}\f1\'cf\'f0\'e8", "При"),
        (rb"{\fonttbl{\f1\fcharset128 Mincho;}}\f1\'93\'fa\'96\'7b", "日本"),
        (rb"{\fonttbl{\f3\fcharset2 Symbol;}}{\f3 a}b", "αb"),
        (rb"seen{\v hidden}{\deleted gone} too", "seen too"),
        (rb"{\*\unknown nothing}text", "text"),
        (rb"{\field{\*\fldinst HYPERLINK x}{\fldrslt a link}}", "a link"),
        (rb"{\pict\bin4 }}}}ff}picture", "picture"),
        (rb"a\~b\_c\{d\}\\", "a\u00a0b\u2011c{d}\\"),
        (rb"one\par two\line three", "one\n\ntwo\nthree"),
        (rb"\ud800 lone\u55296?", "lone?"),
    ],
)
def test_characters_of_rtf(body, text):
    assert rtf(body) == text


def test_nested_notes_keep_their_numbers():
    text = rtf(rb"A\chftn{\footnote first{\footnote second} goes on} end")
    assert text == "A[1] end\n\n[1] first[2] goes on\n\n[2] second"


WORDS = (
    *(b"{", b"}", b"\\par ", b"\\cell ", b"\\row ", b"\\intbl ", b"\\footnote ", b"\\u55357?"),
    *(b"\\'e9", b"x ", b"\\bin9 ", b"\\*", b"\\info ", b"\\title ", b"\\pard ", b"\\s1 ", b"\\"),
    *(b"\\stylesheet ", b"\\fonttbl ", b"\\f1 ", b"\\trhdr ", b"\\uc9 ", b"\\v ", b"\\fcharset2 "),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(WORDS),
        max_size=60,
    )
)
def test_any_sequence_of_control_words_is_read(words):
    said(load_rtf(b"{\\rtf1 " + b"".join(words), uri="x:", name="a.rtf"))


needs_libreoffice = pytest.mark.skipif(office._program() is None, reason="needs LibreOffice")


@needs_libreoffice
def test_old_word_documents_are_read_through_libreoffice():
    with Worker() as worker:  # with its limits
        document = worker.load(
            (DOCUMENTS / "harbour.doc").read_bytes(), name="harbour.doc", uri="file:///a.doc"
        )
    kinds = [(each.kind, each.quote) for each in said(document)]
    assert [each for each in kinds if each in PARTS] == PARTS
    assert document.media_type == "application/msword"


@needs_libreoffice
def test_a_damaged_word_document_is_named():
    data = (DOCUMENTS / "harbour.doc").read_bytes()
    head = data[:512] + bytes(1024) + "WordDocument\0".encode("utf-16-le")
    with pytest.raises(UnreadableFileError, match=r"a\.doc: LibreOffice can't read"):
        opened("a.doc", head)


def test_without_libreoffice_the_way_out_is_named(monkeypatch):
    monkeypatch.setattr(office, "_program", lambda: None)
    with pytest.raises(
        UnsupportedFormatError, match=r"install that, or save the document as \.docx"
    ):
        opened("harbour.doc")


@pytest.mark.skipif(office.sys.platform == "win32", reason="a shell script")
def test_a_conversion_that_hangs_is_ended(monkeypatch, tmp_path):
    program = tmp_path / "soffice"
    program.write_text("#!/bin/sh\nsleep 600 &\nwait\n")
    program.chmod(0o755)
    monkeypatch.setattr(office, "_program", lambda: str(program))
    monkeypatch.setattr(office, "_SECONDS", 0.5)
    with pytest.raises(UnreadableFileError, match="didn't convert it within"):
        opened("harbour.doc")
