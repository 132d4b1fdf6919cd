"""The labels of a file: from rules, from a sidecar file, or from its permissions.

What the text itself says is read by its loader. The first of these that says something decides:
a rule, the sidecar, the text, the permissions. Whoever can write into a folder can thus not undo
what the rules say of it.
"""

from __future__ import annotations

import json
import stat
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pathspec import GitIgnoreSpec

from rag_tools.errors import InvalidDocumentError, UnreadableFileError
from rag_tools.ingest.load import printable
from rag_tools.ingest.permissions import Permissions
from rag_tools.types import AccessRules, Document, check_labels

SIDECAR = ".access.toml"
"""What the name of a sidecar has after the name of its file."""

_MAX_BYTES = 64 * 1024  # of a sidecar


class Labelling:
    """Decides about the files of a root.

    Parameters
    ----------
    base
        The folder that the rules' patterns are relative to.
    rules
        None: no path has labels.

    Raises
    ------
    IngestError
        If permissions are to be read and the system has none.
    """

    def __init__(self, base: Path, rules: AccessRules | None) -> None:
        self._base = base
        self._permissions = Permissions() if rules is not None and rules.posix else None
        self._rules = [
            (GitIgnoreSpec.from_lines([pattern]), labels)
            for pattern, labels in ((rules and rules.labels) or {}).items()
        ]

    def terms(self, path: Path, *, sidecar: bool) -> str | None:
        """Return what was laid down about a file outside of it, as JSON; None: nothing.

        Parameters
        ----------
        sidecar
            Whether it has a sidecar.

        Raises
        ------
        InvalidDocumentError, UnreadableFileError
            If it can't be found out.
        """
        terms: dict[str, Sequence[str]] = {}
        if (ruled := self._ruled(path)) is not None:
            terms["labels"] = ruled
        elif sidecar and (named := _sidecar(path)) is not None:
            terms["labels"] = named
        elif self._permissions is not None:
            terms["otherwise"] = self._permissions.labels(path)
        return json.dumps(terms, ensure_ascii=False) if terms else None

    def _ruled(self, path: Path) -> tuple[str, ...] | None:
        """Return the labels of the last rule that matches; None if none does."""
        try:
            relative = printable(path.relative_to(self._base).as_posix())
        except ValueError:
            return None
        if relative == ".":  # the root is the file itself
            relative = printable(path.name)
        matching = [labels for spec, labels in self._rules if spec.match_file(relative)]
        return matching[-1] if matching else None


def labelled(document: Document, terms: str | None) -> Document:
    """Return a document with the labels that `terms` of its file give it."""
    told: dict[str, Any] = json.loads(terms) if terms else {}
    labels = told.get("labels", document.labels or told.get("otherwise", ()))
    return document.model_copy(update={"labels": tuple(labels)})


def has_sidecar(path: Path) -> bool:
    """Tell whether a file has a sidecar."""
    return path.with_name(path.name + SIDECAR).exists()


def _sidecar(path: Path) -> tuple[str, ...] | None:
    """Return the labels in the sidecar of a file; None if it has none.

    Of a link, the sidecar of its target counts, if there is one.
    """
    real = path.resolve()
    file = next((each for each in (real, path) if has_sidecar(each)), path)
    file = file.with_name(file.name + SIDECAR)
    name = printable(file.name)
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            raise InvalidDocumentError(f"{name} is no file: put the labels into a file of its own")
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UnreadableFileError(f"{name}: {error.strerror or error}") from error
    if len(data) > _MAX_BYTES:
        raise InvalidDocumentError(f"{name} has more than {_MAX_BYTES} bytes")
    try:
        told = tomllib.loads(data.decode("utf-8"))
        if unknown := sorted(told.keys() - {"labels"}):
            raise ValueError(f"unknown key {unknown[0]!r}")
        return check_labels(told["labels"]) if "labels" in told else None
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidDocumentError(
            f'{name} can\'t be read ({error}): write labels = ["GROUP", "user:NAME"]'
        ) from None
