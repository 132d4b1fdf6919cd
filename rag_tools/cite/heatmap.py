"""Why a passage was found, as HTML: its quotes marked, its words coloured by similarity.

Pure functions from hits and their alignments to text. Nothing here searches, and nothing of a
document or a query becomes markup: whatever they hold is shown as it reads.
"""

from __future__ import annotations

import base64
import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from urllib.parse import unquote, urlsplit

from rag_tools.types import Aligned, Citation, Hit, Span

_LEVELS = 10

STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { margin: 0 auto; padding: 0.75rem; max-width: 50rem; }
h1, h2 { font-size: 1rem; margin: 1rem 0 0.25rem; }
h1 { margin-top: 0; }
p { margin: 0 0 0.25rem; }
.where, .score, .legend { color: GrayText; font-size: 0.85rem; font-weight: normal; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; }
mark { color: inherit; background: rgb(255 210 0 / 20%); border-bottom: 2px solid orange; }
span[class^="s"] { border-radius: 2px; }
""" + "".join(
    f".s{level} {{ background: rgb(255 120 0 / {8 * level}%); }}\n" for level in range(10)
)
"""The style sheet of everything here; `s0` to `s9` are tenths of similarity."""

_LINKED = ("http", "https", "file")
"""Schemes of a link: a document's uri may be ``javascript:…`` as well."""

# Characters that HTML can't hold, or that reorder what a person reads. One character for one.
_VISIBLE = {
    code: "\ufffd"
    for codes in (range(0x20), range(0x7F, 0xA0), range(0x202A, 0x202F), range(0x2066, 0x206A))
    for code in codes
    if chr(code) not in "\t\n\r"
}


def hits(query: str, found: Sequence[Hit]) -> str:
    r"""Return the passages of a search as HTML: each with its title, its quotes, its words.

    Parameters
    ----------
    query
        What was searched for.
    found
        Its hits. Without alignments, quotes are marked and no word is coloured.

    Examples
    --------
    >>> hits("<b>?", ())
    '<h1><span class="query">&lt;b&gt;?</span></h1>\n<p>Nothing was found.</p>'
    """
    edges = [edge for hit in found for edge in _edges(hit.citations)]
    parts = [
        _heading(hit.title, hit.url, hit.heading, hit.score)
        + _text(hit.text, hit.start, hit.citations, query)
        for hit in found
    ]
    return "\n".join([_query(query, edges), *(parts or [_NOTHING])])


def citations(claim: str, found: Sequence[Citation]) -> str:
    """Return the quotes that bear on a claim as HTML, each in its context."""
    edges = _edges(found)
    parts = [
        _heading(place(citation.url), citation.url, citation.heading, citation.score)
        + _text(
            citation.prefix + citation.quote + citation.suffix,
            citation.start - len(citation.prefix),
            [citation],
            claim,
        )
        for citation in found
    ]
    return "\n".join([_query(claim, edges), *(parts or [_NOTHING])])


def page(title: str, body: str) -> str:
    """Return a document of its own around what `hits` or `citations` returned.

    It loads nothing and runs nothing, and says so to the browser.
    """
    policy = f"default-src 'none'; style-src '{csp_hash(STYLE)}'; base-uri 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{_shown(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def place(url: str) -> str:
    """Return the end of a citation's URL, which names the file and the lines or the page.

    Examples
    --------
    >>> place("file:///notes/my%20tides.txt#L1"), place("https://example.org/bread#dough:~:text=Feed")
    ('my tides.txt#L1', 'bread#dough')
    """
    address = url.partition(":~:")[0].rstrip("#/")
    return unquote(address).rpartition("/")[2] or url


def csp_hash(content: str) -> str:
    """Return what a Content-Security-Policy calls an inline script or style sheet."""
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


_NOTHING = "<p>Nothing was found.</p>"
_LEGEND = (
    '<p class="legend">A word is coloured by its cosine similarity with the word of the query that '
    "matches it best; what is underlined is quoted.</p>"
)


def _query(query: str, edges: Sequence[Aligned]) -> str:
    """Return the query, each word coloured by the best match that it found anywhere."""
    best: dict[Span, float] = {}
    for edge in edges:
        span = Span(edge.query_start, edge.query_end)
        best[span] = max(edge.similarity, best.get(span, 0.0))
    coloured = [
        (span, similarity, f"{similarity:.2f}") for span, similarity in sorted(best.items())
    ]
    text = f'<h1><span class="query">{_marked(query, (), coloured)}</span></h1>'
    return text + _LEGEND if edges else text


def _heading(title: str, url: str, heading: str | None, score: float) -> str:
    where = f'<p class="where">{_shown(heading)}</p>' if heading else ""
    return f'<h2>{_link(url, title)} <span class="score">{score:.3f}</span></h2>{where}'


def _link(url: str, text: str) -> str:
    try:
        linked = urlsplit(url).scheme in _LINKED
    except ValueError:  # such as http://[
        linked = False
    if not linked:
        return _shown(text)
    return f'<a href="{_shown(url)}" target="_blank" rel="noreferrer">{_shown(text)}</a>'


def _text(text: str, start: int, cited: Sequence[Citation], query: str) -> str:
    """Return `text`, which stands at `start` of its document, with what is cited in it."""
    matches: dict[Span, list[Aligned]] = {}
    for edge in _edges(cited):
        matches.setdefault(Span(edge.start - start, edge.end - start), []).append(edge)
    coloured = []
    for span, edges in sorted(matches.items()):
        edges.sort(key=lambda edge: -edge.similarity)
        labels = [f"{query[e.query_start : e.query_end]} {e.similarity:.2f}" for e in edges]
        coloured.append((span, edges[0].similarity, ", ".join(labels)))
    quotes = [Span(citation.start - start, citation.end - start) for citation in cited]
    return f'<div class="text" dir="auto">{_marked(text, quotes, coloured)}</div>'


def _marked(text: str, quotes: Sequence[Span], coloured: Sequence[tuple[Span, float, str]]) -> str:
    """Return `text` with the quotes marked and words coloured: span, similarity, label.

    The words are in order of their spans.
    """
    spans = [*quotes, *(span for span, _, _ in coloured)]
    borders = {border for span in spans for border in span if 0 < border < len(text)}
    parts = []
    marked = False
    waiting = deque(coloured)
    covering: list[tuple[Span, float, str]] = []
    for start, end in pairwise(sorted({0, len(text)} | borders)):
        if marked != (marked := any(quote.start <= start < quote.end for quote in quotes)):
            parts.append("<mark>" if marked else "</mark>")
        piece = _shown(text[start:end])
        while waiting and waiting[0][0].start <= start:
            covering.append(waiting.popleft())
        covering = [word for word in covering if start < word[0].end]
        if covering:
            _, similarity, label = max(covering, key=lambda word: word[1])
            level = min(_LEVELS - 1, int(_LEVELS * max(0.0, similarity)))
            piece = f'<span class="s{level}" title="{_shown(label)}">{piece}</span>'
        parts.append(piece)
    return "".join(parts) + ("</mark>" if marked else "")


def _edges(cited: Iterable[Citation]) -> list[Aligned]:
    return [edge for citation in cited for edge in citation.alignment or ()]


def _shown(text: str) -> str:
    return escape(text.translate(_VISIBLE))
