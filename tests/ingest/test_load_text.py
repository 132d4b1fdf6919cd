"""Text, Markdown and reStructuredText files → documents."""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from inspect import signature
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.errors import FileTooLargeError, UnreadableFileError, UnsupportedFormatError
from rag_tools.ingest import reading
from rag_tools.ingest.load import _LOADERS, DEFAULT_MAX_BYTES, Loader, load, load_bytes, supported

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX file types")

NASTY = (
    "\ufeffTitle\r\n=====\r\n\r\nemoji 👩‍👩‍👧‍👦 e\u0301\rlone CR\r\r# Head\n\n"
    "שלום \u202eعربي\u202c NUL\0here\n\n- a\n- b\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\n"
    "```\ncode\n```\n\nlit::\n\n  x\n\n\n"
)
PIECES = [
    *"#=-~`*+>|:. \t\r\n\u00a0\u2028\x0caZé漢א\u0301\u200d👩😀",
    "\r\n",
    "\n\n",
    "Title\n=====\n",
    "=====\nTitle\n=====\n",
    "# Head\n",
    "Head\n---\n",
    "---\n",
    "+++\n",
    "```\n",
    "- item\n",
    "1. item\n",
    "| a | b |\n|---|---|\n",
    "    code\n",
    ".. note::\n",
    ".. code::\n\n   x\n",
    "Text::\n\n  x\n",
    "title: x\n",
    "Title: x\n",
    "==== ===\n",
    "+---+\n",
    ">>> x\n",
    "[ref]: http://x\n",
    "<div>\n",
    "\0word",
]
NAMES = ["a.txt", "a.csv", "a.json", "README", "a.md", "a.rst"]


def outline(name, text):
    document = load_bytes(text.encode(), name=name, uri=f"memory:{name}")
    assert document.text == text
    return [(b.kind, b.path, text[b.start : b.end].strip()) for b in document.blocks]


def title(name, text):
    return load_bytes(text.encode(), name=name, uri=f"memory:{name}").title


@pytest.mark.parametrize("name", NAMES)
@given(text=st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_text_is_the_file_and_blocks_tile_it(name, text):
    text += "words " * 20  # a file of NULs alone is binary data
    document = load_bytes(text.encode(), name=name, uri="memory:x")
    assert document.text == text
    position = 0
    for block in document.blocks:
        assert block.start == position < block.end
        position = block.end
    assert position == len(text)


@pytest.mark.parametrize("name", NAMES)
def test_nasty_text_is_kept_and_the_mark_dropped(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(NASTY.encode())
    document = load(path)
    assert document.text == NASTY[1:]
    assert "".join(document.text[b.start : b.end] for b in document.blocks) == NASTY[1:]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["", " ", "\r\n", "\n\n \t\n"])
def test_empty_and_blank_files(name, text):
    document = load_bytes(text.encode(), name=name, uri="memory:x")
    assert document.text == text
    assert "".join(text[b.start : b.end] for b in document.blocks) == text
    assert document.title == name


class TestLoad:
    def test_uri_title_and_media_type(self, tmp_path):
        path = tmp_path / "My Nötes.txt"
        path.write_text("text", encoding="utf-8")
        document = load(path)
        assert document.uri == path.resolve().as_uri()
        assert document.title == "My Nötes.txt"
        assert document.media_type == "text/plain"
        assert load(path, uri="notes:1").uri == "notes:1"

    def test_utf16(self, tmp_path):
        path = tmp_path / "a.md"
        path.write_bytes("# Käse\r\n".encode("utf-16"))
        document = load(path)
        assert (document.text, document.title) == ("# Käse\r\n", "Käse")

    @pytest.mark.parametrize(
        "name",
        [
            *("a.md", "a.MD", "a.rst", "a.txt", "LICENSE", "Makefile", "a.py", "a.pdf", "a.docx"),
            *("a.doc", "a.eml", "a.epub", "a.mbox", "a.mhtml", "a.msg", "a.odp", "a.ods", "a.odt"),
            *("a.ppt", "a.pptx", "a.rtf", "a.srt", "a.vtt", "a.xls", "a.xlsx"),
        ],
    )
    def test_supported(self, name):
        assert supported(Path(name))

    @pytest.mark.parametrize("name", ["a.png", "a.exe", "a.wpd", "v1.2"])
    def test_unsupported(self, name, tmp_path):
        assert not supported(Path(name))
        (tmp_path / name).write_text("text")
        with pytest.raises(UnsupportedFormatError, match=f"^{name}: no loader"):
            load(tmp_path / name)

    def test_binary_text_file_is_unreadable(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(bytes(range(256)))
        with pytest.raises(UnreadableFileError, match=r"^a\.txt: looks like binary"):
            load(tmp_path / "a.txt")

    def test_program_without_suffix_is_unsupported_not_damaged(self, tmp_path):
        (tmp_path / "program").write_bytes(b"\x7fELF" + bytes(100))
        with pytest.raises(UnsupportedFormatError, match=r"^program: looks like binary"):
            load(tmp_path / "program")

    def test_huge_file_is_refused_by_size(self, tmp_path):
        path = tmp_path / "huge.txt"
        with path.open("wb") as file:
            file.truncate(100 * 1024 * 1024)  # sparse
        with pytest.raises(FileTooLargeError, match=r"huge\.txt: 104,857,600 bytes.*67,108,864"):
            load(path)
        assert DEFAULT_MAX_BYTES == 64 * 1024 * 1024

    def test_limit(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("12345")
        assert load(path, max_bytes=5).text == "12345"
        with pytest.raises(FileTooLargeError, match="the limit is 4"):
            load(path, max_bytes=4)

    def test_missing_file(self, tmp_path):
        with pytest.raises(UnreadableFileError, match=r"gone\.txt: No such file"):
            load(tmp_path / "gone.txt")

    def test_folder(self, tmp_path):
        (tmp_path / "folder.txt").mkdir()
        with pytest.raises(UnreadableFileError, match="not a regular file"):
            load(tmp_path / "folder.txt")

    def test_unreadable_file(self, tmp_path, monkeypatch):
        # Stands in for chmod, which doesn't bind the superuser.
        path = tmp_path / "secret.txt"
        path.write_text("text")

        def refuse(path, flags):
            raise PermissionError(13, "Permission denied", path)

        monkeypatch.setattr(reading, "_open", refuse)
        with pytest.raises(UnreadableFileError, match=r"secret\.txt: Permission denied"):
            load(path)

    @posix_only
    @pytest.mark.skipif(
        hasattr(os, "geteuid") and os.geteuid() == 0, reason="the superuser may read everything"
    )
    def test_file_without_permission(self, tmp_path):
        path = tmp_path / "secret.txt"
        path.write_text("text")
        path.chmod(0)
        with pytest.raises(UnreadableFileError, match=r"secret\.txt: Permission denied"):
            load(path)

    @posix_only
    def test_fifo_does_not_block(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.txt")
        with pytest.raises(UnreadableFileError, match="not a regular file"):
            load(tmp_path / "pipe.txt")

    @pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device")
    def test_device_is_not_read(self, tmp_path):
        (tmp_path / "zero.txt").symlink_to("/dev/zero")
        with pytest.raises(UnreadableFileError, match="not a regular file"):
            load(tmp_path / "zero.txt")

    @posix_only
    def test_link_to_itself(self, tmp_path):
        (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
        with pytest.raises(UnreadableFileError, match=r"loop\.txt: "):
            load(tmp_path / "loop.txt")

    @pytest.mark.skipif(sys.platform != "linux", reason="names are valid Unicode elsewhere")
    def test_file_name_that_is_not_unicode(self, tmp_path):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
        path.write_text("text")
        document = load(path)
        assert document.uri.endswith("/caf%E9.txt")
        assert document.title == "caf\ufffd\ufffd\ufffd.txt"

    def test_name_that_is_not_unicode(self):
        assert load_bytes(b"text", name="caf\udce9.txt", uri="memory:x").title.endswith(".txt")
        with pytest.raises(UnsupportedFormatError) as refusal:
            load_bytes(b"text", name="a.\udce9", uri="memory:x")
        str(refusal.value).encode("utf-8")


class TestText:
    def test_paragraphs(self):
        assert outline("a.txt", "One\nline.\n\nTwo.\r\n \t\r\nThree.\r\rFour") == [
            ("paragraph", (), "One\nline."),
            ("paragraph", (), "Two."),
            ("paragraph", (), "Three."),
            ("paragraph", (), "Four"),
        ]

    def test_crlf_is_one_line_end(self):
        assert len(outline("a.txt", "a\r\nb\r\nc\r\n")) == 1

    def test_kinds(self):
        assert outline("a.csv", "a,b\n1,2\n") == [("header", (), "a,b"), ("table", (), "1,2")]
        assert outline("a.csv", "1,b\n1,2\n")[0][0] == "table"
        assert outline("a.ini", "a = 1\n")[0][0] == "lines"
        assert outline("a.sh", "ls\n")[0][0] == "code"
        assert outline("README", "Prose.\n")[0][0] == "paragraph"


MARKDOWN = """\
---
author: me
title: 'The: Front'
---

Intro.

Setext *Title*
===

para
wrap

- a
  - b

| x | y |
|---|---|
| 1 | 2 |

> # quoted, not a section

## [Link](http://x) `code` &amp; \\* ##
```
# no heading
```
[ref]: http://x
<div>
x
</div>

### Deep
# Back
End
"""


@pytest.mark.parametrize("name", sorted({*_LOADERS.values()} - {""}))  # "": an archive
def test_every_loader_is_called_alike(name):
    loader = getattr(import_module(f"rag_tools.ingest.{name}"), f"load_{name}")
    agreed = list(signature(Loader.__call__).parameters.values())[1:]  # without self
    assert list(signature(loader).parameters.values()) == agreed


def test_minified_sources_are_left_out():
    packed = "var a=function(b){return b+1};" * 400
    with pytest.raises(UnsupportedFormatError, match=r"^app\.js: minified"):
        load_bytes(packed.encode(), name="app.js", uri="test:x")
    load_bytes(packed.replace(";", ";\n").encode(), name="app.js", uri="test:x")


class TestMarkdown:
    @pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
    def test_structure(self, line_end):
        found = outline("a.md", MARKDOWN.replace("\n", line_end))
        setext = ("Setext Title",)
        link = ("Setext Title", "Link code & *")
        assert [
            (kind, path, text.replace(line_end, "\n").splitlines()[0]) for kind, path, text in found
        ] == [
            ("lines", (), "---"),
            ("paragraph", (), "Intro."),
            ("heading", setext, "Setext *Title*"),
            ("paragraph", setext, "para"),
            ("item", setext, "- a"),
            ("item", setext, "- b"),
            ("header", setext, "| x | y |"),
            ("row", setext, "| 1 | 2 |"),
            ("paragraph", setext, "> # quoted, not a section"),
            ("heading", link, "## [Link](http://x) `code` &amp; \\* ##"),
            ("code", link, "```"),
            ("paragraph", link, "<div>"),
            ("heading", (*link, "Deep"), "### Deep"),
            ("heading", ("Back",), "# Back"),
            ("paragraph", ("Back",), "End"),
        ]

    def test_title(self):
        assert title("a.md", MARKDOWN) == "The: Front"
        assert title("a.md", '+++\ntitle = "Toml"\n+++\n# Head\n') == "Toml"
        assert title("a.md", "---\nauthor: me\n---\n## Sub\n# Head\n") == "Head"
        assert title("a.md", "## Sub only\n") == "a.md"
        assert title("a.md", "---\ntitle: not closed\n") == "a.md"

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ("title: >-\n  How we rotate\n  our keys\nlayout: post", "How we rotate our keys"),
            ("title: |\n\n  On its own line\n", "On its own line"),
            ("title: >2 # two blanks\n   Deep\n", "Deep"),
            ("title: 'Tom''s ''diary''' # mine", "Tom's 'diary'"),
            ("title: 'It goes\n  on' # here", "It goes on"),
            ('title: "A \\"B\\" \\u00e9 \\x41 \\U0001F600"', 'A "B" é A 😀'),
            ('title: "C#: a # b" # c', "C#: a # b"),
            ("title: C# and F# # not this", "C# and F#"),
            ("title: A plain one\n  goes on\nother: x", "A plain one goes on"),
            ('"title": Quoted key', "Quoted key"),
            ("Title:\tTab", "Tab"),
            ("title:\n  Below", "Below"),
            ("title: 'open\n", "'open"),
            ("title: ~", "Head"),
            ("title:", "Head"),
            ("subtitle: no", "Head"),
            ("image:\n  title: of the image", "Head"),
            ("title:nothing", "Head"),
        ],
    )
    def test_title_as_yaml_has_it(self, written, read):
        assert title("a.md", f"---\n{written}\n---\n# Head\n") == read

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ("title = 'It\\n' # x", "It\\n"),
            ('title = """\nTwo\nlines"""', "Two lines"),
            ("title = 1984", "1984"),
            ("[page]\ntitle = 'inner'", "Head"),
            ("title = 'broken", "Head"),
            ("title = [1]", "Head"),
        ],
    )
    def test_title_as_toml_has_it(self, written, read):
        assert title("a.md", f"+++\n{written}\n+++\n# Head\n") == read

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ("# Deploy {#deploy}", "Deploy"),
            ("# Deploy {.big #deploy lang=en}", "Deploy"),
            ("# Deploy {: .no_toc }", "Deploy"),
            ("# Deploy {-}", "Deploy"),
            ("# Deploy {/* #deploy */}", "Deploy"),
            ("# Deploy ## {#deploy}", "Deploy"),
            ("# Deploy {#deploy} ##", "Deploy"),
            ("Deploy {#deploy}\n===", "Deploy"),
            ("# GET /users/{id}", "GET /users/{id}"),
            ("# {#only}", "{#only}"),
            ("# C# ##", "C#"),
            ("# *Very* **~~old~~ `new` [API](x 'y')**", "Very old new API"),
            ("# See [the guide][g]\n\n[g]: http://x", "See the guide"),
            ("# Flux [![build](b.svg)](ci) ![](c.svg)", "Flux"),
            ("# ![Flux *two*](logo.svg)", "Flux two"),
            ('# <a name="x"></a>Deploy <!-- omit in toc -->', "Deploy"),
            ('# <img alt="Flux &amp; Co" src=l.png>', "Flux & Co"),
            ("# Deploy [#](#deploy)", "Deploy"),
            ("# Deploy[^1] [[guides/host|the host]] now", "Deploy the host now"),
            (
                '<h1 align="center">\n  <img src=l.png><br>Flux &amp; <em>Co</em>\n</h1>',
                "Flux & Co",
            ),
            ('<div><H1><img src=l.png alt="Flux"></H1><p>x</p></div>', "Flux"),
            ("<!-- <h1>old</h1> -->\n<h1>new</h1>", "new"),
            ("<!-- <h1>old</h1> --><h1>new</h1>", "new"),
            ("<h1>open", "a.md"),
        ],
    )
    def test_title_as_a_reader_sees_it(self, written, read):
        assert title("a.md", written + "\n\nText.\n") == read

    def test_a_heading_in_html_encloses_what_follows(self):
        found = outline("a.md", "<h1>Flux</h1>\n\nA queue.\n\n## Set up {#up}\n\nRun it.\n")
        assert [path for _, path, _ in found] == [
            ("Flux",),
            ("Flux",),
            ("Flux", "Set up"),
            ("Flux", "Set up"),
        ]

    @pytest.mark.parametrize(
        "text",
        [
            "# a" + " " * 30_000 + "b",
            "# a" + " #" * 15_000 + "b",
            "# a" + "{.b " * 8_000,
            "<h1>" * 8_000,
            "<!--" * 8_000,
            "<h1>" + "<img alt=" * 3_000 + "</h1>",
            "---\ntitle: '" + "''" * 15_000 + "\n---\n",
            '---\ntitle: "' + "\\" * 15_001 + "\n---\n",
            "# " + "[[" * 15_000,
        ],
        ids=range(9),
    )
    def test_hostile_titles_take_no_time(self, text):
        started = time.process_time()
        assert outline("a.md", text)
        assert time.process_time() - started < 2

    def test_nul_does_not_shift_anything(self):
        assert outline("a.md", "one\0two\n\n# He\0ad\n\ntext\n")[1][::2] == ("heading", "# He\0ad")

    @pytest.mark.parametrize(
        "text", ["> " * 5000, "- " * 5000, "[" * 20_000, "# " + "*a**b " * 500]
    )
    def test_hostile_nesting(self, text):
        assert outline("a.md", text)


RST = """\
PEP: 8
Title: Style Guide
 for Code
Author: X <x@y>

Abstract
========

See below::

    literal

    more

After.

* item
  goes on

  second paragraph
* b

.. note:: prose
   here

.. code-block:: python

   x

   y

Sub
---

+---+
| a |
+---+

==== ===
a    b
==== ===

-----

>>> 1

Next
====

:field: value
"""


class TestRst:
    @pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
    def test_structure(self, line_end):
        found = outline("pep.rst", RST.replace("\n", line_end))
        top = ("PEP 8 – Style Guide for Code",)
        abstract = (*top, "Abstract")
        sub = (*abstract, "Sub")
        assert [
            (kind, path, text.replace(line_end, "\n").splitlines()[0]) for kind, path, text in found
        ] == [
            ("lines", top, "PEP: 8"),
            ("heading", abstract, "Abstract"),
            ("paragraph", abstract, "See below::"),
            ("code", abstract, "literal"),
            ("paragraph", abstract, "After."),
            ("item", abstract, "* item"),
            ("item", abstract, "* b"),
            ("paragraph", abstract, ".. note:: prose"),
            ("code", abstract, ".. code-block:: python"),
            ("heading", sub, "Sub"),
            ("row", sub, "+---+"),
            ("row", sub, "==== ==="),
            ("paragraph", sub, "-----"),
            ("code", sub, ">>> 1"),
            ("heading", (*top, "Next"), "Next"),
            ("item", (*top, "Next"), ":field: value"),
        ]

    def test_overlined_title_is_another_level_than_underlined(self):
        text = "=====\n Top\n=====\n\nSub\n===\n\nDeep\n----\n\nSub 2\n=====\n"
        assert [path for _, path, _ in outline("a.rst", text)] == [
            ("Top",),
            ("Top", "Sub"),
            ("Top", "Sub", "Deep"),
            ("Top", "Sub 2"),
        ]

    def test_title(self):
        assert title("a.rst", RST) == "PEP 8 – Style Guide for Code"
        assert title("a.rst", "Text.\n\nFirst\n=====\n") == "First"
        assert title("a.rst", "Only text.\n") == "a.rst"

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            ("Using :ref:`the queue <queue-label>`", "Using the queue"),
            (":class:`~shop.cart.Cart` and :func:`!add`", "Cart and add"),
            (":py:meth:`Cart.add`", "Cart.add"),
            ("``pip install`` with *care* and **speed**", "pip install with care and speed"),
            ("``*args`` and ``:x:`y` ``", "*args and :x:`y`"),
            ("See `the guide <http://x>`_ or `that`__ or Other_", "See the guide or that or Other"),
            ("The |name| queue [1]_ [#note]_", "The name queue"),
            (r"snake\_ and a \* b * c", "snake_ and a * b * c"),
            ("2 * 3 * 4 and __init__ and a_b", "2 * 3 * 4 and __init__ and a_b"),
            ("Errors: a summary", "Errors: a summary"),
        ],
    )
    def test_title_as_a_reader_sees_it(self, written, read):
        assert title("a.rst", f"{written}\n{'=' * 70}\n\nText.\n") == read

    def test_dashes_under_a_longer_line_of_text(self):
        assert [kind for kind, _, _ in outline("a.rst", "Some text\n--\n\nmore\n")] == [
            "paragraph",
            "paragraph",
        ]

    def test_prose_that_begins_like_a_header(self):
        assert outline("a.rst", "Note: this\nis prose with a Title: in it.\n")[0][0] == "paragraph"
