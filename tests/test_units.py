"""Units: what quotes and passages are made of, by the kind of block."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.ingest.load import load_bytes
from rag_tools.types import Block, BlockKind, Span
from rag_tools.units import units


def found(name, source):
    """Return kind and text of the units of a file, those without words left out."""
    data = source if isinstance(source, bytes) else source.encode()
    document = load_bytes(data, name=name, uri="test:x")
    return [
        (unit.kind, words)
        for unit in units(document.text, document.blocks)
        if (words := document.text[unit.start : unit.end].strip())
    ]


def headers(name, source):
    """Return the rows of a file, each with the header that belongs to it."""
    document = load_bytes(source.encode(), name=name, uri="test:x")
    return [
        (
            document.text[unit.start : unit.end].strip(),
            unit.header and unit.header.of(document.text),
        )
        for unit in units(document.text, document.blocks)
        if unit.kind == "row"
    ]


@given(st.text("ab. ?:\n-|\t", max_size=80), st.sampled_from(get_args(BlockKind)), st.data())
def test_units_tile_a_passage(text, kind, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=2, max_size=4)))
    borders = [0, *cuts, len(text)]
    blocks = [Block(kind, start, end) for start, end in pairwise(borders)]
    blocks = [block for block in blocks if block.end > block.start]
    within = Span(cuts[0], cuts[-1])
    position = within.start
    for unit in units(text, blocks, within):
        assert unit.start == position < unit.end
        position = unit.end
    assert position == within.end


def test_rows_of_a_csv_file_are_units_with_their_header():
    table = 'tool,grip,"weight, kg"\nadze,ash,1.4\nmaul,"hickory,\nwaxed",3.6\npick,elm,2.2\n'
    header = 'tool,grip,"weight, kg"\n'
    assert headers("tools.csv", table) == [
        ("adze,ash,1.4", header),
        ('maul,"hickory,\nwaxed",3.6', header),
        ("pick,elm,2.2", header),
    ]
    assert headers("numbers.csv", "1;2\n3;4\n") == [("1;2", None), ("3;4", None)]


def test_a_stray_quotation_mark_swallows_no_table():
    rows = [f'{number},5" pipe,{number}' for number in range(2000)]
    assert len(headers("pipes.csv", "\n".join(["id,name,size", *rows]))) > 1000


def test_rows_of_other_formats_are_units_with_their_header():
    assert headers("a.md", "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n") == [
        ("| 1 | 2 |", "| a | b |\n|---|---|\n"),
        ("| 3 | 4 |", "| a | b |\n|---|---|\n"),
    ]
    simple = "==== ===\nName Age\n==== ===\nAnn  1\n     2\nBob  3\n==== ===\n"
    assert [row for row, _ in headers("a.rst", simple)] == ["Ann  1\n     2", "Bob  3\n==== ==="]
    grid = "+---+\n| a |\n+===+\n| 1 |\n| 2 |\n+---+\n| 3 |\n+---+\n"
    assert [row for row, _ in headers("a.rst", grid)] == ["| 1 |\n| 2 |\n+---+", "| 3 |\n+---+"]
    nested = ".. list-table::\n   :header-rows: 1\n\n   * - x\n     - y\n   * - 1\n     - 2\n"
    assert headers("a.rst", nested) == [("* - 1\n     - 2", "   * - x\n     - y\n")]
    page = "<table><thead><tr><td>x<td>y<tbody><tr><td>1<td>2<p>3</table>"
    assert headers("a.html", page) == [("1\t2\n3", "x\ty\n")]


def test_a_header_belongs_to_rows_of_a_passage_that_starts_later():
    text = "a,b\n" + "1,2\n" * 9
    blocks = (Block("header", 0, 4), Block("table", 4, len(text)))
    assert units(text, blocks, Span(12, 16)) == [(12, 16, "row", 1, Span(0, 4))]


def test_items_are_units_with_their_continuation():
    text = "Tools:\n\n- saw. Keep it\n  dry.\n  - blade\n- awl\n"
    assert found("a.md", text) == [
        ("lead-in", "Tools:"),
        ("item", "- saw. Keep it\n  dry."),
        ("item", "- blade"),
        ("item", "- awl"),
    ]
    assert found(
        "a.rst", "* saw\n  dry\n* awl\n\nterm\n  meaning\n\n-v      verbose\n-q      quiet\n"
    ) == [
        ("item", "* saw\n  dry"),
        ("item", "* awl"),
        ("item", "term\n  meaning"),
        ("item", "-v      verbose"),
        ("item", "-q      quiet"),
    ]
    page = "<ol><li>saw<li><p>awl. Sharp.</ol><dl><dt>a</dt><dt>b</dt><dd>c</dd><dd>d</dd></dl>"
    assert found("a.html", page) == [
        ("item", "saw"),
        ("item", "awl. Sharp."),
        ("item", "a\nb\nc\nd"),
    ]
    assert found("a.txt", "Usage.\n  -a, --all  show\n             all\n  -q         quiet\n") == [
        ("sentence", "Usage."),
        ("item", "-a, --all  show\n             all"),
        ("item", "-q         quiet"),
    ]


def test_a_long_item_is_its_sentences():
    sentence = "This item goes on for quite a while about one thing. "
    assert [kind for kind, _ in found("a.md", "- " + sentence * 5)] == ["item", *["sentence"] * 4]


@pytest.mark.parametrize(
    "lines",
    [
        ["2031-02-03 04:05:06 WARN slow. Retrying.", "2031-02-03 04:05:09 INFO done."],
        ["Voltage: 48 V", "Fuse: 10 A. Slow."],
        ["rate = 5", "burst = 9"],
    ],
)
def test_entries_of_plain_text_are_units(lines):
    assert found("notes.txt", "\n".join(lines)) == [("line", line) for line in lines]


def test_lines_of_code_and_configuration_are_units():
    assert found("a.sh", "ls. Now\ncd x\n") == [("code", "ls. Now"), ("code", "cd x")]
    assert found("a.yaml", "a: 1\nb: 2\n") == [("item", "a: 1"), ("item", "b: 2")]
    assert found("a.ini", "a = 1\nb = 2\n") == [("line", "a = 1"), ("line", "b = 2")]


@pytest.mark.parametrize(
    "question", ["Is it safe?", "**Is it safe?**", "Q: Is it safe?", "هل هو آمن؟", "安全ですか？"]
)
def test_questions_are_context(question):
    assert found("a.md", f"{question}\n\nYes.\n")[0] == ("question", question)


def test_menus_and_notices_are_context():
    page = (
        "<body><nav><ul><li><a href=/>Home</a><li>Prices</ul></nav>"
        "<div class='cookie-banner'>We bake.</div><div class=cookies>Oats and butter.</div>"
        "<main><h1>Boats</h1><p>We rent boats.</p><aside>Note the tide.</aside></main>"
        "<aside><a href=/x>Read about oars</a></aside>"
        "<footer><h4>Us</h4><p>Imprint | Terms of use</p><address>Quay 4</address>"
        "<p>Moored since 1911 at the old quay.</p></footer>"
    )
    assert [each for each in found("a.html", page) if each[0] != "navigation"] == [
        ("sentence", "Oats and butter."),
        ("heading", "Boats"),
        ("sentence", "We rent boats."),
        ("sentence", "Note the tide."),
        ("sentence", "Quay 4"),
        ("sentence", "Moored since 1911 at the old quay."),
    ]


MANUAL = """NAME
       ferry - carry parcels over a river

OPTIONS
       -w lanes
              Use so many lanes of the river.  The
              default is two lanes.

       -x     Sink the ferry when it has crossed the river, which can't be
              undone. All parcels that are left on it are lost, and so is the
              crew. Ask the owner of the ferry, who isn't always there, for
              permission before you do it.

       --dry
              Only tell what would be carried.
"""


def test_entries_of_a_manual_that_is_set_as_it_stands_are_units():
    page = f"<pre>{MANUAL}</pre>"
    kinds = [(kind, " ".join(words.split())) for kind, words in found("ferry.html", page)]
    assert ("item", "-w lanes Use so many lanes of the river. The default is two lanes.") in kinds
    assert ("heading", "OPTIONS") in kinds
    assert ("item", "--dry Only tell what would be carried.") in kinds
    assert (
        "sentence",
        "-x Sink the ferry when it has crossed the river, which can't be undone.",
    ) in kinds


@pytest.mark.parametrize(
    "lines",
    [
        "$ ferry --list the parcels on this river\nbarge  | 3 | left bank\nbarge  | 4 | right",
        "from crossing.boats.middle import left as right\nfrom boats import all as app\napp.run()",
        "# carry all of the parcels over it.\nferry --wide\n# and then all of the people.\nexit",
        "10:01 ferry[7]: the ferry has left the bank.\n10:02 ferry[7]: the ferry has sunk.\nend.",
    ],
)
def test_code_that_reads_like_prose_stays_lines(lines):
    assert found("x.html", f"<pre>{lines}</pre>") == [
        ("code", line.strip()) for line in lines.splitlines()
    ]


def test_a_paragraph_in_a_cell_of_its_own_is_its_sentences():
    long = "Yes. Pass the name of the ferry, and it is written down for you. " + "It is safe. " * 15
    page = f"<table><tr><td>{long}</td></tr><tr><td>a</td><td>b</td></tr></table>"
    kinds = found("faq.html", page)
    assert ("sentence", "Pass the name of the ferry, and it is written down for you.") in kinds
    assert ("row", "a\tb") in kinds or ("row", "a | b") in kinds


def test_a_question_in_a_table_that_sets_a_page_is_a_question():
    rows = "<tr><td>5.1</td><td>Does the ferry swim?</td></tr><tr><td></td><td>It does.</td></tr>"
    page = f"<table>{rows}</table>"
    assert [kind for kind, _ in found("faq.html", page)] == ["question", "row"]
