"""Who may read what: the labels of a document, and the principal of a caller.

A caller may read a document if one of its labels admits them. A label is the name of a group, or
``user:NAME`` for one user, or ``everyone``. What a document without labels means is decided by the
index, see `rag_tools.access`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cached_property

from pydantic import Field, field_validator

from rag_tools.types.values import Value

EVERYONE = "everyone"
"""The label that admits every caller."""

MAX_LABELS = 100
"""Most labels of a document."""

MAX_GROUPS = 1000
"""Most groups of a principal."""

_USER = "user:"
_MAX_LENGTH = 200  # characters of a label


def check_labels(labels: Iterable[object], limit: int = MAX_LABELS) -> tuple[str, ...]:
    """Return labels as they are stored and compared: each once, in NFC, in ascending order.

    Raises
    ------
    ValueError
        If one isn't a name, or if there are more than `limit`.

    Examples
    --------
    >>> check_labels(["ops", "user:ana", "ops"])
    ('ops', 'user:ana')
    """
    if isinstance(labels, str | bytes):
        raise ValueError(f"{labels!r} is no list of labels: put it into one")
    names = list(labels)
    if len(names) > limit:
        raise ValueError(f"{len(names)} labels, and the limit is {limit}: use groups")
    return tuple(sorted({_checked(name) for name in names}))


def _checked(name: object) -> str:
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is no label: use the name of a group or user:NAME")
    normal = unicodedata.normalize("NFC", name)
    if not 0 < len(normal.removeprefix(_USER)) <= _MAX_LENGTH:
        raise ValueError(f"a label of {len(normal)} characters: use 1 to {_MAX_LENGTH}")
    if normal != normal.strip() or any(unicodedata.category(char)[0] == "C" for char in normal):
        raise ValueError(
            f"{name!r} is no label: leave out control characters and the space around it"
        )
    return normal


class Principal(Value):
    """A caller, as what they may read depends on it.

    Attributes
    ----------
    user
        Name of the user; ``""`` is anonymous.
    groups
        Names of the groups that the user belongs to.

    Examples
    --------
    >>> Principal(user="ana", groups=["ops"]).labels
    frozenset({...})
    >>> Principal(user="ana", groups=["ops"]).admitted(["user:ana"])
    True
    >>> Principal().admitted(["ops"])
    False
    """

    user: str = Field(default="", max_length=_MAX_LENGTH)
    groups: tuple[str, ...] = ()

    @field_validator("user")
    @classmethod
    def _named(cls, user: str) -> str:
        return _checked(_USER + user).removeprefix(_USER) if user else user

    @field_validator("groups")
    @classmethod
    def _known(cls, groups: tuple[str, ...]) -> tuple[str, ...]:
        checked = check_labels(groups, MAX_GROUPS)
        for group in checked:
            # Such a group would admit its members to what is another user's.
            if group.startswith(_USER):
                raise ValueError(f"{group!r} is no group: {_USER!r} begins the labels of users")
        return checked

    @cached_property
    def labels(self) -> frozenset[str]:
        """The labels that admit this caller."""
        user = [_USER + self.user] if self.user else []
        return frozenset({EVERYONE, *self.groups, *user})

    def admitted(self, labels: Iterable[str]) -> bool:
        """Tell whether one of these labels admits the caller."""
        return not self.labels.isdisjoint(labels)


class AccessRules(Value):
    """Which labels the files of a sync get, and what a document without labels means.

    Attributes
    ----------
    labels
        Labels by pattern, as in a .gitignore and relative to the folder; the last pattern that
        matches a file decides. None: as before, unless `posix` is true.
    posix
        Whether the permissions of a file give its labels where nothing else does.
    default_deny
        Whether no caller may read documents without labels, in the whole index; None: as before.
    """

    labels: dict[str, tuple[str, ...]] | None = Field(default=None, max_length=1000)
    posix: bool = False
    default_deny: bool | None = None

    @field_validator("labels")
    @classmethod
    def _checked_rules(
        cls, rules: dict[str, tuple[str, ...]] | None
    ) -> dict[str, tuple[str, ...]] | None:
        for pattern, labels in (rules or {}).items():
            if not pattern.strip() or not labels:
                raise ValueError(f"{pattern!r} needs a pattern and a label, such as {EVERYONE!r}")
        return rules and {pattern: check_labels(labels) for pattern, labels in rules.items()}

    @property
    def rules(self) -> AccessRules | None:
        """What is stored with a folder; None if nothing is said of that."""
        if self.labels is None and not self.posix:
            return None
        return self.model_copy(update={"labels": self.labels or {}, "default_deny": None})
