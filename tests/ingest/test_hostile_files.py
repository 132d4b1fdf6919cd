"""Odd and hostile files: none stops the others, none takes minutes, none has labels of a page."""

from __future__ import annotations

import io
import time
import zipfile

import docx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_tools import Document, Engine
from rag_tools.cite.claims import _needs_citation, _plain
from rag_tools.errors import SkippedDocumentsError
from rag_tools.ingest.code import load_code
from rag_tools.ingest.code_grammars import LANGUAGES
from rag_tools.ingest.docx import load_docx
from rag_tools.ingest.html import load_html
from rag_tools.ingest.load import load_bytes
from rag_tools.sentences import sentences
from rag_tools.types import MAX_LABEL_LENGTH, Block, label

# Sources with what each grammar is looked through for: prefixes, wrappers, regions, bodies.
SOURCES = {
    ".py": "# c\n@d\nclass A:\n    def f(self): pass\n\nif x:\n    def g(): é = 1\nelse:\n    y\n",
    ".js": "// c\nexport class A { m() {} b = () => 1 }\nconst f = function () {}\nx.y = () => 1\n",
    ".ts": "// é\nexport namespace N { interface I { a: b } }\ndeclare function f(): T\ntype T=1\n",
    ".tsx": "export const C = () => <a b={c}>é</a>;\n@d class A { p = () => 1 }\n",
    ".go": "package p\n// c\nfunc (t *T[K]) f() {}\ntype (\n\tA struct{ é int }\n\tB = C\n)\n",
    ".rs": "/// c\n#[a]\nimpl A for B { fn f() {} }\nmod m { struct S; extern { fn é(); } }\n",
    ".java": "/* c */\n@A class C { C() {} enum E { X { void m() {} } } /* é */ int f() {} }\n",
    ".c": "#ifdef A\n/* c */\nint (*f(void))(int) { return 1; }\n#else\nstruct s { é; };\n#endif\n",
    ".cc": 'namespace n { template <a::b> void c<d::e>::f() {} }\nextern "C" { int g() {} }\n',
}


PIECES = ["{", "}", "=", "(", ";", "\n", "😀", "={}", "=()=>{}", "=function(){}", "=class{}"]


def tiles(document: Document) -> bool:
    ends = [0, *(block.end for block in document.blocks)]
    starts = [*(block.start for block in document.blocks), len(document.text)]
    return starts == ends


@st.composite
def broken(draw):
    """Source in some language, with pieces of itself taken out, put in, and repeated."""
    suffix = draw(st.sampled_from(sorted(SOURCES)))
    source = SOURCES[suffix]
    for _ in range(draw(st.integers(1, 6))):
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(source))] * 2)))
        piece = draw(st.sampled_from([*PIECES, *source.split(), source[start:end]]))
        source = source[:start] + piece * draw(st.integers(0, 3)) + source[end:]
    return suffix, source


@st.composite
def jumbled(draw):
    """Words of a source in some language, in any order."""
    suffix = draw(st.sampled_from(sorted(SOURCES)))
    words = st.sampled_from([*PIECES, *SOURCES[suffix].split()])
    return suffix, draw(st.sampled_from(["", " "])).join(draw(st.lists(words, max_size=12)))


@settings(max_examples=600, deadline=None)
@given(broken() | jumbled())
def test_blocks_of_broken_code_tile_the_text(given_source):
    suffix, source = given_source
    document = load_code(source.encode(), uri="memory:x", name=f"x{suffix}")
    assert document.text == source
    assert tiles(document)


@pytest.mark.parametrize(
    "source",
    [
        "{}=function(){}=function(){}=function(){\nc",
        "x=()=>{}=()=>{}\n=()=>{",
        "export a=function(){}=class{}=function(){} é",
    ],
)
def test_what_javascript_assigns_to_functions_tiles_the_text(source):
    assert tiles(load_code(source.encode(), uri="memory:x", name="x.js"))


def test_every_language_has_a_source_here():
    assert {id(LANGUAGES[suffix]) for suffix in SOURCES} == {id(g) for g in LANGUAGES.values()}


@pytest.mark.parametrize(
    ("name", "source", "path"),
    [
        ("a.go", "package p\nfunc (t *Tree[K, V]) Walk() {}\n", ("Tree", "Walk")),
        ("a.go", "package p\nfunc (Tree) Walk() {}\n", ("Tree", "Walk")),
        ("a.go", "package p\nfunc (t pkg.Tree ) Walk() {}\n", ("Tree", "Walk")),
        ("a.cc", "int a::b<c::d>::e() {}\n", ("a", "b<c::d>", "e")),
        ("a.cc", "int ::e() {}\n", ("e",)),
    ],
)
def test_names_are_split_as_before(name, source, path):
    document = load_code(source.encode(), uri="memory:x", name=name)
    assert document.blocks[-1].path == path


def processor_seconds(work, argument) -> float:
    started = time.process_time()
    work(argument)
    return time.process_time() - started


def word_archive(part: str, content: bytes) -> bytes:
    """Return a Word document with one of its parts replaced."""
    saved, changed = io.BytesIO(), io.BytesIO()
    docx.Document().save(saved)
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, content if name == part else old.read(name))
    return changed.getvalue()


def based_on_each_other(count: int) -> bytes:
    """Return a document with styles that are each based on the one before."""
    style = (
        '<w:style w:type="paragraph" w:styleId="s{}"><w:name w:val="n"/><w:basedOn w:val="s{}"/>'
        "</w:style>"
    )
    styles = "".join(style.format(n, n + 1) for n in range(count))
    space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    return word_archive(
        "word/styles.xml", f'<w:styles xmlns:w="{space}">{styles}</w:styles>'.encode()
    )


def code(name):
    return lambda source: load_code(source.encode(), uri="memory:x", name=name)


@pytest.mark.parametrize(
    ("work", "hostile"),
    [
        (code("a.go"), lambda n: f"package p\nfunc (t {'a' * n} [) f() {{}}\n"),
        (code("a.go"), lambda n: f"package p\nfunc (t {'a[' * n}) f() {{}}\n"),
        (code("a.cc"), lambda n: f"void {'a::' * n}f() {{}}\n"),
        (code("a.cc"), lambda n: f"void {'a<b>::' * (n // 4)}f() {{}}\n"),
        (code("a.js"), lambda n: "x=function(){};" * (n // 20)),
        (sentences, lambda n: "\u2003" * n + "x"),
        (sentences, lambda n: "x. _" * n),
        (_plain, lambda n: "title" + "_" * n + "x"),
        (_needs_citation, lambda n: "three words and a" + "?" * n + "x"),
        (
            lambda page: load_html(page.encode(), uri="memory:x", name="a.html"),
            lambda n: "<div>" + "".join(f"<a{i}>x</a{i}>" for i in range(n)) + "</div>",
        ),
        (
            lambda source: load_bytes(source.encode(), uri="memory:x", name="a.rst"),
            lambda n: "= " * n + "x\n",
        ),
        (
            lambda data: load_docx(data, uri="memory:x", name="a.docx"),
            lambda n: based_on_each_other(n // 10),
        ),
    ],
)
def test_time_grows_with_the_size_alone(work, hostile):
    small, large = 4_000, 16_000
    work(hostile(100))  # imports
    before = min(processor_seconds(work, hostile(small)) for _ in range(3))
    # Four times the size; the square of that would be sixteen times the time.
    after = min(processor_seconds(work, hostile(large)) for _ in range(2))
    assert after < 9 * max(before, 0.03)


def test_a_long_label_is_cut_at_a_word():
    cut = label("several words " * 40)
    assert len(cut) <= MAX_LABEL_LENGTH
    assert cut.endswith("words…") or cut.endswith("several…")
    assert label("x" * 32_000) == "x" * (MAX_LABEL_LENGTH - 1) + "…"
    assert label("y" * MAX_LABEL_LENGTH) == "y" * MAX_LABEL_LENGTH


LONG = "heron " * 6_000


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.md", f"# {LONG}\n\nText.\n"),
        ("a.md", f"---\ntitle: {LONG}\n---\nText.\n"),
        ("a.rst", f"{LONG.strip()}\n{'=' * len(LONG)}\n\nText.\n"),
        ("a.html", f"<title>{LONG}</title><h1>{LONG}</h1><p>Text."),
        ("a.py", f"class {'A' * 30_000}:\n    def f(self): ...\n"),
        ("a.cc", f"void {'a::' * 10_000}f() {{}}\n"),
        (f"{'b' * 200}.md", "Text."),
    ],
)
def test_titles_and_headings_are_labels_and_the_text_stays_whole(name, source):
    document = load_bytes(source.encode(), name=name, uri="memory:x")
    assert len(document.title) <= MAX_LABEL_LENGTH
    for block in document.blocks:
        assert all(len(title) <= MAX_LABEL_LENGTH for title in block.path)
        assert len(" > ".join(block.path)) <= 600
    if not name.endswith(".html"):
        assert document.text == source
    else:
        assert LONG.strip() in document.text


def test_a_document_that_cannot_be_indexed_costs_itself_alone(tmp_path, monkeypatch):
    source = tmp_path / "docs"
    source.mkdir()
    for name in "abcd":
        (source / f"{name}.txt").write_text(f"Heron {name} stands in the reeds.")
    with Engine.open(tmp_path / "index", create=True) as engine:
        assert len(engine.sync([source]).added) == 4
        from rag_tools import writer

        chunk = writer.chunk

        def fail(document, *args, **options):
            if document.title == "b.txt":
                raise ZeroDivisionError("no such passage")
            if document.title == "c.txt":
                blocks = (Block("paragraph", 3, 5),)
                document = document.model_copy(update={"blocks": blocks})
            return chunk(document, *args, **options)

        monkeypatch.setattr(writer, "chunk", fail)
        for name in "abcd":
            (source / f"{name}.txt").write_text(f"Crane {name} flies in a wedge.")
        report = engine.sync([source])
        assert len(report.updated) == 2
        first, second = report.skipped
        assert first.path.endswith("b.txt") and second.path.endswith("c.txt")
        assert "ZeroDivisionError: no such passage" in first.reason and "b.txt" in first.reason
        assert "please report it" in first.reason
        assert "c.txt" in second.reason and "please report it" in second.reason
        # What was indexed of these before stays, and the next sync tries again.
        texts = {engine.fetch(entry).text[:7] for entry in engine.versions().keys}
        assert texts == {"Crane a", "Heron b", "Heron c", "Crane d"}
        monkeypatch.undo()
        assert len(engine.sync([source]).updated) == 2


def test_records_that_cannot_be_indexed_cost_themselves_alone(tmp_path):
    with Engine.open(tmp_path / "index", create=True) as engine:
        records = [
            Document(uri="test:a", text="Herons stand in the reeds."),
            Document(uri="test:b", text="Cranes fly.", blocks=(Block("paragraph", 4, 6),)),
            Document(uri="test:c", text="Storks.", blocks=(Block("code", 0, 7, ("\ud800",)),)),
            Document(uri="test:d", text="Ducks swim."),
        ]
        with pytest.raises(SkippedDocumentsError, match="test:b: block 4–6") as caught:
            engine.add(records)
        assert len(caught.value.added) == 2
        assert [each.path for each in caught.value.skipped] == ["test:b", "test:c"]
        assert isinstance(caught.value, ValueError)
        assert set(engine.versions().keys) == set(caught.value.added)
