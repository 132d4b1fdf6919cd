"""How a host starts this installation again: from a folder that stays, or by what made it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rag_tools_mcp.install import hosts, program

TAG = "Signature: 8a477f597d28d172789f06886806bc55\n"


def environment(prefix: Path, *, uv: bool = False, pipx: bool = False) -> Path:
    """Make what tells an environment's maker, as uv and pipx leave it."""
    prefix.mkdir(parents=True)
    lines = ["home = /usr/bin", *(["uv = 0.9.1"] if uv else []), "version_info = 3.11.7"]
    (prefix / "pyvenv.cfg").write_text("\n".join(lines), encoding="utf-8")
    if uv:
        (prefix / "CACHEDIR.TAG").write_text(TAG, encoding="utf-8")
    if pipx:
        (prefix / "pipx_metadata.json").write_text("{}", encoding="utf-8")
    return prefix


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of PATH with uvx and pipx."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("uvx", "pipx"):
        file = folder / (f"{name}.exe" if sys.platform == "win32" else name)
        file.touch()
        file.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setattr(program, "distribution", lambda name: Recorded(None))
    return folder


class Recorded:
    """A distribution with this record of its origin."""

    def __init__(self, origin: dict[str, object] | None) -> None:
        self.origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.origin is None else json.dumps(self.origin)


def test_an_environment_of_one_run_is_named_by_its_maker(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
):
    cache = tmp_path / "any cache"
    cache.mkdir()
    (cache / "CACHEDIR.TAG").write_text(TAG, encoding="utf-8")
    monkeypatch.setattr(sys, "prefix", str(environment(cache / "archive-v0" / "x7Y", uv=True)))
    uvx, *rest = hosts.launch(tmp_path / "index")
    assert Path(uvx).is_absolute()
    assert Path(uvx).parent == path
    assert rest == ["rag-tools", "serve", "--index", str(tmp_path / "index")]

    # PIPX_HOME/.cache of older versions isn't marked as a cache.
    for number, folder in enumerate((cache, tmp_path / "pipx" / ".cache")):
        prefix = environment(folder / f"e80c8a3df18c11{number}", pipx=True, uv=bool(number))
        monkeypatch.setattr(sys, "prefix", str(prefix))
        pipx, *rest = program.program()
        assert Path(pipx).parent == path
        assert rest == ["run", "rag-tools"]


def test_an_environment_that_stays_is_named_by_its_path(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = program.program()
    for prefix in (
        environment(tmp_path / "project" / ".venv", uv=True),
        environment(tmp_path / "uv" / "tools" / "rag-tools", uv=True),
        environment(tmp_path / "pipx" / "venvs" / "rag-tools", pipx=True),
        tmp_path / "no environment",
    ):
        monkeypatch.setattr(sys, "prefix", str(prefix))
        assert program.program() == before
    assert Path(before[0]).is_absolute()


def test_without_a_script_the_interpreter_starts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(program.sysconfig, "get_path", lambda name: str(tmp_path))
    start = program.program()
    assert start == [sys.executable, "-m", "rag_tools.cli.main"]
    done = subprocess.run([*start, "--version"], capture_output=True, cwd=tmp_path, check=True)
    assert done.stdout.startswith(b"rag-tools ")


def test_uvx_that_is_not_on_the_path(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(program, "_maker", lambda prefix: "uv")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program.program() == ["uvx", "rag-tools"]
    monkeypatch.setenv("UV", "/opt/uv")
    assert program.program() == ["/opt/uv", "tool", "run", "rag-tools"]


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        ({"url": "https://example.org/a.whl", "archive_info": {}}, "https://example.org/a.whl"),
        (
            {"url": "https://example.org/r.git", "vcs_info": {"vcs": "git", "commit_id": "1a2b"}},
            "git+https://example.org/r.git@1a2b",
        ),
        (
            {"url": "file:///C:/rag%20tools", "dir_info": {}, "subdirectory": "python"},
            "file:///C:/rag%20tools#subdirectory=python",
        ),
    ],
)
def test_what_did_not_come_by_its_name_is_fetched_from_where_it_came(
    path: Path, monkeypatch: pytest.MonkeyPatch, origin: dict[str, object], source: str
):
    monkeypatch.setattr(program, "distribution", lambda name: Recorded(origin))
    for maker, option in (("uv", "--from"), ("pipx", "--spec")):
        monkeypatch.setattr(program, "_maker", lambda prefix, maker=maker: maker)
        assert program.program()[-3:] == [option, f"rag-tools @ {source}", "rag-tools"]
