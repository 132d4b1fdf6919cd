"""What documents say about themselves, as typed fields."""

import io

import pytest

from outlines import opened
from rag_tools.engine import Engine


def test_front_matter_is_typed():
    text = b"""---
title: Tides
date: 2026-03-03
updated: 2026-03-03T09:30:00+01:00
draft: false
depth: 9.5
boats: 12
tags: [sea, moon]
place: {town: Kiel, quay: 4}
none: ~
"a:b": no field of a filter
---
# Tides
"""
    document = opened("a.md", text)
    assert document.title == "Tides"
    assert document.metadata == {
        "date": "2026-03-03",
        "updated": "2026-03-03T08:30:00+00:00",
        "draft": False,
        "depth": 9.5,
        "boats": 12,
        "tags": ["sea", "moon"],
        "place": "{'town': 'Kiel', 'quay': 4}",
    }
    toml = b'+++\ntitle = "T"\nboats = 12\nat = 2026-03-03T09:30:00+01:00\n+++\n# T\n'
    assert opened("a.md", toml).metadata == {"boats": 12, "at": "2026-03-03T08:30:00+00:00"}


@pytest.mark.parametrize(
    "body",
    [
        "a: &a [x]\nb: [*a, *a]",  # could unfold without end
        "a: [" * 3000,
        "a: !!python/object/apply:os.system [ls]",
        "a: 2026-13-45T99:00:00Z",
        "[1, 2]",
        "a: b: c",
    ],
)
def test_front_matter_that_cannot_be_parsed_has_no_fields(body):
    document = opened("a.md", f"---\n{body}\n---\n# T\n".encode())
    assert document.metadata in ({}, {"a": "2026-13-45T99:00:00Z"})


def test_a_page_states_its_author_and_dates():
    page = b"""<html lang="en"><head><title>Tides</title>
<meta property="og:site_name" content="Harbour news"><meta property="og:type" content="article">
<meta name="author" content="Ada  Lovelace"><meta property="og:description" content="Long.">
<meta name="description" content="Short."><meta name="keywords" content="sea, moon">
<meta property="article:published_time" content="2026-03-03T09:30:00+01:00">
<meta property="article:modified_time" content="yesterday"></head>
<body><p>Words.</p></body></html>"""
    assert opened("a.html", page).metadata == {
        "author": "Ada Lovelace",
        "description": "Short.",
        "keywords": "sea, moon",
        "site": "Harbour news",
        "type": "article",
        "date": "2026-03-03T08:30:00+00:00",
        "modified": "yesterday",
        "language": "en",
    }


def test_a_pdf_states_its_author_and_dates(tmp_path):
    from reportlab.pdfgen.canvas import Canvas

    made = io.BytesIO()
    canvas = Canvas(made)
    canvas.setAuthor("Ada Lovelace")
    canvas.setKeywords(["sea", "moon"])
    canvas.drawString(72, 700, "Spring tides come at full moon.")
    canvas.save()
    document = opened("a.pdf", made.getvalue())
    assert document.metadata["author"] == "Ada Lovelace"
    assert document.metadata["keywords"] == "sea, moon"
    assert document.metadata["created"][:2] == "20" and document.metadata["created"][10] == "T"
    (tmp_path / "a.pdf").write_bytes(made.getvalue())
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.sync([tmp_path / "a.pdf"])
        found = engine.search("tides", filter={"author": "Ada Lovelace"}).results
        assert [hit.metadata["path"] for hit in found] == ["a.pdf"]
        assert engine.search("tides", filter={"author": "Bob"}).results == ()
