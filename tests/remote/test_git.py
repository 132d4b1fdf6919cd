"""Git repositories: the files of a revision, with links to their commit."""

import os
import subprocess
from pathlib import Path

import pytest

from dumb import serving_files
from rag_tools.cite.locate import cite_span
from rag_tools.engine import Engine
from rag_tools.errors import InvalidQueryError
from rag_tools.remote import repository
from rag_tools.types import Document, Span, WebOptions

TIDES = "The moon pulls the sea.\nSpring tides come at full moon.\n"


def git(folder: Path, *arguments: str, date: str = "2026-03-03T09:30:00+01:00") -> str:
    who = {"NAME": "Ada Lovelace", "EMAIL": "ada@example.org", "DATE": date}
    env = {
        f"GIT_{role}_{name}": value
        for role in ("AUTHOR", "COMMITTER")
        for name, value in who.items()
    }
    made = subprocess.run(
        ["git", "-c", "init.defaultBranch=main", *arguments],
        cwd=folder,
        env={**os.environ, **env, "GIT_CONFIG_GLOBAL": os.devnull},
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.strip()


@pytest.fixture
def bare(tmp_path):
    work = tmp_path / "work"
    (work / "docs").mkdir(parents=True)
    git(work, "init", "-q")
    (work / "docs" / "tides.txt").write_text(TIDES)
    (work / "bees.md").write_text("# Bees\n\nBees dance on the comb.\n")
    (work / ".hidden.md").write_text("Hidden.\n")
    (work / "id_rsa").write_text("key")
    (work / "map.png").write_bytes(b"\x89PNG")
    git(work, "add", ".")
    git(work, "commit", "-qm", "First")
    git(work, "tag", "-a", "v1", "-m", "One")
    (work / "bees.md").write_text("# Bees\n\nBees dance on the comb, in the dark.\n")
    git(work, "commit", "-qam", "Second", date="2026-04-05T12:00:00Z")
    git(tmp_path, "clone", "-q", "--bare", "work", "tides.git")
    return tmp_path / "tides.git"


@pytest.fixture
def engine(tmp_path):
    with Engine.open(tmp_path / "index", create=True) as opened:
        yield opened


def test_a_revision_is_indexed_and_followed(engine, bare, tmp_path):
    report = engine.sync([f"git+{bare.as_uri()}"])
    assert (len(report.added), report.sensitive, report.unsupported_types) == (2, 1, {".png": 1})
    documents = {each.metadata["path"]: each for each in engine.documents()}
    tides, bees = documents["docs/tides.txt"], documents["bees.md"]
    assert tides.uri == f"git+{bare.as_uri()}#/docs/tides.txt"
    assert tides.metadata["modified"] == "2026-03-03T08:30:00+00:00"
    assert bees.metadata["modified"] == "2026-04-05T12:00:00+00:00"
    assert bees.metadata["modified_by"] == "Ada Lovelace"
    assert bees.metadata["commit"] == git(bare, "rev-parse", "HEAD")
    citation = engine.search("when do spring tides come?").results[0].citations[0]
    assert citation.url == f"git+{bare.as_uri()}#/docs/tides.txt&L2"
    assert engine.verify(citation).status == "exact"
    assert engine.sync().unchanged == 2

    work = tmp_path / "work"
    git(work, "mv", "bees.md", "hives.md")
    git(work, "commit", "-qm", "Third")
    git(work, "push", "-q", str(bare), "main")
    report = engine.sync()
    assert (len(report.added), len(report.removed), report.unchanged) == (1, 1, 1)


def test_a_tag_is_another_root_and_a_bare_folder_is_a_repository(engine, bare):
    engine.sync([f"git+{bare.as_uri()}@v1"])
    assert "in the dark" not in "".join(engine.document(e.id).text for e in engine.documents())
    engine.sync([bare])
    assert engine.status().documents == 4
    assert engine.status().roots == (f"git+{bare.as_uri()}", f"git+{bare.as_uri()}@v1")


def test_patterns_and_hidden_files(engine, bare):
    engine.sync([bare], include=["*.md"], hidden=True)
    assert sorted(e.metadata["path"] for e in engine.documents()) == [".hidden.md", "bees.md"]


def test_what_is_not_there_is_named(engine, bare, tmp_path, monkeypatch):
    def reason(root: str) -> str:
        (skipped,) = engine.sync([root]).skipped
        return skipped.reason

    assert "Needed a single revision" in reason(f"git+{bare.as_uri()}@nothing")
    assert "no such folder" in reason(f"git+{(tmp_path / 'none.git').as_uri()}")
    assert "belongs to a private network" in reason("git+https://127.0.0.1/tides.git")
    with pytest.raises(InvalidQueryError, match="can't be the name of a revision"):
        engine.sync([f"git+{bare.as_uri()}@--upload-pack=x"])
    with pytest.raises(InvalidQueryError, match="without a user name"):
        engine.sync(["git+https://ada@example.org/tides.git"])
    monkeypatch.setattr(repository.shutil, "which", lambda _: None)
    assert "git isn't installed" in reason(f"git+{bare.as_uri()}")


def test_a_repository_of_another_machine_is_cloned(engine, bare):
    git(bare, "update-server-info")
    with serving_files(bare.parent) as url:
        root = f"git+{url}/tides.git@v1"
        report = engine.sync([root], web=WebOptions(allow_private=True))
        assert (len(report.added), report.skipped) == (2, ())
        assert engine.sync().unchanged == 2
        report = engine.sync([f"git+{url}/tides.git"])
        assert "private network" in report.skipped[0].reason


@pytest.mark.parametrize(
    ("repository", "url"),
    [
        ("https://github.com/a/b", "https://github.com/a/b/blob/c0ffee/docs/a%20b.txt#L2-L2"),
        ("https://gitlab.com/a/b", "https://gitlab.com/a/b/-/blob/c0ffee/docs/a%20b.txt#L2-2"),
        (
            "https://gitlab.gnome.org/a/b",
            "https://gitlab.gnome.org/a/b/-/blob/c0ffee/docs/a%20b.txt#L2-2",
        ),
        ("https://example.org/b", "git+https://example.org/b#/docs/a%20b.txt&L2"),
    ],
)
def test_links_lead_to_the_commit(repository, url):
    document = Document(
        text=TIDES,
        uri=f"git+{repository}#/docs/a%20b.txt",
        metadata={"repository": repository, "commit": "c0ffee", "path": "docs/a b.txt"},
    )
    span = Span(TIDES.index("Spring"), len(TIDES) - 1)
    assert cite_span(document, span).url == url
    assert cite_span(document, span, url_template="x:{commit}").url == "x:c0ffee"
