"""Text in pictures and scanned pages: how well it is recognised, and where it is said to stand."""

import io
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from rag_tools.cite.locate import cite_span
from rag_tools.engine import Engine
from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.extras import recognises_text
from rag_tools.ingest.load import load_bytes
from rag_tools.types import Span

pytestmark = pytest.mark.skipif(not recognises_text(), reason="needs the extra [ocr]")

LINES = (
    "The harbour of Höfn",
    "Spring tides come when the sun and the moon pull along one line.",
    "The lock is 9.5 metres deep, and its gate opens at 07:30.",
    "Boats longer than 24 m turn at the northern buoy (see § 4).",
    "A pilot comes on board for 1,250 € and leaves after the bridge.",
    "Nobody may anchor between the quay and the ferry landing.",
    "Ask the harbour master, Ada Lovelace, on channel 12.",
)
SIZE, LEFT, TOP, STEP, LETTERS = (1654, 1100), 150, 150, 110, 34  # pixels: an A4 page at 200 dpi


def font(name: str):
    import matplotlib
    from PIL import ImageFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / f"{name}.ttf"), LETTERS)


def drawn(name: str = "DejaVuSans", lines=LINES):
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", SIZE, "white")
    for number, line in enumerate(lines):
        ImageDraw.Draw(picture).text(
            (LEFT, TOP + STEP * number), line, fill="black", font=font(name)
        )
    return picture


def skewed_and_noisy(picture):
    from PIL import Image, ImageFilter

    turned = picture.rotate(1.5, expand=False, fillcolor="white", resample=Image.Resampling.BICUBIC)
    pixels = np.asarray(turned.filter(ImageFilter.GaussianBlur(1.0)), dtype=np.float64)
    noise = np.random.default_rng(7).normal(0, 28, pixels.shape)
    return Image.fromarray(np.clip(pixels * 0.8 + 25 + noise, 0, 255).astype(np.uint8))


def saved(picture, kind: str = "png", **options) -> bytes:
    made = io.BytesIO()
    picture.save(made, kind, **options)
    return made.getvalue()


def opened(data: bytes, name: str = "page.png"):
    return load_bytes(data, name=name, uri=f"file:///d/{name}")


def error_rate(found: str, wanted: str) -> float:
    """The character error rate: edits over characters, white space collapsed, NFC."""
    one, other = (" ".join(unicodedata.normalize("NFC", each).split()) for each in (found, wanted))
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1] / len(other)


@pytest.mark.parametrize("name", ["DejaVuSans", "DejaVuSerif", "DejaVuSansMono"])
def test_three_fonts_are_recognised(name):
    lines = [line[:70] for line in LINES]
    assert error_rate(opened(saved(drawn(name, lines))).text, "\n".join(lines)) <= 0.01


def test_a_skewed_and_noisy_page_is_recognised():
    document = opened(saved(skewed_and_noisy(drawn())))
    assert error_rate(document.text, "\n".join(LINES)) <= 0.03


@pytest.mark.parametrize("is_bad", [False, True])
def test_the_box_of_a_citation_covers_the_words_and_no_others(is_bad):
    words = "gate opens at 07:30"
    line = next(number for number, each in enumerate(LINES) if words in each)
    start = LINES[line].index(words)
    picture = drawn()
    # The same page with nothing but these words, each letter where it is on the whole page.
    from PIL import Image, ImageDraw

    only = Image.new("RGB", SIZE, "white")
    left = LEFT + font("DejaVuSans").getlength(LINES[line][:start])
    ImageDraw.Draw(only).text(
        (left, TOP + STEP * line), words, fill="black", font=font("DejaVuSans")
    )
    if is_bad:
        turned = {"fillcolor": "white", "resample": Image.Resampling.BICUBIC}
        picture, only = skewed_and_noisy(picture), only.rotate(1.5, **turned)
    document = opened(saved(picture))
    at = document.text.index(words)
    citation = cite_span(document, Span(at, at + len(words)))
    (box,) = citation.boxes
    assert citation.page == 1 and citation.recognised > 0.8
    assert citation.place.startswith("page 1, recognised (")
    ink = np.asarray(only.convert("L")) < 128
    (page,) = document.source_map.pages
    scale = SIZE[0] / page.width
    inside = np.zeros_like(ink)
    inside[
        round(box.top * scale) : round(box.bottom * scale),
        round(box.left * scale) : round(box.right * scale),
    ] = True
    assert (ink & inside).sum() / ink.sum() > 0.97
    rows, columns = np.nonzero(ink)
    extent = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    assert inside.sum() < 2.2 * extent


def scanned(picture, *, text: str = "", hidden: bool = False) -> bytes:
    """A PDF with a picture on its page, and maybe a line of text below, or hidden on it."""
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    made = io.BytesIO()
    canvas = Canvas(made, pagesize=(595, 842))
    canvas.drawImage(
        ImageReader(picture), 0, 842 - 595 * SIZE[1] / SIZE[0], 595, 595 * SIZE[1] / SIZE[0]
    )
    written = canvas.beginText(50, 700 if hidden else 80)
    written.setTextRenderMode(3 if hidden else 0)
    for line in text.split("\n"):
        written.textLine(line)
    canvas.drawText(written)
    canvas.save()
    return made.getvalue()


def test_a_scanned_page_with_a_line_of_text_is_recognised_and_marked(tmp_path):
    printed = "Archived by the town of Kiel in 1987, sheet 12 of the harbour book."
    (tmp_path / "scan.pdf").write_bytes(scanned(drawn(), text=printed))
    with Engine.open(tmp_path / "index", create=True) as engine:
        assert engine.sync([tmp_path / "scan.pdf"]).skipped == ()
        found = engine.search("when does the gate of the lock open?").results[0].citations[0]
        assert "07:30" in found.quote
        assert found.page == 1 and found.boxes and found.recognised > 0.9
        assert engine.verify(found).status == "exact"
        archived = engine.search("who archived the harbour book?").results[0].citations[0]
        assert "Kiel" in archived.quote and archived.recognised is None
        document = engine.document(found.document_id)
        assert error_rate(document.text, "\n".join([*LINES, printed])) <= 0.01


def test_a_page_whose_picture_has_its_text_is_not_recognised_again():
    hidden = "\n".join(LINES)
    document = opened(scanned(drawn(), text=hidden, hidden=True), "scan.pdf")
    assert document.source_map.recognised == ()
    assert document.text.count("Spring tides") == 1


def test_the_pages_of_a_tiff_are_pages():
    pages = [drawn(lines=LINES[:2]), drawn(lines=LINES[2:4])]
    data = saved(pages[0], "tiff", save_all=True, append_images=pages[1:])
    document = opened(data, "fax.tif")
    assert [page.number for page in document.source_map.pages] == [1, 2]
    at = document.text.index("9.5 metres")
    assert cite_span(document, Span(at, at + 10)).page == 2


def test_a_picture_without_text_is_empty_and_a_damaged_one_is_named():
    from PIL import Image

    assert opened(saved(Image.new("RGB", (300, 300), "navy"))).text == ""
    assert opened(saved(Image.new("RGB", (16, 16), "navy"))).text == ""
    with pytest.raises(UnreadableFileError, match=r"page\.png: not a picture that can be read"):
        opened(saved(drawn())[:1000])
