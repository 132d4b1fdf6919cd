"""PDF pages as a reader sees them: order, whole words, running heads, fields, notes, headings."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

import pypdfium2 as pdfium
import pytest
from docx import Document as WordDocument
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from pdfs import pdf_of
from rag_tools.cite.locate import cite_span
from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.load import load_bytes
from rag_tools.ingest.pdf import load_pdf
from rag_tools.types import Document, Span

WIDTH, HEIGHT = 400, 600

Row = tuple[float, float, str]


def draw(*pages: Iterable[Row], size: float = 11) -> bytes:
    """Return a PDF with strings at positions from the bottom left, drawn in the order given."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    for page in pages:
        canvas.setFont("Helvetica", size)
        for x, y, text in page:
            canvas.drawString(x, y, text)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def load(data: bytes) -> Document:
    return load_pdf(data, uri="file:///tmp/paper.pdf", name="paper.pdf")


def column(x: float, rows: str, *, top: float = 500, leading: float = 14) -> list[Row]:
    return [(x, top - leading * i, row) for i, row in enumerate(rows.split("\n"))]


def by_row(*columns: list[Row]) -> list[Row]:
    """Return what columns hold in the order of their rows."""
    return sorted((row for rows in columns for row in rows), key=lambda row: -row[1])


def texts(document: Document, kind: str | None = None) -> list[str]:
    return [
        document.text[block.start : block.end].strip()
        for block in document.blocks
        if kind in (None, block.kind)
    ]


HARBOUR = (
    "The harbour office opens\nat seven on weekdays and\nstays open until the last\nboat is in."
)
BOATS = (
    "Small boats moor on the\nnorth side, where a crane\nlifts them out for repairs\nin the winter."
)
FEES = "Fees are due each month\nby the first, and a guest\npays for every night that\nhe stays."


# -- reading order -----------------------------------------------------------------------------


@pytest.mark.parametrize("drawn", ["by row", "by column", "backwards"])
def test_columns_are_read_one_after_the_other(drawn: str) -> None:
    columns = [column(40, HARBOUR), column(220, BOATS)]
    page = {
        "by row": by_row(*columns),
        "by column": columns[0] + columns[1],
        "backwards": columns[1] + columns[0],
    }[drawn]
    document = load(draw(page))
    assert document.text == f"{HARBOUR}\n{BOATS}"
    assert texts(document) == [HARBOUR, BOATS]


def test_columns_whose_lines_are_not_level() -> None:
    page = by_row(column(40, HARBOUR), column(220, BOATS, top=493))
    assert load(draw(page)).text == f"{HARBOUR}\n{BOATS}"


def test_three_columns_below_a_title_that_crosses_them() -> None:
    columns = [column(20, HARBOUR), column(150, BOATS), column(280, FEES)]
    title = [(30, 540, "The harbour, its boats and what a berth costs there from now on")]
    document = load(draw(title + by_row(*columns), size=9))
    assert document.text == f"{title[0][2]}\n{HARBOUR}\n{BOATS}\n{FEES}"


def test_the_rows_of_a_table_are_lines() -> None:
    cells = [
        ["Boat", "Length", "Fee a month"],
        ["Dinghy", "3 m", "40"],
        ["Sloop", "9 m", "120"],
        ["Ketch", "14 m", "310"],
    ]
    columns = [
        column(x, "\n".join(cells[i][j] for i in range(4))) for j, x in enumerate((40, 140, 240))
    ]
    for page in (by_row(*columns), columns[0] + columns[1] + columns[2]):
        document = load(draw([(40, 540, "What a berth costs, by length of the boat:"), *page]))
        rows = ["\t".join(row) for row in cells]
        assert document.text.split("\n")[1:] == rows
        assert "\n".join(rows) in texts(document, "table")


def test_a_cell_of_several_lines_stays_in_its_row() -> None:
    first = [(40, 500, "Valve"), (140, 500, "Shuts off the supply and"), (320, 500, "2 bar")]
    wrapped = [(140, 487, "lets the pressure out")]
    second = [(40, 465, "Gauge"), (140, 465, "Shows the pressure"), (320, 465, "9 bar")]
    document = load(draw([*first, *wrapped, *second]))
    assert document.text.split("\n") == [
        "Valve\tShuts off the supply and lets the pressure out\t2 bar",
        "Gauge\tShows the pressure\t9 bar",
    ]
    citation = cite_span(document, span(document, "supply and lets"))
    assert [round(box.top) for box in citation.boxes] == sorted(
        {round(box.top) for box in citation.boxes}
    )


def test_justified_lines_with_wide_spaces_are_no_table() -> None:
    rows = [
        ("The crane stands idle.", "Nobody lifts a"),
        ("boat in a gale from there.", "The quay"),
    ]
    page = [(40, 472, "is closed then, and the gate locked")]
    for row, (left, right) in enumerate(rows):
        x = 40 + stringWidth(left, "Helvetica", 11)
        page += [(40, 500 - 14 * row, left), (x + 20, 500 - 14 * row, right)]
    edge = max(x + stringWidth(text, "Helvetica", 11) for x, _, text in page)
    page = [
        (edge - stringWidth(text, "Helvetica", 11) if x > 40 else x, y, text) for x, y, text in page
    ]
    document = load(draw(page))
    assert "\t" not in document.text
    assert not texts(document, "table")


def test_bullets_and_numbers_stay_with_their_items() -> None:
    items = ["Close the valve.", "Wait for five minutes.", "Open the drain."]
    for marks in ("•••", "123"):
        signs = [f"{mark}." if mark.isdigit() else mark for mark in marks]
        page = column(40, "\n".join(signs)) + column(70, "\n".join(items))
        expected = "\n".join(f"{sign} {item}" for sign, item in zip(signs, items, strict=True))
        assert load(draw(page)).text == expected


def test_leaders_are_left_out() -> None:
    page = [(40, 500, "Mooring . . . . . . . . . . . . 12"), (40, 486, "Fees ............ 14")]
    assert load(draw(page)).text == "Mooring 12\nFees 14"


def test_text_outside_of_the_crop_box_is_not_on_the_page() -> None:
    data = draw([(40, 500, "On the page."), (40, 20, "Printer's mark."), (380, 500, "Cut")])
    with pdfium.PdfDocument(data) as pdf:
        pdf[0].set_cropbox(0, 50, 370, HEIGHT)
        buffer = io.BytesIO()
        pdf.save(buffer)
    assert load(buffer.getvalue()).text == "On the page."


def test_hidden_text_is_kept_where_no_other_stands() -> None:
    """A scan has its text under the picture; a hidden copy of visible text would double it."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    canvas.drawImage(ImageReader(io.BytesIO(b"P6 2 2 255\n" + bytes(range(12)))), 30, 300, 300, 200)
    canvas.drawString(40, 540, "A visible line.")
    for y, text in ((540, "A visible line."), (400, "Read from the scan.")):
        hidden = canvas.beginText(40, y)
        hidden.setTextRenderMode(3)
        hidden.textOut(text)
        canvas.drawText(hidden)
    canvas.save()
    assert load(buffer.getvalue()).text == "A visible line.\nRead from the scan."


# -- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "read"),
    [
        ("it is an inter-\nnational rule", "it is an international\nrule"),
        ("under self-\ncontrol at last", "under self-control\nat last"),
        ("a state-of-the-\nart pump", "a state-of-the-art\npump"),
        ("after ISO-\n9001 came", "after ISO-9001\ncame"),
        ("a trivial and a non-triv-\nial step", "a trivial and a non-trivial\nstep"),
        ("see example.org/how-\nto for more", "see example.org/how-to\nfor more"),
        ("with Jean-\nPierre there", "with Jean-Pierre\nthere"),
        ("both pre-\nand postwar", "both pre-\nand postwar"),
        ("an open end -\nso to speak", "an open end -\nso to speak"),
        ("THE INTRO-\nDUCTION ends", "THE INTRODUCTION\nends"),
        ("a long-tail and a long-\ntail again", "a long-tail and a long-tail\nagain"),
        ("it was re-\nfused; they refused", "it was refused;\nthey refused"),
        ("an ultra-\nmicro-\nscopic one", "an ultramicroscopic\none"),
        ("ends with pre-", "ends with pre-"),
        ("die Kraft-\nfahrzeuge fahren", "die Kraftfahrzeuge\nfahren"),
        ("a hyphen-\nated", "a hyphenated"),
    ],
)
def test_words_hyphenated_at_the_end_of_a_line_are_whole(printed: str, read: str) -> None:
    assert load(draw(column(40, printed))).text == read


def test_a_word_that_is_whole_across_lines_has_a_box_on_each() -> None:
    document = load(draw(column(40, "it is an inter-\nnational rule")))
    first, second = cite_span(document, span(document, "international")).boxes
    assert first.right > second.right
    assert first.bottom <= second.top + 1
    # The hyphen is ink of the word.
    width = stringWidth("inter-", "Helvetica", 11)
    assert first.right - first.left == pytest.approx(width, abs=0.5)


def test_a_word_that_is_whole_across_pages_has_a_box_on_each() -> None:
    document = load(draw(column(40, "it is an inter-", top=60), column(40, "national rule")))
    assert document.text == "it is an international\nrule"
    boxes = cite_span(document, span(document, "international")).boxes
    assert [box.page for box in boxes] == [1, 2]


def test_lost_spaces_are_seen_in_the_gaps_and_spaced_letters_are_words() -> None:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    x = 40.0
    for word in ("Turn", "the", "key", "slowly."):
        canvas.drawString(x, 500, word)
        x += stringWidth(word, "Helvetica", 12) + 3.5
    canvas.drawString(40, 480, "NOTICE OF SALE", charSpace=4)
    canvas.drawString(40, 460, "Two   spaces  are one.")
    canvas.save()
    expected = "Turn the key slowly.\nNOTICE OF SALE\nTwo spaces are one."
    assert load(buffer.getvalue()).text == expected


def mapped_pdf(content: bytes, meanings: dict[bytes, str]) -> bytes:
    """Return a PDF of one page whose font gives some characters other meanings."""
    mapping = b" ".join(
        b"<%s> <%s>" % (code.hex().encode(), meaning.encode("utf-16-be").hex().encode())
        for code, meaning in meanings.items()
    )
    to_unicode = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def "
        b"1 begincodespacerange <00> <ff> endcodespacerange "
        b"1 beginbfrange <20> <7e> <0020> endbfrange "
        b"%d beginbfchar %s endbfchar endcmap end end" % (len(meanings), mapping)
    )
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


@pytest.mark.parametrize("ligature", ["\u0644\u0627", "\ufefb", "\ufefc"])
def test_a_right_to_left_ligature_is_its_letters_in_order(ligature: str) -> None:
    """Drawn from left to right: meem, the ligature of lam and alef, seen, kaf; read "كسلام"."""
    meanings = {b"a": "\u0645", b"b": ligature, b"c": "\u0633", b"d": "\u0643"}
    data = mapped_pdf(b"BT /F1 24 Tf 50 250 Td (abcd) Tj ET", meanings)
    document = load(data)
    assert document.text == "\u0643\u0633\u0644\u0627\u0645"
    first, lam, alef, last = (cite_span(document, Span(i, i + 1)).boxes[0] for i in (0, 2, 3, 4))
    assert lam == alef
    assert last.left < lam.left < first.left


def test_right_to_left_columns_begin_on_the_right() -> None:
    """Drawn row by row; letters stand for Hebrew ones and are drawn from left to right."""
    meanings = {bytes([97 + i]): chr(0x5D0 + i) for i in range(14)}
    left = ["abcd efg hijk lmn", "bcda fge ijkh mnl", "cdab gef jkhi nlm"]
    right = ["nml kjih gfe dcba", "lmn jihk egf adcb", "mln ihkj feg cbad"]
    content = b"".join(
        b"BT /F1 11 Tf %d %d Td (%s) Tj ET " % (x, 250 - 14 * row, text.encode())
        for row, pair in enumerate(zip(left, right, strict=True))
        for x, text in zip((30, 200), pair, strict=True)
    )
    letters = str.maketrans({meaning: code.decode() for code, meaning in meanings.items()})
    document = load(mapped_pdf(content, meanings))
    assert document.text.translate(letters).split("\n") == [row[::-1] for row in right + left]


def test_accents_drawn_over_a_letter_are_part_of_it() -> None:
    content = (
        b"BT /F1 20 Tf 50 250 Td (Br) Tj ET "
        b"BT /F1 20 Tf 71 250 Td (a) Tj ET BT /F1 20 Tf 69 250 Td (o) Tj ET "
        b"BT /F1 20 Tf 81 250 Td (ker ~/x) Tj ET"
    )
    document = load(mapped_pdf(content, {b"a": "\u00a8"}))
    assert document.text == "Br\u00f6ker ~/x"


# -- running heads, sentences over breaks ------------------------------------------------------


def test_running_heads_are_no_part_of_the_sentence_that_runs_over_the_page() -> None:
    bodies = [
        "If water enters the hold, the mate\nstarts both pumps and then reports",
        "to the bridge how fast it is rising.\nNobody leaves the deck until all of",
        "the crew have been counted.",
    ]
    pages = [
        [
            (40, 575, "Handbook of the Ferry Aurora"),
            *column(40, body, top=520),
            (40, 25, f"In confidence, page {number} of 3"),
        ]
        for number, body in enumerate(bodies, 1)
    ]
    document = load(draw(*pages))
    head = "Handbook of the Ferry Aurora\n\nIn confidence, page 1 of 3\n\n"
    assert document.text == head + "\n".join(bodies)
    assert texts(document)[-1] == "\n".join(bodies)
    assert document.source_map is not None
    ranges = [document.text[page.start : page.end] for page in document.source_map.pages]
    assert ranges == [head + bodies[0], bodies[1], bodies[2]]
    assert cite_span(document, span(document, "to the bridge")).page == 2


@pytest.mark.parametrize("style", ["{}", "- {} -", "Page {}", "[{}]", "{}/9"])
def test_page_numbers_are_left_out(style: str) -> None:
    pages = [
        [*column(40, f"Text of {word} page\nand some more."), (180, 20, style.format(number))]
        for number, word in enumerate(["a first", "the next", "some last"], 7)
    ]
    assert not re.search(r"\d", load(draw(*pages)).text)


def test_what_only_looks_like_a_running_head_stays() -> None:
    """Figures that don't count pages, the head of a table, and text that a page begins with."""
    pages = [
        [(40, 560, "Year 2020 was dry."), *column(40, f"It was the {word} of them.", top=546)]
        for word in ("first", "second", "third")
    ]
    assert load(draw(*pages)).text.count("Year 2020 was dry.") == 3
    lone = [[(40, 560, "Dear reader,")], [(40, 560, "Dear reader,")]]
    assert load(draw(*lone)).text == "Dear reader,\n\nDear reader,"
    sums = [
        [*column(40, "A berth for a month.", top=500), (40, 30, f"Total: {n}")]
        for n in (90, 45, 70)
    ]
    assert re.findall(r"\d+", load(draw(*sums)).text) == ["90", "45", "70"]
    numbers = [[(40, 560, str(n)), *column(40, "A line of text.", top=500)] for n in (12, 12, 12)]
    assert load(draw(*numbers)).text.count("12") == 3


def test_a_sentence_runs_over_a_column() -> None:
    left, right = (
        HARBOUR.removesuffix("\nboat is in."),
        "boat is in, which may be\nlate, and then closes for\nthe night.",
    )
    document = load(draw(by_row(column(40, left), column(220, right))))
    assert texts(document) == [f"{left}\n{right}"]


def test_a_footnote_is_no_part_of_the_sentence_that_runs_over_the_page() -> None:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    for rows, note in (
        (["The toll is due on arrival,", "and the master pays it to"], "1 As of May last year."),
        (["the warden in person."], ""),
    ):
        canvas.setFont("Helvetica", 11)
        for row, text in enumerate(rows):
            canvas.drawString(40, 120 - 14 * row, text)
        canvas.setFont("Helvetica", 8)
        canvas.drawString(40, 60, note)
        canvas.showPage()
    canvas.save()
    document = load(buffer.getvalue())
    assert "pays it to\nthe warden in person." in document.text
    assert "1 As of May last year." in texts(document)


# -- fields, notes, alternative texts ----------------------------------------------------------


def test_form_values_stand_beside_their_labels() -> None:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    canvas.setFont("Helvetica", 11)
    form = canvas.acroForm
    for y, label, value in (
        (500, "Owner:", "Ines Okafor"),
        (460, "Home port", "Tromsø"),
        (420, "Draught", ""),
    ):
        canvas.drawString(40, y, label)
        form.textfield(name=f"f{y}", value=value, x=140, y=y - 5, width=200, height=20)
    for y, checked, label in ((380, True, "Insured"), (360, False, "For hire")):
        form.checkbox(name=f"c{y}", checked=checked, x=40, y=y - 4, size=16)
        canvas.drawString(70, y, label)
    form.textfield(
        name="code", value="4711", fieldFlags="password", x=140, y=300, width=90, height=20
    )
    canvas.save()
    document = load(buffer.getvalue())
    assert document.text.split("\n") == [
        "Owner: Ines Okafor",
        "Home port: Tromsø",
        "Draught",
        "[x] Insured",
        "[ ] For hire",
    ]
    (box,) = cite_span(document, span(document, "Okafor")).boxes
    assert (box.left, box.right) == pytest.approx((140, 340), abs=3)
    assert box.top < HEIGHT - 500 < box.bottom


def annotated(*annotations: bytes, content: bytes = b"", root: bytes = b"") -> bytes:
    numbers = range(6, 6 + len(annotations))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R%s>>" % root,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 300]/Contents 4 0 R/StructParents 0"
        b"/Resources<</Font<</F1 5 0 R>>>>/Annots[%s]>>"
        % b" ".join(b"%d 0 R" % number for number in numbers),
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        *annotations,
    ]
    return pdf_of(objects)


def test_notes_and_text_boxes_are_text_of_the_page() -> None:
    data = annotated(
        b"<</Subtype/FreeText/Contents(Paid on 3 June)/Rect[60 150 300 170]>>",
        b"<</Subtype/Text/Contents(Ask the warden)/Rect[350 240 370 260]>>",
        b"<</Subtype/Text/Contents(Nobody sees this)/F 2/Rect[350 200 370 220]>>",
        b"<</Subtype/Link/Contents(nor this)/Rect[60 240 90 260]>>",
        content=b"BT /F1 12 Tf 60 250 Td (Invoice for May) Tj 0 -150 Td (Thank you.) Tj ET",
    )
    document = load(data)
    assert document.text == "Invoice for May\nPaid on 3 June\nThank you.\n\nAsk the warden"
    (box,) = cite_span(document, span(document, "Ask the warden")).boxes
    assert (box.left, box.top, box.right, box.bottom) == (350, 40, 370, 60)


def test_a_field_without_a_label_has_its_alternative_name() -> None:
    field = b"<</Subtype/Widget/FT/Tx/T(a1)%s/V(Ines Okafor)/Rect[60 150 300 170]/P 3 0 R>>"
    root = b"/AcroForm<</Fields[6 0 R]>>"
    assert load(annotated(field % b"/TU(Owner)", root=root)).text == "Owner: Ines Okafor"
    assert load(annotated(field % b"", root=root)).text == "Ines Okafor"


def test_alternative_texts_of_figures() -> None:
    content = (
        b"BT /F1 12 Tf 60 250 Td (See the chart.) Tj ET "
        b"/Figure <</MCID 0>> BDC 60 100 200 80 re f EMC"
    )
    data = annotated(
        b"<</Type/StructTreeRoot/K 7 0 R/ParentTree<</Nums[0 [8 0 R]]>>>>",
        b"<</Type/StructElem/S/Document/P 6 0 R/K 8 0 R>>",
        b"<</Type/StructElem/S/Figure/P 7 0 R/Pg 3 0 R/K 0/Alt(Traffic doubled in May)>>",
        content=content,
        root=b"/MarkInfo<</Marked true>>/StructTreeRoot 6 0 R",
    )
    document = load(data)
    assert document.text == "See the chart.\n\nTraffic doubled in May"
    (box,) = cite_span(document, span(document, "doubled")).boxes
    assert (box.left, box.top, box.right, box.bottom) == pytest.approx((60, 120, 260, 200), abs=1)


# -- headings ----------------------------------------------------------------------------------


def test_headings_are_larger_or_bold_where_there_is_no_outline() -> None:
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(WIDTH, HEIGHT))
    y = 560.0
    for font, size, text in (
        ("Helvetica", 20, "Harbour rules"),
        ("Helvetica", 14, "Berths"),
        ("Helvetica", 10, "A berth is let by the month, and\nby the night to guests of the port."),
        ("Helvetica-Bold", 10, "Guests"),
        ("Helvetica", 10, "A guest reports to the warden at\nonce and pays for the first night."),
        ("Helvetica", 14, "Cranes"),
        ("Helvetica", 10, "The crane lifts up to nine tonnes\nand nothing in a gale."),
    ):
        canvas.setFont(font, size)
        for line in text.split("\n"):
            canvas.drawString(40, y, line)
            y -= 1.2 * size
        y -= size
    canvas.save()
    document = load(buffer.getvalue())
    assert document.title == "Harbour rules"
    paths = [
        (block.path[-1], len(block.path)) for block in document.blocks if block.kind == "heading"
    ]
    assert paths == [("Harbour rules", 1), ("Berths", 2), ("Guests", 3), ("Cranes", 2)]
    assert document.blocks[-1].path == ("Harbour rules", "Cranes")


# -- files without text ------------------------------------------------------------------------


def word_file(text: str) -> bytes:
    buffer = io.BytesIO()
    document = WordDocument()
    document.add_paragraph(text)
    document.save(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "hint"),
    [
        ("scan.pdf", draw([]), "it may be a scan: install 'rag-tools\\[ocr\\]'"),
        (
            "page.html",
            b"<html><body><script>draw()</script></body></html>",
            "scripts or frames draw",
        ),
        ("letter.docx", word_file(" "), "only pictures or embedded documents"),
    ],
)
def test_a_file_without_text_is_named(name: str, data: bytes, hint: str) -> None:
    with pytest.raises(UnreadableFileError, match=rf"^{re.escape(name)}: no text: .*{hint}"):
        load_bytes(data, name=name, uri=f"file:///tmp/{name}")


@pytest.mark.parametrize("name", ["notes.txt", "notes.md", "page.html", "code.py"])
@pytest.mark.parametrize("data", [b"", b" \n\t\n"])
def test_an_empty_file_is_an_empty_document(name: str, data: bytes) -> None:
    assert not load_bytes(data, name=name, uri=f"file:///tmp/{name}").text.strip()


# -- the span contract -------------------------------------------------------------------------

# Without vowels, none is a word that keeps its hyphen; nor is a half of one a word of its own.
WORDS = st.lists(
    st.text("bcdfghjkl", min_size=2, max_size=9), min_size=12, max_size=60, unique=True
).filter(lambda words: not {part for word in words for part in halves(word)}.intersection(words))


def halves(word: str) -> tuple[str, str]:
    return word[: len(word) // 2], word[len(word) // 2 :]


@settings(max_examples=40, deadline=None)
@given(words=WORDS, columns=st.integers(1, 2), heads=st.booleans(), data=st.data())
def test_any_words_in_columns_keep_their_order_and_boxes(
    words: list[str], columns: int, heads: bool, data: st.DataObject
) -> None:
    """Lines are filled and hyphenated as a typesetter does, and drawn in any order of columns."""
    lines, origins = typeset(words, width=150, hyphenate=data.draw(st.booleans()))
    per_column = max(3, -(-len(lines) // (2 * columns)))
    # A lone line beside a column may as well belong to the line that it is level with.
    assume(columns == 1 or len(lines) % per_column != 1)
    pages: list[list[Row]] = []
    places: list[tuple[int, float, float]] = []  # of each line: page, x, y
    for number, line in enumerate(lines):
        page, rest = divmod(number, per_column * columns)
        which, row = divmod(rest, per_column)
        if page == len(pages):
            pages.append([])
        x, y = 30 + 190 * which, 500 - 14 * row
        pages[page].append((x, y, line))
        places.append((page, x, y))
    if heads and len(pages) > 1:
        for number, page_rows in enumerate(pages, 1):
            page_rows.append((30, 570, "OF HEADS"))
            page_rows.append((30, 20, str(number)))
    document = load(draw(*pages))
    body = document.text.removeprefix("OF HEADS\n\n")
    assert body.split() == words
    end = len(document.text) - len(body)
    for word, parts in zip(words, origins, strict=True):
        start = document.text.index(word, end)
        end = start + len(word)
        citation = cite_span(document, Span(start, end))
        assert citation.quote == word
        assert citation.page == places[parts[0]][0] + 1
        expected = [places[line] for line in parts]
        assert [box.page for box in citation.boxes] == [page + 1 for page, _, _ in expected]
        for box, (_, x, y) in zip(citation.boxes, expected, strict=True):
            assert x - 1 <= box.left < box.right <= x + 170
            assert box.top < HEIGHT - y < box.bottom
    position = 0
    for block in document.blocks:
        assert block.start == position
        position = block.end
    assert position == len(document.text)


def typeset(
    words: list[str], *, width: float, hyphenate: bool
) -> tuple[list[str], list[list[int]]]:
    """Return lines of words, and for each word the lines that it is on."""
    lines = [""]
    origins: list[list[int]] = []
    for word in words:
        candidate = f"{lines[-1]} {word}".strip()
        if stringWidth(candidate, "Helvetica", 11) <= width:
            lines[-1] = candidate
            origins.append([len(lines) - 1])
            continue
        first, second = halves(word)
        broken = f"{lines[-1]} {first}-"
        if hyphenate and len(first) > 1 and stringWidth(broken, "Helvetica", 11) <= width:
            lines[-1] = broken
            lines.append(second)
            origins.append([len(lines) - 2, len(lines) - 1])
        else:
            lines.append(word)
            origins.append([len(lines) - 1])
    return lines, origins


def span(document: Document, words: str) -> Span:
    start = document.text.index(words)
    return Span(start, start + len(words))
