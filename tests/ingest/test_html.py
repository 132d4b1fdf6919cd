"""HTML: the text is what a browser renders, and every piece of it knows its element."""

import html as stdlib_html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html as lxml_html

from rag_tools.errors import UnreadableFileError
from rag_tools.ingest.html import load_html
from rag_tools.types import Document


def load(page: str | bytes) -> Document:
    data = page.encode() if isinstance(page, str) else page
    return load_html(data, uri="https://example.org/page.html", name="page.html")


def assert_tiles(document: Document) -> None:
    position = 0
    for block in document.blocks:
        assert block.start == position
        assert block.end > block.start
        position = block.end
    assert position == len(document.text)


def blocks(document: Document) -> list[tuple[str, str]]:
    return [(block.kind, document.text[block.start : block.end]) for block in document.blocks]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>one\n  <b>two</b>\t three </p>", "one two three"),
        ("<p>a<b>b</b>c <i> d</i></p>", "abc d"),
        ("<p>a<!-- x -->b<?pi x?>c</p>", "abc"),
        ("<p>one<p>two", "one\n\ntwo"),
        ("<div>one<div>two</div>three</div>", "one\ntwo\nthree"),
        ("a<br>b<br><br>c", "a\nb\n\nc"),
        ("<pre>\n  x\n\n   <b>y</b>\n</pre>z", "  x\n\n   y\n\nz"),
        ("<ul><li>a<li>b<ol><li>c</ol></ul>d", "a\nb\nc\n\nd"),
        ("<table><tr><th>a<th>b<tr><td>1<td>2</table>", "a\tb\n1\t2"),
        ("<table><tr><td>a<td><td>b<tr><td><td><td>c</table>", "a\t\tb\n\t\tc"),
        ("<table><tr><td><p>a<p>b</p><td><div>c</div></table>d", "a\nb\tc\n\nd"),
        ("<table><tr><td>x<table><tr><td>a<td>b</table>y<td>z</table>", "x\na\tb\ny\tz"),
        ("&lt;b&gt; &amp;amp; &eacute;&check;&#128512;&nbsp;.", "<b> &amp; é✓😀\u00a0."),
        ("a\r\nb\rc", "a b c"),
        ("<p>a <img src=x.png alt='the quay at dawn'> b</p>", "a the quay at dawn b"),
        ("<p>a<img alt='IMG_1.jpg'><img alt=star aria-hidden=true>b</p>", "ab"),
        ("<p>x <math><mi>n</mi><annotation>n^2</annotation></math></p>", "x n"),
        (
            "<p>x <span><span><math><mi>n</mi></math></span><span aria-hidden=true>n</span></span>"
            ".</p>",
            "x n.",
        ),
        ("<p><i aria-hidden=true>a</i> b</p>", "a b"),
        (
            "<input value=Hull> <input type=hidden value=no><textarea>Dock 5</textarea>",
            "Hull Dock 5",
        ),
        ("<select><option>low<option selected>high</select>", "high"),
        ("<details><summary>More</summary>Less</details>", "More\nLess"),
        ("", ""),
        ("  <!-- nothing -->\n", ""),
    ],
)
def test_rendered_text(page: str, text: str) -> None:
    document = load(page)
    assert document.text == text
    assert_tiles(document)


@pytest.mark.parametrize(
    "hidden",
    [
        "<script>no()</script>",
        "<style>no{}</style>",
        "<noscript>no</noscript>",
        "<template><p>no</p></template>",
        "<svg><text>no</text></svg>",
        "<p hidden>no</p>",
        "<div style='color: red; DISPLAY : none'>no<p>no</div>",
        "<span style='visibility:hidden'>no</span>",
        "<dialog>no</dialog>",
        "<a class='headerlink' href='#x'>no</a>",
        "<select><option>no</select>",
    ],
)
def test_what_is_not_shown_is_left_out(hidden: str) -> None:
    assert load(f"<p>before {hidden}after</p>").text.split() == ["before", "after"]


def test_what_is_shown_stays() -> None:
    page = "<p style='display:block'>a</p><dialog open>b</dialog><p hidden=until-found>c</p>"
    assert load(page).text.split() == ["a", "b", "c"]


def test_headings_make_paths_and_the_title() -> None:
    document = load(
        "<h1>Guide <em>one</em></h1><p>intro<h3>Deep</h3><p>x<h2>Part\nB</h2><ul><li>y</ul>"
        "<h1>Next</h1>z"
    )
    assert document.title == "Guide one"
    assert [(block.kind, block.path) for block in document.blocks] == [
        ("heading", ("Guide one",)),
        ("paragraph", ("Guide one",)),
        ("heading", ("Guide one", "Deep")),
        ("paragraph", ("Guide one", "Deep")),
        ("heading", ("Guide one", "Part B")),
        ("item", ("Guide one", "Part B")),
        ("heading", ("Next",)),
        ("paragraph", ("Next",)),
    ]
    assert_tiles(document)


def test_title_element_wins_and_the_uri_is_the_last_resort() -> None:
    assert load("<title> A &amp;\n B </title><h1>C</h1>").title == "A & B"
    assert load("<p>text").title == "page.html"


def test_items_rows_and_code_are_one_block_each() -> None:
    document = load(
        "<ul><li>a<ul><li>b</ul><li><p>c</ul><table><tr><td>d<tr><td>e</table>"
        "<pre>f\n\ng</pre><pre>h</pre>"
    )
    assert blocks(document) == [
        ("item", "a\n"),
        ("item", "b\n\n"),
        ("item", "c\n\n"),
        ("row", "d\n"),
        ("row", "e\n\n"),
        ("code", "f\n\ng\n\n"),
        ("code", "h"),
    ]


def test_elements_are_xpaths_of_the_text() -> None:
    page = (
        "<body><main><p>zero</p><p hidden>no</p><p>two <b>bold</b></p>"
        "<table><tr><td>a</td><td>b</td></tr></table></main></body>"
    )
    document = load(page)
    tree = lxml_html.document_fromstring(page).getroottree()
    assert document.source_map is not None
    elements = document.source_map.elements
    assert [element.path for element in elements] == [
        "html/body/main/p[1]",
        "html/body/main/p[3]",
        "html/body/main/table/tr/td[1]",
        "html/body/main/table/tr/td[2]",
    ]
    for element in elements:
        (node,) = tree.xpath(f"/{element.path}")
        assert node.text_content() == document.text[element.start : element.end]


def test_anchor_is_the_nearest_id() -> None:
    document = load(
        "<body id=top><p>a<h2 id=one>b</h2><p>c<p id=own>d<p>e"
        "<section id=s><h2>f</h2><p>g</section><h3>h <a id=link></a></h3><p>i"
        "</p><a name=old></a><p>j"
    )
    assert document.source_map is not None
    anchors = {
        document.text[element.start : element.end]: element.anchor
        for element in document.source_map.elements
    }
    assert anchors == {
        "a": "top",
        "b": "one",
        "c": "one",
        "d": "own",
        "e": "one",
        "f": "s",
        "g": "s",
        "h": "link",
        "i": "link",
        "j": "old",
    }


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("<meta charset=windows-1252><p>5 € – ä".encode("cp1252"), "5 € – ä"),
        ("<meta charset=iso-8859-1><p>5 €".encode("cp1252"), "5 €"),
        (
            '<meta http-equiv=Content-Type content="text/html; charset=shift_jis">日本語'.encode(
                "cp932"
            ),
            "日本語",
        ),
        ("<?xml version='1.0' encoding='koi8-r'?><p>Привет".encode("koi8-r"), "Привет"),
        ("<meta charset=utf-16><p>é".encode(), "é"),
        ("<meta charset=latin1><p>é".encode("utf-8-sig"), "é"),
        ("<meta charset=latin1><p>é".encode("utf-16"), "é"),
        ("<meta charset=no-such-charset><p>é".encode(), "é"),
        ("<meta charset=rot13><p>é".encode(), "é"),
        ("<meta charset=unicode_escape><p>\\ud800é".encode(), "\\ud800é"),
        ("<meta charset=iso-8859-1><p>Überprüfung fällig".encode(), "Überprüfung fällig"),
        ("<meta charset=utf-8><p>Today’s “offer” – 3 €".encode("cp1252"), "Today’s “offer” – 3 €"),
        (b"<meta charset=utf-8><p>a\xff\xc3b", "a\ufffd\ufffdb"),
    ],
)
def test_charset(data: bytes, text: str) -> None:
    assert load(data).text == text


@pytest.mark.parametrize("reference", ["&#xD800;", "&#xDFFF;", "&#x110000;", "&#0;"])
def test_impossible_characters_become_replacements(reference: str) -> None:
    assert load(f"<p>a{reference}b").text == "a\ufffdb"


def test_nul_is_dropped_and_cuts_nothing() -> None:
    assert load("<p>long enough to be text, a\0b and more</p><p>after").text == (
        "long enough to be text, ab and more\n\nafter"
    )


def test_deep_nesting_is_read_or_refused_never_dropped() -> None:
    assert load("<div>" * 1000 + "deep").text == "deep"
    with pytest.raises(UnreadableFileError, match=r"page\.html.*nested too deeply"):
        load("<div>" * 5000 + "deep")


def test_long_text_is_not_cut() -> None:
    assert len(load("<p>" + "x" * 12_000_000).text) == 12_000_000


def test_a_page_that_scripts_draw_is_refused() -> None:
    with pytest.raises(UnreadableFileError, match=r"^page\.html: no text: scripts"):
        load("<title>Boats</title><div id=app></div><script src=/app.js></script>")
    assert load("<script></script>").text == ""


def test_binary_is_refused() -> None:
    with pytest.raises(UnreadableFileError, match=r"page\.html"):
        load(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8)


# C0 controls aside, which HTML does not allow, anything may stand in a page.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, range(32))])
NASTY = st.one_of(
    CHARACTERS,
    st.sampled_from(
        ["\n", "\t", "  ", "&", "<", ">", '"', "e\u0301", "👩‍👩‍👧", "שלום", "\u202e", "\u200b"]
    ),
)


TEXTS = st.lists(NASTY, max_size=30).map("".join)


@given(st.lists(TEXTS, max_size=6), st.booleans())
def test_any_text_round_trips(texts: list[str], verbatim: bool) -> None:
    tag = "pre" if verbatim else "p"
    page = "".join(f"<{tag}>{stdlib_html.escape(text)}</{tag}>" for text in texts)
    document = load(f"<meta charset=utf-8><body>{page}")
    if verbatim:
        rendered = [text.strip("\n") for text in texts]
    else:
        rendered = [re.sub("[ \t\n]+", " ", text).strip(" ") for text in texts]
    assert document.text == "\n\n".join(filter(None, rendered))
    assert document.source_map is not None
    assert [
        document.text[element.start : element.end] for element in document.source_map.elements
    ] == [text for text in rendered if text]
    assert_tiles(document)


TAGS = ["p", "div", "ul", "li", "table", "tr", "td", "pre", "h1", "h2", "b", "br", "a id=x", "span"]
MARKUP = st.one_of(
    st.sampled_from([f"<{tag}>" for tag in TAGS]),
    st.sampled_from([f"</{tag}>" for tag in TAGS]),
    st.sampled_from(["word", " ", "\n", "<", "&", "</", "<!--", "-->", "<script>", "<p hidden>"]),
    st.text(st.characters(exclude_categories=["Cc"]), max_size=3),
)


@given(st.lists(MARKUP, max_size=40).map("".join))
def test_broken_markup_keeps_the_invariants(page: str) -> None:
    # With some text of its own: a page that only a script draws is refused.
    document = load(f"word{page}".encode("utf-8", "replace"))
    assert_tiles(document)
    assert document.source_map is not None
    end = 0
    for element in document.source_map.elements:
        assert end <= element.start < element.end <= len(document.text)
        end = element.end
