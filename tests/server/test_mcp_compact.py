"""What a model reads by default: short, and as good to work with as everything there is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from asking import call, run
from rag_tools import Document, Engine
from rag_tools.cite.locate import cite_span
from rag_tools.types import Page, SourceMap, Span
from rag_tools.wire import ids
from rag_tools_mcp.given import GivenCitation, verified
from rag_tools_mcp.resources import document_uri

SAMPLE = Path(__file__).parents[2] / "rag_tools" / "sample"
QUESTIONS = [
    "how long may a line of code be?",
    "what is the zen of python?",
    "zip with arguments of different lengths",
    "who decides on a PEP?",
    "print is a function",
    "retry with exponential backoff",
    "conditional expression",
]
TOKENS_A_HIT = 250
CHARACTERS_A_TOKEN = 4  # as APIs reckon for English; a tokenizer of no one's model is at hand


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sample")
    with Engine.open(directory, create=True) as engine:
        engine.sync([SAMPLE])
    return directory


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine.open(tmp_path / "index", create=True) as engine:
        yield engine


def tokens(result: Any) -> float:
    return len(json.dumps(result, ensure_ascii=False)) / CHARACTERS_A_TOKEN


# -- size ------------------------------------------------------------------------------------------


def test_a_hit_takes_250_tokens_and_ten_fit_the_default_budget(sample: Path):
    async def ask(client: Client) -> None:
        for question in QUESTIONS:
            result = await client.call_tool("search", {"query": question})
            page = result.structured_content
            assert json.loads(result.content[0].text) == page
            assert len(page["results"]) == 10
            assert "left_out" not in page
            assert len(result.content[0].text) / CHARACTERS_A_TOKEN <= 10 * TOKENS_A_HIT
            for hit in page["results"]:
                assert tokens(hit) <= TOKENS_A_HIT
            cited = await call(client, "cite", claim=question)
            for citation in cited["citations"]:
                assert tokens(citation) <= TOKENS_A_HIT

    run({"default": sample}, ask)


@pytest.mark.parametrize(
    ("limit", "max_chars", "at_least"), [(3, 4_000, 3), (10, 6_000, 10), (9, 1_000, 2)]
)
def test_passages_shrink_before_they_are_left_out(
    sample: Path, limit: int, max_chars: int, at_least: int
):
    async def ask(client: Client) -> None:
        for detail in ("compact", "full"):
            arguments = {"query": QUESTIONS[0], "limit": limit, "max_chars": max_chars}
            result = await client.call_tool("search", {**arguments, "detail": detail})
            assert not result.is_error, result.content
            assert len(result.content[0].text) <= max_chars
        page = await call(client, "search", **arguments)
        assert len(page["results"]) >= at_least
        assert page.get("left_out", 0) == limit - len(page["results"])
        assert page["next_cursor"] == str(len(page["results"]))
        assert page["results"][0]["citations"]

    run({"default": sample}, ask)


@pytest.mark.parametrize("max_chars", [1_000, 24_000])
def test_a_giant_keeps_no_other_document_from_being_seen(engine: Engine, max_chars: int):
    words = "The pelican dives for herring. "
    giants = [
        Document(uri="test:text", text="herring-pelican" * 4_000),
        Document(uri="test:sentence", text=f"The pelican {'herring ' * 3_000}dives."),
        Document(uri="test:title", title="Pelican herring " * 2_000, text=words),
        Document(uri=f"test:{'herring-' * 4_000}", text=f"{words}Its address is a long one."),
        Document(uri="test:controls", text="herring \x01\x02 pelican " * 500),
    ]
    engine.add([*giants, *(Document(uri=f"test:{n}", text=f"{words}{n}.") for n in range(5))])

    async def ask(client: Client) -> None:
        seen, cursor = set(), None
        for _ in range(100):
            arguments = {"query": "herring pelican", "cursor": cursor, "max_chars": max_chars}
            result = await client.call_tool("search", arguments)
            assert not result.is_error, result.content[0].text
            assert len(result.content[0].text) <= max_chars
            page = result.structured_content
            for hit in page["results"]:
                place = ids.resolve(engine, hit["id"])
                assert place.intact
                seen.add(place.document_id)
                for citation in hit["citations"]:
                    assert ids.resolve(engine, citation["id"]).text == citation["quote"]
                for part in hit.get("text", "").strip("…").split("…"):
                    assert part in place.text
            cursor = page.get("next_cursor")
            if cursor is None:
                break
        assert seen == set(engine.versions().keys)
        cited = await call(client, "cite", claim="The pelican dives.", max_chars=max_chars)
        assert cited["citations"]
        for citation in cited["citations"]:
            for given in ({"ids": [citation["id"]]}, {"citation": citation}):
                result = await client.call_tool("verify", {**given, "max_chars": max_chars})
                assert len(result.content[0].text) <= max_chars
                (found,) = result.structured_content["verifications"]
                assert (found["status"], found["quote"][:99]) == ("exact", citation["quote"][:99])
        draft = "The pelican dives for herring. Herring is a fish of the sea."
        result = await client.call_tool("check_answer", {"draft": draft, "max_chars": max_chars})
        assert len(result.content[0].text) <= max_chars
        assert len(result.structured_content["statements"]) == 2

    run({"default": engine.directory}, ask)


# -- the same answers ------------------------------------------------------------------------------


def test_a_reader_of_compact_results_gets_the_same_answers(sample: Path):
    """Whoever reads only ids, and hands them on, gets the spans and quotes of the full results."""

    async def followed(client: Client, id: str) -> tuple[str, int, int, str]:
        fetched = await call(client, "fetch", id=id)
        assert fetched["url"]
        place = fetched["metadata"]
        return place["document_id"], place["start"], place["end"], fetched["text"]

    def named(found: dict[str, Any], text: str) -> tuple[str, int, int, str]:
        return found["document_id"], found["start"], found["end"], found[text]

    async def ask(client: Client) -> None:
        for question in QUESTIONS:
            for tool, argument, field in (
                ("search", "query", "results"),
                ("cite", "claim", "citations"),
            ):
                brief = (await call(client, tool, **{argument: question}))[field]
                full = await call(
                    client, tool, **{argument: question}, detail="full", max_chars=10**6
                )
                assert len(brief) == len(full[field])
                for short, whole in zip(brief, full[field], strict=True):
                    hit = tool == "search"
                    assert await followed(client, short["id"]) == named(
                        whole, "text" if hit else "quote"
                    )
                    given = short["citations"] if hit else [short]
                    known = [
                        named(each, "quote") for each in (whole["citations"] if hit else [whole])
                    ]
                    assert [await followed(client, each["id"]) for each in given][:1] == known[:1]
                    for each in given:
                        assert await followed(client, each["id"]) in known
                        assert each["quote"] == (await followed(client, each["id"]))[3]
                    if not given:
                        continue
                    names = [each["id"] for each in given]
                    by_id = await call(client, "verify", ids=names, detail="full")
                    as_given = await call(client, "verify", citations=given, detail="full")
                    wholes = [
                        {
                            **dict(
                                zip(("document_id", "start", "end", "quote"), place, strict=True)
                            ),
                            "document_sha256": (whole if hit else full[field][0])[
                                "document_sha256"
                            ],
                        }
                        for place in [await followed(client, name) for name in names]
                    ]
                    if not hit:
                        wholes = [whole]
                    in_full = await call(client, "verify", citations=wholes, detail="full")
                    for found in (by_id, as_given):
                        for one, other in zip(
                            found["verifications"], in_full["verifications"], strict=True
                        ):
                            assert one["status"] == other["status"] == "exact"
                            assert named(one["citation"], "quote") == named(
                                other["citation"], "quote"
                            )
                    told = (await call(client, "verify", ids=names))["verifications"]
                    assert [(each["id"], each["quote"]) for each in told] == [
                        (each["id"], each["quote"]) for each in given
                    ]

    run({"default": sample}, ask)


def test_where_a_quote_stands_is_said_in_words(engine: Engine, tmp_path: Path):
    folder = tmp_path / "notes"
    folder.mkdir()
    lines = ["# Backups", "", "Snapshots are taken hourly.", "", "## Retention", ""]
    lines += ["Backups are kept for thirty days,", "and then deleted."]
    (folder / "handbook.md").write_text("\n".join(lines))
    engine.sync([folder])

    async def ask(client: Client) -> None:
        found = await call(client, "cite", claim="Backups are kept for thirty days.")
        assert found["citations"][0]["where"] == "handbook.md, lines 7-8, Backups > Retention"
        hits = (await call(client, "search", query="how long are backups kept?"))["results"]
        hit = next(each for each in hits if "thirty" in str(each))
        assert hit["where"].startswith("handbook.md, ")
        assert "lines 7-8" in [citation["where"] for citation in hit["citations"]]

    run({"default": engine.directory}, ask)


def test_a_row_of_a_table_comes_with_the_names_of_its_columns(engine: Engine, tmp_path: Path):
    folder = tmp_path / "notes"
    folder.mkdir()
    rows = ["option,default,meaning", "wait,15 s,pause between attempts", "tries,4,attempts made"]
    (folder / "options.csv").write_text("\n".join(rows))
    engine.sync([folder])

    async def ask(client: Client) -> None:
        hits = (await call(client, "search", query="how long is the pause?"))["results"]
        assert hits[0]["citations"][0]["header"] == "option,default,meaning"
        full = await call(client, "search", query="how long is the pause?", detail="full")
        assert full["results"][0]["citations"][0]["header"] == "option,default,meaning"

    run({"default": engine.directory}, ask)


# -- short ids -------------------------------------------------------------------------------------


def short_id(engine: Engine, document_id: str, quote: str) -> str:
    text = engine.document(document_id).text
    return ids.ShortIds(engine).of(document_id, text.index(quote), quote)


def test_ids_tell_apart_documents_whose_ids_begin_alike(engine: Engine):
    names = [
        "report",
        "report-1",
        "report-10",
        "report-11",
        "https://example.com/a/b?c=d:e",
        "ü:1-2",
    ]
    engine.add([Document(uri=name, id=name, text=f"{name} is here. All agree.") for name in names])
    for name in names:
        id = short_id(engine, name, "All agree.")
        place = ids.resolve(engine, id)
        assert (place.document_id, place.text, place.intact) == (name, "All agree.", True)
    id = short_id(engine, "report-10", "All agree.")
    with Engine.open(engine.directory) as other:  # which has given out nothing
        assert ids.resolve(other, id).document_id == "report-10"


def test_a_model_reads_the_page_number_that_is_printed(engine: Engine):
    text = "Before the dough is shaped it rests for an hour."
    pages = (Page(4, 0, len(text), 400, 300, "iv"),)
    engine.add([Document(uri="file:///bread.pdf", text=text, source_map=SourceMap(pages=pages))])

    async def ask(client: Client) -> None:
        found = await call(client, "search", query="how long does dough rest?")
        assert "page iv (PDF page 4)" in json.dumps(found["results"])
        found = await call(client, "cite", claim="Dough rests for an hour.")
        assert "page iv (PDF page 4)" in json.dumps(found["citations"])

    run({"default": engine.directory}, ask)


def test_an_id_holds_when_later_documents_begin_alike(engine: Engine):
    engine.add([Document(uri="a", id="abcdef-1", text="Tea is hot. Ice is cold.")])
    id = short_id(engine, "abcdef-1", "Ice is cold.")
    assert id.startswith("abcdef:")
    engine.add([Document(uri="b", id="abcdef-2", text="Tea is cold, and other words stand here.")])
    assert ids.resolve(engine, id).document_id == "abcdef-1"


def test_what_becomes_of_an_id_when_its_document_changes(engine: Engine):
    def put(text: str) -> None:
        engine.add([Document(uri="a", text=text)])

    def status(**given: str) -> str:
        return verified(engine, GivenCitation(**given)).status

    quote = "Ice is cold."
    put(f"Tea is hot. {quote}")
    id = short_id(engine, engine.document_ids("", limit=1, titles=False)[0], quote)
    assert status(id=id) == status(id=id, quote=quote) == "exact"
    put(f"Tea was hot {quote} And more.")  # the words stay where they were
    assert status(id=id) == status(id=id, quote=quote) == "exact"
    put(f"By the way, tea is hot. {quote}")
    assert status(id=id) == "stale"  # never other words under the same id
    assert status(id=id, quote=quote) == "moved"
    put("Tea is hot. Ice is warm.")
    assert status(id=id) == status(id=id, quote=quote) == "stale"
    put("Tea.")
    assert status(id=id) == status(id=id, quote=quote) == "stale"
    assert status(id=id, quote="Ice is made of gold.") == "missing"
    engine.delete(engine.document_ids("", limit=1, titles=False))
    assert status(id=id) == "missing"

    async def ask(client: Client) -> None:
        (found,) = (await call(client, "verify", ids=[id]))["verifications"]
        assert found["status"] == "missing"
        put("Tea is hot. Ice is warm.")
        (found,) = (await call(client, "verify", ids=[id]))["verifications"]
        assert found["status"] == "stale"
        assert "search again" in found["detail"]
        result = await client.call_tool("fetch", {"id": id})
        assert result.is_error
        assert "search again" in result.content[0].text

    run({"default": engine.directory}, ask)


def test_the_span_of_an_id_is_that_of_a_citation(engine: Engine):
    (id,) = engine.add([Document(uri="test:a", text="Ä tide 🌊 comes. It goes.")])
    document = engine.document(id)
    citation = cite_span(document, Span(9, 15))
    short = ids.ShortIds(engine).of(id, citation.start, citation.quote)
    found = verified(engine, GivenCitation(id=short)).citation
    assert (found.start, found.end, found.quote) == (9, 15, document.text[9:15])


# -- drafts ----------------------------------------------------------------------------------------


def test_a_draft_is_checked_statement_by_statement(engine: Engine):
    engine.add(
        [
            Document(
                uri="test:keys", text="Keys are rotated every 90 days. They are made offline."
            ),
            Document(uri="test:tea", text="Tea is drunk hot in the morning by most people."),
        ]
    )
    key = short_id(
        engine,
        engine.search("keys", limit=1).results[0].document_id,
        "Keys are rotated every 90 days.",
    )
    gone = key[:-4] + "aaaa"
    draft = (
        f"Keys are rotated every 90 days [{key}]. Kangaroos guard the vault at night [{gone}]. "
        'Tea is drunk hot by most people. The manual says "keys are thrown into the sea weekly". '
        "I hope that this helps!"
    )

    async def ask(client: Client) -> None:
        result = await client.call_tool("check_answer", {"draft": draft})
        page = result.structured_content
        assert json.loads(result.content[0].text) == page
        one, two, three, four = page["statements"]
        assert one["verdict"] == three["verdict"] == "supported"
        assert one["citations"][0] == key
        assert two["verdict"] == "unsupported"
        assert any("Kangaroos" in words for words in two["uncovered"])
        assert four["verdict"] == "unsupported"
        known = {citation["id"] for citation in page["citations"]}
        assert {id for each in page["statements"] for id in each.get("citations", ())} <= known
        assert [each["status"] for each in page["cited"]] == ["exact", "stale"]
        assert [each["status"] for each in page["quotations"]] == ["missing"]
        for sentence in draft.split(". "):
            assert sentence not in result.content[0].text
        for citation in page["citations"]:
            verified = (await call(client, "verify", citations=[citation]))["verifications"][0]
            assert (verified["status"], verified["quote"]) == ("exact", citation["quote"])
        long = await call(client, "check_answer", draft=f"{draft}\n\n" * 30, max_chars=2_000)
        assert len(json.dumps(long)) < 2_500
        assert long["statements"]
        assert long["left_out"] > 0
        result = await client.call_tool("check_answer", {"draft": "x" * 100_001})
        assert "100,001" in result.content[0].text

    run({"default": engine.directory}, ask)


# -- strict clients --------------------------------------------------------------------------------

EMPTY = [
    ("search", {"query": "tea", "limit": None, "cursor": None, "filter": None, "detail": None}),
    ("search", {"query": "tea", "filter": "", "cursor": "", "max_chars": "", "limit": ""}),
    ("search", {"query": "tea", "filter": [], "cursor": [], "detail": ""}),
    ("search", {"query": "tea", "filter": "null", "limit": "null", "max_chars": "[]"}),
    ("cite", {"claim": "Tea is hot.", "filter": "", "limit": None, "max_chars": None}),
    ("fetch", {"id": "tea", "start": None, "end": None, "max_chars": ""}),
    ("fetch", {"id": "tea", "start": "", "end": ""}),
    ("verify", {"ids": [], "citations": [], "citation": {"document_id": "tea", "quote": "Tea"}}),
    (
        "verify",
        {
            "ids": "",
            "citation": "",
            "citations": [
                {
                    "document_id": "tea",
                    "quote": "Tea",
                    "id": "",
                    "start": None,
                    "end": "",
                    "document_sha256": None,
                }
            ],
        },
    ),
    ("check_answer", {"draft": "Tea is a hot drink.", "filter": None, "max_chars": ""}),
    ("list_documents", {"filter": "", "cursor": None, "limit": ""}),
    ("status", {"max_chars": None}),
]


@pytest.mark.parametrize(("tool", "arguments"), EMPTY)
def test_what_says_nothing_is_the_default(engine: Engine, tool: str, arguments: dict[str, Any]):
    engine.add([Document(uri="test:tea", id="tea", text="Tea is a hot drink.")])
    required = {
        name: value
        for name, value in arguments.items()
        if name in ("query", "claim", "id", "draft")
    }
    if tool == "verify":
        required = {"citation": {"document_id": "tea", "quote": "Tea"}}

    async def ask(client: Client) -> None:
        assert await call(client, tool, **arguments) == await call(client, tool, **required)

    run({"default": engine.directory}, ask)


def test_what_is_required_is_still_required(engine: Engine):
    async def ask(client: Client) -> None:
        for tool, arguments in (
            ("search", {"query": None}),
            ("search", {"query": ""}),
            ("verify", {"ids": [], "citation": None}),
            ("verify", {"citation": {"quote": "Tea", "document_id": ""}}),
            ("search", {"query": "tea", "limit": 0}),
            ("search", {"query": "tea", "nonsense": None}),
        ):
            result = await client.call_tool(tool, arguments)
            assert result.is_error, (tool, arguments)

    run({"default": engine.directory}, ask)


def test_an_end_beyond_the_text_is_its_end(engine: Engine):
    engine.add([Document(uri="test:tea", id="tea", text="Tea is a hot drink.")])

    async def ask(client: Client) -> None:
        whole = await call(client, "fetch", id="tea")
        assert await call(client, "fetch", id="tea", start=0, end=999_999) == whole
        part = await call(client, "fetch", id="tea", start=4, end=10**9)
        assert part["text"] == "is a hot drink."
        assert part["metadata"]["end"] == 19
        assert (await call(client, "fetch", id="tea", start=4, end=6))["text"] == "is"
        uri = document_uri("default", "tea")
        (part,) = (await client.read_resource(f"{uri}?start=4&end=999999")).contents
        assert part.text == "is a hot drink."
        assert (await client.call_tool("fetch", {"id": "tea", "start": 6, "end": 4})).is_error

    run({"default": engine.directory}, ask)
