"""Training the evidence model: its loss against plain loops, runs, resuming, the export."""

import gzip
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers", reason="needs the extra [torch]")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

import torch  # noqa: E402
from transformers import BertConfig, BertModel  # noqa: E402

from rag_tools.errors import CheckpointError, ConfigurationError  # noqa: E402
from rag_tools.evidence.layout import Composer  # noqa: E402
from rag_tools.evidence.model import EvidenceModel, Pair, load_tokenizer  # noqa: E402
from rag_tools.train.evidence.batches import Collator, plan  # noqa: E402
from rag_tools.train.evidence.config import EvidenceSettings, Source  # noqa: E402
from rag_tools.train.evidence.examples import Example, Read, write_examples  # noqa: E402
from rag_tools.train.evidence.export import DELTA_FILE, export, export_run  # noqa: E402
from rag_tools.train.evidence.fit import BEST_FILE, LOG_FILE, STATE_FILE, train_evidence  # noqa: E402
from rag_tools.train.evidence.loss import losses, unit_scores  # noqa: E402
from rag_tools.train.evidence.model import load_net, load_weights, origin  # noqa: E402
from rag_tools.train.evidence.prepare import prepare  # noqa: E402
from rag_tools.types import Span  # noqa: E402
from tiny_checkpoints import HIDDEN, tiny_bert  # noqa: E402

COLOURS = ["red", "blue", "green", "white", "black", "brown"]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    _, folder = tiny_bert(tmp_path_factory.mktemp("base") / "bert")
    tokenizer = load_tokenizer(folder)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=256,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def made(count: int, seed: int = 0) -> list[Example]:
    """Questions that the sentence with the colour answers, and claims about it."""
    chance = random.Random(seed)
    examples = []
    for i in range(count):
        colours = chance.sample(COLOURS, 3)
        parts = [f"the {colour} mill {j}." for j, colour in enumerate(colours)]
        text = " ".join(parts)
        units = tuple(Span(text.index(part), text.index(part) + len(part)) for part in parts)
        place = i % 3
        read = Read(text, "old mill", units, (place,), answers=True)
        other = Read(text.replace(colours[place], "x"), "river", units[:1], (), answers=False)
        examples.append(Example("colours", f"{colours[place]} mill", (read, other)))
        label = ("entailed", "contradicted", "neither")[i % 3]
        claim = f"{colours[0] if label == 'entailed' else 'not ' + colours[1]} mill {i}"
        examples.append(Example("claims", claim, (read,), label))
    return examples


def settings_for(tmp_path: Path, **changed) -> EvidenceSettings:
    """Settings of a run on made examples, which `written` puts where the run looks for them."""
    values = {
        "sources": (Source(kind="claims", path=str(tmp_path / "claims.jsonl"), most=400),),
        "pairs": 60,
        "batch_pairs": 6,
        "check_every": 20,
        "frozen": 1,
        "dev_claims": 0.2,
        "save_every": 3600,
        **changed,
    }
    return EvidenceSettings(**values)


@pytest.fixture
def claims(tmp_path) -> Path:
    records = [
        {
            "source": "c",
            "claim": f"mill {i} is {'red' if i % 3 else 'blue'}",
            "evidence": f"they say mill {i} is red",
            "label": ("refuted", "supported", "supported")[i % 3],
        }
        for i in range(60)
    ]
    text = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "claims.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def test_terms_of_the_loss_are_what_plain_loops_give(base):
    net = load_net(base, 1).eval()
    examples = made(3)
    batch = Collator(Composer(load_tokenizer(base)))(examples)
    with torch.inference_mode():
        reading = net(*batch.rows)
        found = losses(reading, batch)
        scores = unit_scores(reading.evidence, batch)
    tokenizer = load_tokenizer(base)
    row, number, units, relevance, answers, claimed = 0, 0, [], [], [], []
    for example in examples:
        choices, right, passages, good = [], [], [], []
        for read in example.passages:
            lead = len(tokenizer.encode(example.query, add_special_tokens=False).ids) + 2
            lead += len(tokenizer.encode(read.context, add_special_tokens=False).ids)
            offsets = tokenizer.encode(read.text, add_special_tokens=False).offsets
            verdicts = reading.verdicts[row].tolist()
            for i, unit in enumerate(read.units):
                inside = [
                    float(reading.evidence[row, lead + k])
                    for k, (start, _) in enumerate(offsets)
                    if unit.start <= start < unit.end
                ]
                mean = sum(inside) / len(inside)
                assert math.isclose(mean, float(scores[number]), abs_tol=1e-5)
                number += 1
                choices.append(mean + verdicts[0])
                right.append(i in read.gold)
            passages.append(verdicts[0])
            good.append(read.answers)
            no = 1 / (1 + math.exp(-verdicts[1]))
            answers.append(-math.log(1 - no if read.answers else no))
            row += 1
        for values, chosen, told in ((choices, right, units), (passages, good, relevance)):
            if any(chosen) and not all(chosen):
                total = sum(map(math.exp, values))
                told.append(
                    -math.log(
                        sum(math.exp(v) for v, c in zip(values, chosen, strict=True) if c) / total
                    )
                )
        if example.label is not None:
            place = ["entailed", "contradicted", "neither"].index(example.label)
            logits = verdicts[2:]
            claimed.append(math.log(sum(map(math.exp, logits))) - logits[place])
    for term, values in zip(found, (units, relevance, answers, claimed), strict=True):
        assert math.isclose(float(term), sum(values) / len(values), rel_tol=1e-4)


def test_only_what_is_above_the_frozen_layers_learns(base):
    net = load_net(base, 1)
    batch = Collator(Composer(load_tokenizer(base)))(made(2))
    sum(losses(net(*batch.rows), batch)).backward()
    learning = {name for name, values in net.named_parameters() if values.grad is not None}
    assert learning == set(net.trained())
    assert not [n for n in learning if n.startswith(("embeddings.", "layers.0."))]
    assert {n.split(".")[0] for n in learning} == {
        "layers",
        "segment",
        "evidence",
        "pooler",
        "verdicts",
    }


def test_batches_take_every_example_once_before_any_again():
    examples = made(40)
    batches = plan(examples, batch_pairs=10, seed=3)
    seen: list[int] = []
    while len(seen) < len(examples):
        batch = next(batches)
        assert 0 < sum(len(examples[number].passages) for number in batch) <= 10
        seen += batch
    assert sorted(seen) == list(range(len(examples)))
    again = plan(examples, batch_pairs=10, seed=3)
    assert next(again) == seen[: len(next(plan(examples, batch_pairs=10, seed=3)))]


def test_it_learns_which_unit_answers(base):
    net = load_net(base, 1)
    collate = Collator(Composer(load_tokenizer(base)))
    optimizer = torch.optim.Adam(net.trained().values(), 3e-3)
    chance = random.Random(0)
    examples = [each for each in made(60) if each.label is None]
    first = last = 0.0
    for step in range(60):
        batch = collate(chance.sample(examples, 8))
        loss = losses(net(*batch.rows), batch).units
        first, last = (float(loss) if step == 0 else first), float(loss)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert last < 0.6 * first


def test_a_run_logs_keeps_the_best_and_resumes_as_if_it_had_gone_on(base, claims, tmp_path):
    whole = settings_for(claims)
    train_evidence(whole, tmp_path / "whole", base=base)
    states = [torch.load(tmp_path / "whole" / STATE_FILE, weights_only=True)["net"]]
    again = tmp_path / "again"
    stopped = _stop_after(30, whole, again, base)
    assert stopped
    train_evidence(whole, again, base=base, resume=True)
    states.append(torch.load(again / STATE_FILE, weights_only=True)["net"])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    logged = [json.loads(line) for line in (tmp_path / "whole" / LOG_FILE).read_text().splitlines()]
    measured = [each for each in logged if "mean" in each]
    assert measured[0]["pairs"] == 0
    assert len(measured) >= 4
    best = torch.load(tmp_path / "whole" / BEST_FILE, weights_only=True)
    assert best["pairs"] == max(measured, key=lambda each: (each["mean"], -each["pairs"]))["pairs"]


def _stop_after(pairs: int, settings: EvidenceSettings, out: Path, base: Path) -> bool:
    """Run until so many pairs are done and a state was saved, then break off."""

    class Stop(Exception):
        pass

    def report(record):
        if record["pairs"] >= pairs and "mean" in record:
            raise Stop

    eager = settings.model_copy(update={"save_every": 0})
    try:
        train_evidence(eager, out, base=base, report=report)
    except Stop:
        return (out / STATE_FILE).is_file() and _as_if(settings, out)
    return False


def _as_if(settings: EvidenceSettings, out: Path) -> bool:
    (out / "settings.json").write_text(settings.model_dump_json(indent=1), encoding="utf-8")
    return True


def test_two_processes_learn_as_one_batch(base, claims, tmp_path):
    out = tmp_path / "two"
    train_evidence(settings_for(claims, workers=2, pairs=24), out, base=base)
    state = torch.load(out / STATE_FILE, weights_only=True)
    assert state["pairs"] >= 24
    before = load_net(base, 1).trained()
    assert any(not torch.equal(state["net"][name], before[name]) for name in before)


def test_a_folder_with_another_run_is_refused(base, claims, tmp_path):
    out = tmp_path / "run"
    train_evidence(settings_for(claims, pairs=6), out, base=base)
    with pytest.raises(ConfigurationError, match="resume"):
        train_evidence(settings_for(claims, pairs=6), out, base=base)
    with pytest.raises(ConfigurationError, match="other settings"):
        train_evidence(settings_for(claims, pairs=12), out, base=base, resume=True)


@pytest.fixture(scope="module")
def exported(base, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported")
    net = load_net(base, 1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for values in net.trained().values():
            values += 0.05 * torch.randn(values.shape, generator=generator)
    torch.save({"net": net.trained()}, out / "state.pt")
    model = export(base, out / "state.pt", out / "model", made(20), frozen=1)
    return net.eval(), model, out


def test_the_export_says_what_the_network_says(exported):
    net, model, _ = exported
    example = made(1)[0]
    read = example.passages[0]
    batch = Collator(model.composer)([Example("", example.query, (read,))])
    with torch.inference_mode():
        evidence, verdicts = (each[0].numpy() for each in net(*batch.rows))
    (reading,) = model.read([Pair(example.query, read.text, read.context)])
    theirs = evidence[-1 - len(reading.evidence) : -1]
    assert np.corrcoef(theirs, reading.evidence)[0, 1] > 0.95
    assert abs(reading.relevance - verdicts[0]) < 0.3
    shares = reading.entailed + reading.contradicted + reading.neither
    assert math.isclose(shares, 1, rel_tol=1e-5)
    told = reading.strengths(read.units)
    assert len(told) == len(read.units)
    assert np.isneginf(reading.strengths([Span(3, 3)])).all()


def test_a_pair_gives_the_same_whatever_is_read_beside_it(exported):
    _, model, out = exported
    pairs = [Pair("old mill", "the mill " * n, "river") for n in (1, 40, 3, 200, 7)]
    together = model.read(pairs)
    slow = EvidenceModel(out / "model", threads=1)
    for pair, reading in zip(pairs, together, strict=True):
        for other in (model.read([pair])[0], slow.read([pair])[0]):
            assert other.evidence.tobytes() == reading.evidence.tobytes()
            assert other.relevance == reading.relevance
            assert other.entailed == reading.entailed
        assert len(reading.spans) == len(reading.evidence)


def test_after_the_deadline_only_the_first_is_read(exported):
    _, model, _ = exported
    pairs = [Pair("mill", "the mill"), Pair("mill", "the river"), Pair("mill", "old")]
    found = model.read(pairs, deadline=0.0)
    assert found[0] is not None
    assert found[1:] == [None, None]


def test_the_differences_bring_the_weights_back(exported, base):
    _, _, out = exported
    again = export(base, out / "model" / DELTA_FILE, out / "again", made(20), frozen=1)
    pair = Pair("red mill", "the red mill. the old river.", "mill")
    one, two = (model.read([pair])[0] for model in (exported[1], again))
    assert np.allclose(one.evidence, two.evidence, atol=0.2)
    with pytest.raises(CheckpointError, match="no weights"):
        export(base, base / "config.json", out / "wrong", made(2), frozen=1)
    with pytest.raises(CheckpointError, match="another model"):
        export(base, out / "state.pt", out / "wrong", made(2), frozen=2)


def test_a_run_goes_on_from_the_weights_of_an_earlier_one(exported, base, claims, tmp_path):
    delta = exported[2] / "model" / DELTA_FILE
    slow = {"learning_rate": 1e-9, "head_learning_rate": 1e-9}
    settings = settings_for(claims, pairs=4, start=str(delta), **slow)
    train_evidence(settings, tmp_path / "run", base=base)
    found = torch.load(tmp_path / "run" / STATE_FILE, weights_only=True)["net"]
    expected = load_weights(delta, origin(load_net(base, 1)))
    assert all(torch.allclose(found[name], expected[name], atol=1e-4) for name in expected)
    assert bool(found["evidence.weight"].any())
    with pytest.raises(CheckpointError, match="no weights"):
        wrong = settings.model_copy(update={"start": str(base / "config.json")})
        train_evidence(wrong, tmp_path / "wrong", base=base)


def test_a_run_is_exported_from_its_best_state(base, claims, tmp_path):
    settings = settings_for(claims, pairs=24)
    train_evidence(settings, tmp_path / "run", base=base)
    folder = export_run(settings, tmp_path / "run", base=base)
    model = EvidenceModel(folder)
    assert model.read([Pair("mill 3 is red", "they say mill 3 is red")])[0] is not None
    assert prepare(settings, tmp_path / "run").total() > 40


def test_development_sets_are_measured(base, claims, tmp_path):
    from rag_tools.train.evidence.check import MEAN, Check

    text = "Mills turn. The red mill burned in 1954. Rivers flow."
    squad = {
        "data": [
            {
                "title": "t",
                "paragraphs": [
                    {
                        "context": text,
                        "qas": [
                            {
                                "id": "1",
                                "question": "when?",
                                "answers": [{"text": "1954", "answer_start": 36}],
                            }
                        ],
                    }
                ],
            }
        ]
    }
    (tmp_path / "squad").mkdir()
    (tmp_path / "squad" / "squad.json").write_text(json.dumps(squad), encoding="utf-8")
    asked = [each for each in made(6) if each.label is None]
    file = tmp_path / "candidates.jsonl.gz"
    write_examples(file, asked)
    records = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    for record in records:
        record["source"] = "question"
        for read in record["passages"]:
            # Token vectors know the answer: with the model left out it is right each time.
            read["scores"] = [float(i in read["gold"]) for i in range(len(read["units"]))]
    text = "".join(json.dumps(record) + "\n" for record in records)
    file.write_bytes(gzip.compress(text.encode()))
    settings = settings_for(claims, squad=str(tmp_path / "squad"), candidates=str(file))
    labelled = [each for each in made(9) if each.label is not None]
    found = Check(settings, labelled)(load_net(base, 1), Collator(Composer(load_tokenizer(base))))
    assert found["everyday@0.0"] == 1.0
    assert found["everyday"] == 1.0
    assert found["squad"] in (0.0, 1.0)
    chosen = [found["squad"], found["claims"], found["everyday"]]
    assert math.isclose(found[MEAN], sum(chosen) / 3)
