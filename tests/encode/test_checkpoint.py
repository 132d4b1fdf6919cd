"""Checkpoint metadata: what is read from each layout, and what a damaged one says."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from rag_tools.encode.checkpoint import BUNDLED, Expansion, load_checkpoint, read_settings
from rag_tools.encode.encoder import Encoder
from rag_tools.errors import CheckpointError

BERT = {"vocab_size": 100, "hidden_size": 32, "max_position_embeddings": 64}
TOKENIZER = {"mask_token": "[MASK]", "model_max_length": 512}


def write(directory: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    return directory


def modules(*kinds: str) -> list[dict[str, object]]:
    return [
        {"idx": i, "name": str(i), "path": "" if i == 0 else f"{i}_{kind}", "type": f"a.b.{kind}"}
        for i, kind in enumerate(kinds)
    ]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The bundled checkpoint where a test may damage it."""
    return Path(shutil.copytree(BUNDLED, tmp_path / "copy"))


def test_bundled_settings():
    checkpoint = load_checkpoint()
    assert checkpoint.name == "bundled"
    assert checkpoint.layout == "sentence-transformers"
    assert (checkpoint.dim, checkpoint.pooled_dim) == (128, 384)
    assert (checkpoint.max_tokens, checkpoint.query_tokens) == (512, 32)
    assert checkpoint.vocabulary_size == 30522
    assert checkpoint.expansion is None
    assert (checkpoint.query_prompt, checkpoint.document_prompt) == ("", "")
    assert {",", ".", "!"} <= set(checkpoint.query_skiplist) == set(checkpoint.document_skiplist)


def test_bundled_files_are_small_and_hold_no_pickles():
    files = [path for path in BUNDLED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 30_000_000
    assert {path.suffix for path in files} <= {".json", ".onnx", ".safetensors", ".md", ""}
    assert (BUNDLED / "LICENSE").is_file()


def test_no_two_products_of_the_bundled_model_overflow_16_bits():
    # With AVX2 alone ONNX Runtime adds each two products along an input in 16 bits, saturated:
    # eight-bit weights would give other embeddings there than on all other processors.
    graph = onnx.load(str(BUNDLED / "onnx/model_int8.onnx")).graph
    stored = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert len(products) == 36
    for node in products:
        weights = stored[node.input[1]].astype(np.int32)  # (n_inputs, n_outputs)
        highest, lowest = np.maximum(weights, 0), np.minimum(weights, 0)
        assert 255 * (highest[0::2] + highest[1::2]).max() <= np.iinfo(np.int16).max
        assert 255 * (lowest[0::2] + lowest[1::2]).min() >= np.iinfo(np.int16).min


def test_same_files_have_the_same_fingerprint(copy):
    assert load_checkpoint(copy).fingerprint == load_checkpoint().fingerprint
    assert load_checkpoint(str(copy)).name == "copy"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("tokenizer.json", b'"lowercase": true', b'"lowercase": false'),
        ("tokenizer_config.json", b'"model_max_length": 512', b'"model_max_length": 128'),
        ("4_MultiVectorMask/config.json", b'"query"', b'"none"'),
        ("onnx/model_int8.onnx", b"pytorch", b"pytorcH"),
    ],
)
def test_fingerprint_follows_everything_that_changes_embeddings(copy, file, old, new):
    path = copy / file
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    assert load_checkpoint(copy).fingerprint != load_checkpoint().fingerprint


def test_float32_is_used_where_there_is_no_int8(copy):
    (copy / "onnx/model_int8.onnx").rename(copy / "onnx/model.onnx")
    assert load_checkpoint(copy).model.name == "model.onnx"


def test_stanford_settings(tmp_path):
    files = {
        "config.json": {**BERT, "architectures": ["HF_ColBERT"]},
        "tokenizer_config.json": TOKENIZER,
        "artifact.metadata": {
            "query_token_id": "[unused5]",
            "doc_token_id": "[unused6]",
            "query_maxlen": 24,
            "doc_maxlen": 48,
            "dim": 96,
            "attend_to_mask_tokens": True,
            "mask_punctuation": False,
        },
    }
    settings = read_settings(write(tmp_path, files))
    assert settings["layout"] == "stanford"
    assert (settings["query_prompt"], settings["document_prompt"]) == ("[unused5] ", "[unused6] ")
    assert settings["expansion"] == Expansion("[MASK]", 24, attend=True)
    assert (settings["dim"], settings["max_tokens"], settings["query_tokens"]) == (96, 48, 24)
    assert settings["document_skiplist"] == ()


def test_stanford_defaults_are_colberts(tmp_path):
    files = {
        "config.json": {**BERT, "architectures": ["HF_ColBERT"]},
        "tokenizer_config.json": {"mask_token": {"content": "<mask>"}},
        "artifact.metadata": {},
    }
    settings = read_settings(write(tmp_path, files))
    assert (settings["query_prompt"], settings["document_prompt"]) == ("[unused0] ", "[unused1] ")
    assert settings["expansion"] == Expansion("<mask>", 32, attend=False)
    assert (settings["dim"], settings["max_tokens"]) == (128, 64)
    assert "," in settings["document_skiplist"]
    assert settings["query_skiplist"] == ()


def test_pylate_settings(tmp_path):
    files = {
        "config.json": BERT,
        "tokenizer_config.json": TOKENIZER,
        "modules.json": modules("Transformer", "Dense"),
        "1_Dense/config.json": {"in_features": 32, "out_features": 16},
        "config_sentence_transformers.json": {
            "model_type": "ColBERT",
            "query_prefix": "[Q] ",
            "document_prefix": "[D] ",
            "prompts": {"query": "[Q] find: "},
            "query_length": 20,
            "document_length": 50,
            "skiplist_words": ["!"],
            "do_query_expansion": True,
            "attend_to_expansion_tokens": True,
        },
    }
    settings = read_settings(write(tmp_path, files))
    assert settings["layout"] == "pylate"
    assert settings["query_prompt"] == "[Q] find: "
    assert settings["document_prompt"] == "[D] "
    assert settings["markers"] == ("[Q] ", "[D] ")
    assert settings["expansion"] == Expansion("[MASK]", 20, attend=True)
    assert (settings["dim"], settings["max_tokens"]) == (16, 50)
    assert settings["document_skiplist"] == ("!",)

    files["config_sentence_transformers.json"]["do_query_expansion"] = False
    del files["config_sentence_transformers.json"]["skiplist_words"]
    settings = read_settings(write(tmp_path, files))
    assert settings["expansion"] is None
    assert settings["query_tokens"] == 20
    assert "," in settings["document_skiplist"]


def native(**changes: object) -> dict[str, object]:
    return {
        "config.json": BERT,
        "tokenizer_config.json": TOKENIZER,
        "config_sentence_transformers.json": {"model_type": "MultiVectorEncoder"},
        "sentence_bert_config.json": {"document_length": 40, "query_length": 12},
        "modules.json": modules("Transformer", "Dense", "MultiVectorMask", "Normalize"),
        "1_Dense/config.json": {"out_features": 24, "module_input_name": "token_embeddings"},
        "2_MultiVectorMask/config.json": {"skiplist_words": ["a"], "skiplist_tasks": ["query"]},
        **changes,
    }


def test_sentence_transformers_settings(tmp_path):
    settings = read_settings(write(tmp_path, native()))
    assert settings["layout"] == "sentence-transformers"
    assert (settings["dim"], settings["pooled_dim"]) == (24, None)
    assert (settings["max_tokens"], settings["query_tokens"]) == (40, 12)
    assert (settings["query_skiplist"], settings["document_skiplist"]) == (("a",), ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config_sentence_transformers.json": {"model_type": "SparseEncoder"}}, "SparseEncoder"),
        ({"config_sentence_transformers.json": {}}, "one vector per text"),
        ({"modules.json": modules("Transformer", "HierarchicalTokenPooling")}, "TokenPooling"),
        ({"modules.json": [{"idx": 0}]}, r"modules\.json"),
        ({"modules.json": {"0": "Transformer"}}, "JSON list"),
        ({"1_Dense/config.json": {"out_features": "24"}}, "'24' as dim"),
        ({"config.json": {"hidden_size": 32}}, "vocabulary size"),
        ({"sentence_bert_config.json": {"query_expansion": {"length": None}}}, "query_expansion"),
        ({"sentence_bert_config.json": {"query_expansion": 3}}, "query_expansion"),
        ({"sentence_bert_config.json": {"document_length": "40"}}, "must be integers"),
        ({"2_MultiVectorMask/config.json": {"keep_only_token_ids": [7]}}, "images"),
    ],
)
def test_metadata_that_is_not_understood_is_refused(tmp_path, changes, message):
    with pytest.raises(CheckpointError, match=message):
        read_settings(write(tmp_path, native(**changes)))


def test_expansion_without_a_mask_is_refused(tmp_path):
    files = native(
        **{
            "modules.json": modules("Transformer", "Dense"),
            "sentence_bert_config.json": {"query_expansion": {"length": 8}},
        }
    )
    with pytest.raises(CheckpointError, match="MultiVectorMask"):
        read_settings(write(tmp_path, files))


@pytest.mark.parametrize(
    "file",
    [
        "config.json",
        "modules.json",
        "config_sentence_transformers.json",
        "3_Dense/config.json",
        "tokenizer.json",
        "onnx/model_int8.onnx",
    ],
)
def test_a_missing_file_is_named(copy, file):
    (copy / file).unlink()
    with pytest.raises(CheckpointError) as raised:
        load_checkpoint(copy)
    assert Path(file).name.replace("_int8", "") in str(raised.value)


def test_a_missing_model_file_tells_how_to_make_it(copy):
    (copy / "onnx/model_int8.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"rag-tools export .*rag-tools\[torch\]"):
        load_checkpoint(copy)


def test_an_incomplete_installation_is_told_from_a_checkpoint_to_export(copy, monkeypatch):
    (copy / "onnx/model_int8.onnx").unlink()
    monkeypatch.setattr("rag_tools.encode.checkpoint.BUNDLED", copy)
    with pytest.raises(CheckpointError, match="reinstall rag-tools"):
        load_checkpoint()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]"])
@pytest.mark.parametrize("file", ["config.json", "config_sentence_transformers.json"])
def test_damaged_json_is_named(copy, file, content):
    (copy / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=file):
        load_checkpoint(copy)


@pytest.mark.parametrize("file", ["tokenizer.json", "onnx/model_int8.onnx"])
@pytest.mark.parametrize("keep", [0, 1000])
def test_a_damaged_model_or_tokenizer_is_named(copy, file, keep):
    path = copy / file
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=Path(file).name):
        Encoder(load_checkpoint(copy))


def test_a_model_that_does_not_fit_its_metadata_is_refused(copy):
    config = json.loads((copy / "3_Dense/config.json").read_text())
    (copy / "3_Dense/config.json").write_text(json.dumps({**config, "out_features": 96}))
    with pytest.raises(CheckpointError, match=r"'token_embeddings': 128.*'token_embeddings': 96"):
        Encoder(load_checkpoint(copy))


def test_no_such_directory(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="isn't a Hub id"):
        load_checkpoint("not a hub id")


def test_a_hub_id_is_downloaded(copy, monkeypatch):
    import huggingface_hub

    asked = []

    def download(repository, *, allow_patterns, local_files_only):
        assert not local_files_only  # the user named it
        asked.append((repository, allow_patterns))
        return str(copy)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    checkpoint = load_checkpoint("somebody/some-model")
    assert checkpoint.name == "somebody/some-model"
    assert checkpoint.directory == copy
    assert asked[0][0] == "somebody/some-model"
    assert not any("safetensors" in pattern or ".bin" in pattern for pattern in asked[0][1])


def test_a_failed_download_tells_the_way_out(monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download(repository, *, allow_patterns, local_files_only):
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(CheckpointError, match=r"somebody/some-model.*offline.*directory"):
        load_checkpoint("somebody/some-model")


# -- next-plaid's layout -----------------------------------------------------------------------


def exported(copy: Path, **changes: object) -> Path:
    """The bundled checkpoint as next-plaid's exporter writes one, without the pooled vector."""
    model = onnx.load(str(copy / "onnx/model_int8.onnx"))
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["output" if name == "token_embeddings" else name for name in node.output]
        node.input[:] = ["output" if name == "token_embeddings" else name for name in node.input]
    kept = [value for value in graph.output if value.name == "token_embeddings"]
    del graph.output[:]
    graph.output.extend(kept)
    graph.output[0].name = "output"
    graph.output[0].type.tensor_type.shape.dim[2].dim_param = "dim"  # left open
    types = graph.input.add()
    types.CopyFrom(graph.input[0])
    types.name = "token_type_ids"
    settings = {
        "model_type": "ColBERT",
        "model_name": "somebody/some-model",
        "uses_token_type_ids": True,
        "query_prefix": "",
        "document_prefix": "",
        "query_length": 32,
        "document_length": 512,
        "do_query_expansion": False,
        "attend_to_expansion_tokens": False,
        "skiplist_words": list(load_checkpoint(copy).document_skiplist),
        "embedding_dim": 128,
        "mask_token_id": 103,
        "pad_token_id": 0,
        "do_lower_case": False,
    }
    for path in [*copy.iterdir()]:
        if path.name != "tokenizer.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    onnx.save(model, str(copy / "model.onnx"))
    return write(copy, {"onnx_config.json": {**settings, **changes}})


def test_next_plaid_vectors_are_those_of_the_source(copy):
    checkpoint = load_checkpoint(exported(copy))
    assert checkpoint.layout == "next-plaid"
    assert (checkpoint.dim, checkpoint.pooled_dim, checkpoint.max_tokens) == (128, None, 512)
    assert (checkpoint.vocabulary_size, checkpoint.expansion) == (30522, None)
    ours, theirs = Encoder(checkpoint), Encoder(load_checkpoint())
    text = "The old mill, by the river: it grinds rye."
    found, expected = ours.encode_passage(text), theirs.encode_passage(text)
    assert np.array_equal(found.token_ids, expected.token_ids)
    assert np.array_equal(found.spans, expected.spans)
    assert np.abs(found.vectors - expected.vectors).max() < 1e-6


def test_next_plaid_settings(copy):
    directory = exported(
        copy,
        query_prefix="[unused0] ",
        document_prefix="[unused1] ",
        query_length=24,
        document_length=180,
        do_query_expansion=True,
        attend_to_expansion_tokens=True,
        skiplist_words=["!", "?"],
        do_lower_case=True,
    )
    checkpoint = load_checkpoint(directory)
    assert checkpoint.expansion == Expansion("[MASK]", 24, attend=True)
    assert (checkpoint.query_tokens, checkpoint.max_tokens) == (24, 180)
    assert checkpoint.markers == ("[unused0] ", "[unused1] ")
    assert (checkpoint.query_skiplist, checkpoint.document_skiplist) == ((), ("!", "?"))
    assert checkpoint.lowercase
    assert len(Encoder(checkpoint).encode_query("mill").vectors) == 24


def test_an_eight_bit_model_of_next_plaid_is_preferred(copy):
    directory = exported(copy)
    shutil.copy(directory / "model.onnx", directory / "model_int8.onnx")
    assert load_checkpoint(directory).model.name == "model_int8.onnx"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding_dim": "many"}, "dim"),
        ({"do_query_expansion": True, "mask_token_id": 999_999}, "999999"),
        ({"document_length": [1]}, "positive integer"),
    ],
)
def test_settings_of_next_plaid_that_make_no_sense(copy, changes, message):
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(exported(copy, **changes))


def test_a_tokenizer_of_next_plaid_that_is_damaged(copy):
    directory = write(exported(copy), {"tokenizer.json": {"model": {}}})
    with pytest.raises(CheckpointError, match="no tokenizer file"):
        load_checkpoint(directory)
