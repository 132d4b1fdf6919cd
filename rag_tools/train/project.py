"""A late-interaction checkpoint from a sentence embedding model, without training.

``python -m rag_tools.train.project BASE PAIRS OUT`` made what the bundled checkpoint was trained
from. The base model's token embeddings are projected to fewer dims so that their inner products
change least; its own sentence embedding stays available as the pooled vector.
"""

from __future__ import annotations

import argparse
import string
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Normalize, Transformer
from sentence_transformers.base.modules.dense import Dense
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Pooling

from rag_tools.encode.export import export
from rag_tools.train.pairs import read_examples, sample_passages


def fit_projection(vectors: Iterable[NDArray[np.float32]], dim: int) -> NDArray[np.float32]:
    """Fit the linear map that keeps most of the inner products of unit vectors.

    The leading eigenvectors of the second moment: a PCA without centring, because MaxSim scores
    inner products, which a shift of the origin would change.

    Parameters
    ----------
    vectors
        Arrays of shape ``(n_tokens, base_dim)``; rows are brought to unit length here.
    dim
        Number of dimensions to keep.

    Returns
    -------
    Shape ``(dim, base_dim)``, float32, orthonormal rows in order of falling energy; the largest
    component of each is positive, which makes the result unique.
    """
    moment: NDArray[np.float64] | None = None
    for block in vectors:
        rows = block.astype(np.float64)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        moment = rows.T @ rows if moment is None else moment + rows.T @ rows
    if moment is None or not 0 < dim <= len(moment):
        size = 0 if moment is None else len(moment)
        raise ValueError(f"can't fit {dim} dims to vectors of {size}")
    axes = np.linalg.eigh(moment).eigenvectors[:, ::-1].T[:dim]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1, keepdims=True), axis=1)
    projection: NDArray[np.float32] = (axes * np.sign(largest)).astype(np.float32)
    return projection


def project(
    base: str | Path, passages: list[str], out: Path, *, dim: int = 128
) -> MultiVectorEncoder:
    """Make the checkpoint `out`, not yet exported, from the sentence embedding model `base`.

    Parameters
    ----------
    base
        A sentence-transformers model with mean pooling.
    passages
        Texts that the projection is fitted to.
    out
        Directory to write: sentence-transformers' multi-vector layout.
    dim
        Number of dimensions of a token's vector.
    """
    projection = fit_projection(_token_vectors(base, passages), dim)
    base_dim = projection.shape[1]
    # Punctuation is left out of queries and passages, [CLS] and [SEP] stay: see the table in
    # encode/bundled/README.md.
    mask = MultiVectorMask(list(string.punctuation), skiplist_tasks=["query", "document"])
    # All of BERT's positions, though the base model stops at 256: nDCG@10 on Cranfield with
    # windows of 256, 384, 512 tokens is 0.376, 0.380, 0.381; on CoSQA 0.542, -, 0.544.
    encoder = Transformer(str(base), max_seq_length=512)
    encoder.max_seq_length = min(512, encoder.config.max_position_embeddings)
    model = MultiVectorEncoder(
        modules=[
            encoder,
            Pooling(base_dim),
            Normalize(),
            Dense(
                base_dim,
                dim,
                bias=False,
                activation_function=torch.nn.Identity(),
                init_weight=torch.from_numpy(projection),
                module_input_name="token_embeddings",
            ),
            mask,
            Normalize(module_input_name="token_embeddings"),
        ],
    )
    model.save_pretrained(str(out), create_model_card=False)
    return model


def _token_vectors(base: str | Path, passages: list[str]) -> Iterator[NDArray[np.float32]]:
    model = SentenceTransformer(str(base), device="cpu")
    for start in range(0, len(passages), 256):
        for tokens in model.encode(
            passages[start : start + 256], output_value="token_embeddings", batch_size=16
        ):
            yield tokens.numpy()


def main() -> None:
    """Build the checkpoint named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m rag_tools.train.project", description=__doc__)
    parser.add_argument("base", help="sentence-transformers model: directory or Hub id")
    parser.add_argument("pairs", type=Path, help="gzipped JSON lines with source and passage")
    parser.add_argument("out", type=Path, help="directory to write")
    arguments = parser.parse_args()
    passages = sample_passages(read_examples(arguments.pairs), 4000)
    project(arguments.base, passages, arguments.out)
    export(arguments.out, arguments.out)


if __name__ == "__main__":
    main()
