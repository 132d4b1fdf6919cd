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
from rag_tools.errors import SkippedDocumentsError, UnreadableFileError, UnsupportedFormatError
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
    ".sh": "# é\nif x; then\n f() { echo; }\nfi\nfunction g { h; }\n",
    ".css": "/* é */\n@media p { .a > b { c: d } }\n@keyframes k { from { a: b } }\n",
    ".tf": '# é\nresource "a" "b" {\n c { d = "${e}" }\n}\nlocals { a = 1 }\n',
    ".lua": "-- é\nlocal function f(a) end\nfunction M.g() end\nM.k = function() end\n",
    ".mk": "# é\nifdef X\na: b\n\tc\nendif\ndefine d\ne\nendef\n",
    ".rb": "# é\nmodule A::B\n class << self\n  private def x; end\n"
    " end\nend\nS.new do def y; end end\n",
    ".php": "<?php\n/** é */\n#[A]\nclass C { public function m() {} }\n$f = function () {};\n",
    ".cs": "namespace A.B { /// é\n [X] class C { C() {} int P { get; } void M() {} } }\n",
    ".kt": "/** é */\n@A class C { fun m() = 1\n companion object { fun q() {} } }\n",
    ".scala": "/** é */\nobject O { def q = 1 }\ntrait T { def z: Int }\n",
    ".swift": "/// é\nclass C { init() {} func m() {} }\nextension C { func e() {} }\n",
    ".sql": "-- é\nCREATE TABLE a.b (c int);\nCREATE VIEW v AS SELECT 1;\nSELECT 2;\n",
    ".cc": 'namespace n { template <a::b> void c<d::e>::f() {} }\nextern "C" { int g() {} }\n',
}


PIECES = ["{", "}", "=", "(", ";", "\n", "😀", "={}", "=()=>{}", "=function(){}", "=class{}"]


# Files of data and mark-up, and of code without a grammar of its own, with what opens blocks.
OTHERS = {
    "a.json": '{"é": {"b": [1, {"c": null}], // d\n "e": "f"}, \'g\': {}}\n[1]\n',
    "a.jsonl": '{"é": 1}\n{"b": "words. more"}\n[3]\n',
    "a.yaml": "# é\na: &x {b: [1, 2]}\nc:\n  - d: |\n      e\n    f: *x\n---\n? g\n: h\n",
    "a.toml": '# é\n[a."b.c"]\nd = [\n 1, # e\n]\nf = """\n[g]"""\n[[h]]\ni.j = {k = 1}\n',
    "a.xml": '<?xml version="1.0"?>'
    '<!DOCTYPE a [<!ENTITY e "é">]><a b="c"><d>&e;</d><!-- f --></a>\n',
    "a.csv": 'é,b\n"c\nd",2\n\ne;f\t3\n',
    "a.ipynb": '{"cells": [{"cell_type": "code", "source": ["def f(): é"], "outputs": '
    '[{"text": "1"}]}, {"cell_type": "markdown", "source": "# T\\n\\n- a"}], "metadata": {}}',
    "a.tex": "\\title{é}\n\\begin{document}\n\\section{a}\n\\item b\n\\begin{tabular}{l}\nc\\\\\n"
    "\\end{tabular}\n\\begin{verbatim}\nd\n\\end{verbatim}\n",
    "a.org": "#+TITLE: é\n* TODO a :b:\n:P:\n:END:\n- c\n| d |\n|---|\n"
    "#+begin_src x\ne\n#+end_src\n",
    "a.adoc": "= é\n:a: b\n\n== c\n----\nd\n----\n* e\n+\nf:: g\n|===\n"
    "|h\n|===\n[i]\n____\nj\n____\n",
    "a.1": '.TH é 1\n.SH "a b"\n.TP\n.B \\-c\nd\n.nf\ne\n.fi\n.PP\nf\n.SS\ng\n',
    "a.mdx": "---\ntitle: é\n---\nimport A from 'b'\n\n# c\n\n<A d={e}/>\n\n- f\n",
    "a.proto": "// é\nmessage A { string b = 1; oneof c { int32 d = 2; } }\n"
    "service S { rpc G(A) returns (A); }\n",
    "Dockerfile": "# é\nFROM --platform=a b:1 AS c\nRUN d \\\n e\nFROM f\n",
    "a.vue": '<template>\né\n</template>\n<script lang="ts">\n'
    "function f() {}\n</script>\n<style>\n</style>\n",
    "a.svelte": "<script>\n// é\nlet f = () => 1\n</script>\n<p>{f()}</p>\n",
}


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


@st.composite
def mutated(draw):
    """A file of some other format, with pieces of it taken out, put in, and repeated."""
    name = draw(st.sampled_from(sorted(OTHERS)))
    source = OTHERS[name]
    for _ in range(draw(st.integers(1, 6))):
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(source))] * 2)))
        piece = draw(st.sampled_from(["\r", '"', "[", *PIECES, *source.split(), source[start:end]]))
        source = source[:start] + piece * draw(st.integers(0, 3)) + source[end:]
    return name, source


@settings(max_examples=1_000, deadline=None)
@given(mutated())
def test_blocks_of_damaged_files_tile_the_text(given_source):
    name, source = given_source
    try:
        document = load_bytes(source.encode(), uri="memory:x", name=name)
    except (UnreadableFileError, UnsupportedFormatError):
        assert name in ("a.ipynb", "a.1")  # it is none
        return
    assert name == "a.ipynb" or document.text == source
    assert tiles(document) or not document.text


def loads(name):
    return lambda source: load_bytes(source.encode(), uri="memory:x", name=name)


def test_a_small_file_cannot_grow():
    laughs = "a: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
    )
    assert len(loads("a.yaml")(laughs).blocks) < 1_000
    assert tiles(loads("a.yaml")("a: &a [*a]\n"))
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    page = f'<!DOCTYPE a [<!ENTITY e0 "ha">{entities}]><a>&e11;</a>'
    document = loads("a.xml")(page)
    assert document.text == page
    outside = '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>'
    assert loads("a.xml")(outside).text == outside


def test_what_is_nested_very_deeply_is_read():
    deep = 20_000
    for name, source in {
        "a.json": "[" * deep + "]" * deep,
        "b.json": '{"a":' * deep + "1" + "}" * deep,
        "a.yaml": "[" * 500 + "]" * 500,
        "a.toml": "a = " + "[" * deep + "]" * deep,
        "a.xml": "<a>" * deep + "</a>" * deep,
        "a.proto": "message A {" * deep,
        "a.org": "".join(f"{'*' * n} h\n" for n in range(1, 40)),
    }.items():
        document = loads(name)(source)
        assert tiles(document), name
        assert max(len(block.path) for block in document.blocks) <= 40
    with pytest.raises(UnreadableFileError):
        loads("a.ipynb")('{"cells": ' + "[" * 100_000)


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
        (loads("a.json"), lambda n: '{"a": [1, "b", {"c": 2}], ' * (n // 25)),
        (loads("b.json"), lambda n: '"' + "\\\\" * n),
        (loads("a.yaml"), lambda n: "# c\n" * n + "- a: [b, c]\n" * (n // 10)),
        (loads("a.toml"), lambda n: "a = [\n" * (n // 10)),
        (loads("b.toml"), lambda n: 'a = """' * n),
        (loads("a.xml"), lambda n: "<a>" * (n // 10) + "é<b>c</b>\n" * (n // 10)),
        (loads("a.org"), lambda n: ":A:\n" * (n // 4) + "* " + "a :b" * n),
        (loads("a.adoc"), lambda n: "a " * n + "::" + "\n|===\n" * (n // 10)),
        (loads("a.tex"), lambda n: "\\section{" * (n // 10) + "\\title{" * (n // 10)),
        (loads("b.tex"), lambda n: "\\begin{tabular}\n" + "\\\\ \\hline" * n + "x"),
        (loads("a.1"), lambda n: ".TH a\n.SH " + '"' * n + "\n.SH " + "\\f" * n),
        (loads("a.proto"), lambda n: "//\n" * n + "message A {" * (n // 10)),
        (loads("a.vue"), lambda n: "<script>\n" * (n // 10)),
        (loads("Dockerfile"), lambda n: "FROM a\n# b\n" * (n // 10)),
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
