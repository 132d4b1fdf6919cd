"""Spreadsheets: cells as they are shown, cited by sheet and cell."""

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlines import brief, opened, said
from rag_tools.errors import NoTextError, UnreadableFileError
from rag_tools.ingest import sheets
from rag_tools.ingest.cell_format import shown
from rag_tools.ingest.extraction import Extraction
from rag_tools.ingest.sheets import Row, SheetWriter, column_letters, column_number
from rag_tools.units import units

STOCK = [
    ("heading", "Stock", "Stock"),
    ("sentence", "Stock!A1", "Stock of the chandlery"),
    ("header", "Stock!A2:F2", "Item\tCount\tPrice\tValue\tShare\tCounted on"),
    ("row", "Stock!A3:F3", "Rope, hemp\t12\t103.50\t1,242.00\t25.6%\t01.03.2026"),
    ("row", "Stock!A4:F4", "Anchor\t3\t1,203.50\t3,610.50\t74.4%\t02.03.2026"),
    ("header", "Stock!B7:C7", "Role\tName"),
    ("row", "Stock!B8:C8", "Harbour master\tAda Lovelace"),
    ("row", "Stock!B9:C9", "Pilot\tBob Kiel"),
    ("heading", "'Old prices'", "Old prices"),
    ("row", "'Old prices'!A1:B1", "Rope\t90"),
]


@pytest.mark.parametrize("name", ["workbook.xlsx", "workbook.ods", "workbook.xls"])
def test_cells_are_as_shown_and_rows_are_units_with_their_header(name):
    document = opened(name)
    assert brief(document) == STOCK
    rows = [unit for unit in units(document.text, document.blocks) if unit.kind == "row"]
    assert rows[0].header is not None
    assert rows[0].header.of(document.text).startswith("Item\tCount")
    assert rows[2].header is not None
    assert rows[2].header.of(document.text).startswith("Role\tName")


@pytest.mark.parametrize("name", ["workbook.xlsx", "workbook.ods", "workbook.xls"])
def test_every_cell_has_its_address(name):
    document = opened(name)
    assert document.source_map is not None
    cells = {part.label: document.text[part.start : part.end] for part in document.source_map.parts}
    assert cells["Stock!D4"] == "3,610.50"
    assert cells["Stock!C9"] == "Bob Kiel"
    assert cells["'Old prices'!B1"] == "90"
    assert not any("Nothing" in text for text in cells.values())  # on a hidden sheet


def test_the_link_leads_to_the_cell():
    urls = {each.quote: each.url for each in said(opened("workbook.xlsx"))}
    assert urls["Rope\t90"] == "file:///d/workbook.xlsx#'Old%20prices'!A1"


@pytest.mark.parametrize(
    ("value", "code", "seen"),
    [
        (1234567.891, "General", "1234567.891"),
        (3.14159265358979, "General", "3.141592654"),
        (1e15, "General", "1E+15"),
        (0, "0;-0;;@", ""),
        (-1234.5, "#,##0.00;[Red](#,##0.00)", "(1,234.50)"),
        (-5, "0.0", "-5.0"),
        (0.5, "# ?/?", "1/2"),
        (2.25, "# ?/?", "2 1/4"),
        (12345, "0.00E+00", "1.23E+04"),
        (0.00012, "0.0E+0", "1.2E-4"),
        (1500000, '0.0,,"M"', "1.5M"),
        (5551234, "000-0000", "555-1234"),
        (1234.5, "[$€-407]#,##0.00", "€1,234.50"),
        (7, "00", "07"),
        (2.5, "0", "3"),
        (1, "yyyy-mm-dd", "1900-01-01"),
        (61, "yyyy-mm-dd", "1900-03-01"),
        (46082.5, "dddd, d. mmmm yyyy hh:mm", "Sunday, 1. March 2026 12:00"),
        (0.5 / 24, "mm:ss", "30:00"),
        (1.25, "[h]:mm:ss", "30:00:00"),
        (46082.75, "h AM/PM", "6 PM"),
        (0.123456 / 86400, "s.000", "0.123"),
        (-1, "yyyy", "-1"),
        (42, "@", "42"),
        (3, '"Nr." 0', "Nr. 3"),
    ],
)
def test_numbers_are_shown_by_their_format(value, code, seen):
    assert shown(value, code) == seen


def test_the_other_calendar():
    assert shown(0, "yyyy-mm-dd", from_1904=True) == "1904-01-01"


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.text('0#?.,%yMmdhsE+-;[]@"\\_*/ AP:x', max_size=30),
)
def test_any_format_shows_something(value, code):
    assert isinstance(shown(value, code), str)


@given(st.integers(1, 18_278))
def test_columns_have_letters(number):
    assert column_number(f"{column_letters(number)}12") == number


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(1, 6), st.text(max_size=5)), max_size=4, unique_by=lambda c: c[0]
        ),
        max_size=6,
    )
)
def test_every_cell_with_content_is_written_once(rows):
    out = Extraction()
    SheetWriter(out, "a.xlsx").sheet("S", (Row(n, sorted(row)) for n, row in enumerate(rows, 1)))
    document = out.document(uri="x:", name="a", media_type="x")
    assert document.source_map is not None
    seen = {part.label: document.text[part.start : part.end] for part in document.source_map.parts}
    expected = {
        f"S!{column_letters(column)}{number}": " ".join(text.split())
        for number, row in enumerate(rows, 1)
        for column, text in row
        if text.split()
    }
    seen.pop("S", None)
    assert seen == expected


def test_too_many_cells_are_refused(monkeypatch):
    monkeypatch.setattr(sheets, "MAX_CELLS", 5)
    with pytest.raises(UnreadableFileError, match=r"workbook\.xlsx: more than 5 cells"):
        opened("workbook.xlsx")


def test_repeated_rows_end_at_the_limit(monkeypatch):
    """Two cells that are said to be repeated a thousand million times are no document."""
    monkeypatch.setattr(sheets, "MAX_CELLS", 1000)
    space = "urn:oasis:names:tc:opendocument:xmlns:{}:1.0"
    content = (
        f'<o:document-content xmlns:o="{space.format("office")}" xmlns:t="{space.format("table")}"'
        f' xmlns:x="{space.format("text")}"><o:body><o:spreadsheet><t:table t:name="S">'
        '<t:table-row t:number-rows-repeated="900000000"><t:table-cell'
        ' t:number-columns-repeated="900000000"><x:p>a</x:p></t:table-cell></t:table-row>'
        "</t:table></o:spreadsheet></o:body></o:document-content>"
    )
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("content.xml", content)
    with pytest.raises(UnreadableFileError, match="more than 1,000 cells"):
        opened("a.ods", made.getvalue())


def test_an_empty_workbook_says_so():
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", f'<workbook xmlns="{space}"><sheets/></workbook>')
    with pytest.raises(NoTextError, match="its sheets are empty or hidden"):
        opened("a.xlsx", made.getvalue())
