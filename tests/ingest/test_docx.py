"""Word documents: text, structure and positions, and refusals that say why."""

import io
import zipfile
from pathlib import Path

import docx
import pytest
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Pt
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.docx import load_docx
from rag_tools.types import Document


def save(document: object) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)  # type: ignore[attr-defined]
    return buffer.getvalue()


def load(data: bytes) -> Document:
    return load_docx(data, uri="file:///tmp/report.docx", name="report.docx")


def assert_tiles(document: Document) -> None:
    position = 0
    for block in document.blocks:
        assert block.start == position
        assert block.end > block.start
        position = block.end
    assert position == len(document.text)


def rewrite(data: bytes, name: str, content: bytes | None) -> bytes:
    """Return the archive with one member replaced, added or (``None``) removed."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for member in source.namelist():
            if member != name:
                target.writestr(member, source.read(member))
        if content is not None:
            target.writestr(name, content)
    return buffer.getvalue()


def sample() -> bytes:
    word = docx.Document()
    word.add_heading("The report", 0)
    word.add_paragraph("Opening words.")
    word.add_heading("Part", 1)
    word.add_paragraph("first", style="List Bullet")
    word.add_paragraph("second", style="List Number")
    table = word.add_table(rows=2, cols=3)
    for row, texts in enumerate([["a", "b", "c"], ["1", "", "3"]]):
        for column, text in enumerate(texts):
            table.cell(row, column).text = text
    word.add_paragraph("")
    word.add_heading("Detail", 2)
    word.add_paragraph("Closing words.")
    return save(word)


def test_order_blocks_and_paths() -> None:
    document = load(sample())
    assert document.text == (
        "The report\n\nOpening words.\n\nPart\n\nfirst\nsecond\n\na\tb\tc\n1\t\t3\n\nDetail\n\n"
        "Closing words."
    )
    assert document.title == "The report"
    assert [
        (block.kind, document.text[block.start : block.end].strip(), block.path)
        for block in document.blocks
    ] == [
        ("heading", "The report", ("The report",)),
        ("paragraph", "Opening words.", ("The report",)),
        ("heading", "Part", ("The report", "Part")),
        ("item", "first", ("The report", "Part")),
        ("item", "second", ("The report", "Part")),
        ("header", "a\tb\tc", ("The report", "Part")),
        ("row", "1\t\t3", ("The report", "Part")),
        ("heading", "Detail", ("The report", "Part", "Detail")),
        ("paragraph", "Closing words.", ("The report", "Part", "Detail")),
    ]
    assert_tiles(document)


def test_elements_name_the_paragraph_or_cell() -> None:
    document = load(sample())
    assert document.source_map is not None
    texts = {
        element.path: document.text[element.start : element.end]
        for element in document.source_map.elements
    }
    assert texts["body/p[2]"] == "Opening words."
    assert texts["body/tbl[1]/tr[1]/tc[3]"] == "c"
    assert texts["body/tbl[1]/tr[2]/tc[3]"] == "3"
    assert "body/tbl[1]/tr[2]/tc[2]" not in texts
    word = docx.Document(io.BytesIO(sample()))
    for path, text in texts.items():
        if path.startswith("body/p["):
            assert word.paragraphs[int(path[7:-1]) - 1].text == text


def test_core_title_wins() -> None:
    word = docx.Document()
    word.core_properties.title = "From the properties"
    word.add_heading("From the text", 1)
    assert load(save(word)).title == "From the properties"


def test_derived_and_outline_styles_are_headings() -> None:
    word = docx.Document()
    style = word.styles.add_style("House heading", docx.enum.style.WD_STYLE_TYPE.PARAGRAPH)
    style.base_style = word.styles["Heading 2"]
    style.font.size = Pt(20)
    word.add_paragraph("By style", style="House heading")
    by_level = word.add_paragraph("By level")
    level = OxmlElement("w:outlineLvl")
    level.set(qn("w:val"), "0")
    by_level._p.get_or_add_pPr().append(level)
    word.add_paragraph("Text")
    document = load(save(word))
    assert [(block.kind, block.path) for block in document.blocks] == [
        ("heading", ("By style",)),
        ("heading", ("By level",)),
        ("paragraph", ("By level",)),
    ]


def body_with(xml: str) -> bytes:
    """Return a document with raw content for ``w:body``."""
    data = save(docx.Document())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        content = archive.read("word/document.xml").decode()
    head, _, tail = content.partition("<w:body>")
    return rewrite(data, "word/document.xml", f"{head}<w:body>{xml}{tail}".encode())


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("<w:p><w:ins><w:r><w:t>new</w:t></w:r></w:ins></w:p>", "new"),
        (
            "<w:p><w:del><w:r><w:delText>old</w:delText></w:r></w:del>"
            "<w:r><w:t>kept</w:t></w:r></w:p>",
            "kept",
        ),
        (
            "<w:p><w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r><w:r><w:t>seen</w:t></w:r>"
            "</w:p>",
            "seen",
        ),
        (
            "<w:p><w:pPr><w:tabs><w:tab w:val='left' w:pos='1'/></w:tabs></w:pPr>"
            "<w:hyperlink><w:r><w:t>link</w:t><w:tab/><w:t>x</w:t><w:br/><w:t>y</w:t></w:r>"
            "</w:hyperlink></w:p>",
            "link\tx\ny",
        ),
        (
            "<w:sdt><w:sdtContent><w:p><w:r><w:t>in a control</w:t></w:r></w:p></w:sdtContent>"
            "</w:sdt>",
            "in a control",
        ),
        (
            "<w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p><w:p><w:r><w:t>b</w:t></w:r>"
            "</w:p></w:tc><w:tc><w:p/></w:tc><w:tc><w:p><w:r><w:t>c</w:t></w:r></w:p></w:tc></w:tr>"
            "</w:tbl>",
            "a b\t\tc",
        ),
        (
            "<w:p><w:r><w:t>before</w:t></w:r><w:r><w:pict><w:txbxContent><w:p><w:r>"
            "<w:t>boxed</w:t></w:r></w:p></w:txbxContent></w:pict></w:r></w:p>",
            "before\n\nboxed",
        ),
    ],
)
def test_word_markup(xml: str, text: str) -> None:
    document = load(body_with(xml))
    assert document.text == text
    assert_tiles(document)


def cell(text: str) -> str:
    return f"<w:tc><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>"


def control(xml: str) -> str:
    return f"<w:sdt><w:sdtPr/><w:sdtContent>{xml}</w:sdtContent></w:sdt>"


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        (f"<w:tr>{cell('Pump')}{control(cell('3 bar'))}{cell('new')}</w:tr>", "Pump\t3 bar\tnew"),
        (control(f"<w:tr>{control(cell('Pump'))}{cell('3 bar')}</w:tr>"), "Pump\t3 bar"),
        (
            f"<w:tr>{cell('kept')}</w:tr><w:tr><w:trPr><w:del/></w:trPr>{cell('')}</w:tr>",
            "kept",
        ),
        (
            "<w:tr><w:tc><w:p><w:r><w:t>cell</w:t></w:r><w:r><w:pict><w:txbxContent><w:p><w:r>"
            "<w:t>boxed</w:t></w:r></w:p></w:txbxContent></w:pict></w:r></w:p></w:tc></w:tr>",
            "cell\n\nboxed",
        ),
    ],
)
def test_tables_lose_no_cell_and_no_text_box(xml: str, text: str) -> None:
    document = load(body_with(f"<w:tbl>{xml}</w:tbl>"))
    assert document.text == text
    assert_tiles(document)


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("<w:sym w:font='Symbol' w:char='F0B0'/>", "°"),
        ("<w:sym w:font='Wingdings' w:char='F0FE'/>", "☑"),
        ("<w:sym w:font='House Icons' w:char='F041'/>", "\ufffd"),
        ("<w:sym w:font='Arial' w:char='2713'/>", "✓"),
        ("<w:sym w:font='Symbol' w:char='?'/>", "\ufffd"),
        ("<w:rPr><w:rFonts w:ascii='Symbol'/></w:rPr><w:t>\uf06d</w:t>", "μ"),
        ("<w:fldChar><w:ffData><w:checkBox><w:checked/></w:checkBox></w:ffData></w:fldChar>", "☒"),
        (
            "<w:fldChar><w:ffData><w:checkBox><w:default w:val='1'/><w:checked w:val='0'/>"
            "</w:checkBox></w:ffData></w:fldChar>",
            "☐",
        ),
        (
            "<w:fldChar><w:ffData><w:ddList><w:result w:val='1'/><w:listEntry w:val='low'/>"
            "<w:listEntry w:val='high'/></w:ddList></w:ffData></w:fldChar>",
            "high",
        ),
        (
            "<w:drawing><wp:inline xmlns:wp='http://schemas.openxmlformats.org/drawingml/2006/"
            "wordprocessingDrawing'><wp:docPr id='1' name='P 1' descr='A lighthouse'/></wp:inline>"
            "</w:drawing>",
            " A lighthouse ",
        ),
    ],
)
def test_what_a_run_shows_without_text(xml: str, text: str) -> None:
    page = f"<w:p><w:r><w:t>[</w:t></w:r><w:r>{xml}</w:r><w:r><w:t>]</w:t></w:r></w:p>"
    assert load(body_with(page)).text == f"[{text}]"


def test_a_formula_is_read_once() -> None:
    math = "http://schemas.openxmlformats.org/officeDocument/2006/math"
    formula = f"<m:oMath xmlns:m='{math}'><m:r><m:t>a=b</m:t></m:r></m:oMath>"
    assert load(body_with(f"<w:p><w:r><w:t>If </w:t></w:r>{formula}</w:p>")).text == "If a=b"


def with_inserted(body: str, name: str, content: bytes) -> bytes:
    """Return a document that inserts another one, whose relation is rIdX."""
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    data = body_with(body.replace("<w:altChunk", f"<w:altChunk xmlns:r='{relations}' r:id='rIdX'"))
    data = rewrite(data, f"word/{name}", content)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        rels = archive.read("word/_rels/document.xml.rels").decode()
        types = archive.read("[Content_Types].xml").decode()
    relation = f"<Relationship Id='rIdX' Target='{name}' Type='{relations}/aFChunk'/>"
    rels = rels.replace("</Relationships>", f"{relation}</Relationships>")
    suffix = name.rpartition(".")[2]
    kind = f"<Default Extension='{suffix}' ContentType='application/octet-stream'/>"
    types = types.replace("</Types>", f"{kind}</Types>")
    data = rewrite(data, "word/_rels/document.xml.rels", rels.encode())
    return rewrite(data, "[Content_Types].xml", types.encode())


def test_an_inserted_page_is_read_in_its_place() -> None:
    body = (
        "<w:p><w:r><w:t>Before.</w:t></w:r></w:p><w:altChunk/><w:p><w:r><w:t>End.</w:t></w:r></w:p>"
    )
    page = b"<h1>Storage</h1><ul><li>Keep it dry<li>Keep it cold</ul>"
    document = load(with_inserted(body, "part.htm", page))
    assert document.text == "Before.\n\nStorage\n\nKeep it dry\nKeep it cold\n\nEnd."
    assert [block.kind for block in document.blocks] == [
        *("paragraph", "heading", "item", "item", "paragraph"),
    ]
    assert_tiles(document)


def test_a_document_without_text_is_refused_if_it_holds_something_else() -> None:
    with pytest.raises(UnreadableFileError, match=r"report\.docx: no text: .* inserted"):
        load(with_inserted("<w:altChunk/>", "part.rtf", b"{\\rtf1 x}"))
    with pytest.raises(UnreadableFileError, match="pictures"):
        load(body_with("<w:p><w:r><w:drawing/></w:r></w:p>"))


def test_footnotes_follow_the_text() -> None:
    data = body_with(
        "<w:p><w:r><w:t>claim</w:t></w:r><w:r><w:footnoteReference w:id='7'/></w:r></w:p>"
        "<w:p><w:r><w:t>end</w:t></w:r></w:p>"
    )
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    notes = (
        f"<w:footnotes xmlns:w='{space}'><w:footnote w:id='7'><w:p><w:r><w:t>evidence</w:t></w:r>"
        "</w:p></w:footnote></w:footnotes>"
    )
    data = rewrite(data, "word/footnotes.xml", notes.encode())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        relations = archive.read("word/_rels/document.xml.rels").decode()
        types = archive.read("[Content_Types].xml").decode()
    relations = relations.replace(
        "</Relationships>",
        "<Relationship Id='rIdN' Target='footnotes.xml' Type='http://schemas.openxmlformats.org/"
        "officeDocument/2006/relationships/footnotes'/></Relationships>",
    )
    types = types.replace(
        "</Types>",
        "<Override PartName='/word/footnotes.xml' ContentType='application/vnd.openxmlformats-"
        "officedocument.wordprocessingml.footnotes+xml'/></Types>",
    )
    data = rewrite(data, "word/_rels/document.xml.rels", relations.encode())
    data = rewrite(data, "[Content_Types].xml", types.encode())
    document = load(data)
    assert document.text == "claim[1]\n\nend\n\n[1] evidence"
    assert document.source_map is not None
    assert document.source_map.elements[-1].path == "footnotes/footnote[7]"


def test_empty_document() -> None:
    document = load(save(docx.Document()))
    assert (document.text, document.blocks, document.title) == ("", (), "report.docx")


# XML allows no controls; Word has elements of its own for tabs and line ends.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=["\ufffe", "\uffff"]),
    max_size=20,
)


@settings(max_examples=30)
@given(st.lists(TEXTS, max_size=6))
def test_any_text_round_trips(texts: list[str]) -> None:
    word = docx.Document()
    for text in texts:
        word.add_paragraph(text)
    document = load(save(word))
    kept = [(number, text) for number, text in enumerate(texts, 1) if text.strip()]
    assert document.text == "\n\n".join(text for _, text in kept)
    assert document.source_map is not None
    assert [
        (element.path, document.text[element.start : element.end])
        for element in document.source_map.elements
    ] == [(f"body/p[{number}]", text) for number, text in kept]
    assert_tiles(document)


EMPTY_XML = b"<w:document xmlns:w='http://schemas.openxmlformats.org/wordprocessingml/2006/main'/>"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a Word document"),
        (b"no archive at all", "not a Word document"),
        (sample()[:-100], "not a Word document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "encrypted"),
        (rewrite(sample(), "word/document.xml", None), "not a readable Word document"),
        (rewrite(sample(), "word/document.xml", b"<w:doc"), "not a readable Word document"),
        (rewrite(sample(), "word/document.xml", EMPTY_XML), "not a readable Word document"),
        (rewrite(sample(), "[Content_Types].xml", None), "not a readable Word document"),
        (rewrite(sample(), "word/bomb.xml", bytes(64 << 20)), "unpacks from"),
    ],
    ids=["empty", "text", "cut", "ole", "no-body", "bad-xml", "empty-xml", "no-types", "bomb"],
)
def test_unreadable_files_say_why(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableFileError, match=rf"^report\.docx: .*{reason}"):
        load(data)


def test_spreadsheet_in_disguise_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(UnreadableFileError):
        load(buffer.getvalue())


SAMPLE = sample()


@given(st.data())
def test_damaged_bytes_never_raise_anything_else(data: st.DataObject) -> None:
    content = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        document = load(bytes(content))
    except UnreadableFileError:
        return
    assert_tiles(document)


def test_reads_a_file_from_disk(tmp_path: Path) -> None:
    path = tmp_path / "sample.docx"
    path.write_bytes(SAMPLE)
    document = load_docx(path.read_bytes(), uri=path.as_uri(), name=path.name)
    assert document.uri == path.as_uri()
    assert document.media_type.endswith("wordprocessingml.document")
