"""Which files of a folder are indexed, and what is reported."""

from __future__ import annotations

import os
import socket
import sys
from collections import Counter
from pathlib import Path

import pytest

from rag_tools.ingest.discover import LeftOut, discover
from rag_tools.ingest.reading import printable

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX file types")


def can_link(folder: Path) -> bool:
    try:
        (folder / "probe").symlink_to(folder / "target")
    except OSError:
        return False
    (folder / "probe").unlink()
    return True


@pytest.fixture
def links(tmp_path):
    if not can_link(tmp_path):
        pytest.skip("no symbolic links here")


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text")
    return root


def names(root: Path, **options) -> list[str]:
    files, skipped, _ = discover(root, **options)
    assert not skipped
    assert all(file.path.is_absolute() and file.path.is_file() for file in files)
    return [file.relative for file in files]


def test_files_in_order_of_their_path(tmp_path):
    make(tmp_path, "b.md", "a/z.txt", "a/b/c.rst", "LICENSE", "é 漢字.txt", "A.TXT")
    found = names(tmp_path)
    assert found == sorted(found)
    assert set(found) == {"b.md", "a/z.txt", "a/b/c.rst", "LICENSE", "é 漢字.txt", "A.TXT"}


def test_files_without_a_loader_are_counted(tmp_path):
    make(tmp_path, "a.md", "b.png", "c/d.exe", "e.rar")
    make(tmp_path, "f.PNG", "g.the end of a name")
    files, skipped, left_out = discover(tmp_path)
    assert ([file.relative for file in files], skipped) == (["a.md"], [])
    assert left_out.unsupported == {".png": 2, ".exe": 1, ".rar": 1, "": 1}


def test_empty_folder(tmp_path):
    assert discover(tmp_path) == ([], [], LeftOut())


def test_missing_root_is_reported(tmp_path):
    files, skipped, _ = discover(tmp_path / "gone")
    assert files == []
    assert [(skip.path, skip.reason) for skip in skipped] == [
        (str(tmp_path / "gone"), "No such file or directory")
    ]


def test_hidden_files_and_folders(tmp_path):
    make(tmp_path, "a.md", ".b.md", ".c/d.md", ".git/config", "sub/.git/e.md")
    assert names(tmp_path) == ["a.md"]
    assert names(tmp_path, hidden=True) == [".b.md", ".c/d.md", "a.md"]


def test_our_own_index_is_never_walked(tmp_path):
    make(tmp_path, "a.md", "index/catalog.sqlite", "index/b.md", "index/sub/c.md")
    assert names(tmp_path, hidden=True) == ["a.md"]


class TestGitignore:
    def test_nested_files_and_negation(self, tmp_path):
        make(tmp_path, "a.log", "b.md", "build/c.md", "sub/d.log", "sub/keep.log", "sub/e.md")
        (tmp_path / ".gitignore").write_text("*.log\nbuild/\n# comment\n\n")
        (tmp_path / "sub/.gitignore").write_text("!keep.log\n/e.md\n")
        assert names(tmp_path) == ["b.md", "sub/keep.log"]
        assert len(names(tmp_path, gitignore=False)) == 6

    def test_ignored_folder_hides_what_a_file_in_it_would_bring_back(self, tmp_path):
        make(tmp_path, "build/keep.md", "a.md")
        (tmp_path / ".gitignore").write_text("build/\n")
        (tmp_path / "build/.gitignore").write_text("!keep.md\n")
        assert names(tmp_path) == ["a.md"]

    def test_pattern_with_a_slash_is_anchored(self, tmp_path):
        make(tmp_path, "docs/a.md", "x/docs/a.md")
        (tmp_path / ".gitignore").write_text("docs/*.md\n")
        assert names(tmp_path) == ["x/docs/a.md"]

    def test_files_above_the_root_up_to_the_repository(self, tmp_path):
        make(tmp_path, "repo/docs/a.md", "repo/docs/a.tmp.md", "repo/docs/b.md")
        (tmp_path / ".gitignore").write_text("*\n")  # outside the repository
        (tmp_path / "repo/.git").mkdir()
        (tmp_path / "repo/.gitignore").write_text("*.tmp.md\n/docs/b.md\n")
        assert names(tmp_path / "repo/docs") == ["a.md"]

    def test_files_above_a_root_outside_any_repository_say_nothing(self, tmp_path):
        make(tmp_path, "docs/a.md")
        (tmp_path / ".gitignore").write_text("*\n")
        assert names(tmp_path / "docs") == ["a.md"]

    def test_naming_an_ignored_folder_asks_for_it(self, tmp_path):
        make(tmp_path, "build/a.md")
        (tmp_path / ".git").mkdir()
        (tmp_path / ".gitignore").write_text("build/\n")
        assert names(tmp_path) == []
        assert names(tmp_path / "build") == ["a.md"]

    def test_file_of_any_bytes(self, tmp_path):
        make(tmp_path, "a.md", "b.md")
        (tmp_path / ".gitignore").write_bytes(b"\xff\xfe\0\r\nb.md\r\n[\n")
        assert names(tmp_path) == ["a.md"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of its own, so that nobody's configuration of git counts."""
    for name in ("XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def repository(tmp_path, home):
    root = make(tmp_path / "repo", "kept.md", "draft.md", "Notes.MD", "tmp/x.md")
    (root / ".git/info").mkdir(parents=True)
    return root


def left_by(root: Path) -> list[str]:
    """Return what the rules leave of the files that `repository` makes."""
    return [name for name in names(root) if name in EVERYTHING]


EVERYTHING = ["Notes.MD", "draft.md", "kept.md", "tmp/x.md"]


class TestWhatGitIgnoresAndWeIndexed:
    """Named after what people saw."""

    def test_the_first_pattern_of_a_file_that_notepad_saved(self, repository):
        text = "\N{BYTE ORDER MARK}draft.md\r\ntmp/\r\n"
        (repository / ".gitignore").write_bytes(text.encode())
        assert left_by(repository) == ["Notes.MD", "kept.md"]

    def test_a_pattern_with_an_odd_line_separator_in_it(self, repository):
        make(repository, "a\u2028kept.md")
        (repository / ".gitignore").write_text("a\u2028kept.md\n", encoding="utf-8", newline="")
        assert left_by(repository) == EVERYTHING
        assert "a\u2028kept.md" not in names(repository)

    def test_what_only_i_exclude_in_this_repository(self, repository):
        (repository / ".git/info/exclude").write_text("# mine\ntmp/\n")
        assert left_by(repository) == ["Notes.MD", "draft.md", "kept.md"]
        assert left_by(repository / "tmp") == []  # named, it is wanted
        assert names(repository / "tmp") == ["x.md"]
        assert len(names(repository, gitignore=False)) == 4

    def test_my_global_ignore_file(self, repository, home, monkeypatch):
        make(home, ".config/git/ignore").joinpath(".config/git/ignore").write_text("draft.md\n")
        assert left_by(repository) == ["Notes.MD", "kept.md", "tmp/x.md"]
        make(home, "xdg/git/ignore").joinpath("xdg/git/ignore").write_text("tmp\n")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
        assert left_by(repository) == ["Notes.MD", "draft.md", "kept.md"]

    def test_it_does_not_count_outside_repositories(self, tmp_path, home):
        make(tmp_path / "plain", "draft.md")
        make(home, ".config/git/ignore").joinpath(".config/git/ignore").write_text("draft.md\n")
        assert names(tmp_path / "plain") == ["draft.md"]

    @pytest.mark.parametrize(
        "setting",
        [
            "[core]\n\texcludesFile = ~/mine.txt\n",
            '[core] ; of mine\r\nExcludesFile = "~/mi\\\r\nne.txt" # here\r\n',
            "[include]\npath = more.cfg\n",
        ],
    )
    def test_the_file_that_my_configuration_names(self, repository, home, setting):
        (home / ".gitconfig").write_text(setting, newline="")
        (home / "more.cfg").write_text("[core]\nexcludesfile = mine.txt\n")
        (home / "mine.txt").write_text("draft.md\n")
        if "include" in setting:  # relative to the repository, as git has it
            (repository / "mine.txt").write_text("draft.md\n")
        assert left_by(repository) == ["Notes.MD", "kept.md", "tmp/x.md"]

    def test_the_configuration_of_the_repository_wins(self, repository, home):
        (home / ".gitconfig").write_text("[core]\nexcludesFile = ~/mine\n")
        (home / "mine").write_text("draft.md\n")
        (home / "theirs").write_text("kept.md\n")
        (repository / ".git/config").write_text('[core]\nexcludesFile = "~/theirs"\n')
        assert left_by(repository) == ["Notes.MD", "draft.md", "tmp/x.md"]

    def test_patterns_in_another_case(self, repository):
        (repository / ".gitignore").write_text("notes.md\nTMP/\n")
        assert left_by(repository) == EVERYTHING
        (repository / ".git/config").write_text("[core]\n\tignorecase = true\n")
        assert left_by(repository) == ["draft.md", "kept.md"]

    def test_gitignore_wins_over_what_counts_everywhere(self, repository):
        (repository / ".git/info/exclude").write_text("*.md\n")
        (repository / ".gitignore").write_text("!kept.md\n")
        assert left_by(repository) == ["Notes.MD", "kept.md"]

    def test_a_worktree_goes_by_the_repository_it_belongs_to(self, repository, tmp_path):
        tree = make(tmp_path / "tree", "draft.md", "kept.md")
        own = repository / ".git/worktrees/tree"
        own.mkdir(parents=True)
        (own / "commondir").write_text("../..\n")
        (tree / ".git").write_text(f"gitdir: {own}\n")
        (repository / ".git/info/exclude").write_text("draft.md\n")
        assert names(tree) == ["kept.md"]

    def test_a_repository_in_the_folder_has_its_own(self, repository, tmp_path):
        (repository / ".git/info/exclude").write_text("draft.md\n")
        make(tmp_path / "other", "draft.md")
        assert names(tmp_path, include=["*.md"]) == [
            "other/draft.md",
            "repo/kept.md",
            "repo/tmp/x.md",
        ]

    def test_configuration_of_any_bytes(self, repository, home):
        (home / ".gitconfig").write_bytes(b'\xff[core\0]\n"=\\\n[include]\npath=~/.gitconfig\n')
        (repository / ".git/config").write_bytes(b"[core]\nexcludesFile = \\")
        assert left_by(repository) == EVERYTHING


class TestRagignore:
    def test_it_leaves_out_what_git_keeps(self, tmp_path):
        make(tmp_path, "a.md", "b.md", "sub/c.md", "sub/d.md")
        (tmp_path / ".ragignore").write_text("b.md\n")
        (tmp_path / "sub/.ragignore").write_text("/c.md\n")
        assert names(tmp_path) == ["a.md", "sub/d.md"]
        assert names(tmp_path, gitignore=False) == ["a.md", "sub/d.md"]

    def test_it_brings_back_what_git_ignores(self, tmp_path):
        make(tmp_path, "generated/api.md", "generated/log.md", "other/e.md")
        (tmp_path / ".gitignore").write_text("generated/\nother/\n")
        (tmp_path / ".ragignore").write_text("!generated/\ngenerated/log.md\n")
        assert names(tmp_path) == ["generated/api.md"]

    def test_it_has_the_last_word_over_deeper_files_of_git(self, tmp_path):
        make(tmp_path, "sub/a.md", "sub/b.md")
        (tmp_path / ".ragignore").write_text("a.md\n")
        (tmp_path / "sub/.gitignore").write_text("!a.md\n")
        assert names(tmp_path) == ["sub/b.md"]

    def test_what_is_ignored_is_counted(self, tmp_path):
        make(tmp_path, "a.md", "b.md", "build/c.md", "build/d.md")
        (tmp_path / ".ragignore").write_text("b.md\nbuild/\n")
        assert discover(tmp_path).left_out == LeftOut(ignored=2)


class TestSensitiveFiles:
    SENSITIVE = (".env", "app/.env.local", "ssh/id_ed25519", "Server.KEY", ".aws/credentials")

    def test_they_are_left_out_and_counted(self, tmp_path):
        make(tmp_path, *self.SENSITIVE, "a.md", "credentials.md", "id_rsa.pub", "key.md")
        found = discover(tmp_path, hidden=True)
        assert [file.relative for file in found.files] == ["a.md", "credentials.md", "key.md"]
        assert found.left_out == LeftOut(unsupported=Counter({".pub": 1}), sensitive=5)

    def test_examples_of_them_are_not_sensitive(self, tmp_path):
        make(tmp_path, ".env.example", "sample.env", ".env.production")
        assert discover(tmp_path, hidden=True).left_out.sensitive == 1

    def test_they_are_found_when_a_pattern_names_them(self, tmp_path):
        make(tmp_path, "a.md", "ssh/id_rsa", "aws/credentials")
        for broad in ("*", "**", "ssh/", "/ssh/*", "[!x]*"):
            assert "ssh/id_rsa" not in names(tmp_path, include=["*.md", broad])
        for naming in ("id_rsa", "id_*", "ssh/id_rsa", "/ssh/id_rsa"):
            assert names(tmp_path, include=["*.md", naming]) == ["a.md", "ssh/id_rsa"]

    def test_a_file_named_on_the_command_line_is_wanted(self, tmp_path):
        make(tmp_path, "id_rsa")
        assert names(tmp_path / "id_rsa") == ["id_rsa"]
        untrusted = discover(tmp_path / "id_rsa", within=[tmp_path])
        assert untrusted == ([], [], LeftOut(sensitive=1))

    def test_a_link_by_another_name(self, tmp_path, links):
        make(tmp_path, "vault/id_rsa", "docs/a.md")
        (tmp_path / "docs/notes.txt").symlink_to(tmp_path / "vault/id_rsa")
        assert names(tmp_path / "docs") == ["a.md"]


class TestPatterns:
    def test_a_path_with_brackets_matches_itself(self, tmp_path):
        make(tmp_path, "app/[slug]/page.md", "app/s/page.md", "b.md")
        assert names(tmp_path, include=["app/[slug]/page.md"]) == [
            "app/[slug]/page.md",
            "app/s/page.md",
        ]
        assert names(tmp_path, exclude=["./app/[slug]"]) == ["app/s/page.md", "b.md"]

    @pytest.fixture
    def root(self, tmp_path):
        return make(tmp_path, "a.md", "b.txt", "docs/c.md", "docs/d.txt", "docs/old/e.md")

    def test_include_limits(self, root):
        assert names(root, include=["*.md"]) == ["a.md", "docs/c.md", "docs/old/e.md"]
        assert names(root, include=["docs/"]) == ["docs/c.md", "docs/d.txt", "docs/old/e.md"]
        assert names(root, include=["/*.md", "docs/*.txt"]) == ["a.md", "docs/d.txt"]

    def test_exclude_wins(self, root):
        assert names(root, include=["*.md"], exclude=["old/"]) == ["a.md", "docs/c.md"]
        assert names(root, exclude=["docs"]) == ["a.md", "b.txt"]
        assert names(root, include=["a.md"], exclude=["a.md"]) == []

    def test_include_does_not_bring_back_what_is_ignored(self, root):
        (root / ".gitignore").write_text("a.md\n")
        make(root, ".hidden.md")
        assert names(root, include=["a.md", ".hidden.md"]) == []


class TestSingleFile:
    def test_hidden_ignored_and_unsupported_files_are_found_when_named(self, tmp_path):
        make(tmp_path, ".notes.md", "photo.png", "a.md")
        (tmp_path / ".gitignore").write_text("*\n")
        for name in (".notes.md", "photo.png", "a.md"):
            files, skipped, left_out = discover(tmp_path / name)
            assert [file.relative for file in files] == [name]
            assert files[0].path == (tmp_path / name).resolve()
            assert (skipped, left_out) == ([], LeftOut())

    def test_patterns_apply(self, tmp_path):
        make(tmp_path, "a.md")
        assert names(tmp_path / "a.md", include=["*.txt"]) == []


@pytest.mark.usefixtures("links")
class TestLinks:
    def test_links_to_files_and_folders_are_followed(self, tmp_path):
        make(tmp_path, "elsewhere/sub/a.md", "b.md")
        root = make(tmp_path / "root", "c.md")
        (root / "folder").symlink_to(tmp_path / "elsewhere")
        (root / "file.md").symlink_to(tmp_path / "b.md")
        assert names(root) == ["c.md", "file.md", "folder/sub/a.md"]

    def test_a_real_file_is_found_once_by_its_own_path(self, tmp_path):
        make(tmp_path, "z/a.md")
        (tmp_path / "a-link").symlink_to(tmp_path / "z")
        (tmp_path / "b-link.md").symlink_to(tmp_path / "z/a.md")
        (tmp_path / "c-link.md").symlink_to(tmp_path / "b-link.md")
        assert names(tmp_path) == ["z/a.md"]

    def test_two_links_to_one_file_outside(self, tmp_path):
        make(tmp_path, "out/a.md")
        (tmp_path / "root").mkdir()
        (tmp_path / "root/2.md").symlink_to(tmp_path / "out/a.md")
        (tmp_path / "root/1.md").symlink_to(tmp_path / "out/a.md")
        assert names(tmp_path / "root") == ["1.md"]

    def test_loops_end(self, tmp_path):
        root = make(tmp_path / "root", "a/b/c.md")
        make(tmp_path, "outside.md")
        (root / "a/b/self").symlink_to(root / "a/b")
        (root / "a/b/up").symlink_to(root / "a")
        (root / "a/top").symlink_to(root)
        (root / "a/above").symlink_to(tmp_path)  # would lead in again, and to everything else
        assert names(root) == ["a/b/c.md"]

    def test_two_folders_that_link_to_each_other(self, tmp_path):
        make(tmp_path, "a/1.md", "b/2.md")
        (tmp_path / "a/b").symlink_to(tmp_path / "b")
        (tmp_path / "b/a").symlink_to(tmp_path / "a")
        assert names(tmp_path / "a") == ["1.md", "b/2.md"]

    def test_broken_links_are_reported(self, tmp_path):
        (tmp_path / "dangling.md").symlink_to(tmp_path / "gone.md")
        (tmp_path / "loop.md").symlink_to(tmp_path / "loop.md")
        files, skipped, _ = discover(tmp_path)
        assert files == []
        assert {Path(skip.path).name for skip in skipped} == {"dangling.md", "loop.md"}
        assert all(skip.reason for skip in skipped)

    def test_excluded_broken_links_are_not_reported(self, tmp_path):
        (tmp_path / "dangling.md").symlink_to(tmp_path / "gone.md")
        assert names(tmp_path, exclude=["dangling.md"]) == []

    def test_root_that_is_a_link(self, tmp_path):
        make(tmp_path, "real/a.md")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        files, _, _ = discover(tmp_path / "link")
        assert [file.path for file in files] == [tmp_path.resolve() / "real" / "a.md"]


class TestUnreadable:
    def test_folder_is_reported_by_name(self, tmp_path, monkeypatch):
        # Stands in for chmod, which doesn't bind the superuser.
        make(tmp_path, "a.md", "locked/b.md")
        scandir = os.scandir

        def refuse(path):
            if Path(path).name == "locked":
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        files, skipped, _ = discover(tmp_path)
        assert [file.relative for file in files] == ["a.md"]
        assert [(skip.path, skip.reason) for skip in skipped] == [
            (str(tmp_path.resolve() / "locked"), "Permission denied")
        ]

    @posix_only
    @pytest.mark.skipif(
        hasattr(os, "geteuid") and os.geteuid() == 0, reason="the superuser may read everything"
    )
    def test_folder_without_permission(self, tmp_path):
        make(tmp_path, "a.md", "locked/b.md")
        (tmp_path / "locked").chmod(0)
        try:
            files, skipped, _ = discover(tmp_path)
        finally:
            (tmp_path / "locked").chmod(0o755)
        assert [file.relative for file in files] == ["a.md"]
        assert [Path(skip.path).name for skip in skipped] == ["locked"]

    def test_root_that_cannot_be_looked_into(self, tmp_path, monkeypatch):
        make(tmp_path, "locked/b.md")
        locked = tmp_path.resolve() / "locked"
        stat, scandir = os.stat, os.scandir

        def refuse_inside(path, **options):
            if Path(path).parent == locked:
                raise PermissionError(13, "Permission denied", path)
            return stat(path, **options)

        def refuse(path):
            if Path(path) == locked:
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "stat", refuse_inside)
        monkeypatch.setattr(os, "scandir", refuse)
        files, skipped, _ = discover(locked)
        assert (files, [skip.path for skip in skipped]) == ([], [str(locked)])

    @posix_only
    def test_gitignore_that_is_a_folder_or_a_fifo(self, tmp_path):
        make(tmp_path, "a.md", "sub/b.md")
        (tmp_path / ".gitignore").mkdir()
        os.mkfifo(tmp_path / "sub/.gitignore")
        assert names(tmp_path) == ["a.md", "sub/b.md"]

    @posix_only
    def test_a_name_that_starts_with_a_backslash(self, tmp_path):
        (tmp_path / ".gitignore").write_text("a.md\n", encoding="utf-8")
        make(tmp_path, "a.md", "\\a.md")
        assert names(tmp_path) == ["\\a.md"]

    @posix_only
    def test_fifos_and_sockets_are_left_out(self, tmp_path, monkeypatch):
        make(tmp_path, "a.md")
        os.mkfifo(tmp_path / "pipe.md")
        monkeypatch.chdir(tmp_path)  # the path of a socket must be short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket.md")
            files, skipped, left_out = discover(tmp_path)
        assert ([file.relative for file in files], skipped) == (["a.md"], [])
        assert left_out == LeftOut(unsupported=Counter(special=2))


@pytest.mark.skipif(sys.platform != "linux", reason="names are valid Unicode elsewhere")
def test_file_name_that_is_not_unicode(tmp_path):
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.md")).write_text("text")
    files, skipped, _ = discover(tmp_path)
    assert not skipped
    assert files[0].path.read_text() == "text"
    files[0].relative.encode("utf-8")
    assert files[0].relative == printable(files[0].path.name) != files[0].path.name
