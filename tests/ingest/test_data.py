"""JSON, YAML, TOML and XML: each value with its key is a unit, and its path leads to it."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_tools.cite.locate import cite_span
from rag_tools.ingest.load import load_bytes
from rag_tools.types import Span
from rag_tools.units import units


def loaded(name, text):
    document = load_bytes(text.encode(), name=name, uri=f"file:///x/{name}")
    assert document.text == text
    assert "".join(text[block.start : block.end] for block in document.blocks) == text
    return document


def outline(name, text):
    document = loaded(name, text)
    return [
        (block.kind, " > ".join(block.path), text[block.start : block.end].strip())
        for block in document.blocks
        if block.kind != "lines"
    ]


PACKAGE = """\
{
  "name": "tides",
  "scripts": {
    "test": "pytest",
    "build": "make"
  },
  "author": {"name": "Ann", "city": "Köln"},
  "stations": [
    "Dover",
    {
      "id": 7,
      "depth": 3.5
    }
  ]
}
"""


def test_values_of_json_with_their_keys_and_paths():
    assert outline("package.json", PACKAGE) == [
        ("item", "", '"name": "tides",'),
        ("heading", "scripts", '"scripts": {'),
        ("item", "scripts", '"test": "pytest",'),
        ("item", "scripts", '"build": "make"'),
        ("item", "", '"author": {"name": "Ann", "city": "Köln"},'),
        ("heading", "stations", '"stations": ['),
        ("item", "stations", '"Dover",'),
        ("heading", "stations > [1]", "{"),
        ("item", "stations > [1]", '"id": 7,'),
        ("item", "stations > [1]", '"depth": 3.5'),
    ]


def test_a_citation_tells_the_path_and_the_lines():
    document = loaded("package.json", PACKAGE)
    start = PACKAGE.index('"depth"')
    citation = cite_span(document, Span(start, start + 12))
    assert citation.heading == "stations > [1]"
    assert citation.url == "file:///x/package.json#L12"


def test_json_on_one_line_is_divided_by_its_values():
    text = json.dumps({"a": {"b": "x" * 190, "c": [1, 2]}, "d": " ".join(["First one."] * 30)})
    assert outline("a.json", text)[:3] == [
        ("heading", "a", '"a": {'),
        ("item", "a", '"b": "' + "x" * 190 + '",'),
        ("item", "a", '"c": [1, 2]'),
    ]
    kinds = [unit.kind for unit in units(text, loaded("a.json", text).blocks)]
    assert kinds.count("sentence") == 30  # a long value is its sentences


def test_comments_trailing_commas_and_single_quotation_marks():
    text = "// settings\n{\n  // how long\n  'wait': 3, /* s */\n  b: [\n    1,\n  ],\n}\n"
    assert outline("a.json5", text)[0] == ("item", "", "// how long\n  'wait': 3, /* s */")


def test_records_of_json_lines_are_numbered():
    long = json.dumps({"q": "Which?", "a": "Words. " * 40})
    text = f'{{"a": 1}}\n{long}\n'
    found = outline("a.jsonl", text)
    assert found[0] == ("item", "", '{"a": 1}')
    assert [path for _, path, _ in found[1:]] == ["[1]"] * 3


YAML = """\
# The service.
name: tides
limits:
  # In seconds.
  wait: 30
  sizes: [1, 2]
stations:
  - id: dover
    note: |
      Two lines
      of text.
  - id: köln
base: &base {a: 1}
copy: *base
"""


def test_values_of_yaml_with_their_keys_and_paths():
    assert outline("a.yaml", YAML) == [
        ("item", "", "# The service.\nname: tides"),
        ("heading", "limits", "limits:"),
        ("item", "limits", "# In seconds.\n  wait: 30"),
        ("item", "limits", "sizes: [1, 2]"),
        ("heading", "stations", "stations:"),
        ("item", "stations > [0]", "- id: dover"),
        ("item", "stations > [0]", "note: |\n      Two lines\n      of text."),
        ("item", "stations", "- id: köln"),
        ("item", "", "base: &base {a: 1}"),
        ("item", "", "copy: *base"),
    ]


def test_documents_of_yaml_are_numbered_and_templates_are_lines():
    text = "---\nkind: A\nx: 1\n---\nkind: B\nx: 2\n"
    assert {path for _, path, _ in outline("a.yaml", text)} == {"[0]", "[1]"}
    text = "kind: A\nspec:\n{{ range .Values }}\n  - a: {{ . }}\n{{ end }}\n"
    found = loaded("a.yaml", text).blocks
    assert (found[0].kind, found[-1].kind) == ("item", "lines")


TOML = """\
title = "T"

[project]
name = "tides"  # theirs
# What it needs.
dependencies = [
  "numpy",
]
about = '''
[not.a.table]
'''

[[tool.runs]]
id = 1
[[tool.runs]]
id.x = 2
"""


def test_values_of_toml_with_their_keys_and_paths():
    assert outline("a.toml", TOML) == [
        ("item", "", 'title = "T"'),
        ("heading", "project", "[project]"),
        ("item", "project", 'name = "tides"  # theirs'),
        ("item", "project", '# What it needs.\ndependencies = [\n  "numpy",\n]'),
        ("item", "project", "about = '''\n[not.a.table]\n'''"),
        ("heading", "tool.runs[0]", "[[tool.runs]]"),
        ("item", "tool.runs[0]", "id = 1"),
        ("heading", "tool.runs[1]", "[[tool.runs]]"),
        ("item", "tool.runs[1]", "id.x = 2"),
    ]


def test_a_long_array_of_toml_is_its_lines():
    text = "[a]\nlong = [\n" + '  "package>=1.0",\n' * 30 + "]\nb = 1\n"
    found = units(text, loaded("a.toml", text).blocks)
    assert [unit.kind for unit in found].count("line") == 31
    assert text[found[-1].start : found[-1].end] == "b = 1\n"


XML = """\
<?xml version="1.0"?>
<!DOCTYPE lib [<!ENTITY e "expanded">]>
<lib>
  <book id="1"><title>Éire</title><year>1999</year></book>
  <book id="2">
    <title>Other</title>
    <p>Some <em>mixed</em> text,
    &e; and more.</p>
  </book>
</lib>
"""


def test_elements_of_xml_with_their_paths():
    assert outline("a.xml", XML) == [
        ("heading", "lib", "<lib>"),
        ("item", "lib", '<book id="1"><title>Éire</title><year>1999</year></book>'),
        ("heading", "lib > book[2]", '<book id="2">'),
        ("item", "lib > book[2]", "<title>Other</title>"),
        ("item", "lib > book[2]", "<p>Some <em>mixed</em> text,\n    &e; and more.</p>"),
    ]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.yaml", "a.toml", "a.xml"])
@pytest.mark.parametrize("text", ["", "\n", "\r\n", " ", "x", "{", "<a", '"', "[", "é: [", "a = ["])
def test_any_text_is_data(name, text):
    loaded(name, text)


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_other_line_ends(end):
    for name, text in (("a.json", PACKAGE), ("a.yaml", YAML), ("a.toml", TOML), ("a.xml", XML)):
        changed = text.replace("\n", end)
        expected = [(kind, path) for kind, path, _ in outline(name, text)]
        assert [(kind, path) for kind, path, _ in outline(name, changed)] == expected


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


def leaves(value):
    if isinstance(value, dict):
        return sum(map(leaves, value.values()))
    return sum(map(leaves, value)) if isinstance(value, list) else 1


@settings(max_examples=200, deadline=None)
@given(VALUES, st.sampled_from([None, 2]))
def test_any_json_is_divided_into_its_values(value, indent):
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    text = text.encode("utf-8", "replace").decode()
    items = [block for block in loaded("a.json", text).blocks if block.kind == "item"]
    assert len(items) <= max(1, leaves(value) + text.count("{}") + text.count("[]"))
    if indent and "\\" not in text and isinstance(value, dict) and value:
        # On lines of their own, all values are units.
        assert len(items) >= leaves(value) - text.count("[]") - text.count("{}")


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_any_yaml_tiles_the_text(value):
    text = yaml.safe_dump(value, allow_unicode=True)
    loaded("a.yaml", text.encode("utf-8", "replace").decode())
