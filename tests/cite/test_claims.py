"""Draft answers with citations: which sentences need one, where markers go, forms of others."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from pathlib import Path

import pytest
from anthropic.types import SearchResultBlockParam, TextBlockParam
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from openai.types.responses.response_output_text import AnnotationURLCitation
from pydantic import TypeAdapter

from rag_tools.cite.claims import annotated, cited_answer, draft, statements
from rag_tools.cite.formats import anthropic_content, openai_annotations, references
from rag_tools.cite.markers import markers, unmarked
from rag_tools.engine import Engine
from rag_tools.errors import InvalidQueryError
from rag_tools.types import Citation, CitedAnswer, Support
from serving import RAG_TOOLS

BOILS = "Pure water boils at 100 °C when the air pressure is one atmosphere."
TIDES = "The sea bulges on both sides, and the Earth turns beneath the bulges."
INVENTED = "Hamlet was written by William Shakespeare."
DRAFT = f"""\
# Water

Here is what I found:

- {BOILS} And do you know why?
- **{TIDES}**

> {BOILS}

```text
{BOILS}
```

{INVENTED} Let me know if you need more!
"""


def claimed(text: str) -> list[str]:
    return [statement.span.of(text) for statement in statements(text)]


def citation(quote: str, start: int = 0, url: str = "file:///tides.txt#L1") -> Citation:
    return Citation(
        document_id="d",
        document_sha256="",
        start=start,
        end=start + len(quote),
        quote=quote,
        url=url,
    )


# --- what needs a citation -----------------------------------------------------------------------


def test_statements_of_an_answer_in_markdown():
    assert claimed(DRAFT) == [BOILS, f"**{TIDES}**", BOILS, INVENTED]


@pytest.mark.parametrize(
    "sentence",
    [
        "What is a tide?",
        "Hello there, dear reader!",
        "Here's the answer to that.",
        "Here are three reasons for it.",
        "I couldn't find anything about it.",
        "I hope that this helps you!",
        "Thank you for the question.",
        "Let me know what you think.",
        "The reasons are the following:",
        "It does.",
        "",
        "---",
    ],
)
def test_sentences_that_need_none(sentence: str):
    assert claimed(sentence) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1. It boils at 3.5 bar. Then it stops.", ["It boils at 3.5 bar.", "Then it stops."]),
        ("- [x] the sea is wet", ["the sea is wet"]),
        ("A line\nwhich goes on. Next one is.", ["A line\nwhich goes on.", "Next one is."]),
        ("Use `a. B` for all of it.", ["Use `a. B` for all of it."]),
        ("| a | b |\n|---|---|\n| the sea | is wet |", ["the sea | is wet"]),
        ("The title\n===\n\nThe text is here.", ["The text is here."]),
        ("水は百度で沸く a b。海は広い c d。", ["水は百度で沸く a b。", "海は広い c d。"]),
    ],
)
def test_statements_in_every_form(text: str, found: list[str]):
    assert claimed(text) == found


# --- markers -------------------------------------------------------------------------------------


def numbered(text: str) -> str:
    found = statements(text)
    return annotated(text, [(each, [number]) for number, each in enumerate(found, 1)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is so wet.", "It is so wet [1]."),
        ("It is so wet. It is dry now!", "It is so wet [1]. It is dry now [2]!"),
        ("**It is so wet.** It is dry now", "**It is so wet.** [1] It is dry now [2]"),
        ("(It is so wet.)", "(It is so wet.) [1]"),
        (
            "| a | b |\n|---|---|\n| the sea | is wet |",
            "| a | b |\n|---|---|\n| the sea | is wet [1] |",
        ),
        ("See [this. Now](http://x.y/z.) it is.", "See [this. Now](http://x.y/z.) it is [1]."),
        ("Give it `a[1]. B` always.", "Give it `a[1]. B` always [1]."),
    ],
)
def test_where_a_marker_goes(text: str, expected: str):
    assert numbered(text) == expected


MARKDOWN = st.text("ab c.!?\n\n-*>|`[]()1#~\\:“”。 ", max_size=60)
PIECES = st.lists(
    st.sampled_from(
        [
            "It is so wet. ",
            "`a. B c",
            "` ",
            "[x. y z](",
            ") ",
            "\n\n",
            "\n- ",
            "\n```\n",
            "| a b c ",
            "|\n|-|\n",
            "**",
            "[1]",
            "[a]: ",
            "> ",
            "Is it? ",
            "\\",
            "(see the sea.) ",
            "水。",
            "# ",
        ]
    ),
    max_size=12,
).map("".join)


@given(st.one_of(MARKDOWN, PIECES))
def test_markers_change_nothing_else_and_can_be_taken_out(text: str):
    plain = draft(text)
    assert not markers(plain)
    found = statements(plain)
    marked = numbered(plain)
    assert unmarked(marked) == plain
    assert [marker.numbers for marker in markers(marked)] == [(n + 1,) for n in range(len(found))]
    assert all(0 <= a.span.start < a.marker <= a.span.end <= len(plain) for a in found)
    assert all(a.span.end <= b.span.start for a, b in itertools.pairwise(found))


def test_the_markers_and_references_that_an_answer_has_are_replaced():
    text = f"{BOILS[:-1]} [4, 7].\n\n## Sources\n\n- [4] file:///a.md#L1\n- [7] notes/b.md:3\n"
    assert draft(text) == f"{BOILS}\n"
    assert draft(DRAFT) == DRAFT


# --- whole answers -------------------------------------------------------------------------------


def test_one_number_for_each_quote_and_none_for_what_is_unsupported():
    def cite(claim: str) -> Support:
        known = {"It is wet and cold.": ["a", "b"], "It is cold and wet.": ["b", "c"]}
        quotes = tuple(citation(each, ord(each)) for each in known.get(claim, ["z"]))
        verdict = "partial" if claim in known else "unsupported"
        return Support(claim=claim, citations=quotes, verdict=verdict)

    answer = cited_answer("It is wet and cold. It is cold and wet. It is dry now.", cite)
    assert answer.text == "It is wet and cold [1, 2]. It is cold and wet [2, 3]. It is dry now."
    assert [each.quote for each in answer.citations] == ["a", "b", "c"]
    assert [claim.numbers for claim in answer.claims] == [(1, 2), (2, 3), ()]
    assert answer.claims[2].support.citations[0].quote == "z"


def test_an_answer_is_cited(engine: Engine):
    answer = engine.cite_answer(DRAFT)
    assert [DRAFT[claim.start : claim.end] for claim in answer.claims] == claimed(DRAFT)
    verdicts = [claim.support.verdict for claim in answer.claims]
    assert verdicts == ["supported", "supported", "supported", "unsupported"]
    assert unmarked(answer.text) == answer.draft == DRAFT
    for claim in answer.claims:
        assert len(claim.support.claim) == claim.end - claim.start
        for start, end in [*claim.support.covered, *claim.support.uncovered]:
            assert 0 <= start < end <= claim.end - claim.start
    quotes = [each.quote for each in answer.citations]
    assert len(set(quotes)) == len(quotes)
    first, again = answer.claims[0].numbers, answer.claims[2].numbers
    assert first == again
    assert quotes[first[0] - 1] == BOILS
    assert f"{INVENTED} Let me" in answer.text
    assert CitedAnswer.model_validate_json(answer.model_dump_json()) == answer
    # Cited again, it stays as it is.
    assert engine.cite_answer(f"{answer.text}\n{answer.references}").text == answer.text


def test_markup_is_not_looked_for():
    asked: list[str] = []

    def cite(claim: str) -> Support:
        asked.append(claim)
        return Support(claim=claim)

    cited_answer("> The **sea**, _is_ a\n> `x_y` and [a link](http://x.y) here.", cite)
    assert asked == ["The   sea  ,  is  a\n   x_y  and  a link              here."]


def test_an_answer_without_statements(engine: Engine):
    answer = engine.cite_answer("Hello! How can I help?")
    assert (answer.text, answer.references, answer.claims) == ("Hello! How can I help?", "", ())
    with pytest.raises(InvalidQueryError, match="empty"):
        engine.cite_answer(" \n")


def test_the_references_can_be_verified(engine: Engine):
    answer = engine.cite_answer(DRAFT)
    found = engine.verify_answer(f"{answer.text}\n{answer.references}").verifications
    statuses = [each.status for each in found]
    # The block quotation and the fence of the draft, then one for each reference.
    assert len(found) == 2 + len(answer.citations)
    assert set(statuses) <= {"exact", "moved"}


@pytest.mark.parametrize(
    "quote",
    ["a *b* c_d [1] <i> `x` \\ y", "“curly” inside it", 'all "of" «them» “now”'],
)
def test_references_show_what_was_quoted(quote: str):
    listed = references([citation(quote, url="https://example.org/tides")])
    rendered = MarkdownIt("commonmark").parse(listed)
    (inline,) = (token for token in rendered if token.type == "inline")
    shown = "".join(token.content for token in inline.children or ())
    assert quote in shown
    assert {token.type for token in inline.children or ()} == {"text", "link_open", "link_close"}


# --- forms of others -----------------------------------------------------------------------------


def test_anthropics_blocks(engine: Engine):
    answer = engine.cite_answer(DRAFT)
    made = anthropic_content(answer)
    # What the SDK declares as iterable is validated as it is read.
    for result in TypeAdapter(list[SearchResultBlockParam]).validate_python(made.search_results):
        assert list(result["content"])
    for block in TypeAdapter(list[TextBlockParam]).validate_python(made.content):
        list(block.get("citations") or ())
    assert "".join(block["text"] for block in made.content) == DRAFT
    assert all(block["text"].strip() for block in made.content)
    cited = [block for block in made.content if "citations" in block]
    assert len(cited) == sum(bool(claim.numbers) for claim in answer.claims)
    for block in cited:
        for place in block["citations"]:
            number = place["search_result_index"]
            source = answer.citations[number]
            result = made.search_results[number]
            texts = [each["text"] for each in result["content"]]
            quoted = "".join(texts[place["start_block_index"] : place["end_block_index"]])
            assert place["cited_text"] == quoted == source.quote
            assert place["source"] == result["source"] == source.url
            assert engine.fetch(made.citation_ids[number]).text == source.quote


def test_openais_annotations(engine: Engine):
    answer = engine.cite_answer(DRAFT)
    made = openai_annotations(answer)
    found = [AnnotationURLCitation.model_validate(each, strict=True) for each in made.annotations]
    assert len(found) == sum(len(claim.numbers) for claim in answer.claims)
    numbers = [number for claim in answer.claims for number in claim.numbers]
    for annotation, number, id in zip(found, numbers, made.citation_ids, strict=True):
        marker = answer.text[annotation.start_index : annotation.end_index]
        assert str(number) in marker.strip("[]").split(", ")
        assert annotation.url == answer.citations[number - 1].url
        assert engine.fetch(id).text == answer.citations[number - 1].quote


def test_an_answer_without_citations_in_other_forms():
    answer = CitedAnswer(text="Hello!", references="", draft="Hello!")
    assert anthropic_content(answer) == ([], [{"type": "text", "text": "Hello!"}], [])
    assert openai_annotations(answer) == ([], [])


# --- the command ---------------------------------------------------------------------------------


def test_the_command_cites_a_file_and_says_what_is_unsupported(index_dir: Path, tmp_path: Path):
    file = tmp_path / "draft.md"
    file.write_text(DRAFT, encoding="utf-8")
    command = [*RAG_TOOLS, "cite", "--index", str(index_dir), "--answer"]
    done = subprocess.run([*command, str(file)], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert f"{BOILS[:-1]} [1]" in done.stdout
    assert "\n- [1] <file:///" in done.stdout
    assert re.search(
        rf"^rag-tools: unsupported \(0\.\d\d\): {INVENTED}$", done.stderr, re.MULTILINE
    )
    done = subprocess.run(
        [*command, "-", "--json"], input=BOILS, capture_output=True, encoding="utf-8", check=True
    )
    assert json.loads(done.stdout)["claims"][0]["support"]["verdict"] == "supported"


@pytest.mark.parametrize("arguments", [[], ["A claim.", "--answer", "-"]])
def test_the_command_takes_a_claim_or_an_answer(arguments: list[str], index_dir: Path):
    command = [*RAG_TOOLS, "cite", *arguments, "--index", str(index_dir)]
    done = subprocess.run(command, input="", capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert "CLAIM" in done.stderr
