"""Who may read a file by its POSIX permissions, as labels of its document."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from rag_tools.errors import IngestError, UnreadableFileError
from rag_tools.ingest.reading import printable
from rag_tools.types import EVERYONE, check_labels

_ACL = "system.posix_acl_access"


class Permissions:
    """Reads permissions. Those of a folder are read once.

    A file is for everyone, for its group or for its owner alone, as far as the folders around it
    let each of them through. Where a file or a folder has an access control list, which says more
    than the permissions, the owner of the file counts alone.

    Raises
    ------
    IngestError
        If the system has no such permissions.
    """

    def __init__(self) -> None:
        if os.name != "posix":
            raise IngestError(
                "labels from permissions need a POSIX system: use rules or sidecar files instead"
            )
        self._folders: dict[Path, tuple[os.stat_result, bool]] = {}

    def labels(self, path: Path) -> tuple[str, ...]:
        """Return the labels of a file.

        Raises
        ------
        UnreadableFileError
            If its permissions, or those of a folder around it, can't be read.
        """
        try:
            path = path.resolve(strict=True)
            status, listed = _status(path)
            around = [self._folder(folder) for folder in path.parents]
        except (OSError, RuntimeError) as error:
            raise UnreadableFileError(f"{printable(str(path))}: {error}") from error
        labels = [f"user:{_name(_user, status.st_uid)}"]
        if listed or any(has_list for _, has_list in around):
            return check_labels(labels)
        folders = [folder for folder, _ in around]
        if status.st_mode & stat.S_IRGRP and all(
            _lets_through(folder, status.st_gid) for folder in folders
        ):
            labels.append(_name(_group, status.st_gid))
        if status.st_mode & stat.S_IROTH and all(_lets_through(folder, None) for folder in folders):
            labels.append(EVERYONE)
        return check_labels(labels)

    def _folder(self, path: Path) -> tuple[os.stat_result, bool]:
        if path not in self._folders:
            self._folders[path] = _status(path)
        return self._folders[path]


def _status(path: Path) -> tuple[os.stat_result, bool]:
    """Return the status of a file or folder, and whether it has an access control list."""
    list_names: Callable[[Path], list[str]] | None = getattr(os, "listxattr", None)
    names: list[str] = []
    if list_names is not None:
        try:
            names = list_names(path)
        except OSError:  # the file system has no such attributes
            names = []
    return path.stat(), _ACL in names


def _lets_through(folder: os.stat_result, group: int | None) -> bool:
    """Tell whether a folder lets a group, or everyone, reach what is in it."""
    if group is not None and folder.st_gid == group:
        return bool(folder.st_mode & stat.S_IXGRP)
    return bool(folder.st_mode & stat.S_IXOTH)


def _name(look_up: Callable[[int], str], number: int) -> str:
    try:
        return look_up(number)
    except KeyError:  # of a user or group that was deleted, or of another machine
        return str(number)


def _user(number: int) -> str:
    if sys.platform == "win32":  # files have no such owner there
        return str(number)
    import pwd

    return pwd.getpwuid(number).pw_name


def _group(number: int) -> str:
    if sys.platform == "win32":
        return str(number)
    import grp

    return grp.getgrgid(number).gr_name
