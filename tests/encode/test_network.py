"""An index from somebody else has nothing fetched."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from rag_tools import Document, Engine
from rag_tools.errors import CheckpointError


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    with Engine.open(tmp_path / "index", create=True) as engine:
        engine.add([Document(uri="test:a", text="Rivers flow.")])
    return tmp_path / "index"


def name(index: Path, checkpoint: str) -> None:
    connection = sqlite3.connect(index / "catalog.sqlite", isolation_level=None)
    connection.execute(
        "UPDATE setting SET value = ? WHERE key = 'checkpoint'", [json.dumps(checkpoint)]
    )
    connection.close()


def test_a_checkpoint_that_an_index_names_is_not_downloaded(
    foreign: Path, monkeypatch: pytest.MonkeyPatch
):
    name(foreign, "somebody/tracking")
    tried = []

    def connect(*arguments: object, **options: object) -> None:
        tried.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    with (
        Engine.open(foreign) as engine,
        pytest.raises(CheckpointError, match=r"--checkpoint somebody/tracking"),
    ):
        engine.search("rivers")
    assert not tried
    with (
        Engine.open(foreign, checkpoint="somebody/tracking") as engine,
        pytest.raises(CheckpointError, match="can't be downloaded"),
    ):
        engine.search("rivers")
    assert tried, "what the user names is looked up"


@pytest.mark.parametrize("place", [r"\\\\server\\share\\model", "//server/share/model"])
def test_a_folder_of_another_machine_is_not_looked_at(foreign: Path, place: str):
    name(foreign, place)
    with Engine.open(foreign) as engine, pytest.raises(CheckpointError, match="another machine"):
        engine.search("rivers")


def test_the_hub_is_told_nothing():
    program = (
        "import rag_tools.encode.checkpoint, huggingface_hub.constants as c;"
        "print(c.HF_HUB_DISABLE_TELEMETRY)"
    )
    ours = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=ours
    )
    assert done.stdout.strip() == "True"
