"""Making examples for the evidence model: from data of others and, by rules, from documents."""

import gzip
import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.encode.checkpoint import load_checkpoint
from rag_tools.encode.encoder import Encoder
from rag_tools.errors import ConfigurationError, InvalidQueryError
from rag_tools.train.evidence.altering import contradicted, entailed
from rag_tools.train.evidence.config import load_evidence_settings
from rag_tools.train.evidence.documents import from_documents
from rag_tools.train.evidence.examples import (
    Example,
    Read,
    Similar,
    read_examples,
    windowed,
    write_examples,
)
from rag_tools.train.evidence.prepare import prepare
from rag_tools.train.evidence.public import (
    from_claims,
    from_commands,
    from_evidence,
    from_pairs,
)
from rag_tools.train.evidence.wording import reworded, thinned
from rag_tools.types import Span

PASSAGE = {"text": "two words", "context": "", "units": [[0, 3]], "gold": [0], "answers": True}
PAGE = """<html><head><title>Pump manual</title></head><body>
<h1>Pump manual</h1>
<h2>Starting the pump</h2>
<p>You can start the pump remotely by pressing the green key twice. If the tank is empty, the pump
waits for ten minutes and then stops. The valve must be open before the motor starts.</p>
<h2>Options</h2>
<dl><dt>--retry-count</dt><dd>How often a failed start is tried again before the pump gives up.
The default is 4.</dd>
<dt>--dry-run</dt><dd>Show which valves would be opened without touching any of them.</dd></dl>
<h2>Errors</h2>
<table><tr><th>Code</th><th>Meaning</th></tr>
<tr><td>E17</td><td>The pressure sensor reports nothing for half a minute.</td></tr>
<tr><td>E23</td><td>The lid of the filter housing isn't closed properly.</td></tr></table>
<h2>Frequent questions</h2>
<p>How do I clean the filter? Rinse it under warm water and let it dry for two hours.</p>
<p>To list the known valves:</p><pre>pumpctl valves --all</pre>
<h2>Storage</h2><p>The pump survives frost only when it was emptied. Winter storage needs a dry
place away from chemicals and direct sun.</p>
<h2>Disposal</h2><p>Bring the battery and the motor to a collection point. The housing is plastic
and may be recycled with other packaging.</p>
</body></html>"""


def lines(file: Path, records) -> Path:
    text = "".join(json.dumps(record) + "\n" for record in records)
    if file.suffix == ".gz":
        file.write_bytes(gzip.compress(text.encode()))
    else:
        file.write_text(text, encoding="utf-8")
    return file


def gold(example: Example) -> list[str]:
    read = example.passages[0]
    return [read.units[i].of(read.text) for i in read.gold]


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> list[Example]:
    folder = tmp_path_factory.mktemp("documents") / "pump"
    folder.mkdir()
    (folder / "manual.html").write_text(PAGE, encoding="utf-8")
    encoder = Encoder(load_checkpoint(None), threads=1)
    found: list[Example] = []
    for seed in range(12):  # what is asked about a unit is drawn
        found += from_documents(folder.parent, encoder, 200, seed)
    return found


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("default", "--retry-count"),
        ("row", "E17"),
        ("row-back", "E23"),
        ("option", "--dry-run"),
        ("faq", "Rinse it"),
        ("code", "pumpctl valves"),
        ("can", "You can start the pump"),
        ("condition", "If the tank is empty"),
        ("heading", "You can start the pump"),
    ],
)
def test_rules_ask_about_every_kind_of_unit(asked, kind, answer):
    found = [each for each in asked if each.source == f"documents/{kind}" and gold(each)]
    assert any(gold(each)[0].startswith(answer) for each in found)


def test_what_else_is_read_is_of_the_same_document_and_has_no_answer(asked):
    for example in asked:
        others = example.passages[1:] if example.passages[0].answers else example.passages
        if example.label is None:
            assert others
        for read in others:
            assert not read.gold
            assert not read.answers
            assert read.context.startswith("Pump manual")
            assert all(answer not in read.text for answer in gold(example))


def test_some_questions_have_no_answer_and_claims_have_every_label(asked):
    assert any(each.label is None and not each.passages[0].answers for each in asked)
    assert {each.label for each in asked} == {None, "entailed", "contradicted", "neither"}


def test_same_seed_same_examples(asked, tmp_path):
    (tmp_path / "pump").mkdir()
    (tmp_path / "pump" / "manual.html").write_text(PAGE, encoding="utf-8")
    again = list(from_documents(tmp_path, Encoder(load_checkpoint(None), threads=1), 200, 0))
    assert again == asked[: len(again)]


def test_pairs_with_a_place_mark_its_sentence(tmp_path):
    passage = (
        "It was built in 1901 by the town. " * 2 + "The mill burned down in 1954. It was loud."
    )
    start = passage.index("1954")
    records = [
        {
            "source": "s",
            "query": f"when {i}?",
            "passage": f"{passage} {i} {'x' * 80}",
            "span": [start, start + 4],
        }
        for i in range(3)
    ]
    found = list(from_pairs(lines(tmp_path / "pairs.jsonl", records), 10, 0))
    assert len(found) == 3
    for example in found:
        assert [each.strip("-*• ") for each in gold(example)] == ["The mill burned down in 1954."]


def test_short_answers_of_one_thing_become_a_list_without_its_name(tmp_path):
    facts = ["It has a lift.", "Breakfast is at seven.", "Dogs are welcome.", "No smoking."]
    records = [
        {"source": "faq", "query": f"{fact}?", "passage": f"{house}: {fact}"}
        for house in ("Oak Inn", "Elm Inn")
        for fact in facts
    ]
    found = list(from_pairs(lines(tmp_path / "faq.jsonl.gz", records), 10, 0))
    assert found
    for example in found:
        read = example.passages[0]
        assert read.context in ("Oak Inn", "Elm Inn")
        assert len(read.units) >= 3
        assert example.query.removesuffix("?").split("?")[0].split(": ")[-1][:6] in gold(example)[0]
        assert not example.passages[1].answers


def test_units_of_others_keep_their_gold_and_tables_their_header(tmp_path):
    table = "Rivers\nName | Length\nElm | 10 km\nOak | 20 km\nAsh | 30 km\nFir | 40 km"
    units = [[table.index(name), table.index(name) + 11] for name in ("Elm", "Oak", "Ash", "Fir")]
    records = [
        {
            "source": "t",
            "query": "how long is the Ash?",
            "passage": table,
            "units": units,
            "gold": [2],
            "kind": "row",
        },
        {
            "source": "t",
            "query": "other",
            "passage": table.replace("Rivers", "Lakes"),
            "units": [[a - 1, b - 1] for a, b in units],
            "gold": [0],
            "kind": "row",
        },
    ]
    (first, _) = sorted(
        from_evidence(lines(tmp_path / "evidence.jsonl", records), 9, 0), key=lambda e: e.query
    )
    assert gold(first) == ["Ash | 30 km"]
    assert first.passages[0].context == "Rivers"
    assert first.passages[0].text.startswith("Name | Length\n")
    assert all("Ash" not in read.text for read in first.passages[1:2])


def test_claims_keep_their_labels_and_wrong_ones_are_made_of_true_ones(tmp_path):
    records = [
        {
            "source": "c",
            "claim": f"The tower is {i} metres high.",
            "evidence": f"The tower is {i} metres high, they say.",
            "label": "supported",
        }
        for i in range(10, 50)
    ]
    found = list(from_claims(lines(tmp_path / "claims.jsonl", records), 100, 0))
    assert {each.label for each in found} == {"entailed", "contradicted", "neither"}
    for each in found:
        same = each.query.removesuffix(".") in each.passages[0].text
        assert same == (each.label == "entailed")


def test_commands_come_in_several_forms(tmp_path):
    records = [
        {
            "query": f"{verb} a file in the archive",
            "passage": f"tool {verb.lower()} {{{{file}}}}",
            "page": page,
        }
        for page in map(str, range(30))
        for verb in ("Add", "Rename", "Encrypt", "List")
    ]
    found = list(from_commands(lines(tmp_path / "commands.jsonl", records), 30, 0))
    assert len({each.passages[0].text for each in found}) > 3
    for each in found:
        assert len(gold(each)) == 1
        assert "{" not in each.passages[0].text


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(0, 11), st.integers(20, 200)
)
def test_a_window_holds_the_gold_unit_and_no_more_than_allowed(lengths, place, most):
    place = min(place, len(lengths) - 1)
    text, units = "", []
    for number, length in enumerate(lengths):
        units.append(Span(len(text), len(text) + length))
        text += chr(97 + number) * length + "\n"
    found = windowed(text, units, [place], most=most, chance=random.Random(0))
    if found is None:
        assert lengths[place] > most
        return
    kept, spans, chosen = found
    assert len(kept) <= most
    assert spans[chosen[0]].of(kept) == units[place].of(text)
    assert spans[0].start == 0 and spans[-1].end == len(kept)


def test_examples_are_read_as_they_were_written(tmp_path):
    examples = [
        Example("a", "q?", (Read("One. Two.", "T > S", (Span(0, 4), Span(5, 9)), (1,), True),)),
        Example("b", "claim", (Read("Text", "", (), (), False),), "neither"),
    ]
    write_examples(tmp_path / "x.gz", examples)
    assert list(read_examples(tmp_path / "x.gz")) == examples
    first = (tmp_path / "x.gz").read_bytes()
    write_examples(tmp_path / "x.gz", examples)
    assert (tmp_path / "x.gz").read_bytes() == first


@pytest.mark.parametrize(
    "line",
    [
        {},
        {"passages": []},
        {"passages": [{**PASSAGE, "units": [[0, 10]]}]},
        {"passages": [{**PASSAGE, "units": [[1, 2], [0, 1]]}]},
        {"passages": [{**PASSAGE, "gold": [1]}]},
        {"passages": [PASSAGE], "query": " "},
        {"passages": [PASSAGE], "label": "so"},
    ],
)
def test_a_line_that_is_no_example_is_named(tmp_path, line):
    record = {"source": "a", "query": "q", **line}
    (tmp_path / "x.gz").write_bytes(gzip.compress(json.dumps(record).encode()))
    with pytest.raises(InvalidQueryError, match=r"line 1 of .*x\.gz"):
        list(read_examples(tmp_path / "x.gz"))


def test_similar_texts_share_rare_words():
    texts = [f"the common words of text {i}" for i in range(40)] + [
        "the rare zebra",
        "zebra and okapi",
    ]
    assert Similar(texts)("where is the okapi zebra", 2) == [41, 40]


def test_a_true_claim_keeps_its_condition():
    chance = random.Random(0)
    text = "The pump stops by itself after a while if the tank (the blue one) is empty."
    for _ in range(20):
        assert (
            entailed(text, chance) == "The pump stops by itself after a while if the tank is empty."
        )
    text = "The pump stops by itself after ten minutes, because the motor would be damaged."
    assert {entailed(text, chance) for _ in range(20)} == {
        text,
        "The pump stops by itself after ten minutes.",
    }


@pytest.mark.parametrize(
    ("sentence", "kinds"),
    [
        ("The pump waits 10 seconds.", {"number", "unit"}),
        ("It opened on May 3 in Paris.", {"number", "date"}),
        ("The valve is closed.", {"negated"}),
        ("The valve is not closed.", {"negated"}),
        ("The lamp lights before the motor.", {"opposite"}),
        ("The client overrides the proxy.", {"turned", "opposite"}),
    ],
)
def test_wrong_claims_change_what_they_say_they_change(sentence, kinds):
    made = [contradicted(sentence, [], random.Random(seed)) for seed in range(40)]
    assert {kind for _, kind in filter(None, made)} == kinds
    assert all(each is not None and each[0] != sentence for each in made)


def test_nothing_to_change_gives_no_claim():
    assert contradicted("Red grass grows.", [], random.Random(0)) is None


def test_other_words_and_fewer():
    chance = random.Random(0)
    said = {reworded("delete the folder", chance, 1.0) for _ in range(30)}
    assert all("delete" not in each and each.endswith("directory") for each in said)
    assert len(said) > 1
    assert len(thinned("big red houses burn fast", chance, 0.4).split()) == 3
    assert thinned("big houses", chance, 0.9) == "big houses"


def test_settings_are_checked_and_paths_are_beside_the_file(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('[[sources]]\nkind = "pairs"\npath = "x.jsonl"\n', encoding="utf-8")
    assert load_evidence_settings(file).sources[0].path == str(tmp_path / "x.jsonl")
    file.write_text("speed = 3\nsources = []\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="speed"):
        load_evidence_settings(file)
    file.write_text("speed = ", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="TOML"):
        load_evidence_settings(file)


def test_evaluation_data_stay_out_and_examples_are_not_mixed(tmp_path):
    said = "the quick brown fox jumps over the lazy dog and then it sleeps until noon"
    records = [
        {
            "source": "p",
            "query": f"what sleeps {i}?",
            "passage": f"{i} {said} {i * 7}. " + "Filler text here. " * 8,
        }
        for i in range(3)
    ]
    lines(tmp_path / "pairs.jsonl", records)
    folder = tmp_path / "dev"
    folder.mkdir()
    lines(folder / "dev.jsonl", [{"text": "0 " + said + " 0"}])
    file = tmp_path / "run.toml"
    sources = '[[sources]]\nkind = "pairs"\npath = "pairs.jsonl"\n'
    file.write_text(sources, encoding="utf-8")
    assert prepare(load_evidence_settings(file), tmp_path / "all") == {"p": 3}
    file.write_text('exclude = ["dev"]\n' + sources, encoding="utf-8")
    assert not prepare(load_evidence_settings(file), tmp_path / "left")
    with pytest.raises(ConfigurationError, match="other sources"):
        prepare(load_evidence_settings(file), tmp_path / "all")
