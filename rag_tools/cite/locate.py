"""A span of a document → a citation: where it stands and how to open the source there.

Lines, columns, pages, boxes and headings are looked up in what the document holds; the source
itself is never read. Choosing which spans to cite is not done here.
"""

from __future__ import annotations

import re
import string
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import islice
from urllib.parse import quote as percent_encode

import numpy as np

from rag_tools.cite import derived
from rag_tools.cite.cutting import trimmed
from rag_tools.cite.permalinks import permalink
from rag_tools.errors import InvalidQueryError
from rag_tools.member_uri import is_member, with_locator
from rag_tools.types import Aligned, Box, Citation, Document, Page, Part, Span
from rag_tools.units import header_at

_CONTEXT_CHARACTERS = 32
_MAX_HEADER_CHARACTERS = 500

_LINE_END = re.compile(r"\r\n|\r|\n")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)")

# Text fragments: a match may not cross a block boundary, so longer or multi-line quotes are given
# by their first and last words. Those, and words of context, are what white space separates.
_WORD = re.compile(r"\S+")
_BLOCK_BOUNDARY = re.compile(r"[\t\n\r\f\v]+")
_MAX_EXACT_CHARACTERS = 200
_RANGE_WORDS = 6
_CONTEXT_WORDS = 6
_CONTEXT_WINDOW = 200  # characters searched for context words
_MAX_WORD_CHARACTERS = 40  # longer ones are text written without spaces
_PUNCTUATION = frozenset({"Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc"})
_ATTACHED = frozenset({"Mn", "Mc", "Me", "Cf"})  # to the character before
_WITHIN_WORDS = frozenset(".,:;'’‘\"·")


def cite_span(
    document: Document,
    span: Span,
    *,
    score: float = 0.0,
    url_template: str | None = None,
    alignment: Sequence[Aligned] | None = None,
) -> Citation:
    """Return the citation of a span of a document.

    Parameters
    ----------
    document
        The document that the span belongs to.
    span
        Code points of ``document.text``; not empty.
    score, alignment
        Passed on to the citation.
    url_template
        Makes the url instead of `permalink` and `source_url`, for example
        ``"vscode://file{path}:{first_line}"``. Fields: ``uri``, ``path`` (of the uri),
        ``relative_path`` (to the folder that was synced), ``start``, ``end``, ``first_line``,
        ``last_line``, ``page`` (empty without pages), ``heading``, ``quote``, ``document_id``, and,
        for a file of a git repository, ``repository`` and ``commit``. Values that aren't
        parts of the uri are percent-encoded.

    Raises
    ------
    ValueError
        The span is empty or reaches outside of the document.
    InvalidQueryError
        The template has an unknown field or is malformed.
    """
    _check_span(document, span)
    url_template = url_template or permalink(document)
    lines, columns = line_columns(document.text, span)
    page = _page_at(document, span.start)
    citation = Citation(
        document_id=document.id,
        document_sha256=document.sha256,
        start=span.start,
        end=span.end,
        quote=span.of(document.text),
        prefix=document.text[max(0, span.start - _CONTEXT_CHARACTERS) : span.start],
        suffix=document.text[span.end : span.end + _CONTEXT_CHARACTERS],
        url="" if url_template else source_url(document, span),
        lines=lines,
        columns=columns,
        page=None if page is None else page.number,
        page_label=None if page is None else page.label,
        part=_part_name(_parts(document, span)),
        boxes=_boxes(document, span),
        recognised=_confidence(document, span),
        heading=_heading_at(document, span.start),
        header=_header_at(document, span.start),
        score=score,
        alignment=None if alignment is None else tuple(alignment),
    )
    if url_template:
        url = _fill_template(url_template, document, citation)
        citation = citation.model_copy(update={"url": url})
    return citation


def line_columns(text: str, span: Span) -> tuple[tuple[int, int], tuple[int, int]]:
    r"""Return ``(first line, last line), (first column, column after the last character)``.

    All count from 1, columns in code points. Lines end with ``\n``, ``\r\n`` or ``\r``, and a
    line end belongs to the line that it ends. Cost: O(len(text)) for a text not seen lately,
    else O(log lines).

    Examples
    --------
    >>> line_columns("ab\ncdef\n", Span(1, 5))
    ((1, 2), (2, 3))
    """
    starts = derived.lines(text).starts
    first = bisect_right(starts, span.start)
    last = bisect_right(starts, span.end - 1)
    return (first, last), (span.start - starts[first - 1] + 1, span.end - starts[last - 1] + 1)


def _header_at(document: Document, position: int) -> str | None:
    """Return the row that names the columns of the row at a position, if there is one."""
    header = header_at(document.blocks, position)
    if header is None or header.end - header.start > _MAX_HEADER_CHARACTERS:
        return None
    return trimmed(document.text, header).of(document.text) or None


def _heading_at(document: Document, position: int) -> str | None:
    """Return the heading or symbol path at a position as ``"A > B"``, if there is any."""
    index = bisect_right(document.blocks, position, key=lambda block: block.start) - 1
    path = document.blocks[index].path if index >= 0 else ()
    return " > ".join(path) or None


def _page_at(document: Document, position: int) -> Page | None:
    """Return the page that a position is on; None for a source without pages."""
    pages = document.source_map.pages if document.source_map else ()
    at = bisect_right(pages, position, key=lambda page: page.start) - 1
    return pages[max(at, 0)] if pages else None


def _boxes(document: Document, span: Span) -> tuple[Box, ...]:
    """Return one rectangle per line of glyphs; none for a source without geometry."""
    source_map = document.source_map
    if source_map is None or not source_map.boxes:
        return ()
    boxes = derived.character_boxes(source_map.boxes)[span.start : span.end]  # (n_characters, 4)
    glyphs = np.flatnonzero(boxes.any(axis=1))
    if not len(glyphs):
        return ()
    boxes = boxes[glyphs]
    first = bisect_right(source_map.pages, span.start, key=lambda page: page.start) - 1
    last = bisect_left(source_map.pages, span.end, key=lambda page: page.start)
    of_span = source_map.pages[max(first, 0) : last]
    page_starts = [page.start for page in of_span]
    pages = np.searchsorted(page_starts, glyphs + span.start, side="right") - 1
    line_ends = [match.start() for match in _LINE_END.finditer(span.of(document.text))]
    lines = np.searchsorted(line_ends, glyphs)
    before, after = boxes[:-1], boxes[1:]
    # Glyphs of a line overlap in height, those of upright lines in width. A word that goes on in
    # the next line, whose glyphs may reach into this one, overlaps in neither by half.
    low, high = np.maximum(before[:, :2], after[:, :2]), np.minimum(before[:, 2:], after[:, 2:])
    smaller = np.minimum(before[:, 2:] - before[:, :2], after[:, 2:] - after[:, :2])
    apart = (2 * (high.astype(int) - low) < smaller).all(axis=1)
    breaks = apart | (lines[:-1] != lines[1:]) | (pages[:-1] != pages[1:])
    firsts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    top_left = np.minimum.reduceat(boxes[:, :2], firsts) / 10
    bottom_right = np.maximum.reduceat(boxes[:, 2:], firsts) / 10
    return tuple(
        Box(of_span[page].number, *corner.tolist(), *opposite.tolist())
        for page, corner, opposite in zip(pages[firsts], top_left, bottom_right, strict=True)
    )


def _confidence(document: Document, span: Span) -> float | None:
    """Return the least confidence with which words of a span were recognised; None if none was."""
    found = document.source_map.recognised if document.source_map else ()
    first = bisect_right(found, span.start, key=lambda each: each.end)
    last = bisect_left(found, span.end, key=lambda each: each.start)
    return min((round(each.confidence, 3) for each in found[first:last]), default=None)


def _parts(document: Document, span: Span) -> tuple[Part, ...]:
    """Return the parts with names that a span overlaps."""
    parts = document.source_map.parts if document.source_map else ()
    first = bisect_right(parts, span.start, key=lambda part: part.end)
    last = bisect_left(parts, span.end, key=lambda part: part.start)
    return parts[first:last]


def _part_name(parts: Sequence[Part]) -> str | None:
    """Return the name of a range of parts, such as ``slide 3 – slide 4`` or ``Sheet1!B7:D7``."""
    if not parts:
        return None
    first, last = parts[0].label, parts[-1].label
    if first == last:
        return first
    table, mark, _ = first.rpartition("!")
    if mark and last.startswith(table + mark):
        return f"{first}:{last.removeprefix(table + mark)}"
    return f"{first} – {last}"


def source_url(document: Document, span: Span) -> str:
    """Return the URL that opens a document at a span. Never empty.

    ``#page=3`` for a paginated source; what a part with a name has for it, such as ``#t=751`` for
    a time; a text fragment, after the nearest anchor as a fallback,
    for HTML and whatever else is on the web (``#install:~:text=Run%20the``); ``#L10-L14`` for a
    text file; the plain URI for other files and for names of any other scheme. In a member of an
    archive, these follow the path of the member, see `rag_tools.member_uri`.

    Raises
    ------
    ValueError
        The span is empty or reaches outside of the document.
    """
    _check_span(document, span)
    match = _SCHEME.match(document.uri)
    scheme = match[0].lower() if match else ""
    if scheme not in ("file", "http", "https") and not is_member(document.uri):
        return document.uri
    fragment = ""
    page = _page_at(document, span.start)
    parts = _parts(document, span)
    if page is not None:
        fragment = f"page={page.number}"
    elif parts and parts[0].fragment:
        fragment = parts[0].fragment
    elif document.media_type == "text/html" or scheme in ("http", "https"):
        directive = text_directive(document.text, span)
        anchor = _anchor_at(document, span.start) or document.uri.partition("#")[2]
        if is_member(document.uri):
            anchor = ""  # the fragment leads to the member
        fragment = f"{anchor}:~:{directive}" if directive else anchor
    elif document.source_map is None:
        (first, last), _ = line_columns(document.text, span)
        fragment = f"L{first}" if first == last else f"L{first}-L{last}"
    return with_locator(document.uri, fragment)


def text_directive(text: str, span: Span) -> str:
    """Return the text directive that leads a browser to a span of a page's text.

    ``text=[prefix-,]start[,end][,-suffix]`` as in the WICG draft on text fragments. The start is
    the whole quote where it is short and within one block, else the first words of a range that
    ends with the last words. Browsers match whole words, so the span grows to whole words; the
    first match wins, so context is added where the words also stand elsewhere. At the end of a
    block there is none to add: the selection may then end at an earlier match of the last words.
    Empty for a span without words.
    """
    start, end = _whole_words(text, span)
    pieces = [piece for piece in _BLOCK_BOUNDARY.split(text[start:end]) if piece.strip()]
    if not pieces:
        return ""
    head, tail = pieces[0].strip(), pieces[-1].strip()
    end_is_ambiguous = False
    if len(pieces) == 1 and len(head) <= _MAX_EXACT_CHARACTERS:
        terms = [head]
    else:
        head = _first_words(head, _RANGE_WORDS)
        tail = _last_words(tail, _RANGE_WORDS)
        terms = [head, tail]
        quote, ending = derived.folded(text[start:end]), derived.folded(tail)
        after_head = quote.find(ending, len(derived.folded(head)))
        end_is_ambiguous = 0 <= after_head < len(quote) - len(ending)
    encoded = [_encode_term(term) for term in terms]
    if end_is_ambiguous or derived.searchable(text).repeats(derived.folded(head)):
        before = _BLOCK_BOUNDARY.split(text[max(0, start - _CONTEXT_WINDOW) : start].rstrip())[-1]
        after = _BLOCK_BOUNDARY.split(text[end : end + _CONTEXT_WINDOW].lstrip())[0]
        if before := _last_words(before, _CONTEXT_WORDS):
            encoded.insert(0, f"{_encode_term(before)}-")
        if after := _first_words(after, _CONTEXT_WORDS):
            encoded.append(f"-{_encode_term(after)}")
    return "text=" + ",".join(encoded)


def _check_span(document: Document, span: Span) -> None:
    if not 0 <= span.start < span.end <= len(document.text):
        raise ValueError(
            f"span [{span.start}, {span.end}) is empty or outside of document {document.id} "
            f"of {len(document.text)} characters"
        )


def _anchor_at(document: Document, position: int) -> str:
    elements = document.source_map.elements if document.source_map else ()
    index = bisect_right(elements, position, key=lambda element: element.start) - 1
    return percent_encode(elements[index].anchor, safe="!$&'()*+,;=@/?") if index >= 0 else ""


def _whole_words(text: str, span: Span) -> Span:
    """Return the span grown to where words end, except in text written without spaces."""
    start, end = span
    while not _between_words(text, start):
        start -= 1
        if span.start - start > _MAX_WORD_CHARACTERS:
            start = span.start
            break
    while not _between_words(text, end):
        end += 1
        if end - span.end > _MAX_WORD_CHARACTERS:
            end = span.end
            break
    return Span(start, end)


def _between_words(text: str, place: int) -> bool:
    """Tell whether browsers surely see no word across a place (Unicode Annex #29, word breaks).

    Not sure are places between two letters of scripts without spaces: dictionaries decide there.
    """
    if place <= 0 or place >= len(text):
        return True
    before, after = text[place - 1], text[place]
    if unicodedata.category(after) in _ATTACHED:
        return before.isspace()
    if after in _WITHIN_WORDS:  # between two letters or digits
        return not (_is_of_word(before) and _is_of_word(text[place + 1 : place + 2]))
    if before in _WITHIN_WORDS:
        return not (_is_of_word(text[max(0, place - 2) : place - 1]) and _is_of_word(after))
    return not (_is_of_word(before) and _is_of_word(after))


def _is_of_word(character: str) -> bool:
    """Tell whether a character is neither white space nor punctuation; false for none."""
    return bool(character) and not (
        character.isspace() or unicodedata.category(character) in _PUNCTUATION
    )


def _first_words(text: str, count: int) -> str:
    words = [match.span() for match in islice(_WORD.finditer(text), count)]
    return text[words[0][0] : words[-1][1]] if words else ""


def _last_words(text: str, count: int) -> str:
    text = text.rstrip()
    before = text.rsplit(None, count)[:-count]
    return text[len(before[0]) :].lstrip() if before else text.lstrip()


def _encode_term(term: str) -> str:
    """Percent-encode a term; ``-``, ``,`` and ``&`` are syntax in a text directive."""
    return percent_encode(term, safe="").replace("-", "%2D")


def check_url_template(template: str) -> None:
    """Raise `InvalidQueryError` if a template has an unknown field or is malformed."""
    cite_span(Document(text="x", uri="x"), Span(0, 1), url_template=template)


def _fill_template(template: str, document: Document, citation: Citation) -> str:
    first_line, last_line = citation.lines or (1, 1)
    scheme = _SCHEME.match(document.uri)
    values = {
        "uri": document.uri,
        "path": re.sub(r"^[^:/?#]+:(//[^/?#]*)?|[?#].*$", "", document.uri)
        if scheme
        else percent_encode(document.uri),
        "relative_path": percent_encode(str(document.metadata.get("path", ""))),
        "repository": percent_encode(str(document.metadata.get("repository", "")), safe="/:@"),
        "commit": percent_encode(str(document.metadata.get("commit", ""))),
        "start": citation.start,
        "end": citation.end,
        "first_line": first_line,
        "last_line": last_line,
        "page": "" if citation.page is None else citation.page,
        "heading": percent_encode(citation.heading or "", safe=""),
        "quote": percent_encode(citation.quote, safe=""),
        "document_id": percent_encode(document.id, safe=""),
    }
    try:
        for _, field, _, _ in string.Formatter().parse(template):
            if field is not None and field not in values:
                raise InvalidQueryError(
                    f"url template {template!r} has an unknown field {{{field}}}: "
                    f"use {', '.join(values)}"
                )
        return template.format_map(values)
    except ValueError as error:
        raise InvalidQueryError(
            f"url template {template!r} is malformed ({error}): write {{{{ and }}}} for braces"
        ) from None
