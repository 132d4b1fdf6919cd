"""Paths and their URIs, of every system on this one."""

from __future__ import annotations

from pathlib import PurePath, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_tools.file_uri import path_of, sqlite_uri

NAMES = st.lists(
    st.text(
        st.characters(exclude_characters='<>:"/\\|?*\0', exclude_categories=["Cs", "Cc"]),
        min_size=1,
        max_size=9,
    ).filter(lambda name: name not in (".", "..")),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize(
    ("uri", "windows", "path"),
    [
        ("file:///C:/my%20notes/a%23b.md#L1-L2", True, PureWindowsPath(r"C:\my notes\a#b.md")),
        ("file:///c:/zo%C3%AB.md", True, PureWindowsPath(r"c:\zoë.md")),
        ("file:///C:/", True, PureWindowsPath("C:/")),
        ("file://localhost/D:/a.md", True, PureWindowsPath("D:/a.md")),
        ("file://server/share/a.md#page=3", True, PureWindowsPath(r"\\server\share\a.md")),
        ("file:///home/zo%C3%AB/a.md", False, PurePosixPath("/home/zoë/a.md")),
        # A name that isn't Unicode comes back as Python has it.
        ("file:///home/%FF.md", False, PurePosixPath("/home/\udcff.md")),
        # A colon and a drive are nothing special there.
        ("file:///C:/a.md", False, PurePosixPath("/C:/a.md")),
        ("file://localhost/a.md", False, PurePosixPath("/a.md")),
        ("file://server/share/a.md", False, None),
        ("https://example.org/a.md", False, None),
        ("file:///a%00b", False, None),
        ("file://[", True, None),
        ("C:/a.md", True, None),
        ("", False, None),
    ],
)
def test_the_path_of_a_uri(uri: str, windows: bool, path: PurePath | None):
    assert path_of(uri, windows=windows) == path


@given(
    st.sampled_from(
        [
            PureWindowsPath("C:/"),
            PureWindowsPath("//server/share"),
            PureWindowsPath("z:/"),
            PurePosixPath("/"),
        ]
    ),
    NAMES,
)
def test_there_and_back(root: PurePath, names: list[str]):
    path = root.joinpath(*names)
    assert path_of(path.as_uri(), windows=isinstance(root, PureWindowsPath)) == path


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        (PureWindowsPath(r"C:\an index\catalog.sqlite"), "file:///C:/an%20index/catalog.sqlite"),
        (PureWindowsPath(r"\\server\an#index\c.db"), "file:////server/an%23index/c.db"),
        (PurePosixPath("/an?index/c.db"), "file:///an%3Findex/c.db"),
    ],
)
def test_sqlite_is_given_no_host(path: PurePath, uri: str):
    assert sqlite_uri(path) == uri
