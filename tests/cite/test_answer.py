"""Agents' finished answers: what they quote, and what becomes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.cite.answer import quotations
from rag_tools.cite.locate import cite_span
from rag_tools.cite.verify import verify
from rag_tools.engine import Engine
from rag_tools.errors import InvalidQueryError
from rag_tools.types import Citation, Document, Span
from rag_tools.wire.ids import ShortIds

BOILS = "Pure water boils at 100 °C when the air pressure is one atmosphere."
STEAM = "A kettle that switches itself\noff senses the steam, not the temperature."


def quoted(answer: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.text, each.sources) for each in quotations(answer)]


# --- what is quoted ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "marks",
    [
        "“{}”",
        '"{}"',
        "„{}“",
        "„{}”",
        "«{}»",
        "**“{}”**",
        "> {}",
        "> “{}” [1]",
        "```\n{}\n```\n",
        "“{} [1]”",
    ],
)
def test_quotations_in_every_form(marks: str):
    words = "the sea bulges on both sides"
    answer = f"It says:\n\n{marks.format(words)} [1]\n\n[1]: file:///tides.txt#L2\n"
    assert quoted(answer) == [(words, ("file:///tides.txt#L2",))]
    (quotation,) = quotations(answer)
    assert words in quotation.span.of(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The sea bulges on both sides [1].",
        'They call it "the bulge", or "spring tide".',
        '`"the sea bulges on both sides"`',
        '```python\nprint("the sea bulges on both sides")\n```',
        'A 3" pipe and a 4" pipe and some more of these',
        'It begins "the sea\n\nand never ends with a mark',
    ],
)
def test_what_is_no_quotation(answer: str):
    assert quotations(answer) == []


@pytest.mark.parametrize(
    "reference",
    [
        "[1] file:///a%20b.md#L3",
        "[1]: file:///a%20b.md#L3",
        "- [1] <file:///a%20b.md#L3>, characters 3 to 9",
        "* [1]: [Title (2nd ed.)](file:///a%20b.md#L3).",
    ],
)
def test_a_reference_in_every_form(reference: str):
    answer = f'"one two three four" [1]\n\n## References\n\n{reference}\n'
    assert quoted(answer) == [("one two three four", ("file:///a%20b.md#L3",))]


@pytest.mark.parametrize("place", ["notes/a b.md:3-5  Title > Part", "notes/a b.md, page 7"])
def test_a_reference_to_a_file(place: str):
    assert quoted(f'"one two three four" [2]\n\n[2] {place}') == [
        ("one two three four", ("notes/a b.md",))
    ]


def test_each_quotation_has_the_sources_that_follow_it():
    answer = """\
"one two three" and then "four five six" [1, 3]. "seven eight nine" (see
[here](https://example.org/nine), too). “ten eleven twelve” [9]

> thirteen fourteen
> fifteen

[2]

"sixteen seventeen eighteen"

Nothing but an end [1].

[1] https://example.org/one
[2] https://example.org/two
[3] https://example.org/three
"""
    assert quoted(answer) == [
        ("one two three", ()),
        ("four five six", ("https://example.org/one", "https://example.org/three")),
        ("seven eight nine", ("https://example.org/nine",)),
        ("ten eleven twelve", ()),
        ("thirteen fourteen\nfifteen", ("https://example.org/two",)),
        ("sixteen seventeen eighteen", ()),
    ]


def test_an_omission_parts_a_quotation():
    answer = "“The Moon pulls […] more strongly than … on the far side” [1]\n\n[1] http://m.test/"
    assert [text for text, _ in quoted(answer)] == [
        "The Moon pulls",
        "more strongly than",
        "on the far side",
    ]
    assert {sources for _, sources in quoted(answer)} == {("http://m.test/",)}


@given(st.text('"“”„«»>`~[]()1:.\n a…-*#/', max_size=80))
def test_any_text_is_parsed(answer: str):
    for quotation in quotations(answer):
        assert quotation.text.strip()
        assert 0 <= quotation.span.start < quotation.span.end <= len(answer)


@pytest.mark.parametrize("part", ['"', "“a ", "> ", "`", "[1] ", "```\n", '"a b c" ', "..."])
def test_long_answers_take_no_time(part: str):
    quotations(part * (200_000 // len(part)))


# --- pasted quotes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pasted", "stands"),
    [
        ("two words", "two\n   words"),
        ("two words", "two\u00a0words"),
        ("it's “so”", 'it’s "so"'),
        ("wait... now", "wait… now"),
        ("wait… now", "wait... now"),
        ("a.b (c)", "a.b\t(c)"),
    ],
)
def test_a_pasted_quote_is_found_as_it_stands(pasted: str, stands: str):
    document = Document(text=f"x {stands} y", uri="file:///t")
    citation = Citation(
        document_id=document.id, document_sha256="", start=0, end=len(pasted), quote=pasted
    )
    verdict = verify(citation, indexed=document, source=None)
    assert verdict.status == "moved"
    assert verdict.citation.quote == stands
    assert verdict.citation.start == 2
    assert "other white space or quotation marks" in verdict.detail
    # What we gave out ourselves is compared character by character.
    given_out = citation.model_copy(update={"document_sha256": document.sha256})
    assert verify(given_out, indexed=document, source=None).status == "missing"


@pytest.mark.parametrize("pasted", ["axb", "Two words", "twowords", "two, words", " \n"])
def test_other_words_are_not_alike(pasted: str):
    document = Document(text="x two words a.b y", uri="file:///t")
    citation = Citation(
        document_id=document.id, document_sha256="", start=0, end=len(pasted), quote=pasted
    )
    assert verify(citation, indexed=document, source=None).status == "missing"


def test_a_pasted_quote_in_place_is_exact_only_if_verbatim():
    document = Document(text='"one" two', uri="file:///t")
    for quote, status in (('"one"', "exact"), ("“one”", "moved")):
        citation = Citation(
            document_id=document.id, document_sha256="", start=0, end=5, quote=quote
        )
        assert verify(citation, indexed=document, source=None).status == status


# --- verdicts ------------------------------------------------------------------------------------


def url(engine: Engine, name: str, quote: str) -> str:
    (entry,) = engine.documents(filter={"title": name})
    document = engine.document(entry.id)
    start = document.text.index(quote)
    return cite_span(document, Span(start, start + len(quote))).url


def test_an_answer_is_checked(engine: Engine):
    pasted = " ".join(STEAM.split())
    answer = f"""\
Water is said to boil early: "{BOILS}" [1] A kettle is no thermometer: “{pasted}” [1]
But "Pure water boils at 90 °C when the air pressure is one atmosphere" [1]. And, from the wrong
file, "most coasts see two high tides a day" [1].

[1] {url(engine, "Boiling water", BOILS)}
"""
    found = engine.verify_answer(answer).verifications
    assert [each.status for each in found] == ["moved", "moved", "missing", "missing"]
    assert [each.citation.quote for each in found[:2]] == [BOILS, STEAM]
    for each in found[:2]:
        document = engine.document(each.citation.document_id)
        assert document.text[each.citation.start : each.citation.end] == each.citation.quote


@pytest.mark.parametrize("reference", ["", "[1] https://example.org/unknown"])
def test_without_a_known_source_a_quotation_is_looked_for(engine: Engine, reference: str):
    answer = '"most coasts see two high tides a day" [1]\n\n"most coasts see no tides" [1]\n\n'
    tides, invented = engine.verify_answer(answer + reference).verifications
    assert tides.status == "moved"
    assert "tides.txt" in tides.citation.url
    assert invented.status == "missing"


def test_an_answer_without_quotations_is_refused(engine: Engine):
    with pytest.raises(InvalidQueryError, match="quotes nothing"):
        engine.verify_answer("Water boils [1].")


def short_id(engine: Engine, name: str, words: str) -> str:
    (entry,) = engine.documents(filter={"title": name})
    start = engine.document(entry.id).text.index(words)
    return ShortIds(engine).of(entry.id, start, words)


@pytest.mark.parametrize(
    "form", ['It does: "{quote}" [{id}].', "> {quote} [{id}]", "> {quote}\n\n[{id}]"]
)
def test_a_short_id_is_the_source_of_a_quotation(engine: Engine, form: str):
    id = short_id(engine, "Boiling water", BOILS)
    (found,) = engine.verify_answer(form.format(quote=BOILS, id=id)).verifications
    assert (found.status, found.citation.quote) == ("exact", BOILS)
    wrong = form.format(quote="most coasts see two high tides a day", id=id)
    (found,) = engine.verify_answer(wrong).verifications
    assert found.status == "missing"


def test_short_ids_without_a_quotation_are_checked_as_well(engine: Engine):
    id = short_id(engine, "Boiling water", BOILS)
    changed = id[:-4] + ("aaaa" if not id.endswith("aaaa") else "bbbb")
    gone = f"ffffff{id[6:]}"
    answer = f"It boils at 100 °C [{id}]. It is wet [{changed}] and old [{gone}][{id}]."
    found = engine.verify_answer(answer).verifications
    assert [each.status for each in found] == ["exact", "stale", "missing"]
    assert found[0].citation.quote == BOILS
    assert changed in found[1].detail


def call(*arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rag_tools.cli.main", *map(str, arguments)],
        input=given,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_the_command(index_dir: Path, tmp_path: Path):
    answer = tmp_path / "answer.md"
    answer.write_text(f"> {BOILS}\n", encoding="utf-8")
    done = call("verify", "--answer", answer, "--index", index_dir, "--json")
    assert done.returncode == 0, done.stderr
    (verification,) = json.loads(done.stdout)["verifications"]
    assert verification["citation"]["quote"] == BOILS

    made_up = call("verify", "--answer", "-", "--index", index_dir, given="> It boils at 7 °C.")
    assert made_up.returncode == 1
    assert made_up.stdout.startswith("missing")
    nothing = call("verify", "--answer", "-", "--index", index_dir, given="It boils.")
    assert nothing.returncode == 1
    assert "quotes nothing" in nothing.stderr
