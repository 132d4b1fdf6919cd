"""Text fragments of citations, followed by a real browser: what it scrolls to and highlights."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from browser import Browser, browser
from rag_tools.cite.locate import cite_span
from rag_tools.ingest.html import load_html
from rag_tools.types import Citation, Span

STYLE = """<style>
  body { font: 16px/24px sans-serif; width: 700px; margin: 20px; color: #000 }
  .space { height: 4000px }
  ::target-text { background-color: #f00; color: #f00 }
</style>"""

# Where the quote is drawn: the text between two comments, and its lines in the window.
RECTANGLES = """(async () => {
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_COMMENT);
  const range = document.createRange();
  while (walk.nextNode()) {
    if (walk.currentNode.data === "[") range.setStartAfter(walk.currentNode);
    if (walk.currentNode.data === "]") range.setEndBefore(walk.currentNode);
  }
  const boxes = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {  // of the text alone, not of the elements around it
    const text = texts.currentNode;
    if (!range.intersectsNode(text) || !text.data.trim()) continue;
    const part = document.createRange();
    part.selectNodeContents(text);
    if (part.compareBoundaryPoints(Range.END_TO_START, range) >= 0) continue;
    if (part.compareBoundaryPoints(Range.START_TO_END, range) <= 0) continue;
    for (const box of part.getClientRects())
      boxes.push([box.left, box.top, box.right, box.bottom]);
  }
  return { scrolled: scrollY, boxes };
})()"""


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def cited(page: str, file: Path, *, shrink: int = 0) -> Citation:
    """Write a page, and cite what stands between ⟦ and ⟧ in it, less some characters each side."""
    marked = load_html(page.encode(), uri=file.as_uri(), name="page.html").text
    start, end = marked.index("⟦"), marked.index("⟧") - 1
    shown = STYLE + page.replace("⟦", "<!--[-->").replace("⟧", "<!--]-->")
    file.write_text(f"<!doctype html><meta charset=utf-8>{shown}", encoding="utf-8")
    document = load_html(file.read_bytes(), uri=file.as_uri(), name="page.html")
    assert document.text == marked.replace("⟦", "").replace("⟧", "")
    return cite_span(document, Span(start + shrink, end - shrink))


def assert_shows(window: Browser, citation: Citation) -> None:
    """The browser scrolls to the quote and highlights it, all of it and nothing else."""
    window.open(citation.url)
    seen = window.evaluate(RECTANGLES)
    red = (window.pixels() == (255, 0, 0)).all(axis=2)
    assert red.any(), f"nothing is highlighted: {citation.url}"
    assert seen["scrolled"] > 100
    quote = np.zeros(red.shape, dtype=bool)
    for left, top, right, bottom in seen["boxes"]:
        box = np.s_[round(top) : round(bottom), round(left) : round(right)]
        quote[box] = True
        if right - left > 2:
            assert red[box].mean() > 0.9, f"part of the quote isn't highlighted: {citation.url}"
    # What is highlighted is as high as the quote, or a pixel more with rounding.
    around = quote.copy()
    for shift in (-2, -1, 1, 2):
        around |= np.roll(quote, shift, axis=0) | np.roll(quote, shift, axis=1)
    assert not (red & ~around).any(), f"more than the quote is highlighted: {citation.url}"


SPACE = '<div class="space"></div>'
CASES = {
    "a sentence": "<p>Before it. ⟦Water boils at 87 degrees.⟧ After it.</p>",
    "syntax": "<p>See ⟦a well-known, half-true & odd-looking 100% #1?⟧ quote.</p>",
    "only syntax": "<p>one two ⟦- , &amp;⟧ three</p>",
    "not ASCII": "<p>Die ⟦Größe von Ångström, “naïve” café – été⟧ und mehr.</p>",
    "no spaces": "<p>東京は日本の首都です。⟦京都は古い都です。⟧大阪は商業の街です。</p>",
    "right to left": "<p dir=rtl>שלום עולם. ⟦המים רותחים במאה מעלות.⟧ וזה הכול.</p>",
    "emoji": "<p>All is well 🏔️ ⟦the summit 🗝️ is near 👩‍👩‍👧‍👦⟧ and cold.</p>",
    "combining": "<p>Une ⟦e\u0301toile du nord⟧ brille.</p>",
    "white space in the source": "<p>It \n is ⟦spread \n\t over   lines⟧ in the\nsource.</p>",
    "inline tags": "<p>The <b>Moon</b> ⟦pulls <em>on the <a href=#x>near</a></em> side⟧ of it.</p>",
    "within an inline tag": "<p>The Moon <em>pulls ⟦on the near⟧ side</em> of it.</p>",
    "a tag within a word": "<p>Say ⟦H<sub>2</sub>O and un<b>believ</b>able⟧ things.</p>",
    "two paragraphs": "<p>One. ⟦The first ends here.</p><p>The second starts.⟧ And goes on.</p>",
    "many paragraphs": "<p>One. ⟦Starts here.</p><p>Then.</p><p>Then.</p><p>Ends here.⟧ So.</p>",
    "line break": "<p>Roses are red.<br>⟦Violets are blue,<br>sugar is sweet⟧<br>and so on.</p>",
    "list": "<ul><li>apples</li><li>⟦pears and plums</li><li>oranges⟧</li><li>nuts</li></ul>",
    "table": "<table><tr><td>Name</td></tr><tr><td>⟦Eiger</td><td>3967⟧</td></tr></table>",
    "a cell": "<table><tr><td>Eiger</td><td>⟦3967 m⟧</td><td>steep</td></tr></table>",
    "code": "<pre>def one():\n    return 1\n\n⟦def two():\n    return 2⟧\n</pre>",
    "code in a line": "<p>Call <code>⟦open(path, mode='rb')⟧</code> first.</p>",
    "heading and text": "<h2 id=boiling>⟦Boiling</h2><p>Water boils.⟧ Tea brews.</p>",
    "whole words of part": "<p>He was ⟦undoing⟧ it, then doing it.</p>",
    "repeated, first": "<p>A ⟦cat sat⟧ on it. B.</p><p>Then a cat sat on a mat.</p>",
    "repeated, second": "<p>A cat sat on it.</p><p>Then the old ⟦cat sat⟧ on a mat.</p>",
    "repeated, last": "<p>A cat sat.</p><p>A cat sat.</p><p>In the end ⟦a cat sat.⟧</p>",
    "repeated, other case": "<p>The Cat Sat on it.</p><p>Then ⟦the cat sat⟧ on a mat.</p>",
    "repeated over tags": "<p>a <b>cat</b> sat up</p><p>then a ⟦cat <i>sat</i>⟧ down</p>",
    "repeated after a dash": "<p>(cat) sat, cat—sat</p><p>so the ⟦cat⟧ sat</p>",
    "repeated within words": "<p>concatenate the cats</p><p>so the ⟦cat⟧ sat</p>",
    "repeated paragraphs": "<p>Yes.</p><p>No.</p><p>⟦Yes.⟧</p><p>Perhaps.</p>",
    "repeated lines": "<pre>x = 1\ny = 2\nx = 1\n⟦z = 3\nx = 1⟧\ny = 4</pre>",
    "repeated in a list": "<ul><li>one</li><li>two</li><li>⟦one</li><li>three⟧</li></ul>",
    "ends alike": "<p>Go ⟦there. And go there. Then back, go there.</p><p>Go there.⟧ Stop.</p>",
    "long": f"<p>Start. ⟦{'So it went on and on, who knows why. ' * 12}It ended.⟧ Well.</p>",
    "long, repeated": (
        f"<p>It began thus: {'words and words ' * 20}to the end.</p>"
        f"<p>Then ⟦it began thus: {'words and words ' * 20}to the end.⟧</p><p>Done.</p>"
    ),
    "hidden in between": "<p>The tide ⟦comes <span hidden>not</span>in twice⟧ a day.</p>",
    "form and image": "<p>Look ⟦at <img alt=nothing> this picture⟧ here.</p>",
    "soft hyphen": "<p>The ⟦Donau\u00addampf\u00adschiff sails⟧ today.</p>",
    "no-break space": "<p>About ⟦100\u00a0km of it⟧ remain.</p>",
    "apostrophes": "<p>It’s ⟦the keeper’s “parrot”⟧ and 'not' mine.</p>",
    "punctuation around": "<p>(see ⟦Figure 4.2⟧), then [go].</p>",
}

WORDS = ("the", "cat", "sat,", "on-a", "<b>mat</b>.", "&amp;", "50%", "“naïve”", "the", "cat")


@browser
@pytest.mark.parametrize("name", CASES)
def test_a_browser_scrolls_to_the_quote(window: Browser, tmp_path: Path, name: str) -> None:
    page = f"<body>{SPACE}{CASES[name]}{SPACE}"
    assert_shows(window, cited(page, tmp_path / "page.html"))


@browser
@pytest.mark.parametrize(
    "paragraph",
    [
        "He was doing it, then ⟦undoing⟧ it.",
        "東京は日本の首都です。⟦京都は古い都です⟧。大阪は商業の街です。",
    ],
)
def test_part_of_a_word_shows_the_word(window: Browser, tmp_path: Path, paragraph: str) -> None:
    page = f"<body>{SPACE}<p>{paragraph}</p>{SPACE}"
    assert_shows(window, cited(page, tmp_path / "page.html", shrink=2))


@browser
def test_any_words_of_a_page_that_repeats_itself(window: Browser, tmp_path: Path) -> None:
    rng = random.Random(3)
    for number in range(25):
        words = [rng.choice(WORDS) for _ in range(80)]
        start = rng.randrange(70)
        end = rng.randint(start, min(79, start + rng.choice((2, 10, 60))))
        words[start] = f"⟦{words[start]}"
        words[end] += "⟧"
        page = "".join(word + rng.choice((" ", " ", " ", "</p><p>")) for word in words)
        citation = cited(f"<body>{SPACE}<p>{page}</p>{SPACE}", tmp_path / f"{number}.html")
        assert_shows(window, citation)
