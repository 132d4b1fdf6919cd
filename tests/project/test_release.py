"""A release: one version, wheels with nothing foreign in them, a workflow that is safe."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

import rag_tools

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REPOSITORY = "https://code.example.org/someone/rag-tools"


def program(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"release_{name}", ROOT / ".ci" / "release" / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


contents, ready = program("contents"), program("ready")


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [ROOT / name.decode() for name in listed.stdout.split(b"\0") if name]


def test_the_version_is_written_once():
    assert PROJECT["project"]["dynamic"] == ["version"]
    (entry,) = PROJECT["tool"]["dynamic-metadata"]
    assert ready.package_version(ROOT) == rag_tools.__version__
    assert (ROOT / entry["input"]).samefile(ROOT / "rag_tools" / "__init__.py")
    written = re.compile(rf"(?<![\w.]){re.escape(rag_tools.__version__)}(?![\w.])")
    # A measurement says with which version it was made, a list of changes in which they came. Other
    # people's packages have versions, too.
    records = {"CHANGELOG.md", "benchmarks/RESULTS.md", "benchmarks/peers/setup.sh"}
    repeated = []
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if name in records or name.startswith(("examples/corpus/", "tests/data/")):
            continue
        if path.suffix in {".py", ".toml", ".json", ".md", ".yml", ".sh", ".txt", ""}:
            text = path.read_text(encoding="utf-8", errors="replace")
            repeated += [name] * len(written.findall(text))
    assert repeated == ["rag_tools/__init__.py"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone that is ready for the release 1.2.3."""
    (tmp_path / "rag_tools").mkdir()
    (tmp_path / "rag_tools" / "__init__.py").write_text('__version__ = "1.2.3"\n', "utf-8")
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2031-04-05\n\n### Added\n\n- It.\n", "utf-8"
    )
    (tmp_path / "pyproject.toml").write_text(
        f'[project]\nname = "x"\n[project.urls]\nRepository = "{REPOSITORY}"\n', "utf-8"
    )
    return tmp_path


def test_a_complete_release_may_be_published(clone: Path):
    assert ready.check(clone, "v1.2.3", REPOSITORY) == []


@pytest.mark.parametrize(
    ("name", "before", "after", "complaint"),
    [
        ("rag_tools/__init__.py", "1.2.3", "1.2.4", "the tag is v1.2.3"),
        ("CHANGELOG.md", "## [Unreleased]\n", "", "doesn't begin with"),
        ("CHANGELOG.md", " - 2031-04-05", "", "has no heading '[1.2.3] - YEAR-MONTH-DAY'"),
        ("CHANGELOG.md", "[1.2.3]", "[1.2.30]", "has no heading"),
        ("pyproject.toml", "Repository", "Home", "no [project.urls] with a Repository"),
        ("pyproject.toml", "someone", "somebody", "somebody/rag-tools as Repository"),
    ],
)
def test_what_is_missing_keeps_a_release_back(
    clone: Path, name: str, before: str, after: str, complaint: str
):
    file = clone / name
    file.write_text(file.read_text("utf-8").replace(before, after), "utf-8")
    assert any(complaint in each for each in ready.check(clone, "v1.2.3", REPOSITORY))


def test_the_list_of_changes_keeps_its_form():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    for heading in headings[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading)


def wheel(folder: Path, *more: str, name: str = "rag_tools-1-py3-none-any.whl") -> Path:
    file = folder / name
    with ZipFile(file, "w") as archive:
        for package in contents.PACKAGES:
            archive.writestr(f"{package}/__init__.py", "")
            archive.writestr(f"{package}/py.typed", "")
        archive.writestr("rag_tools-1.dist-info/METADATA", "")
        for each in more:
            archive.writestr(each, "")
    return file


def test_a_wheel_of_ours_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert contents.main([wheel(tmp_path)]) == 0
    assert "MiB" in capsys.readouterr().out
    native = wheel(tmp_path, "rag_tools/index/_native.abi3.so", name="a-1-cp312-abi3-linux_x.whl")
    assert contents.check(native) == []
    assert contents.main([]) == 1


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ("tests/test_x.py", "tests/test_x.py doesn't belong"),
        ("rag_tools/index/native/module.cpp", "module.cpp doesn't belong"),
        ("rag_tools/benchmarks/serve.py", "serve.py doesn't belong"),
        ("rag_tools/index/_native.so", "1 native modules, not 0"),
    ],
)
def test_what_does_not_belong_in_a_wheel_is_named(tmp_path: Path, more: str, complaint: str):
    assert any(complaint in each for each in contents.check(wheel(tmp_path, more)))


def test_a_wheel_for_a_platform_without_native_code_is_refused(tmp_path: Path):
    plain = wheel(tmp_path, name="rag_tools-1-cp312-abi3-manylinux_2_28_x86_64.whl")
    assert contents.check(plain) == ["0 native modules, not 1: "]


def test_a_wheel_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(contents, "LARGEST", 10)
    assert "are more than 10" in contents.check(wheel(tmp_path))[0]


def test_every_package_ships_its_types():
    for package in PROJECT["tool"]["scikit-build"]["wheel"]["packages"]:
        assert (ROOT / package / "py.typed").is_file(), package
    names = {Path(package).name for package in PROJECT["tool"]["scikit-build"]["wheel"]["packages"]}
    assert names == set(contents.PACKAGES)
    assert names == set(PROJECT["tool"]["check-wheel-contents"]["toplevel"])


def test_actions_are_pinned_to_commits_and_only_publishing_gets_an_identity():
    text = (ROOT / ".github" / "workflows" / "wheels.yml").read_text("utf-8")
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    assert re.search(r"^permissions: \{\}$", text, re.MULTILINE)
    publish = text.partition("\n  publish:\n")[2]
    assert text.count("id-token: write") == publish.count("id-token: write") == 1
    assert "needs: [wheels, sdist, ready]" in publish


def test_the_configuration_without_an_installation_is_what_install_would_write():
    from rag_tools_mcp.install.hosts import snippet

    mcp = (ROOT / "docs" / "mcp.md").read_text("utf-8")
    section = mcp.partition("### Without installing rag-tools\n")[2]
    written = re.findall(r"```json\n(.*?)\n```", section, re.DOTALL)[0]
    command = ["uvx", "rag-tools", "serve", "--index", "/path/to/index"]
    assert json.loads(written) == json.loads(snippet("claude-code", command).text)


def test_the_image_gets_the_package_and_what_builds_it():
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".containerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    }
    settings, project = PROJECT["tool"]["scikit-build"], PROJECT["project"]
    needed = {"pyproject.toml", project["readme"], *settings["wheel"]["packages"]}
    needed |= {settings["cmake"]["source-dir"], *project["license-files"]}
    for path in needed:
        parents = {parent.as_posix() for parent in [Path(path), *Path(path).parents]}
        assert parents & allowed, f"the image is built without {path}"
    assert not [path for path in allowed if not (ROOT / path).exists()]
