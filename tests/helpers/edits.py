"""Random edits of indexed documents, and what `verify` must say of citations after each of them.

    python tests/helpers/edits.py [EDITS] [SEED]

Documents of several formats are edited on disk, synced now and then, and citations of all their
versions are verified all along. What is expected is worked out here from the texts alone: the code
under test is called to index, to cite, and for its verdict.
"""

from __future__ import annotations

import hashlib
import html
import io
import random
import re
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import docx

from rag_tools.cite.locate import cite_span
from rag_tools.engine import Engine
from rag_tools.errors import IngestError
from rag_tools.ingest.load import load_bytes
from rag_tools.types import Citation, Document, Span, Verification, document_id

PLAIN = ("txt", "md", "rst")  # saved in several encodings
KINDS = (*PLAIN, "py", "html", "docx", "added")  # "added": without a file
PER_KIND = 3
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252")

PHRASES = (
    "the tide comes in twice a day",
    "“a café noir”, she said",
    "water boils at 100 °C",
    "see section 4.2, e.g. the table",
    "it's the keeper's parrot",
    "Ångström & co. moved to <Köln>",
    "then nothing happens ...",
    "日本語の文です。",
    "e\u0301toile du nord 🗝️ found",
    "# a heading",
    "def keeper(parrot): return parrot",
    "- one of a list",
    '"quoted" and ‘quoted’',
)
_MARKS = str.maketrans({**dict.fromkeys("“”„‟«»", '"'), **dict.fromkeys("‘’‚‛`´", "'")})


# --- texts -------------------------------------------------------------------------------------


def prose(rng: random.Random) -> str:
    """Return paragraphs in which phrases come up again and again."""
    count = rng.randint(0, 12) if rng.random() < 0.3 else rng.randint(3, 12)
    return "".join(
        rng.choice(PHRASES) + rng.choice(("\n\n", "\n", " ", ". ", ", ")) for _ in range(count)
    )


def _is_readable(source: Source) -> bool:
    """Tell whether a file is indexed as it is: a page or a Word document needs some text."""
    return source.text is not None and (
        source.kind not in ("html", "docx") or bool(source.text.strip())
    )


def canonical(kind: str, text: str) -> str:
    """Return a text as a document of some kind can hold it."""
    if kind not in ("html", "docx"):
        return text.removeprefix("\ufeff")
    paragraphs = (" ".join(paragraph.split()) for paragraph in re.split(r"[\r\n]+", text))
    return "\n\n".join(filter(None, paragraphs))


def as_bytes(rng: random.Random, kind: str, text: str, encoding: str) -> bytes:
    """Return a file that holds a text, written in one of the ways that its kind allows."""
    if kind == "html":
        return as_html(rng, text)
    if kind == "docx":
        return as_docx(text)
    return text.encode(encoding)


def as_html(rng: random.Random, text: str) -> bytes:
    """Return a page whose markup, entities and line breaks don't show in its text."""
    space = rng.choice((" ", "\n", "\r\n  ", " <!-- a note --> "))
    paragraphs = []
    for paragraph in text.split("\n\n") if text else ():
        words = [html.escape(word) for word in paragraph.split(" ")]
        if rng.random() < 0.5:
            words = [f"<em>{word}</em>" if rng.random() < 0.2 else word for word in words]
        if rng.random() < 0.3:
            words = [word.encode("ascii", "xmlcharrefreplace").decode() for word in words]
        paragraphs.append(f"<p>{space.join(words)}</p>")
    charset = rng.choice(("utf-8", "utf-8", "utf-16", "windows-1252"))
    head = f"<!doctype html><meta charset={charset}><title>t</title>\n"
    page = head + rng.choice(("", "\n")).join(paragraphs)
    return page.encode(charset, "xmlcharrefreplace")


def as_docx(text: str) -> bytes:
    word = docx.Document()
    for paragraph in text.split("\n\n"):
        word.add_paragraph(paragraph)
    buffer = io.BytesIO()
    word.save(buffer)
    return buffer.getvalue()


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def some_span(rng: random.Random, text: str) -> Span:
    start = rng.randint(0, len(text))
    return Span(start, min(len(text), start + rng.randint(1, 60)))


# --- edits -------------------------------------------------------------------------------------

Edit = Callable[[random.Random, str, Span], str]


def at(rng: random.Random, low: int, high: int) -> int:
    return rng.randint(low, max(low, high))


def insert_before(rng: random.Random, text: str, quote: Span) -> str:
    place = at(rng, 0, quote.start)
    return text[:place] + prose(rng) + text[place:]


def insert_after(rng: random.Random, text: str, quote: Span) -> str:
    place = at(rng, quote.end, len(text))
    return text[:place] + prose(rng) + text[place:]


def insert_inside(rng: random.Random, text: str, quote: Span) -> str:
    place = at(rng, quote.start, quote.end)
    return text[:place] + rng.choice(("x", ".", " ", "\u200b", "\u0301", "é")) + text[place:]


def delete_some(rng: random.Random, text: str, quote: Span) -> str:
    """Delete characters before, after, inside or across the quote."""
    low, high = rng.choice(((0, quote.start), (quote.end, len(text)), quote, (0, len(text))))
    gone = some_span(rng, text[low:high])
    return text[: low + gone.start] + text[low + gone.end :]


def delete_quote(rng: random.Random, text: str, quote: Span) -> str:
    return text[: quote.start] + text[quote.end :]


def replace_over(rng: random.Random, text: str, quote: Span) -> str:
    start, end = max(0, quote.start - rng.randint(0, 9)), quote.end - rng.randint(-9, 9)
    return text[:start] + rng.choice(PHRASES) + text[max(start, end) :]


def replace_same_length(rng: random.Random, text: str, quote: Span) -> str:
    place = at(rng, 0, len(text) - 1)
    return text[:place] + rng.choice("abx é") + text[place + 1 :]


def copy_quote(rng: random.Random, text: str, quote: Span) -> str:
    place = rng.choice((at(rng, 0, len(text)), quote.start, quote.end))
    return text[:place] + quote.of(text) + text[place:]


def copy_with_surroundings(rng: random.Random, text: str, quote: Span) -> str:
    wide = text[max(0, quote.start - rng.randint(0, 40)) : quote.end + rng.randint(0, 40)]
    place = at(rng, 0, len(text))
    return text[:place] + wide + text[place:]


def move_quote(rng: random.Random, text: str, quote: Span) -> str:
    rest = delete_quote(rng, text, quote)
    place = at(rng, 0, len(rest))
    return rest[:place] + quote.of(text) + rest[place:]


def space_differently(rng: random.Random, text: str, quote: Span) -> str:
    """Change some white space within or around the quote."""
    spaces = [i for i, character in enumerate(text) if character.isspace()]
    inside = [i for i in spaces if quote.start <= i < quote.end]
    chosen = inside if inside and rng.random() < 0.5 else spaces
    if not chosen:
        return text
    place = rng.choice(chosen)
    return text[:place] + rng.choice(("  ", "\n", "\t", "\u00a0", "")) + text[place + 1 :]


def wrap_anew(rng: random.Random, text: str, quote: Span) -> str:
    return re.sub(r"\s+", lambda _: rng.choice(" \n"), text)


def change_line_ends(rng: random.Random, text: str, quote: Span) -> str:
    return re.sub(r"\r\n|\r|\n", rng.choice(("\n", "\r\n", "\r")), text)


def change_marks(rng: random.Random, text: str, quote: Span) -> str:
    return text.translate(_MARKS)


def change_case(rng: random.Random, text: str, quote: Span) -> str:
    return text[: quote.start] + quote.of(text).swapcase() + text[quote.end :]


def change_normal_form(rng: random.Random, text: str, quote: Span) -> str:
    return unicodedata.normalize(rng.choice(("NFC", "NFD")), text)


def swap_halves(rng: random.Random, text: str, quote: Span) -> str:
    place = at(rng, 0, len(text))
    return text[place:] + text[:place]


def empty(rng: random.Random, text: str, quote: Span) -> str:
    return rng.choice(("", "\n", text[:1]))


def save_again(rng: random.Random, text: str, quote: Span) -> str:
    return text


EDITS: tuple[Edit, ...] = (
    insert_before,
    insert_after,
    insert_inside,
    delete_some,
    delete_quote,
    replace_over,
    replace_same_length,
    copy_quote,
    copy_with_surroundings,
    move_quote,
    space_differently,
    wrap_anew,
    change_line_ends,
    change_marks,
    change_case,
    change_normal_form,
    swap_halves,
    empty,
    save_again,
)


# --- what is expected --------------------------------------------------------------------------


@dataclass
class Source:
    """A file, or a document added without one, and its texts as they must be read.

    Attributes
    ----------
    text
        Of the file as it is now; None if it can't be read, or isn't there.
    indexed
        As of the last sync; None if the document isn't indexed.
    """

    path: Path
    kind: str
    encoding: str = "utf-8"
    text: str | None = None
    indexed: str | None = None

    @property
    def id(self) -> str:
        return document_id(self.path.as_uri())

    @property
    def reachable(self) -> str | None:
        return None if self.kind == "added" else self.text


def problem(citation: Citation, verdict: Verification, source: Source | None) -> str | None:
    """Return what is wrong with a verdict, given the document that it must be about."""
    if source is None or source.indexed is None:
        expected, text = ("missing", "index"), ""
    else:
        expected, text = (status(citation, source), where(source)), now(source)
    if verdict.status == "moved" and source is not None and rendered(citation, text, source):
        expected = ("moved", where(source))
    if (verdict.status, verdict.checked) != expected:
        return f"is {verdict.status}, {verdict.checked}, not {', '.join(expected)}"
    if verdict.status in ("stale", "missing"):
        return None if verdict.citation == citation else "the citation was changed"
    assert source is not None
    return misplaced(citation, verdict.citation, text, source)


def where(source: Source) -> str:
    return "index" if source.reachable is None else "source"


def now(source: Source) -> str:
    """Return the text that counts: the source's where it can be read."""
    text = source.indexed if source.reachable is None else source.reachable
    assert text is not None
    return text


def status(citation: Citation, source: Source) -> str:
    text, indexed = now(source), source.indexed
    assert indexed is not None
    if text[citation.start : citation.end] == citation.quote:
        return "exact" if citation.document_id == source.id else "moved"
    if holds(citation, text):
        return "moved"
    if citation.document_sha256 == sha256(text):
        return "missing"  # the text that was cited never held it
    if citation.document_sha256 in ("", sha256(indexed)):
        return "stale" if holds(citation, indexed) else "missing"
    return "stale"


def holds(citation: Citation, text: str) -> bool:
    if citation.document_sha256:
        return citation.quote in text
    words = folded(citation.quote)
    return citation.quote in text or (words != "" and words in folded(text))


def rendered(citation: Citation, text: str, source: Source) -> bool:
    """Tell whether a pasted quote may be one of a text that is read rendered, without its marks."""
    marked = source.path.suffix in (".md", ".rst")
    return marked and not citation.document_sha256 and bare(citation.quote) in bare(text)


def bare(text: str) -> str:
    """Return the letters and digits of a text."""
    return "".join(re.findall(r"[^\W_]", folded(text)))


def folded(text: str) -> str:
    """Return the words of a text, however letters, white space and marks are written."""
    plain = unicodedata.normalize("NFKC", text.replace("…", "...").translate(_MARKS))
    plain = re.sub(
        r"[\u2010-\u2015\u2212]", "-", re.sub(r"[\u200b-\u200f\u2060\ufeff\xad]", "", plain)
    )
    return re.sub(r"(?<=[\u3000-\u9fff]) (?=[\u3000-\u9fff])", "", " ".join(plain.split()))


def misplaced(given: Citation, found: Citation, text: str, source: Source) -> str | None:
    """Return what is wrong with a citation that should stand in a text as given before."""
    start, end = found.start, found.end
    before = re.split(r"\r\n|\r|\n", text[:start])
    within = re.split(r"\r\n|\r|\n", text[:end])
    if (text[start - 1 : start + 1], text[end - 1 : end + 1]) == ("", ""):
        return "the quote is empty"
    facts = {
        "quote": found.quote == text[start:end] != "",
        "sha256": found.document_sha256 == sha256(text),
        "document": found.document_id == source.id,
        "prefix": found.prefix == text[max(0, start - 32) : start],
        "suffix": found.suffix == text[end : end + 32],
        "url": found.url.startswith(source.path.as_uri()),
    }
    if "\r\n" not in text[start - 1 : start + 1] + " " + text[end - 1 : end + 1]:
        ended = re.search(r"[\r\n]\Z", found.quote) is not None  # belongs to the line it ends
        facts["line"] = found.lines is not None and found.lines[0] == len(before)
        facts["last line"] = found.lines is not None and found.lines[1] == len(within) - ended
        facts["column"] = found.columns is not None and found.columns[0] == len(before[-1]) + 1
    wrong = [name for name, true in facts.items() if not true]
    if wrong:
        return f"wrong {', '.join(wrong)} of {found!r}"
    if found.quote != given.quote:
        same = not given.document_sha256 and folded(found.quote) == folded(given.quote)
        same = same or (rendered(given, text, source) and bare(found.quote) == bare(given.quote))
        return None if same and given.quote not in text else "other words were found"
    if text[given.start : given.end] == given.quote:
        return None if (start, end) == (given.start, given.end) else "it had not moved"
    best = min(places(given, text))[-1]
    return None if start == best else f"found at {start} rather than {best}"


def places(citation: Citation, text: str) -> list[tuple[int, int, int]]:
    """Return where the quote stands; the likeliest place to be meant is the least."""
    length = len(citation.quote)
    return [
        (
            -common(text[:place][::-1], citation.prefix[::-1])
            - common(text[place + length :], citation.suffix),
            abs(place - citation.start),
            place,
        )
        for place in range(len(text))
        if text.startswith(citation.quote, place)
    ]


def common(one: str, other: str) -> int:
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return length


# --- the run -----------------------------------------------------------------------------------


class World:
    """Documents that are edited, their index, and citations of all their versions."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.folder = (folder / "documents").resolve()
        self.folder.mkdir()
        self.engine = Engine.open(folder / "index", create=True)
        self.sources: list[Source] = []
        self.abandoned: list[Path] = []
        self.citations: list[Citation] = []
        self.tally: Counter[str] = Counter()
        self.sync()  # which makes the files
        self.sync()

    def run(self, edits: int) -> Counter[str]:
        """Edit so often and verify all along; return how often each edit and verdict came up."""
        done = 0
        while done < edits:
            for source in list(self.sources):
                if done < edits:
                    self.edit(source)
                    self.verify(source)
                    done += 1
            self.verify(None)
            if self.rng.random() < 0.3:
                self.sync()
                for source in self.sources:
                    self.verify(source)
        return self.tally

    def sync(self) -> None:
        """Bring the index in step, replace what is gone, cite what is there."""
        self.engine.sync([self.folder])
        for source in self.sources:
            if source.kind != "added":
                source.indexed = source.text if _is_readable(source) else self._kept(source)
        self.abandoned += [source.path for source in self.sources if source.indexed is None]
        self.sources = [source for source in self.sources if source.indexed is not None]
        for kind in KINDS:
            while sum(source.kind == kind for source in self.sources) < PER_KIND:
                self.sources.append(source := Source(self._path(kind), kind))
                self._write(source, prose(self.rng))
        for source in self.sources:
            self._cite(source)

    @staticmethod
    def _kept(source: Source) -> str | None:
        """Of a file that can't be read the last version that could be stays."""
        return source.indexed if source.path.exists() else None

    def _path(self, kind: str) -> Path:
        """Return a name for a new file, now and then one that was in use before."""
        old = [path for path in self.abandoned if path.suffix == f".{kind}"]
        if old and self.rng.random() < 0.3:
            self.abandoned.remove(path := self.rng.choice(old))
            return path
        return self.folder / f"{self.rng.getrandbits(32):08x}.{kind}"

    def edit(self, source: Source) -> None:
        change: Callable[..., object] = self.rng.choice(EDITS)
        if source.text is None:
            change = prose
            self._write(source, prose(self.rng))
        elif source.kind == "added" and self.rng.random() < 0.05:
            change = self.delete
            self.delete(source)
        elif source.kind != "added" and self.rng.random() < 0.15:
            change = self.rng.choice((self.delete, self.rename, self.cut, self.recode, self.damage))
            change(source)
        else:
            self._write(source, str(change(self.rng, source.text, self._focus(source))))
        self.tally[f"edit: {change.__name__}"] += 1

    def _focus(self, source: Source) -> Span:
        """Return where a quote stands that was cited, else anything."""
        assert source.text is not None
        quotes = [c.quote for c in self.citations if c.document_id == source.id]
        standing = [quote for quote in quotes[-9:] if quote in source.text]
        if not standing:
            return some_span(self.rng, source.text)
        quote = self.rng.choice(standing)
        start = source.text.index(quote)
        return Span(start, start + len(quote))

    def _write(self, source: Source, text: str) -> None:
        source.text = text = canonical(source.kind, text)
        if source.kind == "added":
            self.engine.add([Document(text=text, uri=source.path.as_uri())])
            source.indexed = text
            return
        if source.encoding == "cp1252" and not self._is_recognised(source, text):
            source.encoding = "utf-8"
        source.path.write_bytes(as_bytes(self.rng, source.kind, text, source.encoding))

    def _is_recognised(self, source: Source, text: str) -> bool:
        """Tell whether a code page can be told from the bytes alone: for short texts it can't."""
        try:
            return self._as_read(source, text.encode(source.encoding)) == text
        except UnicodeEncodeError:
            return False

    def delete(self, source: Source) -> None:
        source.text = None
        if source.kind == "added":
            self.engine.delete([source.id])
            source.indexed = None
        else:
            source.path.unlink()

    def rename(self, source: Source) -> None:
        renamed = Source(self._path(source.kind), source.kind, source.encoding, source.text)
        source.path.rename(renamed.path)
        source.text = None
        self.sources.append(renamed)

    def recode(self, source: Source) -> None:
        if source.kind in PLAIN:
            source.encoding = self.rng.choice(ENCODINGS)
        self._write(source, source.text or "")

    def damage(self, source: Source) -> None:
        """Overwrite a file with noise. Some noise is text in some code page, or HTML."""
        noise = self.rng.randbytes(400)
        source.path.write_bytes(noise)
        source.text = self._as_read(source, noise)

    def cut(self, source: Source) -> None:
        """Cut the end off a file, maybe within a character."""
        assert source.text is not None
        whole, data = source.text, source.path.read_bytes()
        data = data[: self.rng.randrange(len(data) + 1)]
        source.path.write_bytes(data)
        if source.kind in ("html", "docx"):
            # A page may end with half a word, tag or entity.
            source.text = self._as_read(source, data)
            assert whole.startswith((source.text or "")[:-12]), (whole, source.text)
            return
        valid = data.decode(source.encoding, "ignore")
        try:
            source.text = data.decode(source.encoding)
        except UnicodeDecodeError:
            source.text = None
        half_a_mark = len(data) < 4 and source.encoding != "utf-8"
        one_odd_byte = source.text is None and source.encoding == "utf-8" and valid.isascii()
        if half_a_mark or one_odd_byte or source.encoding == "cp1252":
            # There, other encodings are as likely.
            source.text = self._as_read(source, data)
            assert source.text is None or valid.isascii() <= source.text.startswith(valid)

    @staticmethod
    def _as_read(source: Source, data: bytes) -> str | None:
        try:
            return load_bytes(data, name=source.path.name, uri=source.path.as_uri()).text
        except IngestError:
            return None

    def _cite(self, source: Source) -> None:
        """Cite what is indexed, and make up some quotes as people paste them."""
        if not source.indexed:
            return
        span = some_span(self.rng, source.indexed)
        if span.start == span.end:
            return
        citation = cite_span(self.engine.document(source.id), span)
        self.citations.append(citation)
        pasted = citation.quote
        if not pasted.strip():
            return
        if self.rng.random() < 0.5:
            pasted = re.sub(r"\s+", lambda _: self.rng.choice((" ", "\n", "  ")), pasted)
        if self.rng.random() < 0.5:
            pasted = pasted.translate(_MARKS)
        self.citations.append(
            Citation(
                document_id=source.id,
                document_sha256="",
                start=0,
                end=len(pasted),
                quote=pasted,
            )
        )
        if self.rng.random() < 0.2:  # words that were never there
            forged = citation.model_copy(update={"quote": citation.quote[::-1] + "!"})
            self.citations.append(forged)

    def verify(self, source: Source | None) -> None:
        """Compare the verdict on some citation, of one source or of any, with what it must be."""
        citations = [c for c in self.citations if source is None or c.document_id == source.id]
        if not citations:
            return
        recent = self.rng.random() < 0.7
        citation = self.rng.choice(citations[-5:] if recent else citations)
        indexed = [each for each in self.sources if each.indexed is not None]
        about: list[Source | None] = [s for s in indexed if s.id == citation.document_id] or [
            s for s in indexed if sha256(s.indexed or "") == citation.document_sha256
        ]
        verdict = self.engine.verify(citation)
        problems = [problem(citation, verdict, each) for each in about or [None]]
        self.tally[f"verdict: {verdict.status}, {verdict.checked}"] += 1
        self.tally["verdicts"] += 1
        assert None in problems, (problems, citation, verdict, about)


def main(edits: int = 10_000, seed: int = 0) -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), seed)
        with world.engine:
            tally = world.run(edits)
    for name, count in sorted(tally.items()):
        sys.stdout.write(f"{count:7,}  {name}\n")
    sys.stdout.write(f"{edits:,} edits in {time.monotonic() - began:.0f} s: all as expected\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
