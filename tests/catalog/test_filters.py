"""Filters, against what Python makes of the same metadata; facets, against counting."""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_tools import Document, Engine
from rag_tools.catalog.fields import glob
from rag_tools.catalog.filters import parse_filter
from rag_tools.errors import AccessError, InvalidQueryError
from rag_tools.types import Filter, Principal

FIELDS = ["size", "lang", "day", "draft", "path", "mixed"]
WORDS = ["en", "fr", "en-GB", "", "é", "2020"]
DAYS = ["2019", "2020-03", "2020-03-03", "2020-03-03T09:30:00+01:00", "2020-03-03T08:30:00", "2021"]
PATHS = ["a/b.md", "a/[id]/c.md", "docs/x.txt", "a/b", "[id]/x"]
NUMBERS = [-1, 0, 1, 2.5, 2**53, 2**53 + 1, float(2**53), 7]
OF = {
    "size": st.sampled_from(NUMBERS),
    "lang": st.sampled_from(WORDS),
    "day": st.sampled_from(DAYS),
    "draft": st.booleans(),
    "path": st.sampled_from(PATHS),
    "mixed": st.sampled_from([*NUMBERS, *WORDS, True]),
}


def stated(field: str) -> st.SearchStrategy[Any]:
    return OF[field] if field == "path" else OF[field] | st.lists(OF[field], max_size=3)


METADATA = st.fixed_dictionaries({}, optional={field: stated(field) for field in FIELDS})


@st.composite
def of_one_field(draw: st.DrawFn) -> Filter:
    field = draw(st.sampled_from(FIELDS))
    value = OF[field]
    ordered = field not in ("draft",)
    forms = [value, st.lists(value, max_size=3), st.builds(lambda v: {"=": v}, value)]
    forms += [st.builds(lambda v: {"in": v}, st.lists(value, max_size=3))]
    forms += [st.builds(lambda v: {"exists": v}, st.booleans())]
    forms += [st.builds(lambda v: {"not": v}, value)]
    if ordered:
        bounds = value.filter(lambda v: not isinstance(v, bool))
        forms += [st.dictionaries(st.sampled_from([">", ">=", "<", "<="]), bounds, min_size=1)]
        forms += [st.builds(lambda v: {"not": {">=": v}}, bounds)]
    if field in ("lang", "path", "day"):
        forms += [st.builds(lambda v: {"prefix": v[:2]}, value)]
        forms += [st.builds(lambda v: {"glob": f"*{v[1:3]}*"}, value)]
    return {field: draw(st.one_of(forms))}


FILTERS = st.recursive(
    of_one_field(),
    lambda inner: st.one_of(
        st.builds(lambda each: {"and": each}, st.lists(inner, max_size=3)),
        st.builds(lambda each: {"or": each}, st.lists(inner, max_size=3)),
        st.builds(lambda each: {"not": each}, inner),
        st.builds(lambda one, two: one | two, inner, inner),
    ),
    max_leaves=5,
)


def values(metadata: dict[str, Any], field: str) -> list[Any]:
    found = metadata.get(field, [])
    return found if isinstance(found, list) else [found]


def moment(text: str) -> tuple[dt.datetime, dt.datetime] | None:
    """When a date begins and ends, by other means than the engine's."""
    forms = [
        (r"\d{4}", "%Y", None),
        (r"\d{4}-\d\d", "%Y-%m", None),
        (r"\d{4}-\d\d-\d\d", "%Y-%m-%d", dt.timedelta(days=1)),
    ]
    for form, parsed, length in forms:
        if re.fullmatch(form, text):
            begin = dt.datetime.strptime(text, parsed).replace(tzinfo=dt.UTC)
            if length:
                return begin, begin + length
            months = 12 if parsed == "%Y" else 1
            last = begin.month - 1 + months
            return begin, begin.replace(year=begin.year + last // 12, month=last % 12 + 1)
    if "T" not in text:
        return None
    begin = dt.datetime.fromisoformat(text)
    begin = begin if begin.tzinfo else begin.replace(tzinfo=dt.UTC)
    return begin, begin + dt.timedelta(seconds=1)


def kind(value: Any) -> str:
    return "text" if isinstance(value, str) else "truth" if isinstance(value, bool) else "number"


def type_of(field: str, corpus: list[dict[str, Any]]) -> str:
    everything = [value for each in corpus for value in values(each, field)]
    kinds = {kind(value) for value in everything}
    if field == "path" or len(kinds) != 1:
        return "path" if field == "path" else "mixed" if kinds else "text"
    if kinds == {"text"} and all(moment(value) for value in everything):
        return "date"
    return kinds.pop()


def in_sqlite(text: str, pattern: str) -> bool:
    with sqlite3.connect(":memory:") as connection:
        return bool(connection.execute("SELECT ? GLOB ?", [text, pattern]).fetchone()[0])


def equal(value: Any, wanted: Any, type: str) -> bool:
    if isinstance(value, str) != isinstance(wanted, str):
        return False
    if type == "path" and isinstance(wanted, str):
        forms = [wanted] if re.search(r"[*?\[]", wanted) else []
        forms += [wanted.replace("[", "[[]")] if re.search(r"[*?]", wanted) else []
        return value == wanted or any(in_sqlite(value, form) for form in forms)
    if type == "date" and isinstance(wanted, str) and moment(wanted):
        begin, end = moment(wanted)
        return begin <= moment(value)[0] < end
    return value == wanted


def compared(value: Any, operator: str, bound: Any, type: str) -> bool:
    if type == "date":
        begin, end = moment(bound)
        at = moment(value)[0]
        return {">": at >= end, ">=": at >= begin, "<": at < begin, "<=": at < end}[operator]
    if kind(value) != kind(bound):
        return False
    results = {">": value > bound, ">=": value >= bound, "<": value < bound, "<=": value <= bound}
    return results[operator]


def meets(metadata: dict[str, Any], filter: Filter, corpus: list[dict[str, Any]]) -> bool:
    """Whether a document meets a filter, said as plainly as possible."""
    for name, given_ in filter.items():
        if name in ("and", "or"):
            found = [meets(metadata, each, corpus) for each in given_]
            result = all(found) if name == "and" else any(found)
        elif name == "not":
            result = not meets(metadata, given_, corpus)
        else:
            result = of_field(metadata, name, given_, corpus)
        if not result:
            return False
    return True


def of_field(metadata: dict[str, Any], field: str, wanted: Any, corpus: list[Any]) -> bool:
    if not isinstance(wanted, dict):
        wanted = {"in": wanted} if isinstance(wanted, list) else {"=": wanted}
    found, type = values(metadata, field), type_of(field, corpus)
    for operator, operand in wanted.items():
        if operator == "exists" and bool(found) != operand:
            return False
        if operator == "not" and of_field(metadata, field, operand, corpus):
            return False
    tests = {name: each for name, each in wanted.items() if name not in ("exists", "not")}
    return not tests or any(
        all(one(value, operator, operand, type) for operator, operand in tests.items())
        for value in found
    )


def one(value: Any, operator: str, operand: Any, type: str) -> bool:
    match operator:
        case "=":
            return equal(value, operand, type)
        case "in":
            return any(equal(value, each, type) for each in operand)
        case "prefix":
            return isinstance(value, str) and value.startswith(operand)
        case "glob":
            return isinstance(value, str) and in_sqlite(value, operand)
    return compared(value, operator, operand, type)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    with Engine.open(tmp_path_factory.mktemp("filters") / "i", create=True) as engine:
        yield engine


def document(number: int, metadata: dict[str, Any], labels: tuple[str, ...] = ()) -> Document:
    # The same text, which is encoded once.
    return Document(
        id=f"d{number}",
        uri=f"test:{number}",
        title="Tea",
        text="Tea.",
        metadata=metadata,
        labels=labels,
    )


def fill(engine: Engine, documents: list[Document]) -> None:
    kept = {each.id for each in documents}
    engine.delete(each.id for each in list(engine.documents()) if each.id not in kept)
    engine.add(documents)


@settings(max_examples=6)
@given(
    st.lists(METADATA, min_size=1, max_size=8),
    st.lists(FILTERS, min_size=25, max_size=25),
    st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_filters_are_what_python_makes_of_them(empty, corpus, filters, hidden):
    documents = [
        document(n, each, ("board",) if hidden[n] else ()) for n, each in enumerate(corpus)
    ]
    fill(empty, documents)
    seen = [each for n, each in enumerate(corpus) if not hidden[n]]
    for engine, visible in ((empty, corpus), (empty.as_(Principal()), seen)):
        ids = {id(each): f"d{n}" for n, each in enumerate(corpus)}
        for filter in filters:
            try:
                found = [entry.id for entry in engine.documents(filter=filter)]
            except InvalidQueryError as error:
                known = {name for each in visible for name in each if values(each, name)}
                unknown = [name for name in FIELDS if name not in known]
                why = str(error)
                assert any(repr(name) in why for name in unknown) or "field holds" in why, filter
                continue
            assert found == [ids[id(each)] for each in visible if meets(each, filter, visible)]
        for facet in engine.fields.facets(["path"]):
            counted = Counter(value for each in visible for value in values(each, "path"))
            assert {each.value: each.documents for each in facet.values} == counted
            assert facet.missing == sum(not values(each, "path") for each in visible)


@settings(max_examples=300)
@given(st.text("ab*?[]^-/", max_size=6), st.text("ab-]^[/", max_size=6))
def test_globs_match_what_those_of_sqlite_do(pattern, text):
    assert bool(glob(pattern).fullmatch(text)) == in_sqlite(text, pattern)


def test_many_stars_take_no_longer(monkeypatch):
    assert not glob("*a" * 300 + "b").fullmatch("a" * 5000)


YEARS = [2019, 2020, 2021]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    with Engine.open(tmp_path_factory.mktemp("library") / "i", create=True) as engine:
        engine.add(
            document(
                n,
                {
                    "year": YEARS[n % 3],
                    "edition": str(YEARS[n % 3]) if n % 2 else "first",
                    "tags": ["x", "y"][: n % 3],
                    "keywords": "tea; water" if n else "tea, pot",
                    "secret" if n == 5 else "open": n,
                },
                ("board",) if n == 5 else (),
            )
            for n in range(6)
        )
        yield engine


def ids(engine: Engine, filter: Filter) -> list[str]:
    listed = [entry.id for entry in engine.documents(filter=filter)]
    assert (
        sorted(
            {hit.document_id for hit in engine.search("tea", filter=filter).results}
            | {
                copy.id.rpartition(":")[0]
                for hit in engine.search("tea", filter=filter).results
                for copy in hit.also_in
            }
        )
        == listed
    )
    return listed


def test_a_search_and_a_list_are_filtered_alike(library):
    assert ids(library, {"year": {">=": 2020}}) == ["d1", "d2", "d4", "d5"]
    assert ids(library, {"not": {"year": {">": 2019}}}) == ["d0", "d3"]
    assert ids(library, {"or": [{"tags": "y"}, {"document_id": "d0"}]}) == ["d0", "d2", "d5"]
    assert ids(library, {"document_id": {">": "d3"}, "tags": {"exists": True}}) == ["d4", "d5"]
    assert ids(library, {"year": {">=": 2019, "<": 2020}}) == ["d0", "d3"]


@pytest.mark.parametrize(
    ("filter", "said"),
    [
        ({"yaer": 2019}, "did you mean 'year'"),
        ({"year": {">": "soon"}}, "'year'.*numbers.*'soon'"),
        ({"year": {"=>": 2019}}, "'year'.*'=>'.*>="),
        ({"edition": {"<": 3}}, "'edition'.*text"),
        ({"year": {"prefix": "20"}}, "'year'.*number"),
        ({"year": {}}, "'year'"),
        ({"year": {"in": 3}}, "'year'.*list"),
        ({"year": {"exists": 1}}, "'year'.*true or false"),
        ({"year": float("nan")}, "'year'.*nan"),
        ({"year": list(range(501))}, "500"),
    ],
)
def test_errors_name_the_field_and_the_way_out(library, filter, said):
    with pytest.raises(InvalidQueryError, match=said):
        library.search("tea", filter=filter)
    with pytest.raises(InvalidQueryError, match=said):
        list(library.documents(filter=filter))


def test_nesting_is_limited():
    filter: dict[str, Any] = {"a": 1}
    for _ in range(30):
        filter = {"not": filter}
    with pytest.raises(InvalidQueryError, match="nested"):
        parse_filter(filter)


def test_a_caller_learns_nothing_of_what_they_may_not_read(library):
    caller = library.as_(Principal())
    assert [entry.name for entry in caller.fields.list()] == [
        "edition",
        "keywords",
        "open",
        "tags",
        "year",
    ]
    assert "secret" in [entry.name for entry in library.fields.list()]
    with pytest.raises(InvalidQueryError) as hidden:
        caller.search("tea", filter={"secret": 5})
    with pytest.raises(InvalidQueryError) as unknown:
        caller.search("tea", filter={"secrex": 5})
    assert str(hidden.value).replace("secret", "secrex") == str(unknown.value)
    (facet,) = caller.search("tea", facets=["year"]).facets
    assert [(each.value, each.documents) for each in facet.values] == [
        (2019, 2),
        (2020, 2),
        (2021, 1),
    ]
    with pytest.raises(InvalidQueryError):
        caller.fields.facets(["secret"])
    with pytest.raises(AccessError):
        caller.fields.declare({"year": "number"})


def test_facets_count_what_the_filter_leaves(library):
    found = library.search("tea", filter={"year": {">": 2019}}, facets=["tags", "year"], limit=1)
    tags, years = found.facets
    assert [(each.value, each.documents) for each in tags.values] == [("x", 4), ("y", 2)]
    assert (years.distinct, years.missing, tags.missing) == (2, 0, 0)
    assert library.search("tea").facets == ()


def test_declared_types_count_from_their_commit_on(library):
    assert library.fields.list()[0].type == "string"
    with pytest.raises(InvalidQueryError, match="text"):
        library.search("tea", filter={"edition": {">=": 2020}})
    library.fields.declare({"edition": "number", "keywords": "list"})
    assert ids(library, {"edition": {">=": 2020}}) == ["d1", "d5"]
    assert ids(library, {"edition": "2019"}) == ["d3"]
    assert ids(library, {"keywords": "pot"}) == ["d0"]
    library.fields.declare({"edition": None, "keywords": None})
    assert ids(library, {"keywords": "tea, pot"}) == ["d0"]
    with pytest.raises(InvalidQueryError, match="'path'"):
        library.fields.declare({"path": "string"})
    with pytest.raises(InvalidQueryError, match="'colour'"):
        library.fields.declare({"edition": "colour"})


def test_a_commit_changes_what_filters_find(tmp_path):
    with Engine.open(tmp_path / "i", create=True) as engine, Engine.open(tmp_path / "i") as reader:
        assert list(reader.documents(filter={"lang": "en"})) == []
        for round in range(4):
            engine.add(
                document(n, {"lang": "en" if (n + round) % 2 else "fr", "round": round})
                for n in range(8)
            )
            english = [f"d{n}" for n in range(8) if (n + round) % 2]
            assert ids(reader, {"lang": "en"}) == english
            assert ids(reader, {"round": {"<": round}}) == []
        engine.delete(["d0"])
        assert "d0" not in ids(reader, {"round": round})
