"""Notebooks, LaTeX, Org, AsciiDoc, manual pages and MDX: their structure, and where it leads."""

from __future__ import annotations

import json

import pytest

from rag_tools.cite.locate import cite_span
from rag_tools.errors import UnreadableFileError, UnsupportedFormatError
from rag_tools.ingest.load import load_bytes
from rag_tools.types import Span


def loaded(name, text):
    document = load_bytes(text.encode(), name=name, uri=f"file:///x/{name}")
    assert document.text == text
    return document


def outline(document):
    return [
        (block.kind, " > ".join(block.path), document.text[block.start : block.end].strip())
        for block in document.blocks
    ]


NOTEBOOK = {
    "nbformat": 4,
    "metadata": {"kernelspec": {"language": "python"}},
    "cells": [
        {"cell_type": "markdown", "id": "aa", "source": ["# Tides\n", "\n", "Höhe. More.\n"]},
        {
            "cell_type": "code",
            "id": "bb",
            "source": ["import x\n", "def high(a):\n", "    return a\n"],
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["one\n", "two\n"]},
                {"output_type": "display_data", "data": {"image/png": "AAAA"}},
                {"output_type": "error", "ename": "ValueError", "evalue": "too low"},
            ],
        },
        {"cell_type": "code", "source": "", "outputs": []},
        {"cell_type": "raw", "source": "as it is"},
        {"cell_type": "markdown", "source": "## End\n\n- a\n- b"},
    ],
}


def notebook(content):
    return load_bytes(json.dumps(content).encode(), name="a.ipynb", uri="file:///x/a.ipynb")


def test_the_cells_of_a_notebook():
    document = notebook(NOTEBOOK)
    assert document.title == "Tides"
    assert outline(document) == [
        ("heading", "Tides", "# Tides"),
        ("paragraph", "Tides > cell 1", "Höhe. More."),
        ("code", "Tides > cell 2", "import x"),
        ("function", "Tides > cell 2 > high", "def high(a):\n    return a"),
        ("lines", "Tides > cell 2 > output", "one\ntwo"),
        ("lines", "Tides > cell 2 > output", "ValueError: too low"),
        ("paragraph", "Tides > cell 4", "as it is"),
        ("heading", "Tides > End", "## End"),
        ("item", "Tides > End > cell 5", "- a"),
        ("item", "Tides > End > cell 5", "- b"),
    ]
    elements = document.source_map.elements
    assert [(each.path, each.anchor) for each in elements] == [
        ("/cells/0", "aa"),
        ("/cells/1", "bb"),
        ("/cells/3", ""),
        ("/cells/4", ""),
    ]
    first = elements[0]
    assert document.text[first.start : first.end] == "# Tides\n\nHöhe. More.\n"
    start = document.text.index("def high")
    assert cite_span(document, Span(start, start + 8)).heading == "Tides > cell 2 > high"


def test_a_notebook_of_format_3_and_of_another_language():
    cells = [
        {"cell_type": "heading", "level": 2, "source": "Old"},
        {"cell_type": "code", "input": "fn a() {}", "outputs": [{"text": "x" * 9000}]},
    ]
    old = {
        "nbformat": 3,
        "metadata": {"language_info": {"name": "rust"}},
        "worksheets": [{"cells": cells}],
    }
    document = notebook(old)
    assert outline(document)[:2] == [
        ("heading", "Old", "## Old"),
        ("function", "Old > cell 2 > a", "fn a() {}"),
    ]
    assert len(document.text) < 4_100


@pytest.mark.parametrize("content", [[], {}, {"cells": 3}, "x", None, {"worksheets": {}}])
def test_what_is_no_notebook_is_refused(content):
    with pytest.raises(UnreadableFileError, match=r"a\.ipynb: not a notebook"):
        notebook(content)


def test_cells_of_any_shape_do_no_harm():
    cells = [None, {}, {"cell_type": "code", "source": [1, "a"], "outputs": [1, {"data": []}]}]
    assert notebook({"cells": cells}).text == "a\n\n"
    assert notebook({"cells": [{"cell_type": "raw", "source": "\ud800 x"}]}).text == "\ufffd x\n\n"


ORG = """\
#+TITLE: My notes

Intro text.
* TODO [#A] First [[http://x][link]] :tag:
:PROPERTIES:
:ID: x
:END:
** Sub
- a
  continued
- b
| h | i |
|---+---|
| 1 | 2 |

#+begin_src python
* not a heading
#+end_src
#+begin_quote
Quoted.
#+end_quote
End.
"""


def test_org():
    document = loaded("a.org", ORG)
    assert document.title == "My notes"
    assert outline(document) == [
        ("lines", "", "#+TITLE: My notes"),
        ("paragraph", "", "Intro text."),
        ("heading", "First link", "* TODO [#A] First [[http://x][link]] :tag:"),
        ("lines", "First link", ":PROPERTIES:\n:ID: x\n:END:"),
        ("heading", "First link > Sub", "** Sub"),
        ("item", "First link > Sub", "- a\n  continued"),
        ("item", "First link > Sub", "- b"),
        ("header", "First link > Sub", "| h | i |"),
        ("table", "First link > Sub", "|---+---|"),
        ("row", "First link > Sub", "| 1 | 2 |"),
        ("code", "First link > Sub", "#+begin_src python\n* not a heading\n#+end_src"),
        ("paragraph", "First link > Sub", "#+begin_quote\nQuoted.\n#+end_quote"),
        ("paragraph", "First link > Sub", "End."),
    ]


ASCIIDOC = """\
= The Manual
:toc:

Preamble text.

== One

[source,py]
----
= not a heading
----

* item a
goes on
* item b

term:: what it is

[options="header"]
|===
|a |b
|1 |2

|3 |4
|===

=== Sub
NOTE: Careful.
"""


def test_asciidoc():
    document = loaded("a.adoc", ASCIIDOC)
    assert document.title == "The Manual"
    assert [each for each in outline(document) if each[0] != "lines"] == [
        ("heading", "The Manual", "= The Manual"),
        ("paragraph", "The Manual", "Preamble text."),
        ("heading", "The Manual > One", "== One"),
        ("code", "The Manual > One", "----\n= not a heading\n----"),
        ("item", "The Manual > One", "* item a\ngoes on"),
        ("item", "The Manual > One", "* item b"),
        ("item", "The Manual > One", "term:: what it is"),
        ("header", "The Manual > One", "|a |b"),
        ("row", "The Manual > One", "|1 |2"),
        ("row", "The Manual > One", "|3 |4"),
        ("heading", "The Manual > One > Sub", "=== Sub"),
        ("paragraph", "The Manual > One > Sub", "NOTE: Careful."),
    ]


MAN = """\
.\\" A comment.
.TH GREP 1 2020 "GNU"
.SH NAME
grep \\- print lines
.SH OPTIONS
.SS "Which \\fBlines\\fP"
.TP
.B \\-i
Ignore case.
.TP
.B \\-v
Invert.
.PP
A paragraph.
.nf
code
.fi
Its end.
"""


def test_a_manual_page():
    document = loaded("grep.1", MAN)
    assert (document.title, document.media_type) == ("grep(1)", "text/troff")
    assert outline(document)[1:] == [
        ("heading", "NAME", ".SH NAME"),
        ("paragraph", "NAME", "grep \\- print lines"),
        ("heading", "OPTIONS", ".SH OPTIONS"),
        ("heading", "OPTIONS > Which lines", '.SS "Which \\fBlines\\fP"'),
        ("item", "OPTIONS > Which lines", ".TP\n.B \\-i\nIgnore case."),
        ("item", "OPTIONS > Which lines", ".TP\n.B \\-v\nInvert."),
        ("paragraph", "OPTIONS > Which lines", ".PP\nA paragraph."),
        ("code", "OPTIONS > Which lines", ".nf\ncode\n.fi"),
        ("paragraph", "OPTIONS > Which lines", "Its end."),
    ]


def test_a_page_in_mdoc():
    document = loaded("ls.1", ".Dd May 1\n.Dt LS 1\n.Sh NAME\n.Nm ls\n.Bl\n.It Fl a\nAll.\n.El\n")
    assert document.title == "ls(1)"
    assert ("item", "NAME", ".It Fl a\nAll.\n.El") in outline(document)


@pytest.mark.parametrize("content", [b"Just a note.\n", bytes(range(256)) * 9, b""])
def test_a_file_that_only_ends_like_a_manual_page_is_left_out(content):
    with pytest.raises(UnsupportedFormatError, match=r"release-1\.2"):
        load_bytes(content, name="release-1.2", uri="memory:x")


LATEX = """\
\\documentclass{article}
\\title{A \\emph{Fine} Title\\thanks{x}}
\\begin{document}
Intro text,
on two lines.

\\section[Short]{Tom \\& Ann}\\label{s}
\\begin{itemize}
\\item a
  goes on
\\item b
\\end{itemize}
\\begin{tabular}{ll}
\\hline
a & b \\\\
\\hline
1 &
 2 \\\\
\\end{tabular}
\\begin{verbatim}
\\section{not a heading}
\\end{verbatim}
% comment
\\subsection*{Sub}
Its text.
\\end{document}
"""


def test_latex():
    document = loaded("a.tex", LATEX)
    assert document.title == "A Fine Title"
    assert [each for each in outline(document) if each[0] != "lines"] == [
        ("paragraph", "", "Intro text,\non two lines."),
        ("heading", "Tom & Ann", "\\section[Short]{Tom \\& Ann}\\label{s}"),
        ("item", "Tom & Ann", "\\item a\n  goes on"),
        ("item", "Tom & Ann", "\\item b"),
        ("header", "Tom & Ann", "a & b \\\\\n\\hline"),
        ("row", "Tom & Ann", "1 &\n 2 \\\\"),
        ("code", "Tom & Ann", "\\begin{verbatim}\n\\section{not a heading}\n\\end{verbatim}"),
        ("heading", "Tom & Ann > Sub", "\\subsection*{Sub}"),
        ("paragraph", "Tom & Ann > Sub", "Its text."),
    ]


def test_mdx():
    document = loaded(
        "a.mdx", 'import A from "a"\n\n# T\n\n<A b={c}/>\n\nText.\n\nexport const x = 1'
    )
    assert [kind for kind, _, _ in outline(document)] == [
        "code",
        "heading",
        "paragraph",
        "paragraph",
        "code",
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_dialect_and_the_header_of_a_table(delimiter):
    rows = [("name", "note"), ("Dover", '"two\nlines, and; more"'), ("Köln", "3")]
    text = "".join(delimiter.join(row) + "\r\n" for row in rows)
    found = loaded("a.csv", text).blocks
    assert [block.kind for block in found] == ["header", "row", "table"]
