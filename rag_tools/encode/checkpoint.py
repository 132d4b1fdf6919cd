"""Checkpoints: the files of one, and the settings in its metadata.

Four layouts are read: sentence-transformers' multi-vector layout, PyLate's and Stanford ColBERT's,
which have an ONNX file beside them that `rag_tools.encode.export` made, and next-plaid's, which is
an ONNX file with settings. Nothing here runs a model; that is `rag_tools.encode.encoder`.
"""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rag_tools.encode.hub import HUB_ID, download
from rag_tools.errors import CheckpointError

Layout = Literal["sentence-transformers", "pylate", "stanford", "next-plaid"]

BUNDLED = Path(__file__).parent / "bundled"

# In order of preference: int8 is twice as fast as float32, at a mean cosine of 0.9958
# (bundled/README.md).
MODEL_FILES = ("onnx/model_int8.onnx", "onnx/model.onnx")

# Those of next-plaid's exporter, and its settings, in order of preference.
_EXPORTED_FILES = ("model_int8.onnx", "model.onnx")
_EXPORTED_SETTINGS = ("onnx_config.json", "config_sentence_transformers.json")


# Modules whose whole effect is inside the ONNX file, or is modelled by `Checkpoint`.
_MODULES = frozenset({"Transformer", "Pooling", "Dense", "Normalize", "MultiVectorMask"})

_PYLATE_KEYS = frozenset(
    {
        "query_prefix",
        "document_prefix",
        "query_length",
        "document_length",
        "query_expansion",
        "do_query_expansion",
        "attend_to_expansion_tokens",
        "attend_to_mask_tokens",
        "skiplist_words",
    }
)
# ColBERT's defaults, which both older layouts use for values that are missing in a file.
_QUERY_TOKENS = 32
_DIM = 128


@dataclass(frozen=True, slots=True)
class Expansion:
    """Queries shorter than `length` tokens are filled up with `token`.

    `attend` tells whether the other tokens may attend to the filling (ColBERT, section 3.2,
    "query augmentation").
    """

    token: str
    length: int
    attend: bool


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint's files and settings.

    Attributes
    ----------
    name
        Name for people and for an index's metadata: ``"bundled"``, a Hub id or a directory's
        name.
    directory, model
        Directory of the checkpoint, and its ONNX file.
    layout
        Layout of the metadata.
    fingerprint
        SHA-256, in hexadecimal, of everything that changes embeddings: model, tokenizer,
        settings. Two checkpoints with one fingerprint give the same embeddings.
    dim, pooled_dim
        Dimensions of a token's vector and of the pooled vector; None if there is no pooled vector.
    max_tokens
        Maximum number of tokens per run, markers included; longer texts are read in windows.
    query_tokens
        Nominal length of a query. Longer queries are encoded whole.
    vocabulary_size
        Number of tokens in the vocabulary; all token ids are smaller.
    query_prompt, document_prompt
        Text put before every query and every passage.
    markers
        Prompts that were single tokens in training (``"[Q] "``, ``"[unused0] "``).
    expansion
        How short queries are filled up; None if they aren't filled up.
    query_skiplist, document_skiplist
        Tokens whose embeddings are left out of the result.
    lowercase
        Whether text is lowercased before the tokenizer's own normalisation.
    """

    name: str
    directory: Path
    model: Path
    layout: Layout
    fingerprint: str
    dim: int
    pooled_dim: int | None
    max_tokens: int
    query_tokens: int
    vocabulary_size: int
    query_prompt: str
    document_prompt: str
    markers: tuple[str, ...]
    expansion: Expansion | None
    query_skiplist: tuple[str, ...]
    document_skiplist: tuple[str, ...]
    lowercase: bool


def load_checkpoint(source: str | Path | None = None, *, network: bool = True) -> Checkpoint:
    """Read a checkpoint's metadata. The model isn't loaded yet.

    Parameters
    ----------
    source
        A directory, or the id of a Hugging Face Hub repository, which is downloaded to the Hub's
        cache. None is the checkpoint that comes with rag-tools and needs no network.
    network
        Whether the network may be used. Without it, a repository must be in the cache already, and
        a directory on this machine: what an index from somebody else names isn't fetched.

    Raises
    ------
    CheckpointError
        If a file is missing or can't be read, or the layout is unknown.
    """
    if source is None:
        try:
            return read_checkpoint(BUNDLED, "bundled")
        except CheckpointError as error:
            raise CheckpointError(
                f"The bundled checkpoint in {str(BUNDLED)!r} is incomplete: reinstall rag-tools. "
                f"({error})"
            ) from error
    if not network and str(source).replace("\\", "/").startswith("//"):
        raise CheckpointError(
            f"The index names the checkpoint {str(source)!r} on another machine, from which "
            "nothing is loaded unless you name it yourself: "
            f"`rag-tools index --checkpoint {source}`."
        )
    directory = Path(source)
    if directory.is_dir():
        return read_checkpoint(directory.resolve(), directory.resolve().name)
    if isinstance(source, str) and HUB_ID.fullmatch(source):
        return read_checkpoint(download(source, network=network), source)
    raise CheckpointError(
        f"There is no checkpoint directory {str(source)!r}, and it isn't a Hub id like "
        "'organisation/model' either."
    )


def read_checkpoint(directory: Path, name: str) -> Checkpoint:
    """Read the metadata of the checkpoint in `directory`, which gets the name `name`."""
    settings = read_settings(directory)
    files = _EXPORTED_FILES if settings["layout"] == "next-plaid" else MODEL_FILES
    model = next((path for file in files if (path := directory / file).is_file()), None)
    if model is None:
        raise CheckpointError(
            f"The checkpoint {str(directory)!r} has no {MODEL_FILES[1]}. Make it once with "
            f"`rag-tools export {name if '/' in name else directory} DIRECTORY` "
            "(needs the extra: pip install 'rag-tools[torch]'), then use DIRECTORY."
        )
    tokenizer = directory / "tokenizer.json"
    if not tokenizer.is_file():
        raise CheckpointError(
            f"{str(tokenizer)!r} is missing: export the checkpoint again with "
            "`rag-tools export`, which writes it."
        )
    return Checkpoint(
        name=name,
        directory=directory,
        model=model,
        fingerprint=_fingerprint(model, tokenizer, settings),
        **settings,
    )


def read_settings(directory: Path) -> dict[str, Any]:
    """Return the fields of `Checkpoint` that come from metadata, for every layout."""
    exported = _exported_settings(directory)
    config = _read_json(directory / "config.json", optional=exported is not None)
    if exported is not None:
        settings = _read_exported(directory, config, exported)
    elif "HF_ColBERT" in (config.get("architectures") or ()):
        settings = _read_stanford(directory, config)
    elif (directory / "modules.json").is_file():
        settings = _read_modules(directory, config)
    else:
        raise CheckpointError(
            f"{str(directory)!r} is no late-interaction checkpoint: it has no modules.json "
            "(sentence-transformers, PyLate) and config.json names no HF_ColBERT architecture."
        )
    for key in ("dim", "max_tokens", "query_tokens", "vocabulary_size"):
        value = settings[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(
                f"The metadata of {str(directory)!r} gives {value!r} as {key.replace('_', ' ')}; "
                "it must be a positive integer."
            )
    return settings


def _read_stanford(directory: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    metadata = _read_json(directory / "artifact.metadata")
    query = f"{metadata.get('query_token_id') or '[unused0]'} "
    document = f"{metadata.get('doc_token_id') or '[unused1]'} "
    query_tokens = metadata.get("query_maxlen") or _QUERY_TOKENS
    punctuation = tuple(string.punctuation) if metadata.get("mask_punctuation", True) else ()
    return {
        "layout": "stanford",
        "dim": metadata.get("dim") or _DIM,
        "pooled_dim": None,
        "max_tokens": _window(directory, config, metadata.get("doc_maxlen")),
        "query_tokens": query_tokens,
        "vocabulary_size": config.get("vocab_size"),
        "query_prompt": query,
        "document_prompt": document,
        "markers": (query, document),
        "expansion": Expansion(
            token=_filling(directory),
            length=query_tokens,
            attend=bool(metadata.get("attend_to_mask_tokens")),
        ),
        "query_skiplist": (),
        "document_skiplist": punctuation,
        "lowercase": False,
    }


def _exported_settings(directory: Path) -> dict[str, Any] | None:
    """Return the settings of a checkpoint that next-plaid's exporter wrote, None of another one.

    It puts the model into the folder itself. A model that `rag_tools.encode.export` wrote beside
    it, checked against the source, is preferred.
    """
    if any((directory / file).is_file() for file in MODEL_FILES):
        return None
    if not any((directory / file).is_file() for file in _EXPORTED_FILES):
        return None
    for file in _EXPORTED_SETTINGS:
        settings: dict[str, Any] = _read_json(directory / file, optional=True)
        if "embedding_dim" in settings:
            return settings
    return None


def _read_exported(
    directory: Path, config: Mapping[str, Any], top: Mapping[str, Any]
) -> dict[str, Any]:
    vocabulary = _vocabulary(directory / "tokenizer.json")
    query_tokens = top.get("query_length") or _QUERY_TOKENS
    expansion = None
    if top.get("do_query_expansion"):
        filling = next((t for t, id in vocabulary.items() if id == top.get("mask_token_id")), None)
        if filling is None:
            raise CheckpointError(
                f"The settings of {str(directory)!r} fill up queries with token "
                f"{top.get('mask_token_id')!r}, which its vocabulary lacks."
            )
        attend = bool(top.get("attend_to_expansion_tokens"))
        expansion = _expansion(
            directory, {"token": filling, "length": query_tokens, "attend": attend}
        )
    prompts = _prompts(top)
    return {
        "layout": "next-plaid",
        "dim": top["embedding_dim"],
        "pooled_dim": None,
        "max_tokens": _window(directory, config, top.get("document_length")),
        "query_tokens": query_tokens,
        "vocabulary_size": max(vocabulary.values(), default=-1) + 1,
        "query_prompt": prompts["query"],
        "document_prompt": prompts["document"],
        "markers": tuple(top[key] for key in ("query_prefix", "document_prefix") if top.get(key)),
        "expansion": expansion,
        "query_skiplist": (),
        "document_skiplist": tuple(_pylate_skiplist(top)),
        "lowercase": bool(top.get("do_lower_case")),
    }


def _vocabulary(tokenizer: Path) -> dict[str, int]:
    """Return the ids of all tokens of a tokenizer."""
    stored = _read_json(tokenizer)
    try:
        known = stored["model"]["vocab"]
        # A unigram model has a list of tokens with their scores.
        ids = {row[0]: id for id, row in enumerate(known)} if isinstance(known, list) else known
        return {**ids, **{each["content"]: each["id"] for each in stored["added_tokens"]}}
    except (KeyError, TypeError, IndexError) as error:
        raise CheckpointError(f"{str(tokenizer)!r} is no tokenizer file: {error!r}.") from error


def _read_modules(directory: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    top = _read_json(directory / "config_sentence_transformers.json")
    backbone = _read_json(directory / "sentence_bert_config.json", optional=True)
    pylate = top.get("model_type") == "ColBERT" or not _PYLATE_KEYS.isdisjoint(top)
    if not pylate and top.get("model_type") != "MultiVectorEncoder":
        raise CheckpointError(
            f"{str(directory)!r} is a {top.get('model_type') or 'SentenceTransformer'} checkpoint: "
            "it gives one vector per text, not one per token."
        )
    dim, pooled_dim, mask = _read_module_configs(directory, config)
    if pylate:
        mask = {"skiplist_words": _pylate_skiplist(top)}
        knobs = {**_pylate_knobs(top), **backbone}
    else:
        knobs = dict(backbone)
    expansion = _expansion(directory, knobs.get("query_expansion"))
    if mask is None and expansion is not None:
        raise CheckpointError(
            f"{str(directory)!r} expands queries but has no MultiVectorMask module, so nothing "
            "says whether the expansion tokens count."
        )
    if mask and mask.get("keep_only_token_ids"):
        raise CheckpointError(f"{str(directory)!r} encodes images only; rag-tools encodes text.")
    prompts = _prompts(top)
    words = tuple((mask or {}).get("skiplist_words") or ())
    tasks = (mask or {}).get("skiplist_tasks") or ("document",)
    return {
        "layout": "pylate" if pylate else "sentence-transformers",
        "dim": dim,
        "pooled_dim": pooled_dim,
        "max_tokens": _window(
            directory, config, knobs.get("document_length"), knobs.get("max_seq_length")
        ),
        "query_tokens": (expansion.length if expansion else knobs.get("query_length"))
        or _QUERY_TOKENS,
        "vocabulary_size": config.get("vocab_size"),
        "query_prompt": prompts["query"],
        "document_prompt": prompts["document"],
        "markers": tuple(top[key] for key in ("query_prefix", "document_prefix") if top.get(key)),
        "expansion": expansion,
        "query_skiplist": words if "query" in tasks else (),
        "document_skiplist": words if "document" in tasks else (),
        "lowercase": bool(knobs.get("do_lower_case")),
    }


def _read_module_configs(
    directory: Path, config: Mapping[str, Any]
) -> tuple[Any, int | None, dict[str, Any] | None]:
    """Follow modules.json: token dim, pooled dim, configuration of the scoring mask."""
    dim = config.get("hidden_size")
    pooled_dim = None
    mask = None
    for module in _read_json(directory / "modules.json", kind=list):
        try:
            kind, folder = module["type"].rpartition(".")[2], module["path"]
        except (TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(
                f"{str(directory / 'modules.json')!r} has an entry without type and path: "
                f"{module!r}."
            ) from error
        if kind not in _MODULES:
            raise CheckpointError(
                f"The module {module['type']} of {str(directory)!r} isn't supported; rag-tools "
                f"knows {', '.join(sorted(_MODULES))}."
            )
        if kind == "Transformer":
            continue
        settings = _read_json(directory / folder / "config.json", optional=kind == "Normalize")
        if kind == "Pooling":
            pooled_dim = dim
        elif kind == "MultiVectorMask":
            mask = settings
        elif kind == "Dense" and settings.get("module_input_name") == "sentence_embedding":
            pooled_dim = settings.get("out_features")
        elif kind == "Dense":
            dim = settings.get("out_features")
    return dim, pooled_dim, mask


def _prompts(top: Mapping[str, Any]) -> dict[str, str]:
    """Return the query's and the document's prompt, a PyLate prefix ahead of a saved prompt."""
    saved = top.get("prompts") or {}
    prompts = {}
    for task in ("query", "document"):
        prefix = top.get(f"{task}_prefix") or ""
        prompts[task] = prefix + (saved.get(task) or "").removeprefix(prefix)
    return prompts


def _pylate_skiplist(top: Mapping[str, Any]) -> list[str]:
    words = top.get("skiplist_words")
    return list(string.punctuation) if words is None else words


def _pylate_knobs(top: Mapping[str, Any]) -> dict[str, Any]:
    """Translate PyLate's flat keys into those of sentence-transformers' Transformer module."""
    knobs = {key: top[key] for key in ("query_length", "document_length") if top.get(key)}
    if "query_expansion" in top:
        knobs["query_expansion"] = top["query_expansion"]
    elif top.get("do_query_expansion") is not False:
        attend = top.get("attend_to_expansion_tokens", top.get("attend_to_mask_tokens"))
        length = top.get("query_length") or _QUERY_TOKENS
        knobs["query_expansion"] = {"attend": bool(attend), "length": length}
    return knobs


def _expansion(directory: Path, config: Any) -> Expansion | None:  # noqa: ANN401 - from JSON
    if config is None:
        return None
    length = config.get("length") if isinstance(config, dict) else None
    if not isinstance(length, int) or length < 1:
        raise CheckpointError(
            f"The query_expansion of {str(directory)!r} has no positive length: {config!r}."
        )
    token = config.get("token") or _filling(directory)
    return Expansion(token, length, attend=bool(config.get("attend")))


def _filling(directory: Path) -> str:
    """Return the token that fills up queries: the tokenizer's mask token, or its end token."""
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        tokens = _read_json(directory / file, optional=True)
        for key in ("mask_token", "eos_token"):
            token = tokens.get(key)
            if isinstance(token, dict):
                token = token.get("content")
            if token:
                return str(token)
    raise CheckpointError(
        f"{str(directory / 'tokenizer_config.json')!r} names no mask_token, which the checkpoint "
        "needs to fill up short queries."
    )


def _window(directory: Path, config: Mapping[str, Any], *lengths: int | None) -> int | None:
    """Return the maximum number of tokens per run: the first length given, capped."""
    tokenizer = _read_json(directory / "tokenizer_config.json", optional=True)
    wanted = next((length for length in lengths if length), None)
    limits = [wanted, tokenizer.get("model_max_length"), config.get("max_position_embeddings")]
    try:
        return min((limit for limit in limits if limit), default=None)
    except TypeError as error:
        raise CheckpointError(
            f"The lengths in the metadata of {str(directory)!r} must be integers: {limits!r}."
        ) from error


def _read_json(path: Path, *, optional: bool = False, kind: type = dict) -> Any:  # noqa: ANN401
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if optional:
            return kind()
        raise CheckpointError(
            f"{str(path)!r} is missing: the checkpoint is incomplete, copy or download it again."
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{str(path)!r} can't be read as JSON: {error}.") from error
    if not isinstance(value, kind):
        raise CheckpointError(
            f"{str(path)!r} must hold a JSON {kind.__name__}, not {type(value).__name__}."
        )
    return value


def _fingerprint(model: Path, tokenizer: Path, settings: Mapping[str, Any]) -> str:
    # 15 ms for the bundled 23 MB, so it isn't cached.
    digest = hashlib.sha256()
    for path in (model, tokenizer):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    digest.update(repr(sorted(settings.items())).encode())
    return digest.hexdigest()
