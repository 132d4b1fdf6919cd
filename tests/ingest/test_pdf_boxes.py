"""Boxes of a quote in a PDF, on the rendered page: they cover its ink and nobody else's.

The quote is drawn in red and the rest in blue, so colours tell on whose ink a box lies.
"""

from __future__ import annotations

import io
import math

import numpy as np
import pypdfium2 as pdfium
import pytest
from numpy.typing import NDArray
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfgen.canvas import Canvas

from pdfs import pdf_of
from rag_tools.cite.locate import cite_span
from rag_tools.ingest.pdf import load_pdf
from rag_tools.types import Citation, Document, Span

WIDTH, HEIGHT = 400, 300
SCALE = 4  # pixels per point

Row = tuple[float, float, str]


def draw(*pages: list[Row], font: str = "Times-Roman", size: float = 12) -> bytes:
    """Return a PDF with rows of text at positions; what is between ⟦ and ⟧ is red.

    A quote may start in one row and end in another.
    """
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    quoted = False
    for page in pages:
        for x, y, row in page:
            for i, part in enumerate(row.replace("⟧", "⟦").split("⟦")):
                quoted ^= i > 0
                canvas.setFillColorRGB(*((1, 0, 0) if quoted else (0, 0, 1)))
                canvas.setFont(font, size)
                canvas.drawString(x, y, part)
                x += pdfmetrics.stringWidth(part, font, size)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def column(x: float, rows: str, *, top: float = 260, leading: float = 14) -> list[Row]:
    return [(x, top - leading * i, row) for i, row in enumerate(rows.split("\n"))]


def turned(data: bytes, rotation: int) -> bytes:
    """Return the PDF with its pages rotated and cropped."""
    with pdfium.PdfDocument(data) as pdf:
        for page in pdf:
            page.set_rotation(rotation)
            page.set_cropbox(10, 20, WIDTH - 30, HEIGHT - 5)
        buffer = io.BytesIO()
        pdf.save(buffer)
    return buffer.getvalue()


def cited(data: bytes, quote: str) -> tuple[Document, Citation]:
    document = load_pdf(data, uri="file:///tmp/paper.pdf", name="paper.pdf")
    assert document.text.count(quote) == 1, document.text
    start = document.text.index(quote)
    citation = cite_span(document, Span(start, start + len(quote)))
    assert citation.quote == quote
    return document, citation


def assert_boxes_cover_the_red_ink_alone(data: bytes, citation: Citation) -> None:
    with pdfium.PdfDocument(data) as pdf:
        for number, page in enumerate(pdf, 1):
            pixels = page.render(scale=SCALE, rev_byteorder=True).to_numpy()[:, :, :3]
            assert_covered(pixels, [box for box in citation.boxes if box.page == number])


def assert_covered(pixels: NDArray[np.uint8], boxes: list[object]) -> None:
    red = (pixels[:, :, 0] > 200) & (pixels[:, :, 2] < 100)
    blue = (pixels[:, :, 2] > 200) & (pixels[:, :, 0] < 100)
    covered = np.zeros(red.shape, dtype=bool)
    for box in boxes:
        rows = slice(int(box.top * SCALE), math.ceil(box.bottom * SCALE))
        columns = slice(int(box.left * SCALE), math.ceil(box.right * SCALE))
        assert red[rows, columns].any(), f"no ink of the quote in {box}"
        covered[rows, columns] = True
    assert red.any() == bool(boxes)
    assert blue.any()
    assert not (red & ~covered).any(), "ink of the quote outside of its boxes"
    inner = covered.copy()  # less a pixel on each side, which two neighbours may share
    for axis in (0, 1):
        inner &= np.roll(covered, 1, axis) & np.roll(covered, -1, axis)
    assert not (blue & inner).any(), "ink of other text in the boxes"


LEFT = "The tide comes\nin ⟦twice a day, as\nthe Moon pulls⟧ on\nthe sea below it."
RIGHT = "Springs are high\nwhen the Sun and\nthe Moon pull as\none upon the sea."

CASES = {
    "two columns": ([[*column(40, LEFT), *column(200, RIGHT)]], "twice a day, as\nthe Moon pulls"),
    "right column": (
        [[*column(40, RIGHT), *column(200, LEFT)]],
        "twice a day, as\nthe Moon pulls",
    ),
    "hyphenated": (
        [column(40, "We see an un⟦hyphen-\nated⟧ word, well-\nknown to all of us.")],
        "hyphenated",
    ),
    "hyphenated, narrow": (
        [column(40, "an ⟦inter-\nnational⟧\nrule", leading=12)],
        "international",
    ),
    "hyphen of its own": ([column(40, "a ⟦well-known⟧ word-\nplay on words")], "well-known"),
    "part of words": ([column(40, "un⟦believ⟧able")], "believ"),
    "one letter": ([column(40, "a Wa⟦V⟧e that breaks")], "V"),
    "punctuation": ([column(40, "see (⟦Fig. 4.2, p. 7⟧), and so on")], "Fig. 4.2, p. 7"),
    "accents": ([column(40, "Die ⟦Größe von Ångström⟧, ça va")], "Größe von Ångström"),
    "three lines": (
        [column(40, "One ⟦line ends\nand another starts\nand ends⟧ as well", leading=15)],
        "line ends\nand another starts\nand ends",
    ),
    "two pages": (
        [column(40, "It starts\nwith ⟦the end of", top=60), column(60, "one page⟧ and\ngoes on")],
        "the end of\none page",
    ),
    "second page": ([column(40, "One page"), column(60, "and ⟦two of them⟧ only")], "two of them"),
}


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("name", CASES)
def test_boxes_cover_the_ink_of_a_quote_and_no_other(name: str, rotation: int) -> None:
    pages, quote = CASES[name]
    data = turned(draw(*pages), rotation)
    _, citation = cited(data, quote)
    assert_boxes_cover_the_red_ink_alone(data, citation)


@pytest.mark.parametrize("font", ["Times-Italic", "Courier", "Helvetica-BoldOblique"])
@pytest.mark.parametrize("size", [5, 9.5, 24])
def test_fonts_and_sizes(font: str, size: float) -> None:
    page = column(20, "One gp ⟦line jumps\nand ends⟧ by", top=250, leading=1.35 * size)
    data = draw(page, font=font, size=size)
    _, citation = cited(data, "line jumps\nand ends")
    assert_boxes_cover_the_red_ink_alone(data, citation)


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_text_that_runs_in_another_direction(angle: int) -> None:
    """Such as the stamp in the margin of a preprint."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    canvas.setFillColorRGB(0, 0, 1)
    canvas.drawString(150, 250, "Upright text of the page.")
    canvas.translate(100, 150)
    canvas.rotate(angle)
    x = 0.0
    for part, colour in (("stamp: ", (0, 0, 1)), ("Nov 2026", (1, 0, 0)), (" v2", (0, 0, 1))):
        canvas.setFillColorRGB(*colour)
        canvas.drawString(x, 0, part)
        x += pdfmetrics.stringWidth(part, "Helvetica", 12)
    canvas.save()
    _, citation = cited(buffer.getvalue(), "Nov 2026")
    assert_boxes_cover_the_red_ink_alone(buffer.getvalue(), citation)


@pytest.mark.parametrize("rotation", [0, 90])
@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_page_that_lies_on_its_side_is_read_in_order(angle: int, rotation: int) -> None:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    canvas.setPageRotation(rotation)
    canvas.translate(200, 150)
    canvas.rotate(angle)
    rows = ["Peak and height", "Eiger 3967", "Mönch 4110"]
    for number, row in enumerate(rows):
        canvas.setFillColorRGB(*((1, 0, 0) if number == 1 else (0, 0, 1)))
        canvas.drawString(-60, 14 - 14 * number, row)
    canvas.save()
    document, citation = cited(buffer.getvalue(), "Eiger 3967")
    assert document.text == "\n".join(rows)
    assert_boxes_cover_the_red_ink_alone(buffer.getvalue(), citation)


def test_raised_numbers_and_their_words() -> None:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    text = canvas.beginText(40, 200)
    for part, size, rise, colour in (
        ("as was ", 12, 0, (0, 0, 1)),
        ("shown", 12, 0, (1, 0, 0)),
        ("17", 7, 5, (0, 0, 1)),
        (" before", 12, 0, (0, 0, 1)),
    ):
        text.setFillColorRGB(*colour)
        text.setFont("Helvetica", size)
        text.setRise(rise)
        text.textOut(part)
    canvas.drawText(text)
    canvas.save()
    _, citation = cited(buffer.getvalue(), "shown")
    assert_boxes_cover_the_red_ink_alone(buffer.getvalue(), citation)


def ligature_pdf(meaning: bytes) -> bytes:
    """Return a PDF that draws "the ﬁne day", its ligature one glyph that means `meaning`."""
    to_unicode = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def "
        b"1 begincodespacerange <00> <ff> endcodespacerange "
        b"1 beginbfrange <20> <7e> <0020> endbfrange "
        b"1 beginbfchar <ae> <" + meaning + b"> endbfchar endcmap end end"
    )
    content = (
        b"BT /F1 24 Tf 50 250 Td 0 0 1 rg (the ) Tj 1 0 0 rg (\xaene) Tj 0 0 1 rg ( day) Tj ET"
    )
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 300]/Contents 4 0 R"
        b"/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Times-Roman/Encoding/StandardEncoding"
        b"/ToUnicode 6 0 R>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(to_unicode), to_unicode),
    ]
    return pdf_of(objects)


@pytest.mark.parametrize("meaning", [b"FB01", b"00660069"], ids=["one character", "two characters"])
def test_a_ligature_is_one_glyph_and_reads_as_its_letters(meaning: bytes) -> None:
    data = ligature_pdf(meaning)
    _, citation = cited(data, "fine")
    assert_boxes_cover_the_red_ink_alone(data, citation)


def test_half_of_a_ligature_has_the_box_of_its_glyph() -> None:
    data = ligature_pdf(b"00660069")
    document, whole = cited(data, "fi")
    start = document.text.index("fi")
    halves = [cite_span(document, Span(start + i, start + i + 1)) for i in (0, 1)]
    assert [half.boxes for half in halves] == [whole.boxes] * 2
