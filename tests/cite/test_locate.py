"""Citations: offsets, lines, columns, headings, boxes and urls that a browser or editor follows."""

import re
import zlib
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rag_tools.cite.locate import cite_span, line_columns, source_url, text_directive
from rag_tools.errors import InvalidQueryError
from rag_tools.ingest.html import load_html
from rag_tools.ingest.load import load_bytes
from rag_tools.types import Aligned, Block, Box, Document, Page, SourceMap, Span

NASTY = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "\n",
                "\r",
                "\r\n",
                "\t",
                " ",
                "\0",
                "\u2028",
                "\x85",
                "\f",
                "e\u0301",
                "👩‍👩‍👧",
                "שלום",
                "日本",
            ]
        ),
        st.characters(exclude_categories=["Cs"]),
        st.text("abc def.", min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=40,
).map("".join)


@st.composite
def spans(draw: st.DrawFn, texts: st.SearchStrategy[str] = NASTY) -> tuple[str, Span]:
    text = draw(texts)
    start = draw(st.integers(0, len(text) - 1))
    return text, Span(start, draw(st.integers(start + 1, len(text))))


def naive_position(text: str, index: int) -> tuple[int, int]:
    """Return line and column of the character at `index` by walking over the text."""
    line, column = 1, 1
    for position in range(index):
        ends = text[position] == "\n" or (
            text[position] == "\r" and text[position + 1 : position + 2] != "\n"
        )
        line, column = (line + 1, 1) if ends else (line, column + 1)
    return line, column


@given(spans())
def test_lines_and_columns_agree_with_a_walk(case: tuple[str, Span]) -> None:
    text, span = case
    first_line, first_column = naive_position(text, span.start)
    last_line, last_column = naive_position(text, span.end - 1)
    assert line_columns(text, span) == ((first_line, last_line), (first_column, last_column + 1))


@pytest.mark.parametrize(
    ("text", "span", "expected"),
    [
        ("abc", Span(0, 3), ((1, 1), (1, 4))),
        ("a\nb\n", Span(2, 4), ((2, 2), (1, 3))),
        ("a\r\nb\rc", Span(3, 6), ((2, 3), (1, 2))),
        ("😀😀\n😀", Span(1, 4), ((1, 2), (2, 2))),
    ],
)
def test_lines_and_columns(
    text: str, span: Span, expected: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    assert line_columns(text, span) == expected


@given(spans())
def test_citation_quotes_the_text(case: tuple[str, Span]) -> None:
    text, span = case
    document = Document(text=text, uri="file:///tmp/a.txt")
    citation = cite_span(document, span)
    assert document.text[citation.start : citation.end] == citation.quote
    assert text[: span.start].endswith(citation.prefix)
    assert text[span.end :].startswith(citation.suffix)
    assert len(citation.prefix) == min(32, span.start)
    assert len(citation.suffix) == min(32, len(text) - span.end)
    assert citation.document_sha256 == document.sha256
    assert citation.lines == line_columns(text, span)[0]
    assert citation.url.startswith("file:///tmp/a.txt#L")
    assert (citation.page, citation.boxes) == (None, ())


@pytest.mark.parametrize("span", [Span(0, 0), Span(2, 1), Span(-1, 2), Span(0, 5), Span(4, 5)])
def test_empty_and_outside_spans_are_programming_errors(span: Span) -> None:
    document = Document(text="four", uri="a")
    for function in (cite_span, source_url):
        with pytest.raises(ValueError, match="empty or outside"):
            function(document, span)


def test_score_and_alignment_are_passed_on() -> None:
    edge = Aligned(query_start=0, query_end=1, start=0, end=2, similarity=0.5)
    citation = cite_span(Document(text="text", uri="a"), Span(0, 2), score=0.75, alignment=[edge])
    assert citation.score == 0.75
    assert citation.alignment == (edge,)
    assert cite_span(Document(text="text", uri="a"), Span(0, 2)).alignment is None


def read(text: str, name: str) -> Document:
    return load_bytes(text.encode(), name=name, uri=f"file:///{name}")


def test_a_row_has_the_header_of_its_table() -> None:
    text = "| Fruit | Weight |\n|---|---|\n| plum | 30 g |\n\nAll of them are ripe.\n"
    document = read(text, "fruit.md")
    row, after = text.index("plum"), text.index("All")
    citation = cite_span(document, Span(row, row + len("plum | 30 g")))
    assert citation.header == "Fruit | Weight"
    assert citation.header in document.text
    assert cite_span(document, Span(2, 7)).header is None
    assert cite_span(document, Span(after, after + 3)).header is None


@pytest.mark.parametrize(("width", "shown"), [(5, True), (600, False)])
def test_a_header_that_is_long_is_left_out(width: int, shown: bool) -> None:
    document = read(f"{'x' * width},b\n1,plum\n", "fruit.csv")
    start = document.text.index("plum")
    header = cite_span(document, Span(start, start + 4)).header
    assert header == ("x" * width + ",b" if shown else None)


def test_heading_is_that_of_the_block_at_the_start() -> None:
    blocks = (
        Block("paragraph", 0, 2),
        Block("heading", 2, 4, ("A",)),
        Block("paragraph", 4, 6, ("A", "B")),
    )
    document = Document(text="aabbcc", uri="a", blocks=blocks)
    headings = [cite_span(document, Span(start, 6)).heading for start in range(6)]
    assert headings == [None, None, "A", "A", "A > B", "A > B"]
    assert cite_span(Document(text="x", uri="a"), Span(0, 1)).heading is None


def paged() -> Document:
    text = "ab\ncd\n\nef"
    boxes = np.zeros((len(text), 4), dtype="<i2")
    boxes[0], boxes[1] = (100, 100, 150, 200), (150, 90, 205, 200)
    boxes[3], boxes[4] = (100, 210, 150, 310), (150, 210, 200, 310)
    boxes[7], boxes[8] = (100, 100, 150, 200), (150, 100, 200, 200)
    pages = (Page(1, 0, 5, 600, 800), Page(2, 5, 5, 600, 800), Page(3, 7, 9, 600, 800))
    return Document(
        text=text,
        uri="file:///tmp/a.pdf",
        media_type="application/pdf",
        source_map=SourceMap(pages=pages, boxes=zlib.compress(boxes.tobytes())),
    )


def test_page_and_one_box_per_line() -> None:
    citation = cite_span(paged(), Span(0, 9))
    assert citation.page == 1
    assert citation.boxes == (
        Box(1, 10.0, 9.0, 20.5, 20.0),
        Box(1, 10.0, 21.0, 20.0, 31.0),
        Box(3, 10.0, 10.0, 20.0, 20.0),
    )
    assert citation.url == "file:///tmp/a.pdf#page=1"
    last = cite_span(paged(), Span(8, 9))
    assert (last.page, last.boxes) == (3, (Box(3, 15.0, 10.0, 20.0, 20.0),))
    assert last.url == "file:///tmp/a.pdf#page=3"
    assert cite_span(paged(), Span(2, 3)).boxes == ()


@pytest.mark.parametrize(
    ("uri", "span", "url"),
    [
        ("file:///tmp/a.txt", Span(0, 3), "file:///tmp/a.txt#L1"),
        ("file:///tmp/a.txt", Span(0, 5), "file:///tmp/a.txt#L1-L2"),
        ("file:///tmp/a%20b.txt", Span(4, 7), "file:///tmp/a%20b.txt#L2"),
        ("https://example.org/a", Span(4, 7), "https://example.org/a#:~:text=two"),
        ("https://example.org/a#b", Span(4, 7), "https://example.org/a#b:~:text=two"),
        ("HTTP://example.org", Span(4, 7), "HTTP://example.org#:~:text=two"),
        ("note-17", Span(4, 7), "note-17"),
        ("urn:isbn:1", Span(4, 7), "urn:isbn:1"),
        ("C:\\notes\\a.txt", Span(4, 7), "C:\\notes\\a.txt"),
        ("s3://bucket/a.txt", Span(4, 7), "s3://bucket/a.txt"),
    ],
)
def test_url_of_text(uri: str, span: Span, url: str) -> None:
    document = Document(text="one\ntwo\n", uri=uri)
    assert source_url(document, span) == url
    assert cite_span(document, span).url == url


def test_url_of_word_documents_is_the_file() -> None:
    document = Document(text="one", uri="file:///tmp/a.docx", source_map=SourceMap())
    assert source_url(document, Span(0, 3)) == "file:///tmp/a.docx"


def test_url_of_html_has_the_anchor_and_the_words() -> None:
    page = b"<body><h2 id='in stall'>Install</h2><p>Run the command.</p>"
    document = load_html(page, uri="file:///tmp/a.html", name="a.html")
    start = document.text.index("the")
    url = source_url(document, Span(start, start + 3))
    assert url == "file:///tmp/a.html#in%20stall:~:text=the"


@pytest.mark.parametrize(
    ("text", "quote", "directive"),
    [
        ("say hello world now", "hello world", "hello%20world"),
        ("well-known, a & b", "well-known, a & b", "well%2Dknown%2C%20a%20%26%20b"),
        ("undoing it", "doing", "undoing"),  # browsers match whole words
        ("  padded  ", "  padded ", "padded"),
        ("(see “Figure 4.2”), e.g.", "Figure 4", "Figure%204.2"),
        ("it’s O'Neil's: so_on", "it’s O'Neil", "it%E2%80%99s%20O%27Neil%27s"),
        ("a.b, c", "b", "a.b"),
        ("これは猫。犬です。", "犬", "%E7%8A%AC%E3%81%A7%E3%81%99"),
        ("cafe\u0301s", "caf", "cafe%CC%81s"),
        ("#x 100% é?", "100% é?", "100%25%20%C3%A9%3F"),
        ("cat sat. A cat ran", "A cat", "A%20cat"),
        ("the cat sat the mat", "the", "the,-cat%20sat%20the%20mat"),
        ("one two\none two", "two\none", "one-,two,one,-two"),
        ("same\n\nsame words after", "same words", "same%20words"),
    ],
)
def test_text_directive(text: str, quote: str, directive: str) -> None:
    start = text.index(quote)
    assert text_directive(text, Span(start, start + len(quote))) == f"text={directive}"


def test_text_directive_of_a_later_match_has_context() -> None:
    text = "A cat sat here.\n\nHere a cat ran off."
    start = text.rindex("cat")
    assert text_directive(text, Span(start, start + 3)) == "text=Here%20a-,cat,-ran%20off."


def test_text_directive_without_words_is_empty() -> None:
    assert text_directive("a \n b", Span(1, 4)) == ""
    assert (
        source_url(Document(text="a \n b", uri="https://x.org/y"), Span(1, 4)) == "https://x.org/y"
    )


def follow(text: str, directive: str) -> str | None:
    """Return what a browser selects: the first match of the directive, white space collapsed."""
    terms = directive.removeprefix("text=").split(",")
    prefix = terms.pop(0)[:-1] if terms[0].endswith("-") else ""
    suffix = terms.pop()[1:] if terms[-1].startswith("-") else ""
    boundary = r"(?:(?<!\w)|(?!\w))"  # no word across it
    pattern = r"\s+".join(re.escape(word) for word in unquote(terms[0]).split())
    if len(terms) == 2:
        pattern += r"[\s\S]*?" + r"\s+".join(re.escape(word) for word in unquote(terms[1]).split())
    if prefix:
        words = r"\s+".join(re.escape(word) for word in unquote(prefix).split())
        pattern = rf"{words}\s*({pattern})"
    else:
        pattern = rf"{boundary}({pattern})"
    if suffix:
        words = r"\s+".join(re.escape(word) for word in unquote(suffix).split())
        pattern += rf"\s*{words}"
    else:
        pattern += boundary
    match = re.search(pattern, text, re.IGNORECASE)
    return match[1] if match else None


PROSE = st.lists(
    st.sampled_from(
        ["the", "cat", "sat", "on-a", "mat,", "&", "50%", "naïve", "日本", "\n\n", "\n"]
    ),
    min_size=1,
    max_size=120,
).map(" ".join)


@given(spans(PROSE))
@example(("the the \n\n the \n the", Span(0, 18)))
def test_following_the_directive_selects_the_words(case: tuple[str, Span]) -> None:
    text, span = case
    directive = text_directive(text, span)
    quote = span.of(text).split()
    if not quote:
        assert directive == ""
        return
    assert re.fullmatch(r"text=[A-Za-z0-9_.~%,-]+", directive)
    selected = follow(text, directive)
    assert selected is not None
    # The ends may have grown to whole words; the words in between are those of the quote.
    words = selected.casefold().split()
    if len(words) < len(quote) and not re.sub(r"^\S*", "", text[span.end :]).strip():
        # No text follows that could tell the last words from the same ones earlier in the quote.
        assert words == [word.casefold() for word in quote[: len(words)]]
        return
    assert len(words) == len(quote)
    assert words[0].endswith(quote[0].casefold()) or len(quote) == 1
    assert words[1:-1] == [word.casefold() for word in quote[1:-1]]


@given(spans())
def test_directives_of_any_text_are_ascii_and_not_empty(case: tuple[str, Span]) -> None:
    text, span = case
    url = source_url(Document(text=text, uri="https://example.org/a"), span)
    assert url.isascii()
    assert (":~:text=" in url) == bool(span.of(text).strip())


def test_url_template() -> None:
    document = Document(
        text="one\ntwo - three\n",
        uri="file:///home/me/a%20b.md",
        id="doc 1",
        blocks=(Block("paragraph", 0, 16, ("A", "B/C")),),
    )
    template = (
        "app://{document_id}{path}:{first_line}:{last_line}?{start}-{end}&{page}&{heading}&{quote}"
    )
    assert cite_span(document, Span(4, 9), url_template=template).url == (
        "app://doc%201/home/me/a%20b.md:2:2?4-9&&A%20%3E%20B%2FC&two%20-"
    )
    assert cite_span(document, Span(4, 9), url_template="{uri}#{{x}}").url == (
        "file:///home/me/a%20b.md#{x}"
    )
    named = Document(text="one", uri="my notes/a?.md")
    assert cite_span(named, Span(0, 1), url_template="x:{path}").url == "x:my%20notes/a%3F.md"


@pytest.mark.parametrize("template", ["{line}", "{}", "{0}", "{uri.__class__}", "{quote[0]}"])
def test_unknown_template_field_is_named(template: str) -> None:
    with pytest.raises(InvalidQueryError, match=re.escape(template.strip())):
        cite_span(Document(text="one", uri="a"), Span(0, 1), url_template=template)


@pytest.mark.parametrize("template", ["{uri", "uri}", "{uri!x}", "{start:z}"])
def test_malformed_template_is_refused(template: str) -> None:
    with pytest.raises(InvalidQueryError, match="malformed"):
        cite_span(Document(text="one", uri="a"), Span(0, 1), url_template=template)


@pytest.mark.parametrize(
    ("name", "source", "heading"),
    [
        ("a.md", "# Sea\n\nIntro.\n\n## Tides\n\nThey @ rise.\n", "Sea > Tides"),
        ("a.md", "Sea\n===\n\nTides\n-----\n\n- They @ rise.\n", "Sea > Tides"),
        ("a.rst", "Sea\n===\n\nTides\n-----\n\nThey @ rise.\n", "Sea > Tides"),
        ("a.html", "<h1>Sea</h1><h2>Tides</h2><ul><li>They @ rise.</ul>", "Sea > Tides"),
        ("a.html", "<h1>Sea</h1><h2>Tides</h2><p>x</p><h1>Sky</h1><p>@", "Sky"),
        ("a.py", "class Sea:\n    def rise(self):\n        return '@'\n", "Sea > rise"),
        ("a.py", "async def rise():\n    def inner():\n        return '@'\n", "rise"),
        ("a.js", "class Sea { rise() { return '@' } }\n", "Sea > rise"),
        ("a.ts", "namespace Sea { export function rise() { return '@' } }\n", "Sea > rise"),
        ("a.tsx", "export const Sea = () => <p>@</p>\n", "Sea"),
        ("a.go", 'package a\n\nfunc (s *Sea) Rise() string { return "@" }\n', "Sea > Rise"),
        ("a.rs", 'impl Sea { fn rise(&self) -> &str { "@" } }\n', "Sea > rise"),
        ("a.java", 'class Sea { String rise() { return "@"; } }\n', "Sea > rise"),
        ("a.c", 'char *rise(void) { return "@"; }\n', "rise"),
        ("a.cpp", 'namespace sea { struct T { char* f() { return "@"; } }; }\n', "sea > T > f"),
        ("a.txt", "They @ rise.\n", None),
    ],
)
def test_headings_and_symbols_of_every_format(name: str, source: str, heading: str | None) -> None:
    document = load_bytes(source.encode(), name=name, uri=f"file:///{name}")
    place = document.text.index("@")
    citation = cite_span(document, Span(place, place + 1))
    assert citation.heading == heading
