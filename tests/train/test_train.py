"""Training data: its files, the plan of a run, pairs from documents, leakage, settings."""

import gzip
import json
import random
import re
import shlex
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import typer

from rag_tools.cli.main import app
from rag_tools.engine import Engine
from rag_tools.errors import ConfigurationError, DatasetError, InvalidQueryError
from rag_tools.ingest.load import load
from rag_tools.train.config import Settings, Weights, load_settings, read_run, write_run
from rag_tools.train.derive import derive, derive_from
from rag_tools.train.evidence.config import load_evidence_settings
from rag_tools.train.leakage import Evaluations, near_duplicates
from rag_tools.train.mine import Mining, mine, true_negatives
from rag_tools.train.pairs import (
    Example,
    collect,
    draw_examples,
    draw_negatives,
    plan_batches,
    read_examples,
    write_example,
)
from rag_tools.types import Document, Span

WORDS = "amber basin cedar delta ember fjord grove haven inlet jetty knoll lagoon".split()  # noqa: SIM905


def made_text(seed: int, n_words: int = 40) -> str:
    generator = random.Random(seed)
    return " ".join(f"{generator.choice(WORDS)}{generator.randrange(100)}" for _ in range(n_words))


# -- examples ----------------------------------------------------------------------------------


def test_a_draw_takes_as_many_of_each_source_and_keeps_their_order():
    examples = [Example("ab"[i % 5 == 0], f"q{i}", (f"p{i}",)) for i in range(50)]
    drawn = draw_examples(examples, 12)
    assert [each.source for each in drawn].count("a") == 12
    assert [each for each in drawn if each.source == "b"] == examples[::5]
    assert drawn == [each for each in examples if each in drawn]
    assert drawn == draw_examples(examples, 12)
    assert drawn != draw_examples(examples, 12, seed=1)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_examples_survive_their_file(tmp_path, suffix):
    examples = [
        Example("a", "who?", ("Zoë did. Nobody else.",), (), Span(0, 3)),
        Example("b", "what?", ("this", "that", "🙂"), (1.5, -0.25, 0.125)),
    ]
    file = tmp_path / f"pairs{suffix}"
    content = "\n\n".join(map(write_example, examples))
    opened = gzip.open if suffix == ".jsonl.gz" else open
    with opened(file, "wt", encoding="utf-8") as out:
        out.write(content)
    assert list(read_examples(file)) == examples


def test_a_pair_without_a_source_is_of_its_file(tmp_path):
    file = tmp_path / "faq.jsonl"
    file.write_text('{"query": "q", "passage": "p", "page": 3}\n', encoding="utf-8")
    assert [example.source for example in read_examples(file)] == ["faq"]


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{",
        '{"query": "q"}',
        '{"query": "q", "passages": []}',
        '{"query": "", "passage": "p"}',
        '{"query": "q", "passage": 3}',
        '{"query": "q", "passages": ["p", "n"], "scores": [1]}',
        '{"query": "q", "passage": "p", "span": [0, 2]}',
        '{"query": "q", "passage": "p", "span": [1]}',
    ],
)
def test_a_bad_line_is_named(tmp_path, line):
    file = tmp_path / "pairs.jsonl"
    file.write_text(f'{{"query": "q", "passage": "p"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(InvalidQueryError, match=r"line 2 of .*pairs\.jsonl"):
        list(read_examples(file))


def test_a_file_that_is_no_gzip_is_an_error(tmp_path):
    (tmp_path / "pairs.jsonl.gz").write_bytes(b"plain")
    with pytest.raises(InvalidQueryError, match="can't be read"):
        list(read_examples(tmp_path / "pairs.jsonl.gz"))


# -- the plan of a run -------------------------------------------------------------------------


def plan(sources, **changes):
    values = {"steps": 60, "batch_size": 8, "source_power": 0.5, "seed": 0, **changes}
    return plan_batches(sources, **values)


def test_a_batch_is_of_one_source_and_has_nothing_twice():
    sources = ["a"] * 50 + ["b"] * 13 + ["c"] * 3
    batches = plan(sources)
    assert len(batches) == 60
    for batch in batches:
        assert len({sources[i] for i in batch}) == 1
        assert len(set(batch)) == len(batch) <= 8
    assert {sources[batch[0]] for batch in batches} == {"a", "b", "c"}


def test_every_example_comes_once_before_any_comes_again():
    seen = Counter(i for batch in plan(["a"] * 40, steps=12) for i in batch)
    assert len(seen) == 40
    assert set(seen.values()) <= {2, 3}


def test_a_batch_can_be_of_neighbours():
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 2000)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    sources = ["a"] * 2000

    def spread(near):
        batches = plan(sources, steps=30, batch_size=21, near=near, vectors=vectors)
        assert all(len(batch) == 21 for batch in batches)
        assert len({i for batch in batches for i in batch}) == 30 * 21
        cosines = [vectors[batch] @ vectors[batch].T for batch in batches]
        return np.median(np.mean(cosines, axis=(1, 2)))

    assert spread(0.0) < 0.15
    assert spread(1.0) > 0.8
    assert 0.2 < spread(0.5) < 0.6
    again = plan(["a"] * 40, steps=12, near=0.5, vectors=vectors)
    assert set(Counter(i for batch in again for i in batch).values()) <= {2, 3}


def test_source_power_weighs_sources():
    sources = ["large"] * 900 + ["small"] * 100

    def share(power):
        batches = plan(sources, steps=4000, batch_size=1, source_power=power)
        return sum(sources[batch[0]] == "large" for batch in batches) / len(batches)

    assert share(1.0) == pytest.approx(0.9, abs=0.02)
    assert share(0.0) == pytest.approx(0.5, abs=0.03)
    assert share(0.5) == pytest.approx(0.75, abs=0.03)


def test_a_longer_run_begins_as_a_shorter_one():
    assert plan(["a"] * 30, steps=5) == plan(["a"] * 30, steps=9)[:5]
    assert plan(["a"] * 30) != plan(["a"] * 30, seed=1)


def test_negatives_are_drawn_anew_each_step_and_the_positive_stays_first():
    example = Example("a", "q", tuple(f"passage {i}" for i in range(10)))
    draws = [draw_negatives(example, 3, seed) for seed in range(20)]
    assert all(draw[0] == 0 and len(set(draw)) == 4 for draw in draws)
    assert len(set(map(tuple, draws))) > 10
    assert draw_negatives(example, 3, 7) == draws[7]
    assert sorted(draw_negatives(example, 99, 0)) == list(range(10))


# -- settings ----------------------------------------------------------------------------------


def test_a_run_file_gives_the_settings_back(tmp_path):
    settings = load_settings(
        None, ["steps=7", "weights.anchor=2", 'dev=["x"]', "dims=[64]", "dim_weights=[1.0]"]
    )
    assert (settings.steps, settings.weights.anchor, settings.dims) == (7, 2.0, (64,))
    data = collect(Path("pairs.jsonl"), [Example("a", "q", ("p",))])
    write_run(tmp_path / "run.toml", settings, "base", [{"path": data.path, "sha256": data.sha256}])
    assert load_settings(tmp_path / "run.toml") == settings
    assert read_run(tmp_path / "run.toml") == (settings, "base", [data.sha256])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("steps", "isn't NAME=VALUE"),
        ("steps=a b", "isn't NAME=VALUE"),
        ("stepz=3", "stepz"),
        ("steps=0", "steps"),
        ("weights.anchor=-1", r"weights\.anchor"),
        ("dims=[64]", "dim_weights"),
    ],
)
def test_a_setting_that_cannot_be_is_named(assignment, message):
    with pytest.raises(ConfigurationError, match=message):
        load_settings(None, [assignment])


def test_a_config_that_is_no_toml_is_named(tmp_path):
    (tmp_path / "run.toml").write_text("steps = ", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"run\.toml can't be read"):
        load_settings(tmp_path / "run.toml")


# -- leakage -----------------------------------------------------------------------------------


@pytest.fixture
def evaluations(tmp_path) -> Evaluations:
    folder = tmp_path / "dev"
    folder.mkdir()
    record = {"_id": "1", "text": made_text(1), "more": [{"question": "where is the amber inlet"}]}
    (folder / "corpus.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")
    with gzip.open(folder / "claims.json.gz", "wt", encoding="utf-8") as file:
        json.dump({"claim": made_text(2)}, file)
    (folder / "questions.csv").write_text(
        f'id,text\n3,"{made_text(3)}, indeed"\n', encoding="utf-8"
    )
    (folder / "letter.txt").write_text(made_text(4, 400), encoding="utf-8")
    return Evaluations([folder])


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        (made_text(1), True),
        (made_text(2).upper().replace(" ", ",\n"), True),
        (f"{made_text(9, 300)} {made_text(3)} {made_text(8, 300)}", True),  # theirs is in it
        (" ".join(made_text(4, 400).split()[100:130]), True),  # it is in theirs
        (" ".join(made_text(1).split()[:30] + made_text(7).split()[:10]), True),  # 30 of 40 words
        ("Where is the amber inlet?", True),
        ("Where is the cedar inlet?", False),
        ("amber", False),
        (made_text(5), False),
        (" ".join(made_text(1).split()[:11] + made_text(7).split()), False),  # a set phrase
        ("", False),
    ],
)
def test_near_duplicates_of_evaluation_texts_are_found(evaluations, text, leaks):
    assert evaluations.holds(text) is leaks


def test_a_tuple_loses_negatives_that_leak_and_a_pair_that_leaks_goes(evaluations):
    clean, leak = made_text(5), made_text(1)
    example = Example("a", "what is it?", (clean, leak, made_text(6)), (3.0, 2.0, 1.0))
    kept = evaluations.without(example)
    assert kept == Example("a", "what is it?", (clean, made_text(6)), (3.0, 1.0))
    assert evaluations.without(Example("a", "what is it?", (leak,))) is None
    assert evaluations.without(Example("a", made_text(2), (clean,))) is None


def test_a_folder_without_texts_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="name a folder that has"):
        Evaluations([tmp_path])


def test_texts_that_repeat_themselves_are_compared_by_what_they_say():
    chorus = " ".join(["one two three four five six seven eight nine ten"] * 5)
    assert near_duplicates(chorus, chorus + " eleven")
    assert not near_duplicates(made_text(1), made_text(2))


# -- pairs from documents ----------------------------------------------------------------------

MARKDOWN = """\
# The long guide

This is how the whole machine is put together. First the frame is laid out on the floor. Then the
wheels are bolted to it, one after another, by two people.

## Oiling the wheels

Use the thin oil in cold weather. The thick oil clogs the bearings when it freezes, and then the
wheels squeak for the rest of the season until somebody takes them apart.

## Short

Too short.
"""

PYTHON = '''\
class Stack:
    """A stack."""

    def push(self, item):
        """Put an item on top. The item isn't copied."""
        self.items.append(item)
        self.count = self.count + 1
        self.history.record("push", item, self.count)
        return self

    def popFromHTTP2_top(self):
        item = self.items.pop()
        self.count = self.count - 1
        self.history.record("pop", item, self.count)
        return item


def undocumented(value):
    return value + 1
'''
BODY = "    " + "file = open(path); " * 9


def test_headings_titles_and_sentences_become_queries(tmp_path):
    (tmp_path / "guide.md").write_text(MARKDOWN, encoding="utf-8")
    examples = list(derive_from(load(tmp_path / "guide.md")))
    found = {(example.source, example.query): example.passages[0] for example in examples}
    assert found["heading", "The long guide Oiling the wheels"].startswith("Use the thin oil")
    assert found["title", "The long guide"].startswith("This is how the whole machine")
    asked = {query for source, query in found if source == "sentence"}
    assert len(asked) == 2  # what the third one of the first section leaves is too short
    whole = " ".join(MARKDOWN.partition("\n\n")[2].partition("\n\n##")[0].split())
    for query in asked:
        left = " ".join(found["sentence", query].split())
        assert left == " ".join(whole.replace(query, "").split())
    assert not any("Short" in query for _, query in found)
    assert all(len(passage) >= 100 for passage in found.values())


def test_each_sentence_is_taken_out_of_every_passage_of_a_long_section():
    said = [f"Sentence number {i} of them says something about case {i}." for i in range(200)]
    examples = list(derive_from(Document(uri="mem:1", text=" ".join(said))))
    assert [example.query for example in examples] == said
    for example in examples:
        left = re.findall(r"Sen.*?\.", example.passages[0])
        assert example.query not in left
        around = sorted([example.query, *left], key=said.index)
        assert around == said[said.index(around[0]) :][: len(around)]
        assert len(example.passages[0]) <= 1200
    assert 8 < len({example.passages[0][:20] for example in examples}) < 24


def test_docstrings_and_names_become_questions_for_code(tmp_path):
    (tmp_path / "stack.py").write_text(PYTHON, encoding="utf-8")
    docstring, name = derive_from(load(tmp_path / "stack.py"))
    assert (docstring.source, name.source) == ("docstring", "name")
    assert re.sub(r"^python |^how to | in python$", "", docstring.query) == "put an item on top"
    assert docstring.passages[0].startswith("def push(self, item):\n    self.items.append")
    assert "top" not in docstring.passages[0]
    assert re.sub(r"^python |^how to | in python$", "", name.query) == "pop from http 2 top"
    assert name.passages[0].startswith("def popFromHTTP2_top(self):\n    item = self.items.pop()")


def test_what_a_function_does_is_asked_for_in_all_wordings_and_keeps_some_docstrings(tmp_path):
    functions = "".join(
        f'def load{i}(path):\n    """Reads the file number {i}."""\n{BODY}\n\n' for i in range(60)
    )
    (tmp_path / "many.py").write_text(functions, encoding="utf-8")
    examples = list(derive_from(load(tmp_path / "many.py")))
    said = "read the file number {}"
    wordings = {e.query.replace(said.format(i), "") for i, e in enumerate(examples)}
    assert wordings == {"", "python ", " in python", "how to "}
    kept = sum("Reads" in example.passages[0] for example in examples)
    assert 6 < kept < 30
    assert examples == list(derive_from(load(tmp_path / "many.py")))


def test_a_passage_does_not_begin_with_its_query():
    body = "the slipstream of a propeller changes the lift of a wing. " * 3
    text = f"lift of a wing\nin a slipstream . {body}"
    document = Document(uri="mem:1", title="lift of a wing in a slipstream", text=text)
    [title, *_] = derive_from(document)
    assert title == Example("title", "lift of a wing in a slipstream", (body.strip(),))


def test_an_index_gives_pairs_of_all_its_documents(engine):
    examples = derive(engine)
    assert {"heading", "docstring"} <= {example.source for example in examples}
    assert collect(Path("i"), examples).sha256 == collect(Path("i"), derive(engine)).sha256


def test_pairs_come_in_one_order_wherever_the_files_lie(tmp_path):
    texts = [". ".join(map(made_text, range(i, i + 4))) for i in range(0, 40, 4)]
    orders, derived = [], []
    for place in ("here", "there"):
        with Engine.open(tmp_path / place, create=True) as engine:
            engine.add(Document(uri=f"mem:{place}/{i}", text=text) for i, text in enumerate(texts))
            orders.append([entry.uri.partition("/")[2] for entry in engine.documents()])
            derived.append(derive(engine))
    assert orders[0] != orders[1]
    assert derived[0] == derived[1]


# -- mining ------------------------------------------------------------------------------------


def test_candidates_that_a_teacher_takes_for_answers_are_dropped():
    assert true_negatives(np.array([10.0, 9.6, 9.4, 0.0], np.float32), 0.95) == [2, 3]
    assert true_negatives(np.array([0.0, 5.0, 3.0], np.float32), 0.95) == []


@pytest.fixture
def pairs() -> list[Example]:
    things = ["kettle", "lantern", "compass", "barometer", "anvil", "loom"]
    facts = ["is made of brass", "was sold in spring", "stands in the hall", "needs a new handle"]
    made = [
        Example("shop", f"what about the {thing}?", (f"The {thing} {fact}. " + made_text(i, 20),))
        for i, (thing, fact) in enumerate((thing, fact) for thing in things for fact in facts)
    ]
    # A near copy of the first positive: no negative for its query.
    return [*made, Example("shop", "a copy?", (made[0].passages[0] + " Yes.",))]


def test_negatives_are_of_the_source_and_never_answers(pairs, tmp_path):
    other = Example("elsewhere", "what else?", (made_text(99),))
    out = tmp_path / "tuples.jsonl"
    settings = Mining(negatives=5, depth=20)
    assert mine([*pairs, other], out, tmp_path / "work", settings) == len(pairs) + 1
    tuples = list(read_examples(out))
    answers = {
        pair.query: {p.passages[0] for p in pairs if p.query == pair.query} for pair in pairs
    }
    corpus = {pair.passages[0] for pair in pairs}
    by_pair = {(each.query, each.passages[0]): each for each in tuples}
    assert by_pair.keys() == {(p.query, p.passages[0]) for p in [*pairs, other]}
    some = 0
    for each in tuples:
        negatives = each.passages[1:]
        some += len(negatives)
        if each.source == "elsewhere":
            assert not negatives
            continue
        assert set(negatives) <= corpus - answers[each.query]
        assert len(each.scores) == len(each.passages) <= 6
        assert all(score < each.scores[0] for score in each.scores[1:])
        assert not any(near_duplicates(text, each.passages[0]) for text in negatives)
    assert some > len(pairs)


def test_mining_goes_on_where_it_was_cut_off(pairs, tmp_path):
    out, whole = tmp_path / "tuples.jsonl", tmp_path / "whole.jsonl"
    settings = Mining(negatives=3)
    mine(pairs, whole, tmp_path / "work", settings)
    lines = whole.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:7]) + lines[7][:30])
    asked = []

    def teacher(queries, candidates):
        asked.extend(queries)
        return [np.arange(len(texts), 0, -1, dtype=np.float32) for texts in candidates]

    assert mine(pairs, out, tmp_path / "work", settings, teacher=teacher) == len(pairs) - 7
    assert len(asked) == len(pairs) - 7
    found = list(read_examples(out))
    assert found[:7] == list(read_examples(whole))[:7]
    assert len(found) == len(pairs)
    assert mine(pairs, out, tmp_path / "work", settings) == 0


def test_a_teacher_is_measured_on_the_students_candidates():
    from rag_tools.evaluate.dataset import Dataset
    from rag_tools.train.mine import rerank

    dataset = Dataset(
        "made",
        None,
        {"a": "the right one", "b": "wrong", "c": "worse"},
        {"q": "?"},
        {"q": {"a": 1}},
    )
    run = {"q": {"b": 3.0, "a": 2.0, "c": 1.0}}

    def knows(queries, candidates):
        return [
            np.array([text.count("right") for text in texts], np.float32) for texts in candidates
        ]

    second = pytest.approx(0.6309, abs=1e-4)
    found = rerank(run, dataset, knows, depth=2)
    assert (found["student"], found["teacher"]) == (second, pytest.approx(1.0))
    assert rerank(run, dataset, knows, depth=3) == {"student": second, "teacher": 1, "both": 1}
    assert rerank(run, dataset, knows, depth=1) == {"student": 0, "teacher": 0, "both": 0}

    def errs(queries, candidates):
        return [-scores for scores in knows(queries, candidates)]

    assert rerank(run, dataset, errs, depth=3)["both"] < 0.6309


def test_an_index_can_be_mined(tmp_path):
    document = Document(uri="mem:guide", text=MARKDOWN)
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.add([document])
        examples = derive(engine)
    assert [example.source for example in examples] == ["sentence"] * 7
    assert mine(examples, tmp_path / "t.jsonl", tmp_path / "work", Mining()) == 7


def test_default_settings_are_consistent():
    assert len(Settings().dims) == len(Settings().dim_weights)


# -- documentation -----------------------------------------------------------------------------

GUIDE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def test_the_guide_shows_every_setting_with_its_default(tmp_path):
    adapted, text, evidence, bundled = blocks("toml")
    (tmp_path / "run.toml").write_text(text, encoding="utf-8")
    assert load_settings(tmp_path / "run.toml") == Settings()
    for other in (adapted, bundled):
        (tmp_path / "other.toml").write_text(other, encoding="utf-8")
        assert load_settings(tmp_path / "other.toml") != Settings()
    shown = set(re.findall(r"^(?:# )?(\w+) =", text, re.MULTILINE))
    assert shown == (Settings.model_fields.keys() | Weights.model_fields.keys()) - {"weights"}
    (tmp_path / "evidence.toml").write_text(evidence, encoding="utf-8")
    assert load_evidence_settings(tmp_path / "evidence.toml").pairs == 30_000
    table = GUIDE.partition("| term |")[2].partition("\n\n")[0]
    terms = re.findall(r"^\| `(\w+)` \| .* \|$", table, re.MULTILINE)
    assert terms == list(Weights.model_fields)


def test_the_guides_examples_are_examples(tmp_path):
    for block in blocks("json"):
        (tmp_path / "made.jsonl").write_text(block, encoding="utf-8")
        [example] = read_examples(tmp_path / "made.jsonl")
        assert example.span is not None
        assert example.span.of(example.passages[0]) == "The battery lasts two days."


def test_the_guides_commands_have_the_options_that_they_use():
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    used = 0
    for block in blocks("sh"):
        for line in re.findall(r"^ *rag-tools .*", block.replace("\\\n", " "), re.MULTILINE):
            _, name, *arguments = shlex.split(line)
            known = {option for each in commands[name].params for option in each.opts}
            given = {argument for argument in arguments if argument.startswith("--")}
            assert given <= known
            used += 1
    assert used == 21
