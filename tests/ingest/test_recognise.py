"""The content of a file chooses its loader where the name lies; what can't be read is named."""

import io
import zipfile

import pytest

from outlines import DOCUMENTS, opened, said
from rag_tools import Engine
from rag_tools.errors import UnreadableFileError, UnsupportedFormatError
from rag_tools.ingest.load import disguised
from rag_tools.ingest.recognise import OLE_SIGNATURE


@pytest.mark.parametrize(
    ("name", "pretended", "media_type"),
    [
        ("harbour.rtf", "a.doc", "application/rtf"),
        ("harbour.pptx", "a.docx", "presentationml.presentation"),
        ("harbour.odt", "a.docx", "opendocument.text"),
        ("harbour.epub", "a.odt", "application/epub+zip"),
        ("workbook.xlsx", "a.xls", "spreadsheetml.sheet"),
        ("workbook.xls", "a.xlsx", "application/vnd.ms-excel"),
        ("workbook.xls", "a.doc", "application/vnd.ms-excel"),
        ("workbook.ods", "a.txt", "opendocument.spreadsheet"),
        ("harbour.rtf", "a.md", "application/rtf"),
    ],
)
def test_a_name_that_lies(name, pretended, media_type):
    data = (DOCUMENTS / name).read_bytes()
    document = opened(pretended, data)
    assert document.media_type.endswith(media_type)
    assert document.text == opened(name).text
    # By its name, a text may be read in this process; such a file mustn't be.
    assert disguised(pretended, data) == pretended.endswith((".txt", ".md"))


def test_pages_and_tables_that_pretend_to_be_workbooks():
    page = b"<html><body><table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>"
    assert opened("a.xls", page).media_type == "text/html"
    assert [each.quote for each in said(opened("a.xls", b"Port\tDepth\nHull\t12 m\n"))] == [
        "Port\tDepth",
        "Hull\t12 m",
    ]


def archive(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return made.getvalue()


def test_other_archives_and_containers_are_unsupported():
    with pytest.raises(
        UnsupportedFormatError, match=r"a\.docx: a ZIP archive of 1 files: name it \.zip"
    ):
        opened("a.docx", archive({"notes.txt": b"words"}))
    with pytest.raises(UnsupportedFormatError, match=r"a\.xls: a compound file \(OLE\)"):
        opened("a.xls", OLE_SIGNATURE + bytes(2000))


@pytest.mark.parametrize("name", ["a.docx", "a.xlsx", "a.pptx"])
def test_documents_of_office_with_a_password_are_named(name):
    data = OLE_SIGNATURE + bytes(600) + "EncryptedPackage\0".encode("utf-16-le") + bytes(600)
    with pytest.raises(UnreadableFileError, match=f"{name}: encrypted: save it without a password"):
        opened(name, data)


def test_an_encrypted_opendocument_is_named():
    entry = b"<m:file-entry><m:encryption-data/></m:file-entry>"
    manifest = b'<m:manifest xmlns:m="u">' + entry + b"</m:manifest>"
    members = {
        "mimetype": b"application/vnd.oasis.opendocument.text",
        "META-INF/manifest.xml": manifest,
        "content.xml": b"\x00\x01",
    }
    with pytest.raises(UnreadableFileError, match=r"a\.odt: encrypted"):
        opened("a.odt", archive(members))


@pytest.mark.parametrize("name", ["a.pptx", "a.xlsx", "a.ods", "a.epub", "a.docx"])
def test_bombs_are_refused_by_name(name):
    data = archive({"a.xml": bytes(100 * 1024 * 1024), "[Content_Types].xml": b"<Types/>"})
    with pytest.raises(UnreadableFileError, match=rf"{name}: unpacks from [\d,]+ to 104,857,"):
        opened(name, data)


def test_all_of_them_are_indexed_and_cited(tmp_path):
    source = tmp_path / "documents"
    source.mkdir()
    for path in DOCUMENTS.iterdir():
        if path.suffix not in (".py", ".md", ".doc"):
            (source / path.name).write_bytes(path.read_bytes())
    (source / "other.xlsx").write_bytes(archive({"notes.txt": b"words"}))
    with Engine.open(tmp_path / "index", create=True) as engine:
        report = engine.sync([source])
        assert not report.skipped
        assert report.unsupported_types == {".png": 1, ".xlsx": 1}  # .png is in a message
        assert len(report.added) == len(list(source.iterdir())) - 1 + 2  # what is attached
    with Engine.open(tmp_path / "index") as engine:
        found = engine.search("who is the pilot?", filter={"path": "workbook.xlsx"}, limit=1)
        (citation, *_) = found.results[0].citations
        assert "Bob Kiel" in citation.quote
        assert citation.part == "Stock!B9:C9"
        assert engine.verify(citation).status == "exact"
