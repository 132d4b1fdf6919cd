"""Downloading checkpoints from the Hugging Face Hub, to the Hub's cache on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from rag_tools.errors import CheckpointError

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
"""The id of a repository: ``organisation/name``."""

# What a checkpoint needs; weights in other formats aren't downloaded.
_FILES = [
    "*.json",
    "artifact.metadata",
    "onnx/model.onnx",
    "onnx/model_int8.onnx",
    "model.onnx",
    "model_int8.onnx",
]


def download(repository: str, *, network: bool) -> Path:
    """Return the folder of a repository's files; those that the cache lacks are downloaded.

    The Hub's own variables are followed, such as ``HF_HOME``, the place of the cache, and
    ``HF_ENDPOINT``, a mirror. A download that was interrupted goes on where it stopped.

    Parameters
    ----------
    network
        Whether the network may be used. Without it, the files must be in the cache.

    Raises
    ------
    CheckpointError
        If the files can't be had.
    """
    # Imported here: most runs use the bundled checkpoint or a directory and save the 0.1 s.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        found = snapshot_download(repository, allow_patterns=_FILES, local_files_only=not network)
        return Path(found)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        if not network:
            raise CheckpointError(
                f"The index names the checkpoint {repository!r}, which isn't on this machine. It "
                "is downloaded only if you name it yourself, once: "
                f"`rag-tools index --checkpoint {repository}`."
            ) from error
        raise CheckpointError(
            f"The checkpoint {repository!r} can't be downloaded ({error}). Check the name and the "
            f"network, or copy the directory that `hf download {repository} --local-dir DIRECTORY` "
            "makes on a machine with a network, and name it; without a checkpoint the bundled one "
            "is used, which needs no network."
        ) from error
