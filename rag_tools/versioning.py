"""What a commit keeps of the documents that it replaces, and what it records of the new ones."""

from __future__ import annotations

import json
from collections.abc import Mapping

from rag_tools import __version__
from rag_tools.audit.log import actor
from rag_tools.catalog.catalog import Catalog
from rag_tools.catalog.history import SETTING
from rag_tools.catalog.rows import StoredDocument
from rag_tools.catalog.writing import CatalogWriter
from rag_tools.gathered import Batch
from rag_tools.ingest.discover import is_wanted
from rag_tools.instants import now, shown
from rag_tools.types import Origin, Provenance, VersionRules

_DAY = 86_400_000  # milliseconds


def rules_of(catalog: Catalog) -> VersionRules:
    """Return which versions an index keeps."""
    return VersionRules.model_validate(catalog.setting(SETTING, {}))


def provenance(origin: Origin | None) -> Provenance:
    """Return the provenance of a document that is put now, by whoever acts."""
    who = actor()
    told = {} if origin is None else origin.model_dump()
    return Provenance(by=who.name, via=who.via, at=shown(now()), release=__version__, **told)


def keep_versions(
    catalog: CatalogWriter, batch: Batch, deleted: Mapping[str, int]
) -> dict[str, int | None]:
    """Keep what a commit replaces, as far as the rules of the index say so.

    To be called in the transaction of the commit, before documents are deleted in it.

    Parameters
    ----------
    deleted
        The keys of the documents that are replaced or deleted, by id.

    Returns
    -------
    dict
        Since when the text of each document in `batch` is the current one, in milliseconds; None:
        unknown.
    """
    rules = VersionRules.model_validate(batch.settings.get(SETTING, catalog.setting(SETTING, {})))
    wanted = is_wanted(rules.keep, ())
    moment = now()
    since: dict[str, int | None] = {
        id: pending.prepared.since or moment for id, pending in batch.documents.items()
    }
    kept = []
    for id in batch.deleted:
        pending, key = batch.documents.get(id), deleted.get(id)
        if key is None:
            if pending is None and id not in batch.vanished:
                catalog.drop_versions(id)
            continue
        if pending is None and id not in batch.vanished:
            catalog.drop_versions(id)
            continue
        row = catalog.stored_document(key)
        if pending is not None and pending.prepared.columns.sha256 == row.sha256:
            since[id] = catalog.provenance(key)[0]
        elif rules.keep and wanted(_path(row)):
            catalog.keep_version(key, until=moment)
            kept.append(id)
        elif pending is None:
            # Who may read the earlier ones depends on the last one.
            catalog.drop_versions(id)
        if pending is None:
            catalog.settle_versions(key)
    trim(catalog, rules, moment, kept)
    return since


def trim(
    catalog: CatalogWriter, rules: VersionRules, moment: int, ids: list[str] | None = None
) -> int:
    """Delete the versions that the rules don't keep; `ids` as in `trim_versions`."""
    before = None if rules.days is None else moment - int(rules.days * _DAY)
    return catalog.trim_versions(most=rules.most, before=before, ids=ids)


def trim_old(catalog: CatalogWriter) -> None:
    """Delete the versions that have become too old, in a transaction of its own."""
    rules, moment = rules_of(catalog), now()
    if rules.days is not None and catalog.count_versions():
        with catalog.transaction():
            trim(catalog, rules, moment, [])


def record_provenance(
    catalog: CatalogWriter, batch: Batch, since: Mapping[str, int | None]
) -> None:
    """Record where the documents are from that a commit has inserted; insert its versions."""
    for id, pending in batch.documents.items():
        told = pending.prepared.provenance or provenance(None)
        catalog.set_provenance(id, since[id], told.model_dump_json(exclude_none=True))
    for version in batch.versions:
        known = version.provenance
        catalog.insert_version(
            version.columns,
            (version.since, version.until),
            None if known is None else known.model_dump_json(exclude_none=True),
        )


def _path(row: StoredDocument) -> str:
    """Return by what patterns match a document: its path below its root, or its address."""
    path = json.loads(row.metadata).get("path")
    found = path if isinstance(path, str) and path else row.uri
    return found.lstrip("/") or row.id
