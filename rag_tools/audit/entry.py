"""Recording an operation of an engine: one record when it has ended, whatever came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rag_tools.audit.log import AuditLog
from rag_tools.errors import AuditError, RagToolsError


@dataclass
class Entry:
    """What a record will say of an operation.

    Attributes
    ----------
    documents
        The ids of the documents that were returned or changed.
    detail
        Anything else.
    """

    documents: Iterable[str] = ()
    detail: dict[str, Any] = field(default_factory=dict)


@contextmanager
def recorded(
    log: AuditLog | None, event: str, *, query: str | None = None, change: bool = False
) -> Iterator[Entry]:
    """Run an operation and record it, if there is a log.

    Parameters
    ----------
    query
        The text that is searched for.
    change
        Whether it changes the index. That it begins is recorded too: a change that can't be
        recorded isn't made, and one that is interrupted is on record.

    Raises
    ------
    AuditError
        If it can't be recorded. What a read found must then not be returned.
    """
    entry = Entry()
    if log is None:
        yield entry
        return
    if change:
        log.record(event, outcome="begun", query=query)
    try:
        yield entry
    except AuditError:
        raise
    except BaseException as error:
        kind = "refused" if isinstance(error, RagToolsError) else "failed"
        outcome = f"{kind}: {type(error).__name__}"
        log.record(event, outcome=outcome, query=query, documents=entry.documents, **entry.detail)
        raise
    log.record(event, query=query, documents=entry.documents, **entry.detail)
