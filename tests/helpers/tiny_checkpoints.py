"""Tiny checkpoints with random weights, for what needs the extra [torch]."""

import string
from pathlib import Path

import pytest

pytest.importorskip("sentence_transformers", reason="needs the extra [torch]")

import torch
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import BertConfig, BertModel, BertTokenizerFast

HIDDEN = 32


def tiny_bert(directory: Path, *, extra: tuple[str, ...] = ()) -> tuple[BertModel, Path]:
    """Write a random BERT of two layers with a character vocabulary and a few words."""
    words = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [*string.punctuation, "the", "mill", "river", "old", "漢"]
    letters = string.ascii_lowercase + string.digits
    words += [*letters, *(f"##{letter}" for letter in letters)]
    directory.mkdir(parents=True)
    (directory / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    tokenizer = BertTokenizerFast(str(directory / "vocab.txt"), model_max_length=96)
    (directory / "vocab.txt").unlink()
    tokenizer.add_tokens(list(extra))
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    model = BertModel(config, add_pooling_layer=False).eval()
    model.save_pretrained(directory)
    return model, directory


def linear(dim: int) -> torch.Tensor:
    """Return the weights of a projection, the same every time."""
    return torch.randn(dim, HIDDEN, generator=torch.Generator().manual_seed(dim))


def native(directory: Path, *, dim: int, pooled: bool = False, **settings) -> Path:
    """Write a checkpoint in the layout of sentence-transformers."""
    mask = MultiVectorMask(
        settings.pop("skiplist", []), skiplist_tasks=settings.pop("tasks", "document")
    )
    prompts = settings.pop("prompts", {})
    _, base = tiny_bert(directory / "base")
    projection = Dense(
        HIDDEN,
        dim,
        bias=settings.pop("bias", False),
        activation_function=settings.pop("activation", torch.nn.Identity()),
        init_weight=linear(dim),
        module_input_name="token_embeddings",
    )
    modules = [
        Transformer(str(base), **settings),
        *([Pooling(HIDDEN), Normalize()] if pooled else []),
        projection,
        mask,
        Normalize(module_input_name="token_embeddings"),
    ]
    model = MultiVectorEncoder(modules=modules, prompts=prompts, device="cpu")
    model.save_pretrained(str(directory / "model"), create_model_card=False)
    return directory / "model"
