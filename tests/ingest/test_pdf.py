"""PDF: text, pages, character boxes that cover the ink, and refusals that say why."""

import io
import math
import re
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pypdfium2 as pdfium
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate

from pdfs import pdf_of
from rag_tools.cite.locate import cite_span
from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.pdf import load_pdf
from rag_tools.types import Document, SourceMap, Span

WIDTH, HEIGHT = 400, 300
SCALE = 4  # pixels per point


def draw(*pages: list[tuple[float, float, str]], **options: object) -> bytes:
    """Return a PDF with strings at positions from the bottom left, 12 points high."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT), **options)
    for page in pages:
        for x, y, text in page:
            canvas.drawString(x, y, text)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def load(data: bytes) -> Document:
    return load_pdf(data, uri="file:///tmp/paper.pdf", name="paper.pdf")


def character_boxes(document: Document) -> NDArray[np.int16]:
    assert document.source_map is not None
    data = zlib.decompress(document.source_map.boxes)
    return np.frombuffer(data, dtype="<i2").reshape(len(document.text), 4)


def assert_tiles(document: Document) -> None:
    position = 0
    for block in document.blocks:
        assert block.start == position
        assert block.end > block.start
        position = block.end
    assert position == len(document.text)


def render(data: bytes, page: int) -> NDArray[np.uint8]:
    """Return the pixels of a page, shape (height, width, 3), red green blue."""
    with pdfium.PdfDocument(data) as pdf:
        return pdf[page].render(scale=SCALE, rev_byteorder=True).to_numpy()[:, :, :3]


def span_of(document: Document, words: str) -> Span:
    start = document.text.index(words)
    return Span(start, start + len(words))


def test_lines_pages_and_paragraphs() -> None:
    data = draw(
        [(50, 250, "First line of one"), (50, 236, "second line."), (50, 200, "New paragraph.")],
        [],
        [(50, 250, "Last page.")],
    )
    document = load(data)
    assert document.text == "First line of one\nsecond line.\nNew paragraph.\n\nLast page."
    assert [document.text[block.start : block.end] for block in document.blocks] == [
        "First line of one\nsecond line.\n",
        "New paragraph.\n\n",
        "Last page.",
    ]
    assert document.source_map is not None
    pages = document.source_map.pages
    assert [(page.number, document.text[page.start : page.end]) for page in pages] == [
        (1, "First line of one\nsecond line.\nNew paragraph."),
        (2, ""),
        (3, "Last page."),
    ]
    assert {(page.width, page.height) for page in pages} == {(WIDTH, HEIGHT)}
    assert cite_span(document, span_of(document, "New")).page == 1
    assert cite_span(document, span_of(document, "Last")).page == 3
    assert document.title == "First line of one"
    assert document.media_type == "application/pdf"


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("quote", ["Quick", "brown fox", "lazy gypsum dog", "gypsum"])
def test_boxes_cover_the_ink_of_a_quote_and_nothing_else(quote: str, rotation: int) -> None:
    """The quote is drawn in red, the rest in blue: colours tell on whose ink a box lies."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    for row, line in enumerate(["Quick brown fox", "jumps over the", "lazy gypsum dog"]):
        x = 40.0
        for part in re.split(f"({quote})", line):
            canvas.setFillColorRGB(*((1, 0, 0) if part == quote else (0, 0, 1)))
            canvas.drawString(x, 220 - 40 * row, part)
            x += pdfmetrics.stringWidth(part, "Helvetica", 12)
    canvas.save()
    with pdfium.PdfDocument(buffer.getvalue()) as pdf:
        pdf[0].set_rotation(rotation)
        pdf[0].set_cropbox(10, 20, WIDTH - 30, HEIGHT - 5)
        turned = io.BytesIO()
        pdf.save(turned)
    document = load(turned.getvalue())
    citation = cite_span(document, span_of(document, quote))
    (box,) = citation.boxes
    pixels = render(turned.getvalue(), 0)
    red = (pixels[:, :, 0] > 200) & (pixels[:, :, 2] < 100)
    blue = (pixels[:, :, 2] > 200) & (pixels[:, :, 0] < 100)
    covered = np.zeros(red.shape, dtype=bool)
    top, bottom = int(box.top * SCALE), math.ceil(box.bottom * SCALE)
    left, right = int(box.left * SCALE), math.ceil(box.right * SCALE)
    covered[top:bottom, left:right] = True
    assert red.sum() > 100
    assert blue.sum() > 100
    assert not (red & ~covered).any()
    assert not (blue & covered).any()


def test_a_quote_over_lines_has_a_box_per_line() -> None:
    lines = ["Quick brown fox", "jumps over the", "lazy dog"]
    data = draw([(40, 220 - 14 * row, line) for row, line in enumerate(lines)])
    document = load(data)
    citation = cite_span(document, span_of(document, "fox\njumps over the\nlazy"))
    assert [round(box.bottom - box.top) for box in citation.boxes] == [14, 14, 14]
    assert citation.boxes[1].left == pytest.approx(40, abs=0.5)
    width = pdfmetrics.stringWidth("jumps over the", "Helvetica", 12)
    assert citation.boxes[1].right == pytest.approx(40 + width, abs=0.5)


def test_a_landscape_page_of_upright_text() -> None:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(300, 400))
    canvas.setPageRotation(90)
    canvas.rotate(90)
    canvas.drawString(50, -100, "First line")
    canvas.drawString(50, -114, "second line")
    canvas.save()
    document = load(buffer.getvalue())
    assert document.text == "First line\nsecond line"
    assert document.source_map is not None
    (page,) = document.source_map.pages
    assert (page.width, page.height) == (300, 400)  # as it is displayed
    first, second = cite_span(document, Span(0, len(document.text))).boxes
    assert (first.left, second.left) == (50, 50)
    assert first.top < 100 < first.bottom < second.bottom < 120


def outlined() -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    canvas.setTitle("A paper")
    for number, (title, level) in enumerate(
        [("Introduction", 0), ("Method of doing", 0), ("Details", 1), ("Not printed", 0)]
    ):
        canvas.bookmarkPage(str(number), fit="XYZ", left=0, top=264, zoom=0)
        canvas.addOutlineEntry(title, str(number), level)
        if title == "Method of doing":  # printed on two lines, with its number
            canvas.drawString(50, 250, "2. Method of")
            canvas.drawString(50, 236, "doing")
        elif title != "Not printed":
            canvas.drawString(50, 250, title)
        canvas.drawString(50, 200, f"Body {number}.")
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def test_headings_come_from_the_outline() -> None:
    document = load(outlined())
    assert document.title == "A paper"
    assert [
        (block.kind, document.text[block.start : block.end].strip(), block.path)
        for block in document.blocks
    ] == [
        ("heading", "Introduction", ("Introduction",)),
        ("paragraph", "Body 0.", ("Introduction",)),
        ("heading", "2. Method of\ndoing", ("Method of doing",)),
        ("paragraph", "Body 1.", ("Method of doing",)),
        ("heading", "Details", ("Method of doing", "Details")),
        ("paragraph", "Body 2.", ("Method of doing", "Details")),
        ("paragraph", "Body 3.", ("Not printed",)),
    ]
    assert_tiles(document)


def test_headings_are_found_without_a_position() -> None:
    data = outlined()
    assert data.count(b"/XYZ 0 264 0") == 4
    assert load(data.replace(b"/XYZ 0 264 0", b"/XYZ        ")).blocks == load(data).blocks


def test_flowing_text_keeps_its_paragraphs() -> None:
    buffer = io.BytesIO()
    style = getSampleStyleSheet()["BodyText"]
    paragraphs = [f"Paragraph {number}: " + "some words in a row " * 20 for number in range(8)]
    story = [Paragraph(text, style) for text in paragraphs]
    SimpleDocTemplate(buffer).build([*story, PageBreak(), *story[:1]])
    document = load(buffer.getvalue())
    texts = [" ".join(document.text[b.start : b.end].split()) for b in document.blocks]
    assert texts == [text.strip() for text in [*paragraphs, paragraphs[0]]]


def test_characters_beyond_the_basic_plane_are_one_code_point() -> None:
    pdfmetrics.registerFont(UnicodeCIDFont("HeiseiMin-W3"))
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    canvas.setFont("HeiseiMin-W3", 12)
    canvas.drawString(50, 250, "日本語 text")
    canvas.save()
    assert load(buffer.getvalue()).text == "日本語 text"
    document = load(astral_pdf())
    assert document.text == "a😀b\nthen"
    boxes = character_boxes(document)
    assert boxes.shape == (8, 4)
    assert boxes[[0, 1, 2, 4]].any(axis=1).all()


def astral_pdf() -> bytes:
    """Return a PDF whose font says that the glyph of "x" means U+1F600."""
    to_unicode = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def "
        b"1 begincodespacerange <00> <ff> endcodespacerange "
        b"1 beginbfchar <78> <D83DDE00> endbfchar endcmap end end"
    )
    content = b"BT /F1 12 Tf 50 250 Td (axb) Tj 0 -14 Td (then) Tj ET"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 300]/Contents 4 0 R"
        b"/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 6 0 R>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(to_unicode), to_unicode),
    ]
    return pdf_of(objects)


WORDS = st.text(st.characters(codec="latin-1", categories=["L", "N"]), min_size=1, max_size=8)


@settings(max_examples=30)
@given(st.lists(st.lists(st.lists(WORDS, min_size=1, max_size=4), max_size=5), max_size=3))
def test_words_come_out_in_order_with_their_boxes(pages: list[list[list[str]]]) -> None:
    data = draw(
        *[
            [(50, 260 - 30 * row, " ".join(words)) for row, words in enumerate(lines)]
            for lines in pages or [[]]
        ]
    )
    document = load(data)
    assert_tiles(document)
    end = 0
    for number, lines in enumerate(pages, 1):
        for row, words in enumerate(lines):
            for word in words:
                start = end + len(document.text[end:]) - len(document.text[end:].lstrip())
                end = start + len(word)
                citation = cite_span(document, Span(start, end))
                assert citation.quote == word
                (box,) = citation.boxes
                assert box.page == citation.page == number
                assert box.top < HEIGHT - (260 - 30 * row) < box.bottom
    assert not document.text[end:].strip()


def test_large_pages_keep_their_text() -> None:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(9000, 9000))
    canvas.drawString(50, 8900, "near")
    canvas.drawString(8000, 50, "far away")
    canvas.save()
    document = load(buffer.getvalue())
    assert document.text == "near\nfar away"
    boxes = character_boxes(document)
    assert boxes[0].any()
    assert not boxes[5:].any()
    assert cite_span(document, span_of(document, "far")).boxes == ()


def test_blank_pages_are_an_empty_document() -> None:
    document = load(draw([], []))
    assert document.text == ""
    assert document.blocks == ()
    assert document.source_map is not None
    assert [page.number for page in document.source_map.pages] == [1, 2]


def labelled(*styles: str, prefix: str = "") -> bytes:
    """Return a PDF of one page for each style of number, which counts anew where it changes."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    for index, style in enumerate(styles):
        if index == 0 or style != styles[index - 1]:
            canvas.addPageLabel(index, style=style, start=1, prefix=prefix)
        canvas.drawString(50, 250, f"Words of sheet {index}.")
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def test_pages_have_the_numbers_that_are_printed_on_them() -> None:
    document = load(labelled("ROMAN_LOWER", "ROMAN_LOWER", "ARABIC", "ARABIC"))
    assert document.source_map is not None
    pages = document.source_map.pages
    assert [(page.number, page.label) for page in pages] == [
        (1, "i"),
        (2, "ii"),
        (3, "1"),
        (4, "2"),
    ]
    citation = cite_span(document, span_of(document, "sheet 1"))
    assert (citation.page, citation.page_label) == (2, "ii")
    assert citation.page_name == "page ii (PDF page 2)"
    assert citation.url.endswith("#page=2")


def test_a_printed_number_that_is_the_place_in_the_file_is_no_label() -> None:
    for data in (labelled("ARABIC", "ARABIC"), draw([(50, 250, "one")], [(50, 250, "two")])):
        document = load(data)
        assert document.source_map is not None
        assert [page.label for page in document.source_map.pages] == [None, None]
        assert cite_span(document, Span(0, 3)).page_name == "page 1"


def test_a_label_that_no_page_has_room_for_is_none() -> None:
    document = load(labelled("ARABIC", "ARABIC", prefix="x" * 10_000))
    assert document.source_map is not None
    assert [page.label for page in document.source_map.pages] == [None, None]


def test_a_label_that_is_not_unicode_costs_no_page() -> None:
    objects = [
        b"<</Type/Catalog/Pages 2 0 R/PageLabels<</Nums[0<</S/r/P<FEFF0041D800>>>]>>>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1/MediaBox[0 0 200 200]>>",
        b"<</Type/Page/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
        b"<</Length 37>>stream\nBT/F 12 Tf 20 100 Td(Some words)Tj ET \nendstream",
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    document = load(pdf_of(objects))
    assert document.text == "Some words"
    assert document.source_map is not None
    assert document.source_map.pages[0].label == "A\ufffdi"


def test_source_maps_stored_without_labels_are_read() -> None:
    stored = '{"pages": [[1, 0, 3, 400.0, 300.0]], "boxes": "", "elements": []}'
    (page,) = SourceMap.model_validate_json(stored).pages
    assert page == (1, 0, 3, WIDTH, HEIGHT, None)


def image_only() -> bytes:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    pixels = io.BytesIO(b"P6 2 2 255\n" + bytes(range(12)))
    canvas.drawImage(ImageReader(pixels), 10, 10, 100, 100)
    canvas.save()
    return buffer.getvalue()


def encrypted(owner_only: bool = False) -> bytes:
    password = "" if owner_only else "secret"
    encryption = StandardEncryption(password, ownerPassword="owner", strength=128)
    return draw([(50, 250, "classified")], encrypt=encryption)


GOOD = draw([(50, 250 - 14 * row, f"line {row} of the page") for row in range(15)])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encrypted(), "encrypted, a password is needed"),
        (b"", "not a PDF"),
        (b"plain text", "not a PDF"),
        (GOOD[: len(GOOD) // 2], "truncated"),
        (GOOD[:-20], "truncated"),
        (b"%PDF-1.4\n%%EOF\n", "damaged"),
    ],
    ids=["encrypted", "empty", "text", "half", "tail-cut", "hollow"],
)
def test_unreadable_files_say_why(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableFileError, match=rf"^paper\.pdf: .*{reason}"):
        load(data)


def test_any_cut_is_refused_never_half_read() -> None:
    for length in range(0, len(GOOD) - 8, 37):
        with pytest.raises(UnreadableFileError):
            load(GOOD[:length])


def test_a_file_that_opens_without_a_password_is_read() -> None:
    assert load(encrypted(owner_only=True)).text == "classified"


def test_missing_page_is_named() -> None:
    data = draw([(50, 250, "one")], [(50, 250, "two")])
    broken = data.replace(b"/Type /Page\n", b"/Type /Pagf\n").replace(b"/Count 2", b"/Count 3")
    with pytest.raises(UnreadableFileError, match=r"page \d of 3 is damaged"):
        load(broken)


def test_threads_take_turns() -> None:
    with ThreadPoolExecutor(4) as pool:
        texts = {document.text for document in pool.map(load, [GOOD] * 16)}
    assert texts == {load(GOOD).text}
