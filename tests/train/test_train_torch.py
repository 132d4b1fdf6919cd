"""Training: loss terms against explicit loops, targets, resuming, and what a run writes."""

import json
import math
import random
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("datasets", reason="needs the extra [torch]")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from sentence_transformers import MultiVectorEncoder, SentenceTransformer  # noqa: E402

from rag_tools.encode.checkpoint import load_checkpoint  # noqa: E402
from rag_tools.encode.encoder import Encoder  # noqa: E402
from rag_tools.encode.export import export  # noqa: E402
from rag_tools.encode.restore import dequantise  # noqa: E402
from rag_tools.errors import CheckpointError, ConfigurationError  # noqa: E402
from rag_tools.sentences import sentences  # noqa: E402
from rag_tools.train import fit, loss  # noqa: E402
from rag_tools.train.average import average  # noqa: E402
from rag_tools.train.check import ndcg, sample  # noqa: E402
from rag_tools.train.collate import OUTSIDE, Collator, Targets  # noqa: E402
from rag_tools.train.config import Settings, Weights, load_settings  # noqa: E402
from rag_tools.train.fit import freeze, train  # noqa: E402
from rag_tools.train.pairs import Example, collect, write_example  # noqa: E402
from rag_tools.types import Span  # noqa: E402
from tiny_checkpoints import HIDDEN, native, tiny_bert  # noqa: E402

PLACES = ["mill", "river", "bridge", "tower", "garden", "wall"]
DIM = 16
SMALL = {
    "batch_size": 4,
    "negatives": 2,
    "dims": (DIM, 8),
    "dim_weights": (1.0, 0.5),
    "chunk": 3,
    "bf16": False,
}
PLAIN = {**SMALL, "idf": 0.0, "pooled": 0.0}  # scores are mean MaxSim


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return native(
        tmp_path_factory.mktemp("base"),
        dim=DIM,
        pooled=True,
        skiplist=list(",.?"),
        tasks=["query", "document"],
    )


@pytest.fixture
def model(base) -> MultiVectorEncoder:
    return MultiVectorEncoder(str(base), device="cpu").eval()


def make_examples(count: int = 24) -> list[Example]:
    generator = random.Random(0)
    examples = []
    for i in range(count):
        places = generator.sample(PLACES, 3)
        parts = [f"The {place} number {i} is old." for place in places]
        text = " ".join(parts)
        start = text.index(parts[i % 3])
        examples.append(
            Example(
                "ab"[i % 2],
                f"where is the {places[i % 3]} {i}?",
                (text, f"A {places[0]} in the river.", f"No. {i} is new, they said!"),
                (2.0, 1.0 - i / 20, -0.5),
                Span(start, start + len(parts[i % 3])) if i % 4 else None,
            )
        )
    return examples


def columns(made: dict) -> list[dict]:
    """Return the features of each column, as the trainer gives them to the loss."""
    names = [key.removesuffix("_input_ids") for key in made if key.endswith("_input_ids")]
    return [
        {key.removeprefix(f"{name}_"): made[key] for key in made if key.startswith(f"{name}_")}
        for name in names
    ]


def batch(model, examples, settings, step=0):
    """Return encoded queries and passages, the passages' texts, and the targets."""
    made = Collator(model, examples, settings).collate(examples, step)
    targets = Targets(**made["label"])
    texts = {text for example in examples for text in example.passages}
    with torch.no_grad():
        encoded = loss.Loss(model, model, settings)._encode(model, columns(made))
    return encoded[0], encoded[1:], sorted(texts, key=lambda text: (len(text), text)), targets


def slow_scores(model, queries: list[str], passages: list[str], dim: int) -> np.ndarray:
    """Mean over query tokens of the largest cosine, one pair and one token at a time."""

    def cut(vectors):
        vectors = vectors.numpy()[:, :dim]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    asked = [cut(model.encode_query(text)) for text in queries]
    found = [cut(model.encode_document(text)) for text in passages]
    return np.array([[np.mean([max(t @ p for p in d) for t in q]) for d in found] for q in asked])


def softmax(values):
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("dim", [DIM, 8])
def test_scores_are_mean_maxsim(model, dim):
    examples = make_examples(5)
    settings = Settings(**PLAIN)
    queries, passages, texts, targets = batch(model, examples, settings)
    ours = score(loss._cut(queries, dim), [loss._cut(chunk, dim) for chunk in passages], targets)
    expected = slow_scores(model, [example.query for example in examples], texts, dim)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def score(queries, passages, targets, pooled=0.0):
    return loss.score(queries, passages, targets.weights, pooled)


def test_scores_are_those_of_the_engine_but_for_bm25(model):
    """Frequencies are those among the positives of the source: one text, however often."""
    examples = [replace(each, source="a") for each in make_examples(7)]
    settings = Settings(**SMALL, idf=0.5)
    examples.append(replace(examples[0], query="which river?"))
    queries, passages, texts, targets = batch(model, examples, settings)
    corpus = {example.passages[0] for example in examples}
    assert len(corpus) == 7
    held = [set(model.tokenizer(text)["input_ids"]) for text in corpus]
    expected = []
    for example in examples:
        said = model.encode_query(example.query, output_value=None)
        kept = said["attention_mask"].bool()
        ids = said["input_ids"][kept].tolist()
        idf = [math.log(1 + len(held) - n + 0.5) - math.log(n + 0.5) for n in counted(ids, held)]
        shares = [max(value, 0.05) ** 0.5 for value in idf]
        row = []
        for text in texts:
            found = model.encode_document(text, output_value=None)
            vectors = model.encode_document(text)
            best = [max(float(t @ p) for p in vectors) for t in said["token_embeddings"][kept]]
            cosine = float(said["sentence_embedding"] @ found["sentence_embedding"])
            maxsim = sum(s * c for s, c in zip(shares, best, strict=True)) / sum(shares)
            row.append(maxsim + 0.7 * cosine)
        expected.append(row)
    np.testing.assert_allclose(score(queries, passages, targets, 0.7), expected, atol=1e-5)


def counted(ids, held):
    return [sum(token in each for each in held) for token in ids]


class Lengths:
    """A teacher that likes long passages, the more so for long queries."""

    def __call__(self, queries, candidates):
        return [
            np.array([len(query) * len(text) / 1000 for text in texts], np.float32)
            for query, texts in zip(queries, candidates, strict=True)
        ]


def test_a_teacher_scores_all_of_a_batch_and_the_base_adds_its_own(model, base):
    examples = make_examples(5)
    settings = Settings(**SMALL, teachers=("any",), teacher_weight=2.0, teacher_temperature=0.7)
    made = Collator(model, examples, settings, [Lengths(), Lengths()]).collate(examples, 0)
    original = MultiVectorEncoder(str(base), device="cpu").eval()
    with torch.no_grad():
        for value in model.parameters():
            value += 0.02 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1))
        found = loss.Loss(model, original, settings)(columns(made), made["label"])
        targets = Targets(**made["label"])
        student, own = (
            loss.Loss(each, each, settings)._encode(each, columns(made))
            for each in (model, original)
        )
        texts = sorted({t for e in examples for t in e.passages}, key=lambda t: (len(t), t))
        expected = 0.0
        for dim, weight in zip(settings.dims, settings.dim_weights, strict=True):
            queries, *passages = (loss._cut(each, dim) for each in student)
            ours = score(queries, passages, targets, 0.7)
            base_scores = score(own[0], own[1:], targets, 0.7)
            for i, example in enumerate(examples):
                lengths = [len(example.query) * len(text) / 1000 for text in texts]
                taught = [float(b) + 2 * n for b, n in zip(base_scores[i], lengths, strict=True)]
                p = softmax([value / 0.7 for value in taught])
                q = softmax([float(value) / 0.05 for value in ours[i]])
                kl = sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))
                expected += weight * kl / len(examples)
    assert float(found["distill"]) == pytest.approx(expected, rel=1e-3)


def test_distillation_is_the_kl_divergence_over_the_tuple(model):
    examples = make_examples(5)
    examples[1] = Example("a", "no scores?", examples[1].passages)
    examples[2] = Example("a", "one passage?", examples[2].passages[:1], (1.0,))
    examples[3] = Example("a", "two?", examples[3].passages[:2], (0.3, 0.9))
    settings = Settings(**PLAIN)
    queries, passages, _, targets = batch(model, examples, settings)
    scores = score(queries, passages, targets)
    divergences = []
    for example in examples:
        if len(example.scores) < 2:
            continue
        student = slow_scores(model, [example.query], list(example.passages), DIM)[0]
        ours = softmax([score / 0.05 for score in student])
        theirs = softmax([score / 0.7 for score in example.scores])
        divergences.append(sum(p * math.log(p / q) for p, q in zip(theirs, ours, strict=True)))
    assert len(divergences) == 3
    found = loss.distill(scores, targets.teacher, teacher_temperature=0.7, student_temperature=0.05)
    assert float(found) == pytest.approx(np.mean(divergences), rel=1e-4)


def test_contrastive_term_leaves_out_other_answers_to_the_query(model):
    first, second, third = make_examples(3)
    same = Example("a", first.query, second.passages[:1])  # another answer to the first query
    shared = Example("a", third.query, first.passages)  # its positive is the first one's, too
    said = third.query.replace(" ", "\n  ")
    holding = Example("a", "another", (f"Word for word: {said}",))
    examples = [first, same, shared, holding]
    settings = Settings(**PLAIN)
    queries, passages, texts, targets = batch(model, examples, settings)
    expected = []
    for example in examples:
        answers = {e.passages[0] for e in examples if e.query == example.query}
        answers |= set(holding.passages) if example is shared else set()
        left = [t for t in texts if t == example.passages[0] or t not in answers]
        scores = slow_scores(model, [example.query], left, DIM)[0] / 0.05
        expected.append(-math.log(softmax(scores)[left.index(example.passages[0])]))
    found = loss.contrastive(score(queries, passages, targets), targets, 0.05)
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-4)


def test_evidence_term_ranks_the_sentences_of_the_positive(model):
    examples = make_examples(6)
    one = "The wall is old"
    examples.append(Example("a", "one sentence?", (one,), (), Span(0, 3)))
    settings = Settings(**PLAIN)
    queries, passages, _, targets = batch(model, examples, settings)
    expected = []
    for example in examples:
        text, span = example.passages[0], example.span
        if span is None or text == one:
            continue
        encoding = model.tokenizer(text, return_offsets_mapping=True)
        output = model.encode_document(text, output_value=None)
        kept = output["attention_mask"].bool().tolist()
        vectors = output["token_embeddings"]
        query = model.encode_query(example.query)
        scores, wanted = [], []
        for sentence in sentences(text):
            tokens = [
                i
                for i, (start, end) in enumerate(encoding["offset_mapping"])
                if kept[i] and start < end and sentence.start <= start < sentence.end
            ]
            best = [max(float(t @ vectors[i]) for i in tokens) for t in query]
            scores.append(np.mean(best) / 0.05)
            wanted.append(sentence.overlaps(span))
        assert any(wanted)
        assert not all(wanted)
        expected.append(-math.log(sum(np.array(softmax(scores))[wanted])))
    found = loss.evidence(queries, passages, targets, 0.05)
    assert len(expected) == len(targets.evidence) > 2
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-4)


def test_the_target_is_every_sentence_that_the_answer_touches(model):
    text = "The mill is old. The river is not. The wall fell."
    example = Example("a", "what?", (text,), (), Span(text.index("old"), text.index("not")))
    made = Collator(model, [example], Settings(**PLAIN)).collate([example], 0)
    assert made["label"]["evidence_sentences"].tolist() == [[True, True, False]]
    [owners] = made["label"]["sentences"]
    ids = made["passages0_input_ids"][0].tolist()
    words = model.tokenizer.convert_ids_to_tokens(ids)
    starts = [i for i, word in enumerate(words) if word == "the"]
    assert owners[0, starts].tolist() == [0, 1, 2]
    assert owners[0, 0] == owners[0, -1] == OUTSIDE
    assert "passages0_offset_mapping" not in made


def test_a_sentence_that_is_cut_off_is_no_target(model):
    text = "The mill is old. The wall fell."
    example = Example("a", "what?", (text,), (), Span(20, 24))
    settings = Settings(**PLAIN, passage_tokens=5)
    queries, passages, _, targets = batch(model, [example], settings)
    assert float(loss.evidence(queries, passages, targets, 0.05)) == 0


def test_a_term_without_weight_is_not_computed(model, monkeypatch):
    for name in ("distill", "contrastive", "evidence", "score"):
        monkeypatch.setattr(loss, name, lambda *_: pytest.fail("computed"))
    off = dict.fromkeys(("distill", "contrastive", "evidence", "pooled_anchor"), 0.0)
    settings = Settings(**PLAIN, weights=Weights(**off, anchor=1.0))
    assert set(terms(model, model, settings)) == {"anchor"}


def terms(model, base, settings):
    examples = make_examples(6)
    made = Collator(model, examples, settings).collate(examples, 0)
    return loss.Loss(model, base, settings)(columns(made), made["label"])


def test_anchors_are_zero_at_the_start_and_pull_back(base):
    model, original = (MultiVectorEncoder(str(base), device="cpu").eval() for _ in range(2))
    original.requires_grad_(False)
    settings = Settings(**SMALL)
    at_start = terms(model, original, settings)
    assert float(at_start["anchor"]) == pytest.approx(0, abs=1e-6)
    assert float(at_start["pooled_anchor"]) == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.02 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1))
    away = terms(model, original, settings)
    assert float(away["anchor"]) > 1e-3
    assert float(away["pooled_anchor"]) > 1e-4
    away["anchor"].backward()
    assert all(value.grad is None for value in original.parameters())


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_only_the_last_layers_and_the_projection_train(model, layers):
    freeze(model, layers, dropout=0.1)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert {name for name in trained if not name.startswith("0.")} == {"3.linear.weight"}
    numbers = {int(name.split("layer.")[1][0]) for name in trained if name.startswith("0.")}
    assert numbers == set(range(2 - layers, 2))


def test_more_layers_than_there_are_is_an_error(model):
    with pytest.raises(ConfigurationError, match="trainable_layers=3: the encoder has 2"):
        freeze(model, 3, 0.0)


def dev_set(directory: Path) -> Path:
    (directory / "qrels").mkdir(parents=True)
    rows = [{"_id": place, "title": "", "text": f"The {place} is old."} for place in PLACES]
    queries = [{"_id": f"q {place}", "text": f"which {place}?"} for place in PLACES]
    for file, records in (("corpus", rows), ("queries", queries)):
        lines = "\n".join(map(json.dumps, records))
        (directory / f"{file}.jsonl").write_text(lines, encoding="utf-8")
    judged = "".join(f"q {place}\t{place}\t1\n" for place in PLACES)
    (directory / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return directory


def run_settings(**changes) -> Settings:
    values = {"steps": 6, "check_every": 2, "learning_rate": 1e-3, "dropout": 0.1, **SMALL}
    return Settings(**{**values, **changes})


def weights(directory: Path) -> dict[str, torch.Tensor]:
    projection = load_file(directory / "3_Dense" / "model.safetensors")
    return {**load_file(directory / "model.safetensors"), **projection}


def test_a_run_that_is_interrupted_and_resumed_gives_the_same_weights(base, tmp_path):
    settings = run_settings(near=0.5)
    data = [collect(Path("made"), make_examples())]
    whole = train(data, base, tmp_path / "whole", settings)
    assert whole is not None

    steps = []
    original = fit._Stop.on_step_end

    def stop_at_three(self, args, state, control, **rest):
        steps.append(state.global_step)
        if state.global_step == 3:
            signal.raise_signal(signal.SIGINT)
        original(self, args, state, control, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit._Stop, "on_step_end", stop_at_three)
        assert train(data, base, tmp_path / "parts", settings) is None
    assert steps == [1, 2, 3]
    assert train(data, base, tmp_path / "parts", settings, resume=True) is not None
    ours, theirs = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    before = weights(base)
    assert any(not torch.equal(value, before[name]) for name, value in ours.items())
    logged = [json.loads(line) for line in (tmp_path / "parts/log.jsonl").read_text().splitlines()]
    assert logged[-1]["step"] == 6


def test_a_resumed_run_must_be_the_same_run(base, tmp_path):
    data = [collect(Path("made"), make_examples())]
    with pytest.raises(ConfigurationError, match="no run to resume"):
        train(data, base, tmp_path / "out", run_settings(), resume=True)
    assert train(data, base, tmp_path / "out", run_settings(steps=1)) is not None
    with pytest.raises(ConfigurationError, match="holds a run already"):
        train(data, base, tmp_path / "out", run_settings(steps=1))
    for changed, examples in ((run_settings(steps=2), data), (run_settings(steps=1), [])):
        other = examples or [collect(Path("made"), make_examples(7))]
        with pytest.raises(ConfigurationError, match="is of another run"):
            train(other, base, tmp_path / "out", changed, resume=True)


def test_a_run_keeps_its_best_state_and_can_be_repeated_from_its_file(base, tmp_path):
    """The rate is absurd: what it does to the model is noise, and some states are worse."""
    dev = dev_set(tmp_path / "dev")
    settings = run_settings(dev=(dev.as_posix(),), projection_learning_rate=0.3, warmup=0.0)
    data = [collect(Path("made"), make_examples())]
    reports = []
    train(data, base, tmp_path / "out", settings, report=reports.append)
    measured = {
        record["step"]: record["eval_mean_nDCG@10"]
        for record in reports
        if "eval_mean_nDCG@10" in record
    }
    assert list(measured) == [0, 2, 4, 6]
    from rag_tools.evaluate.dataset import read

    model = MultiVectorEncoder(str(tmp_path / "out"), device="cpu")
    best = max(value for step, value in measured.items() if step)
    assert len(set(measured.values())) > 1
    assert ndcg(model, read(dev)) == pytest.approx(best)
    again = load_settings(tmp_path / "out" / "training.toml")
    assert again == settings
    train(data, base, tmp_path / "again", again)
    ours, theirs = weights(tmp_path / "out"), weights(tmp_path / "again")
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_the_new_checkpoint_is_exported_and_loads(base, tmp_path):
    made = train(
        [collect(Path("made"), make_examples())], base, tmp_path / "out", run_settings(steps=2)
    )
    assert made == load_checkpoint(tmp_path / "out")
    assert made.model.name == "model_int8.onnx"
    (tmp_path / "out/onnx/model_int8.onnx").unlink()
    ours = Encoder(load_checkpoint(tmp_path / "out"), threads=1).encode_passage("The old mill.")
    model = MultiVectorEncoder(str(tmp_path / "out"), device="cpu")
    np.testing.assert_allclose(ours.vectors, model.encode_document("The old mill."), atol=1e-4)


def test_a_sentence_embedding_model_gets_a_projection(tmp_path):
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    _, bert = tiny_bert(tmp_path / "bert")
    dense = SentenceTransformer(modules=[Transformer(str(bert)), Pooling(HIDDEN)], device="cpu")
    dense.save_pretrained(str(tmp_path / "dense"), create_model_card=False)
    settings = run_settings(steps=1, dims=(32,), dim_weights=(1.0,))
    data = [collect(Path("made"), make_examples())]
    made = train(data, tmp_path / "dense", tmp_path / "out", settings)
    assert made is not None
    assert (made.dim, made.pooled_dim) == (32, HIDDEN)


def test_int8_gives_back_every_weight_to_half_a_step(base, tmp_path):
    train([collect(Path("made"), make_examples())], base, tmp_path / "out", run_settings(steps=2))
    original = load_file(tmp_path / "out" / "model.safetensors")
    restored = dequantise(tmp_path / "out" / "onnx" / "model_int8.onnx")
    unused = {name for name in original if name.startswith("pooler.")}
    assert {f"steps.0.model.{name}" for name in original.keys() - unused} <= restored.keys()
    for name in original.keys() - unused:
        ours, theirs = torch.tensor(restored[f"steps.0.model.{name}"]), original[name]
        assert ours.shape == theirs.shape
        if theirs.ndim == 1:
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
        else:
            largest = theirs.abs().max()
            assert 0 < (ours - theirs).abs().max() < 0.05 * largest


def test_only_what_was_quantised_here_is_dequantised(base, tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.onnx' can't be read"):
        dequantise(tmp_path / "nowhere.onnx")
    export(base, tmp_path / "out")
    with pytest.raises(CheckpointError, match="no int8 products"):
        dequantise(tmp_path / "out" / "onnx" / "model.onnx")


def test_without_a_base_the_bundled_checkpoint_is_trained_further(tmp_path):
    settings = run_settings(
        steps=1, dims=(128,), dim_weights=(1.0,), learning_rate=1e-9, projection_learning_rate=1e-9
    )
    made = train([collect(Path("made"), make_examples())], None, tmp_path / "out", settings)
    assert made is not None
    ours, bundled = Encoder(made, threads=1), Encoder(load_checkpoint(), threads=1)
    texts = ("The old mill by the river was sold in 1921.", "def add(a, b): return a + b")
    for text in texts:
        again, before = ours.encode_passage(text), bundled.encode_passage(text)
        cosines = (again.vectors * before.vectors).sum(axis=1)
        assert cosines.mean() > 0.98
        assert again.pooled @ before.pooled > 0.98
    assert load_settings(tmp_path / "out" / "training.toml").steps == 1
    assert 'base = "bundled"' in (tmp_path / "out" / "training.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_an_average_has_the_mean_weights_at_that_distance_and_is_exported(base, tmp_path, scale):
    data = [collect(Path("made"), make_examples())]
    runs = [tmp_path / "run0", tmp_path / "run1"]
    for seed, run in enumerate(runs):
        train(data, base, run, run_settings(steps=2, seed=seed))
    made = average([*runs, runs[1]], tmp_path / "out", base=base, scale=scale)
    assert made == load_checkpoint(tmp_path / "out")
    start, first, second, found = map(weights, (base, *runs, tmp_path / "out"))
    assert not torch.equal(first["linear.weight"], second["linear.weight"])
    for name, value in found.items():
        mean = (first[name] + 2 * second[name]) / 3
        torch.testing.assert_close(value, start[name] + scale * (mean - start[name]))


def test_an_average_of_checkpoints_that_differ_in_size_is_refused(base, tmp_path):
    other = native(tmp_path / "other", dim=2 * DIM, pooled=True)
    with pytest.raises(CheckpointError, match=r"other.* can't be averaged with .* one base"):
        average([base, other], tmp_path / "out")
    with pytest.raises(CheckpointError, match="nowhere"):
        average([base, tmp_path / "nowhere"], tmp_path / "out")
    with pytest.raises(ConfigurationError, match="a scale of 2 is measured from"):
        average([base, base], tmp_path / "out", scale=2)
    assert not (tmp_path / "out").exists()


def test_a_sample_keeps_the_relevant_documents(tmp_path):
    from rag_tools.evaluate.dataset import read

    drawn = sample(read(dev_set(tmp_path / "dev")), queries=2, documents=3)
    assert len(drawn.queries) == 2
    assert len(drawn.corpus) == 3
    assert {id for grades in drawn.qrels.values() for id in grades} <= set(drawn.corpus)


def test_train_and_export_on_the_command_line(base, tmp_path):
    from typer.testing import CliRunner

    from rag_tools.cli.main import app

    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("\n".join(map(write_example, make_examples())), encoding="utf-8")
    out = tmp_path / "out"
    small = ["batch_size=4", "negatives=1", "dims=[16]", "dim_weights=[1.0]", "steps=2"]
    options = [part for value in small for part in ("--set", value)]
    start = ["train", str(pairs), "--base", str(base), *options, "--out"]
    arguments = [*start, str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert load_checkpoint(out).dim == DIM
    done = CliRunner().invoke(app, [*start, str(tmp_path / "taught"), "--teacher", str(base)])
    assert done.exit_code == 0, done.output
    run = load_settings(tmp_path / "taught" / "training.toml")
    assert run.teachers == (str(base),)
    assert not torch.equal(
        weights(out)["linear.weight"], weights(tmp_path / "taught")["linear.weight"]
    )
    done = CliRunner().invoke(app, ["export", str(out), str(out), "--check"])
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.output.splitlines()[1:]] == [
        "model.onnx",
        "model_int8.onnx",
    ]
    both = [str(out), str(tmp_path / "taught"), "--out", str(tmp_path / "both")]
    done = CliRunner().invoke(app, ["average", *both])
    assert done.exit_code == 0, done.output
    assert load_checkpoint(tmp_path / "both").dim == DIM
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert "holds a run already" in done.output


def test_teachers_of_every_kind_score_candidates(base, tmp_path, model):
    from transformers import BertConfig, BertForSequenceClassification

    from rag_tools.train.teacher import Ensemble, load_teacher

    queries = ["where is the mill?", "which wall?"]
    candidates = [["The mill is old.", "A river."], ["The wall.", "No wall at all.", "The tower."]]
    _, dense = tiny_bert(tmp_path / "dense")
    _, cross = tiny_bert(tmp_path / "cross")
    config = BertConfig.from_pretrained(cross, num_labels=1)
    BertForSequenceClassification(config).save_pretrained(cross)
    teachers = [load_teacher(str(path), bf16=False) for path in (base, dense, cross)]
    names = ["LateInteraction", "Dense", "CrossEncoders"]
    assert [type(teacher).__name__ for teacher in teachers] == names
    scored = [teacher(queries, candidates) for teacher in teachers]
    for scores in scored:
        assert [len(values) for values in scores] == [2, 3]
    for query, texts, found in zip(queries, candidates, scored[0], strict=True):
        n_tokens = len(model.encode_query(query))
        expected = slow_scores(model, [query], texts, DIM)[0] * n_tokens
        np.testing.assert_allclose(found, expected, rtol=2e-3)  # stored in float16
    mixed = Ensemble(teachers)(queries, candidates)
    for i, values in enumerate(mixed):
        each = [(s[i] - s[i].mean()) / s[i].std() for s in scored]
        np.testing.assert_allclose(values, np.mean(each, axis=0), rtol=1e-4)
    fast = load_teacher(str(dense), bf16=True)(queries, candidates)
    for found, expected in zip(fast, scored[1], strict=True):
        np.testing.assert_allclose(found, expected, rtol=0.02)
        assert (found != expected).any()


def test_what_a_teacher_encodes_together_does_not_depend_on_the_order_of_a_set():
    """That differs from process to process, and rounding with it, and so did whole runs."""
    from rag_tools.train import teacher

    texts = [f"Passage {i}." for i in range(10, 40)]
    texts += ["A longer passage.", "Short."]
    seen: list[str] = []

    def encode(new, **_):
        seen.extend(new)
        return np.zeros((len(new), 4), np.float32)

    teacher._encode(encode, [texts[::-1], texts], known := {"Passage 12.": np.zeros(4, np.float16)})
    assert seen == ["Short.", "Passage 10.", "Passage 11.", *texts[3:-2], "A longer passage."]
    assert known.keys() == set(texts)


def test_a_teacher_that_cannot_be_loaded_is_named(tmp_path):
    from rag_tools.errors import CheckpointError
    from rag_tools.train.teacher import load_teacher

    (tmp_path / "nothing").mkdir()
    with pytest.raises(CheckpointError, match=r"nothing.* can't be loaded"):
        load_teacher(str(tmp_path / "nothing"))
