"""What became of a citation: whether its quote still stands where it was cited.

Pure functions over documents already loaded; which documents to load, from the index and from the
source, is the engine's business. Words are compared exactly, code point by code point. Only where
a pasted quote, one without the hash of its document, isn't found so, it is looked for as
`rag_tools.folding` folds it, and in Markdown also as it looks when it is rendered; the citation
returned has the words as they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from rag_tools.cite.locate import cite_span
from rag_tools.errors import InvalidQueryError
from rag_tools.folding import DIVIDED, fold
from rag_tools.types import Aligned, Citation, Document, Span, Verification

_ACCEPTED = (
    'a citation {"document_id": …, "quote": …} with "start", "end" and "document_sha256" where '
    'known, a list of citations, or JSON from search ({"results": …}) or cite ({"citations": …})'
)

# Formats whose documents a reader usually sees rendered, and copies from as rendered.
_RENDERED = frozenset({"text/markdown", "text/x-rst"})


def verify(
    citation: Citation,
    *,
    indexed: Document | None,
    source: Document | None,
    url_template: str | None = None,
) -> Verification:
    """Check a citation against its source, or against the index where the source is out of reach.

    Parameters
    ----------
    citation
        As it was given out, or pasted.
    indexed
        The cited document as indexed, or another one with the very text that was cited, or None.
    source
        The cited document as its source reads now; None if it can't be read.
    url_template
        Passed on to `cite_span`.

    Returns
    -------
    Verification
        ``exact``: the quote stands at its offsets, whatever changed elsewhere.
        ``moved``: it stands elsewhere, or in a document of another id; of several places the one
        whose surroundings are most like the citation's prefix and suffix, then the nearest. Also
        a pasted quote whose words stand there with other white space or quotation marks, divided
        at a line end, or with the mark-up that rendering takes away: the citation returned has
        them as they stand.
        ``stale``: the document changed and the words are gone.
        ``missing``: there is no such document, or the text that was cited never held the words.

    Raises
    ------
    InvalidQueryError
        The quote is empty, the offsets are negative or inverted, or a text holds a surrogate.
    """
    _check(citation)
    document = indexed if source is None else source
    if document is None:
        return Verification(
            status="missing",
            checked="index",
            citation=citation,
            detail=f"No document {citation.document_id!r} is indexed, and no source can be read.",
        )
    found = _find(citation, document)
    if found is not None:
        return _found(citation, document, found, source is not None, url_template)
    stale = _is_stale(citation, document, indexed)
    return Verification(
        status="stale" if stale else "missing",
        checked="index" if source is None else "source",
        citation=citation,
        detail="The document changed and no longer holds the quote."
        if stale
        else "The document doesn't hold the quote, nor did any version of it that is known.",
    )


def parse_citations(data: object) -> list[Citation]:
    """Return the citations in parsed JSON, in order.

    Parameters
    ----------
    data
        A citation; a list of citations; a search result, its hits' citations taken in order; a
        hit, or the result of citing a claim. A pasted citation needs ``document_id`` and
        ``quote``. Without ``start`` it is looked for from the document's beginning; without
        ``end`` it ends where the quote does; without ``document_sha256`` no version is assumed.

    Raises
    ------
    InvalidQueryError
        `data` is none of these, or a field has the wrong type or an impossible value.
    """
    return [_parse(value, where) for value, where in _citation_values(data)]


def _check(citation: Citation) -> None:
    for name, value in citation:
        if isinstance(value, str) and not _is_encodable(value):
            raise InvalidQueryError(
                f"The citation's {name} {_shown(value)} holds a lone surrogate; give real text."
            )
    if not citation.quote:
        raise InvalidQueryError(
            f"The citation of document {citation.document_id!r} has an empty quote ''; "
            "give the words to look for."
        )
    if citation.start < 0:
        raise InvalidQueryError(
            f"The citation's start {citation.start} is negative; offsets count from 0."
        )
    if citation.end < citation.start:
        raise InvalidQueryError(
            f"The citation's end {citation.end} is before its start {citation.start}."
        )


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _find(citation: Citation, document: Document) -> Span | None:
    """Return where the quote stands, at its offsets if it can."""
    text = document.text
    cited = Span(citation.start, citation.end)
    if cited.of(text) == citation.quote:
        return cited
    spans = list(_occurrences(citation.quote, text))
    if not spans and not citation.document_sha256:
        spans = list(_alike(citation.quote, document))
    return max(
        spans,
        key=lambda span: (
            _likeness(citation, text, span),
            -abs(span.start - citation.start),
            -span.start,
        ),
        default=None,
    )


def _occurrences(quote: str, text: str) -> Iterator[Span]:
    start = text.find(quote)
    while start >= 0:
        yield Span(start, start + len(quote))
        start = text.find(quote, start + 1)


def _alike(quote: str, document: Document) -> Iterator[Span]:
    """Yield where a quote stands as it is folded; if nowhere, then as it is rendered."""
    for markup in (False, True):
        if markup and document.media_type not in _RENDERED:
            return
        folded = fold(document.text, markup=markup)
        # A quote may have been copied from what is rendered, or from the source of it.
        forms = dict.fromkeys(fold(quote, markup=marked).text.strip() for marked in (False, markup))
        found = [
            folded.source(Span(*match.span()))
            for form in forms
            for match in _pattern(form, divided=DIVIDED in folded.text).finditer(folded.text)
        ]
        if found:
            yield from found
            return


def _pattern(form: str, *, divided: bool) -> re.Pattern[str]:
    """Return what matches a folded quote in a folded text, in which words may be divided or not."""
    if not form:
        return re.compile(r"(?!)")
    if not divided and DIVIDED not in form:
        return re.compile(re.escape(form))
    parts = []
    for written in re.findall(r"- (?=[^\W\d_])|.", form, re.DOTALL):
        if written == DIVIDED:  # joined, with the hyphen, or on one line with white space kept
            parts.append(f"(?:{DIVIDED}|- ?)?")
        elif written in ("-", "- "):
            parts.append(f"(?:{re.escape(written)}|{DIVIDED})")
        else:
            parts.append(re.escape(written) + (f"{DIVIDED}?" if written.isalpha() else ""))
    return re.compile("".join(parts))


def _likeness(citation: Citation, text: str, span: Span) -> int:
    """Return how many characters next to an occurrence agree with the prefix and the suffix."""
    before = text[max(0, span.start - len(citation.prefix)) : span.start]
    after = text[span.end : span.end + len(citation.suffix)]
    return _agreement(before[::-1], citation.prefix[::-1]) + _agreement(after, citation.suffix)


def _agreement(one: str, other: str) -> int:
    """Return the length of the common prefix."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _found(
    citation: Citation,
    document: Document,
    span: Span,
    from_source: bool,
    url_template: str | None,
) -> Verification:
    shift = span.start - citation.start
    verbatim = span.of(document.text) == citation.quote
    stays = span == (citation.start, citation.end) and document.id == citation.document_id
    current = cite_span(
        document,
        span,
        score=citation.score,
        url_template=url_template,
        alignment=_shifted(citation.alignment, shift),
    )
    other = "" if document.id == citation.document_id else f" of document {document.id!r}"
    place = f"at characters {span.start} to {span.end}{other}"
    if not verbatim:
        detail = (
            f"The words stand {place}, with other white space or quotation marks, divided at a "
            "line end, or with mark-up: quote them as they stand there."
        )
    elif not stays:
        detail = f"The quote now stands {place}."
    elif citation.document_sha256 in ("", document.sha256):
        detail = "The quote stands where it was cited."
    else:
        detail = "The quote stands where it was cited; the document changed elsewhere."
    return Verification(
        status="exact" if verbatim and stays else "moved",
        checked="source" if from_source else "index",
        citation=current,
        detail=detail,
    )


def _shifted(alignment: tuple[Aligned, ...] | None, shift: int) -> tuple[Aligned, ...] | None:
    if alignment is None:
        return None
    return tuple(
        edge.model_copy(update={"start": edge.start + shift, "end": edge.end + shift})
        for edge in alignment
    )


def _is_stale(citation: Citation, document: Document, indexed: Document | None) -> bool:
    """Tell whether the text that was cited held the words that `document` lacks, if known."""
    cited = citation.document_sha256
    if cited == document.sha256:
        return False
    if indexed is None:
        return cited != ""
    return cited not in ("", indexed.sha256) or _find(citation, indexed) is not None


def _citation_values(data: object) -> Iterator[tuple[object, str]]:
    """Yield each citation as given, and what to call it in an error."""
    if isinstance(data, Mapping) and "results" in data:
        for i, hit in enumerate(_list(data["results"], "results")):
            if not (isinstance(hit, Mapping) and "citations" in hit):
                raise InvalidQueryError(
                    f'results[{i}] is {_shown(hit)}, not a hit with "citations"; '
                    f"accepted: {_ACCEPTED}."
                )
            yield from _numbered(hit["citations"], f"results[{i}].citations")
    elif isinstance(data, Mapping) and "citations" in data:
        yield from _numbered(data["citations"], "citations")
    elif isinstance(data, list | tuple):
        yield from _numbered(data, "citations")
    else:
        yield data, "citation"


def _numbered(values: object, name: str) -> Iterator[tuple[object, str]]:
    return ((value, f"{name}[{i}]") for i, value in enumerate(_list(values, name)))


def _list(values: object, name: str) -> list[object] | tuple[object, ...]:
    if not isinstance(values, list | tuple):
        raise InvalidQueryError(f"{name} is {_shown(values)}, not a list; accepted: {_ACCEPTED}.")
    return values


def _parse(value: object, where: str) -> Citation:
    if isinstance(value, Citation):
        _check(value)
        return value
    if not (isinstance(value, Mapping) and {"document_id", "quote"} <= value.keys()):
        raise InvalidQueryError(f"{where} is {_shown(value)}; accepted: {_ACCEPTED}.")
    try:
        citation = Citation.model_validate(_completed(value, where))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join([where, *map(str, first["loc"])])
        raise InvalidQueryError(f"{field} is {_shown(first['input'])}: {first['msg']}.") from error
    _check(citation)
    return citation


def _completed(value: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the fields of a pasted citation with defaults for those that locate the quote."""
    fields = dict(value)
    for name in ("start", "end", "document_sha256"):
        if fields.get(name) is None:
            fields.pop(name, None)
    for name in ("start", "end"):
        if name in fields and type(fields[name]) is not int:
            raise InvalidQueryError(
                f"{where}.{name} is {_shown(fields[name])}, not a whole number of characters."
            )
    length = len(fields["quote"]) if isinstance(fields["quote"], str) else 0
    start = fields.setdefault("start", 0)
    fields.setdefault("end", start + length)
    fields.setdefault("document_sha256", "")
    return fields


def _shown(value: object) -> str:
    """Return `value` for an error message, shortened."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
