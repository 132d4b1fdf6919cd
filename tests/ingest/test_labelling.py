"""Where the labels of a file come from, and that a change of them counts."""

from __future__ import annotations

import os
import sys

import pytest

from rag_tools import AccessRules, Document, Engine, Principal
from rag_tools.errors import IngestError
from rag_tools.ingest.labelling import Labelling
from rag_tools.ingest.load import load_bytes
from rag_tools.ingest.permissions import Permissions

ANYONE = Principal()


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    (folder / "hr").mkdir(parents=True)
    (folder / "plain.md").write_text("Tides come twice a day.\n")
    (folder / "front.md").write_text("---\naccess: [ops]\n---\nKeys are rotated.\n")
    (folder / "hr" / "pay.txt").write_text("The director earns a fortune.\n")
    return folder


@pytest.fixture
def engine(tmp_path):
    with Engine.open(tmp_path / "index", create=True) as engine:
        yield engine


def labels(engine):
    found = (engine.document(entry.id) for entry in engine.documents())
    return {document.uri.rpartition("/")[2]: document.labels for document in found}


def front(text):
    return load_bytes(text.encode(), name="a.md", uri="file:///a.md").labels


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("access: [hr, 'user:ana']", ("hr", "user:ana")),
        ('access: ["people, culture"]', None),  # a comma in a name isn't guessed at
        ("access:\n- hr  # people\n- ops", ("hr", "ops")),
        ("access:\n  # who\n  - hr\ntitle: x", ("hr",)),
        ("Access: hr", ("hr",)),
        ("access: [hr,\n  ops]", ("hr", "ops")),
        ("access: []", ()),
        ("accessible: [hr]", ()),
        ("more:\n  access: [hr]", ()),
        ("access:", None),
        ("access: null", None),
        ("access: [hr", None),
        ("access: {group: hr}", None),
        ("access: [hr]\naccess: [ops]", None),
        ("access: &all [hr]", None),
    ],
)
def test_front_matter_names_who_may_read(stated, expected):
    text = f"---\n{stated}\n---\n\nText.\n"
    if expected is None:
        with pytest.raises(IngestError, match="access can't be read"):
            front(text)
    else:
        assert front(text) == expected


def test_front_matter_in_toml_names_who_may_read():
    assert front('+++\nACCESS = ["hr"]\n+++\nText.\n') == ("hr",)
    assert front('+++\n[extra]\naccess = "hr"\n+++\nText.\n') == ()
    with pytest.raises(IngestError, match="access can't be read"):
        front("+++\naccess = [hr]\n+++\nText.\n")


def test_rules_come_before_sidecars_and_those_before_the_text(docs, engine):
    (docs / "front.md.access.toml").write_text('labels = ["board"]\n')
    (docs / "plain.md.access.toml").write_text("labels = []\n")
    engine.sync([docs])
    assert labels(engine) == {"plain.md": (), "front.md": ("board",), "pay.txt": ()}
    rules = AccessRules(labels={"*.md": ["everyone"], "hr/**": ["hr"], "front.md": ["ops", "hr"]})
    report = engine.sync([docs], access=rules)
    assert len(report.updated) == 3 and report.encoded_passages == 0
    assert labels(engine) == {
        "plain.md": ("everyone",),
        "front.md": ("hr", "ops"),
        "pay.txt": ("hr",),
    }
    assert engine.as_(ANYONE).status().documents == 1
    assert engine.sync().unchanged == 3


def test_a_sidecar_that_comes_changes_or_goes_counts(docs, engine):
    sidecar = docs / "hr" / "pay.txt.access.toml"
    engine.sync([docs])
    for content, expected in (('["hr"]', ("hr",)), ('["board"]', ("board",)), (None, ())):
        sidecar.unlink(missing_ok=True)
        if content is not None:
            sidecar.write_text(f"labels = {content}\n")
        report = engine.sync()
        assert len(report.updated) == 1 and report.encoded_passages == 0
        assert labels(engine)["pay.txt"] == expected
    (docs / "plain.md").touch()
    assert engine.sync().updated == ()


@pytest.mark.parametrize(
    "content",
    ["labels = hr", "labels = [7]", "labels = 'hr'", "label = ['hr']", "x" * 70_000, "\xff", None],
)
def test_a_file_whose_readers_are_unknown_is_not_indexed(docs, engine, content):
    sidecar = docs / "hr" / "pay.txt.access.toml"
    sidecar.mkdir() if content is None else sidecar.write_text(content, encoding="latin-1")
    report = engine.sync([docs])
    (skipped,) = report.skipped
    assert "pay.txt.access.toml" in skipped.reason
    assert set(labels(engine)) == {"plain.md", "front.md"}


def test_rules_outlive_an_index_run_that_does_not_repeat_them(docs, engine):
    engine.sync([docs], access=AccessRules(labels={"hr/**": ["hr"]}))
    engine.sync([docs])
    engine.sync([docs], access=AccessRules(default_deny=True))
    engine.sync([docs / "hr"])  # a root of its own from now on, inside the folder with the rules
    (docs / "hr" / "new.txt").write_text("Everyone gets a raise.\n")
    engine.sync()
    found = labels(engine)
    assert (found["pay.txt"], found["new.txt"]) == (("hr",), ("hr",))
    assert engine.as_(ANYONE).status().documents == 0  # by default_deny
    engine.sync([docs, docs / "hr"], access=AccessRules(labels={}, default_deny=False))
    assert ("hr",) not in labels(engine).values()


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
@pytest.mark.parametrize("through", ["file", "folder"])
def test_a_link_has_the_labels_of_what_it_leads_to(docs, engine, tmp_path, through):
    secret = tmp_path / "elsewhere" / "merger.txt"
    secret.parent.mkdir()
    secret.write_text("The merger is on.\n")
    secret.with_name("merger.txt.access.toml").write_text('labels = ["board"]\n')
    (docs / "merger.txt").symlink_to(secret if through == "file" else secret.parent)
    engine.sync([docs])
    assert labels(engine)["merger.txt"] == ("board",)


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_permissions_say_who_may_read(docs, tmp_path):
    import grp
    import pwd

    owner = f"user:{pwd.getpwuid(os.getuid()).pw_name}"
    group = grp.getgrgid((docs / "plain.md").stat().st_gid).gr_name
    file = docs / "hr" / "pay.txt"
    for folder in (docs, docs / "hr"):
        folder.chmod(0o755)
    # pytest's folders are for their owner alone, and so is what is in them.
    file.chmod(0o644)
    private = [each for each in file.parents if not each.stat().st_mode & 0o001]
    assert bool(private) == (Permissions().labels(file) == (owner,))
    for each in private:
        each.chmod(0o755)
    for mode, folder, expected in (
        (0o644, 0o755, {owner, group, "everyone"}),
        (0o640, 0o755, {owner, group}),
        (0o600, 0o755, {owner}),
        (0o644, 0o750, {owner, group}),
        (0o644, 0o700, {owner}),
        (0o604, 0o755, {owner, "everyone"}),
    ):
        file.chmod(mode)
        (docs / "hr").chmod(folder)
        assert set(Permissions().labels(file)) == expected, (oct(mode), oct(folder))
    (docs / "hr").chmod(0o755)
    for each in private:
        each.chmod(0o700)


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_permissions_count_where_nothing_else_says_who_may_read(docs, engine):
    (docs / "hr" / "pay.txt").chmod(0o600)
    engine.sync([docs], access=AccessRules(posix=True))
    found = labels(engine)
    assert found["front.md"] == ("ops",)
    assert found["pay.txt"][0].startswith("user:")
    assert engine.sync().unchanged == 3


@pytest.mark.skipif(sys.platform != "win32", reason="where there are no such permissions")
def test_permissions_are_refused_where_there_are_none(tmp_path):
    with pytest.raises(IngestError, match="POSIX"):
        Labelling(tmp_path, AccessRules(posix=True))


@pytest.mark.parametrize("wrong", ["ops", [""], ["user:"], [7], ["a\nb"], [" a"], ["x" * 300]])
def test_what_is_no_label_is_refused(wrong):
    with pytest.raises(ValueError, match="label"):
        Document(uri="a:b", text="x", labels=wrong)


def test_names_are_compared_in_one_form():
    document = Document(uri="a:b", text="x", labels=["cafe\u0301"])
    assert Principal(groups=["caf\u00e9"]).admitted(document.labels)
