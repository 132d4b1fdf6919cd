"""Describing what an index contains and how it was built."""

from __future__ import annotations

from rag_tools.disk import bytes_on_disk
from rag_tools.index.dispatch import kernel_name
from rag_tools.index.distortion import mean as mean_loss
from rag_tools.index.recoding import drift
from rag_tools.opened import OpenIndex
from rag_tools.types import Status
from rag_tools.watching import watch_state


def status(opened: OpenIndex) -> Status:
    """Return what the index contains and how it was built.

    With a principal, it tells of the documents that the caller may read: numbers that also depend
    on others are 0, and the roots are left out.
    """
    if opened.principal is not None:
        return _seen_status(opened)
    with opened.reader.view() as view:
        counts = view.catalog.counts()
        version = view.catalog.format_version
        versions = view.catalog.count_versions()
        roots = tuple(view.catalog.roots())
        snapshot = view.snapshot
    loss = mean_loss((segment.loss, segment.n_tokens) for segment in snapshot.segments.values())
    return Status(
        index=str(opened.directory),
        format_version=version,
        checkpoint=opened.settings.checkpoint or "bundled",
        dim=opened.settings.dim,
        bits=opened.settings.bits,
        passage_tokens=opened.settings.passage_tokens,
        roots=roots,
        documents=counts.documents,
        passages=counts.passages,
        tombstones=counts.tombstones,
        versions=versions,
        drift=drift(snapshot.codebook, snapshot.segments),
        tokens=sum(segment.n_tokens for segment in snapshot.segments.values()),
        segments=len(snapshot.segments),
        centroids=0 if snapshot.codebook is None else len(snapshot.codebook),
        cosine=None if loss is None else loss.cosine,
        maxsim_error=None if loss is None else loss.maxsim,
        generation=snapshot.generation,
        bytes=bytes_on_disk(opened.directory),
        kernel=kernel_name(),
        watch=watch_state(opened.directory),
    )


def _seen_status(opened: OpenIndex) -> Status:
    with opened.reader.view() as view:
        seen = view.snapshot.everything
        return Status(
            index=str(opened.directory),
            format_version=view.catalog.format_version,
            checkpoint=opened.settings.checkpoint or "bundled",
            dim=opened.settings.dim,
            bits=opened.settings.bits,
            passage_tokens=opened.settings.passage_tokens,
            roots=(),
            documents=view.catalog.counts().documents,
            passages=seen.n_passages,
            tombstones=0,
            tokens=seen.n_tokens,
            segments=0,
            centroids=0,
            cosine=None,
            maxsim_error=None,
            generation=0,
            bytes=0,
            kernel=kernel_name(),
        )
