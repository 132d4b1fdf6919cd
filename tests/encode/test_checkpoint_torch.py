"""Checkpoints of all layouts give the embeddings that sentence-transformers' own loader gives."""

import json
from pathlib import Path

import numpy as np
import pytest

from rag_tools.encode.checkpoint import load_checkpoint
from rag_tools.encode.encoder import INDEPENDENT_ROWS, Encoder
from rag_tools.errors import CheckpointError

pytest.importorskip("sentence_transformers", reason="needs the extra [torch]")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from sentence_transformers import MultiVectorEncoder  # noqa: E402
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors  # noqa: E402
from tokenizers.trainers import BpeTrainer  # noqa: E402
from transformers import (  # noqa: E402
    ModernBertConfig,
    ModernBertModel,
    PreTrainedTokenizerFast,
)

from rag_tools.encode.export import compare, export  # noqa: E402
from tiny_checkpoints import HIDDEN, linear, native, tiny_bert  # noqa: E402

QUERY = "where is the old mill?"
SHORT = ["", "a", "mill", QUERY, "Zoë's naïve café; 漢字! [MASK] [unused0] [Q] 🙂", "... !"]
PASSAGE = "The old mill stands by the river, and its wheel still turns."


def tiny_modernbert(directory: Path, *, extra: tuple[str, ...]) -> Path:
    """Write a random ModernBERT with a byte-pair vocabulary, whose tokens hold their space."""
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    byte_pairs = Tokenizer(models.BPE())
    byte_pairs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_pairs.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    byte_pairs.train_from_iterator([PASSAGE] * 20, trainer)
    byte_pairs.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = {f"{name.strip('[]').lower()}_token": name for name in special}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_pairs, model_max_length=96, **names)
    tokenizer.add_tokens(list(extra))
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    config = ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        initializer_range=0.3,
        pad_token_id=3,
        cls_token_id=1,
        sep_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
    )
    ModernBertModel(config).save_pretrained(directory)
    return directory


def stanford(directory: Path, *, dim: int, **metadata) -> Path:
    model, path = tiny_bert(directory / "model")
    weights = {f"bert.{name}": value for name, value in model.state_dict().items()}
    weights["linear.weight"] = linear(dim)
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "architectures": ["HF_ColBERT"]}))
    (path / "artifact.metadata").write_text(json.dumps({"dim": dim, **metadata}))
    return path


def pylate(
    directory: Path, *, dim: int, markers: bool = True, modern: bool = False, **settings
) -> Path:
    path = directory / "model"
    extra = ("[Q] ", "[D] ") if markers else ()
    if modern:
        tiny_modernbert(path, extra=extra)
    else:
        tiny_bert(path, extra=extra)
    modules = [
        ("", "sentence_transformers.models.Transformer"),
        ("1_Dense", "pylate.models.Dense.Dense"),
    ]
    files = {
        "modules.json": [
            {"idx": i, "name": str(i), "path": folder, "type": kind}
            for i, (folder, kind) in enumerate(modules)
        ],
        "sentence_bert_config.json": {"max_seq_length": 80, "do_lower_case": False},
        "1_Dense/config.json": {
            "in_features": HIDDEN,
            "out_features": dim,
            "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity",
        },
        "config_sentence_transformers.json": {
            "model_type": "ColBERT",
            "query_prefix": "[Q] ",
            "document_prefix": "[D] ",
            **settings,
        },
    }
    (path / "1_Dense").mkdir()
    for name, content in files.items():
        (path / name).write_text(json.dumps(content))
    save_file({"linear.weight": linear(dim)}, path / "1_Dense/model.safetensors")
    return path


CHECKPOINTS = {
    "native": lambda d: native(d, dim=16, pooled=True, skiplist=list(",.?"), tasks=["query"]),
    "native, text prompts, filled up to a minimum": lambda d: native(
        d,
        dim=24,
        bias=True,
        activation=torch.nn.Tanh(),
        prompts={"query": "query: ", "document": "the: "},
        query_expansion={"strategy": "min", "length": 20, "attend": True},
        document_length=60,
    ),
    "native, filled with another token, lowercased": lambda d: native(
        d,
        dim=8,
        do_lower_case=True,
        skiplist=["[CLS]", "[SEP]", "the", "not a token"],
        tasks=["query", "document"],
        query_expansion={"strategy": "fixed", "length": 48, "token": "[unused1]"},
    ),
    "stanford": lambda d: stanford(d, dim=16, query_maxlen=40, doc_maxlen=70),
    "stanford, attended, punctuation kept": lambda d: stanford(
        d,
        dim=12,
        query_maxlen=44,
        attend_to_mask_tokens=True,
        mask_punctuation=False,
        query_token_id="[unused1]",
        doc_token_id="[unused0]",
    ),
    "pylate": lambda d: pylate(d, dim=16, query_length=42, document_length=72),
    "pylate, attended, own skiplist": lambda d: pylate(
        d,
        dim=20,
        query_length=40,
        attend_to_expansion_tokens=True,
        skiplist_words=["!", "river"],
        prompts={"query": "old ", "document": ""},
    ),
    "pylate, byte pairs": lambda d: pylate(d, dim=16, modern=True, query_length=64),
    "pylate, not filled up, markers as text": lambda d: pylate(
        d, dim=16, markers=False, do_query_expansion=False
    ),
}


@pytest.fixture(scope="module", params=CHECKPOINTS.values(), ids=CHECKPOINTS.keys())
def pair(request, tmp_path_factory) -> tuple[MultiVectorEncoder, Encoder]:
    """The source as sentence-transformers loads it, and our encoder on the float32 export."""
    directory = tmp_path_factory.mktemp("checkpoint")
    source = request.param(directory)
    export(source, directory / "exported")
    assert load_checkpoint(directory / "exported").model.name == "model_int8.onnx"
    (directory / "exported/onnx/model_int8.onnx").unlink()
    encoder = Encoder(load_checkpoint(directory / "exported"), threads=1)
    return MultiVectorEncoder(str(source), device="cpu"), encoder


def assert_same(theirs, ours):
    expected = theirs.numpy()
    if len(expected) == 0:  # the one difference: we keep a text that would be left with nothing
        return
    assert ours.vectors.shape == expected.shape
    np.testing.assert_allclose(ours.vectors, expected, atol=1e-4)


@pytest.mark.parametrize("text", SHORT)
def test_queries_agree(pair, text):
    model, encoder = pair
    assert_same(model.encode_query(text), encoder.encode_query(text))


@pytest.mark.parametrize("text", [*SHORT, PASSAGE])
def test_passages_agree(pair, text):
    model, encoder = pair
    assert_same(model.encode_document(text), encoder.encode_passage(text))


def test_queries_together_are_those_alone(pair):
    _, encoder = pair
    assert encoder._together
    texts = [*SHORT, PASSAGE, " ".join(["mill"] * 50), *reversed(SHORT)]
    for text, together in zip(texts, encoder.encode_queries(texts), strict=True):
        assert together.vectors.tobytes() == encoder.encode_query(text).vectors.tobytes()


def test_metadata_agrees(pair):
    model, encoder = pair
    checkpoint = encoder.checkpoint
    assert checkpoint.dim == model.get_embedding_dimension()
    assert checkpoint.query_prompt == (model.prompts["query"] or "")
    assert checkpoint.document_prompt == (model.prompts["document"] or "")
    assert checkpoint.max_tokens == (model[0].document_length or model.max_seq_length)
    assert checkpoint.vocabulary_size == len(model.tokenizer)
    theirs = model[0].query_expansion
    if theirs is None:
        assert checkpoint.expansion is None
    else:
        assert checkpoint.expansion.length == checkpoint.query_tokens == theirs["length"]
        assert checkpoint.expansion.attend == theirs["attend"]


def test_long_queries_are_not_cut(pair):
    model, encoder = pair
    text = " ".join(["mill"] * 50)
    ours = encoder.encode_query(text)
    covered = {i for start, end in ours.spans for i in range(start, end)}
    assert covered >= {i for i, character in enumerate(text) if character != " "}
    expansion = model[0].query_expansion
    if expansion is None or expansion["strategy"] == "min":
        assert_same(model.encode_query(text), ours)
    else:
        assert len(model.encode_query(text)) <= expansion["length"]


def test_long_passages_are_not_cut(pair):
    model, encoder = pair
    text = " ".join(["mill"] * 200)
    assert len(model.encode_document(text)) <= encoder.checkpoint.max_tokens
    spans = encoder.encode_passage(text).spans
    covered = {i for start, end in spans for i in range(start, end)}
    assert covered >= {i for i, character in enumerate(text) if character != " "}


def test_pooled_vector_is_the_sentence_embedding(tmp_path):
    source = native(tmp_path, dim=16, pooled=True)
    export(source, source)
    (source / "onnx/model_int8.onnx").unlink()
    encoder = Encoder(load_checkpoint(source))
    model = MultiVectorEncoder(str(source), device="cpu")
    expected = model.encode_document(PASSAGE, output_value=None)["sentence_embedding"]
    np.testing.assert_allclose(encoder.encode_passage(PASSAGE).pooled, expected, atol=1e-5)
    texts = ["a", "mill", QUERY, "river"]
    for text, together in zip(texts, encoder.encode_queries(texts), strict=True):
        assert together.pooled.tobytes() == encoder.encode_query(text).pooled.tobytes()


def test_an_export_holds_no_weights_but_onnx_and_no_paths(tmp_path):
    source = native(tmp_path, dim=16)
    export(source, tmp_path / "exported")
    names = {path.name for path in (tmp_path / "exported").rglob("*") if path.is_file()}
    assert {"model.onnx", "model_int8.onnx", "tokenizer.json"} <= names
    assert not any(name.endswith((".safetensors", ".bin")) for name in names)
    for file in ("model.onnx", "model_int8.onnx"):
        content = (tmp_path / "exported/onnx" / file).read_bytes()
        assert content.count(INDEPENDENT_ROWS.encode()) == 1
        assert b"site-packages" not in content
        assert str(Path(__file__).parent).encode() not in content


def test_a_checkpoint_without_onnx_says_how_to_export(tmp_path):
    source = stanford(tmp_path, dim=16)
    with pytest.raises(CheckpointError, match=r"rag-tools export"):
        load_checkpoint(source)


def test_export_refuses_what_it_cannot_load(tmp_path):
    source = native(tmp_path, dim=16)
    (source / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match="can't be loaded"):
        export(source, tmp_path / "exported")


def test_export_refuses_metadata_that_does_not_fit(tmp_path):
    """The copy in the target says otherwise than the source: caught by comparing embeddings."""
    source = native(tmp_path, dim=16)
    target = tmp_path / "exported"
    export(source, target)
    model = MultiVectorEncoder(str(source), device="cpu")
    model[0].query_expansion = {"strategy": "fixed", "length": 60, "attend": False}
    with pytest.raises(CheckpointError, match="its metadata isn't understood"):
        compare(model, target)


def test_projection_keeps_inner_products():
    from rag_tools.train.project import fit_projection

    generator = np.random.default_rng(0)
    basis = np.linalg.qr(generator.normal(size=(20, 5)))[0]
    vectors = generator.normal(size=(400, 5)) @ basis.T + 0.3 * basis[:, 0]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    projection = fit_projection([vectors[:100], 3 * vectors[100:]], 5)
    assert projection.shape == (5, 20)
    np.testing.assert_allclose(projection @ projection.T, np.eye(5), atol=1e-5)
    projected = vectors @ projection.T
    np.testing.assert_allclose(projected @ projected.T, vectors @ vectors.T, atol=1e-4)
    with pytest.raises(ValueError, match="21 dims"):
        fit_projection([vectors], 21)
    with pytest.raises(ValueError, match="vectors of 0"):
        fit_projection([], 4)


def test_sample_is_spread_over_sources_and_repeatable(tmp_path):
    import gzip

    from rag_tools.train.pairs import read_examples, sample_passages

    pairs = tmp_path / "pairs.jsonl.gz"
    with gzip.open(pairs, "wt", encoding="utf-8") as file:
        for i in range(300):
            source = "small" if i % 30 == 0 else "large"
            file.write(
                json.dumps({"source": source, "query": "q", "passage": f"{source} {i // 2}"}) + "\n"
            )
    sample = sample_passages(read_examples(pairs), 20)
    assert sample == sample_passages(read_examples(pairs), 20)
    assert sample != sample_passages(read_examples(pairs), 20, seed=1)
    assert len(sample) == len(set(sample)) == 20
    assert sum(passage.startswith("small") for passage in sample) == 10
