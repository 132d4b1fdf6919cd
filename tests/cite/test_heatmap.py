from __future__ import annotations

import html
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from rag_tools.cite import heatmap
from rag_tools.cli import show
from rag_tools.cli.main import app
from rag_tools.engine import Engine
from rag_tools.types import Aligned, Citation, Document, Hit, Span


class Shown(HTMLParser):
    """What a browser makes of HTML: the text, what is marked, the elements, the links."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.marked, self.links = "", "", []
        self.coloured: list[tuple[str, str, str]] = []
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(markup)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag not in ("meta", "link"):
            self._open.append((tag, dict(attrs)))
        if tag == "a":
            self.links.append(dict(attrs)["href"])

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        opened = dict(self._open)
        if "div" not in opened:
            return
        self.text += data
        if "mark" in opened:
            self.marked += data
        if "span" in opened:
            span = opened["span"]
            self.coloured.append((data, span["class"], span["title"]))


def hit(text: str, quotes: list[Citation] | None = None, **fields: object) -> Hit:
    return Hit(
        **{
            "id": "d:0-1",
            "document_id": "d",
            "document_sha256": "",
            "uri": "test:d",
            "title": "Title",
            "url": "https://example.org/#a",
            "score": 0.5,
            "text": text,
            "start": 100,
            "end": 100 + len(text),
            "citations": tuple(quotes or ()),
            **fields,
        }
    )


def citation(text: str, span: Span, edges: list[tuple[Span, Span, float]]) -> Citation:
    return Citation(
        document_id="d",
        document_sha256="",
        start=100 + span.start,
        end=100 + span.end,
        quote=span.of(text),
        alignment=tuple(
            Aligned(
                query_start=asked.start,
                query_end=asked.end,
                start=100 + found.start,
                end=100 + found.end,
                similarity=similarity,
            )
            for asked, found, similarity in edges
        ),
    )


def test_quotes_are_marked_and_words_coloured():
    text = "Some say bees dance & sing."
    quoted = citation(
        text,
        Span(9, 27),
        [(Span(0, 4), Span(9, 13), 0.97), (Span(5, 8), Span(14, 19), 0.41)],
    )
    shown = Shown(heatmap.hits("bees <do>", [hit(text, [quoted])]))
    assert shown.text == text
    assert shown.marked == "bees dance & sing."
    assert shown.coloured == [("bees", "s9", "bees 0.97"), ("dance", "s4", "<do 0.41")]
    assert shown.links == ["https://example.org/#a"]


def test_a_quote_is_shown_in_its_context():
    quoted = citation("bees dance", Span(0, 10), [(Span(0, 4), Span(0, 4), 0.5)])
    quoted = quoted.model_copy(update={"prefix": "Some say ", "suffix": " & sing."})
    shown = Shown(heatmap.citations("bees", [quoted]))
    assert shown.text == "Some say bees dance & sing."
    assert shown.marked == "bees dance"
    assert shown.coloured == [("bees", "s5", "bees 0.50")]


def test_what_really_was_found(engine: Engine):
    query = "two high tides a day"
    found = engine.search(query, explain=True).results
    markup = heatmap.hits(query, found)
    shown = Shown(markup)
    assert shown.text == "".join(each.text for each in found).translate(heatmap._VISIBLE)
    quotes = [c for each in found for c in sorted(each.citations, key=lambda c: c.start)]
    assert shown.marked == "".join(c.quote for c in quotes).translate(heatmap._VISIBLE)
    assert ("tides", "s9") in {(word, level) for word, level, _ in shown.coloured}
    # Without an alignment there are quotes, but no colours.
    plain = Shown(heatmap.hits(query, engine.search(query).results))
    assert plain.marked == shown.marked
    assert plain.coloured == []


HOSTILE = [
    "<script>parent.owned = 1</script>",
    "</div></main><img src=x onerror='owned=1'>",
    '" onmouseover="owned=1',
    "&lt;b&gt; &amp;amp; <!-- --> ]]>",
    "\x00\x1b[31m\u202egnp.exe\u2066",
    "<style>*{display:none}</style>",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_of_a_document_becomes_markup(hostile: str):
    text = f"before {hostile} after"
    quoted = citation(text, Span(3, len(text) - 3), [(Span(0, len(hostile)), Span(8, 12), 0.5)])
    quoted = quoted.model_copy(update={"heading": hostile, "url": hostile, "prefix": hostile})
    found = hit(text, [quoted], title=hostile, heading=hostile, url=hostile)
    for body in (heatmap.hits(hostile, [found]), heatmap.citations(hostile, [quoted])):
        markup = heatmap.page(hostile, body)
        shown = Shown(markup)
        assert shown.elements <= {
            *("html", "head", "meta", "title", "style", "body"),
            *("h1", "h2", "p", "div", "span", "mark", "a"),
        }
        assert shown.attributes <= {
            *("lang", "charset", "http-equiv", "content", "class", "title", "dir"),
        }
        assert hostile.translate(heatmap._VISIBLE) in shown.text
        assert not set(markup) & set("\x00\x1b\u202e\u2066")
        assert shown.links == []


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "vbscript:x", "http://[", "test:d", ""]
)
def test_only_pages_and_files_are_linked(url: str):
    assert Shown(heatmap.hits("q", [hit("text", url=url)])).links == []


def test_a_link_stays_in_its_attribute():
    url = 'https://example.org/"><script>owned=1</script>'
    shown = Shown(heatmap.hits("q", [hit("text", url=url)]))
    assert shown.links == [url]
    assert "script" not in shown.elements


def test_a_file_is_linked(tmp_path: Path):
    url = f"{(tmp_path / 'a b.txt').as_uri()}#L1"
    assert Shown(heatmap.hits("q", [hit("text", url=url)])).links == [url]


@given(st.data())
def test_any_spans_give_well_formed_html_with_the_text_unchanged(data: st.DataObject):
    text = data.draw(st.text(st.sampled_from("ab <&\"'\n🐦"), min_size=1, max_size=30))
    at = st.integers(0, len(text))
    spans = st.tuples(at, at).map(lambda pair: Span(min(pair), max(pair)))
    edge = st.tuples(st.just(Span(0, 1)), spans, st.floats(-1, 1))
    quotes = data.draw(st.lists(st.tuples(spans, st.lists(edge, max_size=4)), max_size=3))
    shown = Shown(heatmap.hits("q", [hit(text, [citation(text, *quote) for quote in quotes])]))
    assert shown.text == text
    marked = [any(s.start <= at < s.end for s, _ in quotes) for at in range(len(text))]
    assert shown.marked == "".join(c for c, in_quote in zip(text, marked, strict=True) if in_quote)


def test_a_page_loads_and_runs_nothing(engine: Engine):
    page = heatmap.page("tides", heatmap.hits("tides", engine.search("tides").results))
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1])
    assert policy.startswith("default-src 'none';")
    assert heatmap.csp_hash(re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]) in policy
    assert "<script" not in page
    assert not re.search(r"\b(src|srcset|data|action)=", page)


def test_the_same_hits_give_the_same_page(tmp_path: Path):
    with Engine.open(tmp_path, create=True) as engine:
        engine.add([Document(uri="test:a", text="Rain falls. Snow falls, too.")])
        pages = {
            heatmap.hits("snow", engine.search("snow", explain=True).results) for _ in range(2)
        }
    assert len(pages) == 1


# -- rag-tools explain ---------------------------------------------------------------------------

QUERY = "two high tides a day"


def explained(index: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["explain", QUERY, "--index", str(index), *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_explain_names_the_words_that_matched(index_dir: Path):
    shown = explained(index_dir, "--limit", "1")
    assert "tides.txt:" in shown
    assert "**That is why most coasts see two high tides a day.**" in shown
    pairs = re.findall(r"^   (\w+) +(\w+) +(\d\.\d\d)$", shown, re.MULTILINE)
    assert [asked for asked, _, _ in pairs] == QUERY.split()
    matched = {asked: (word, float(similarity)) for asked, word, similarity in pairs}
    assert matched["tides"][0] == "tides"
    assert matched["tides"][1] > 0.7


def test_explain_colours_words_on_a_terminal(engine: Engine):
    out = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=60)
    show.explanation(engine.search(QUERY, limit=1, explain=True), out)
    shown = out.file.getvalue()
    assert re.search("\x1b\\[[0-9;]*48;2;255;1[0-9]{2};[0-9]{1,2}mtides\x1b\\[0m", shown)
    plain = re.sub("\x1b\\[[0-9;]*m", "", shown)
    assert "**" not in plain
    assert "two high tides a day." in " ".join(plain.split())


def test_explain_shows_no_control_characters(engine: Engine):
    for colours in (None, "truecolor"):
        out = Console(file=io.StringIO(), force_terminal=True, color_system=colours, width=60)
        show.explanation(engine.search("what the parrot says", limit=1, explain=True), out)
        plain = re.sub("\x1b\\[[0-9;]*m", "", out.file.getvalue())
        assert "parrot" in plain
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", plain)


def test_explain_writes_a_page(index_dir: Path, engine: Engine, tmp_path: Path):
    file = tmp_path / "page.html"
    assert explained(index_dir, "--limit", "2", "--out", str(file)) == ""
    found = engine.search(QUERY, limit=2, explain=True).results
    written = file.read_text(encoding="utf-8")
    assert written == heatmap.page(QUERY, heatmap.hits(QUERY, found))
    shown = Shown(written)
    assert {"tides", "two"} <= {word for word, _, _ in shown.coloured}


def test_explain_says_where_it_cannot_write(index_dir: Path, tmp_path: Path):
    file = tmp_path / "missing" / "page.html"
    result = CliRunner().invoke(
        app, ["explain", QUERY, "--index", str(index_dir), "--out", str(file)]
    )
    assert result.exit_code == 2
    assert "can't write" in result.stderr
