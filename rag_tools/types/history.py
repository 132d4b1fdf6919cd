"""Earlier versions of documents, and where documents are from."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from rag_tools.types.values import Value

Moment = datetime | float | str
"""A time: with a zone, as Unix time in seconds, or in ISO 8601, where a date is the end of it."""


class Origin(Value):
    """What a document was read from, and by what.

    Attributes
    ----------
    root
        The folder, file, address or repository that was synced; None of a document that a program
        added.
    revision
        The commit of a repository.
    loader
        The loader that read it: the name of one of ours, or the entry point of a plug-in.
    """

    root: str | None = None
    revision: str | None = None
    loader: str | None = None


class Provenance(Origin):
    """Who put a document into the index, when, and from where.

    Attributes
    ----------
    by
        Who: the caller of a server, else the user of the operating system.
    via
        The way in: ``python`` (the command line too) or ``mcp``.
    at
        When, in ISO 8601.
    release
        The release of rag-tools that read and indexed it.
    imported
        If it came from another index by an import: who imported it, when, from which file, and by
        which release. The other fields are then those of the index that it was exported from.
    """

    by: str
    via: str
    at: str
    release: str
    imported: Provenance | None = None


class DocumentVersion(Value):
    """A version of a document.

    Attributes
    ----------
    document_id, sha256, characters, title, uri
        Of the document; the hash is that of the text.
    since, until
        From when to when its text was the current one, in ISO 8601 and UTC. `since` is None if an
        earlier release indexed it, `until` is None of the current version.
    provenance
        Where it is from; None if an earlier release indexed it.
    """

    document_id: str
    sha256: str
    characters: int
    title: str
    uri: str
    since: str | None
    until: str | None
    provenance: Provenance | None


class DocumentVersions(Value):
    """The versions of a document, the oldest first."""

    versions: tuple[DocumentVersion, ...] = ()


class VersionRules(Value):
    """Which earlier versions an index keeps.

    Attributes
    ----------
    keep
        Patterns as in a .gitignore of the paths, or the addresses, of documents whose earlier
        versions are kept; ``*`` is all of them, and nothing is none.
    most
        How many earlier versions of a document are kept, the latest ones; None: all.
    days
        For how many days a version is kept after it was replaced; None: for ever.
    """

    keep: tuple[str, ...] = ()
    most: int | None = Field(default=None, ge=1)
    days: float | None = Field(default=None, gt=0)
