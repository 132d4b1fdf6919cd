"""Metrics for Prometheus: calls, refusals, the queue, and the contents of the indexes.

With several workers they cover all of them: prometheus_client adds up the files of the workers in
``$PROMETHEUS_MULTIPROC_DIR``, which `running` sets.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from rag_tools.types import Status

CONTENT_TYPE = CONTENT_TYPE_LATEST
FILES_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

# In seconds, from a short fetch to a long sync.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Metrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.calls = Counter(
            "rag_tools_calls",
            "Calls by method, tool and outcome: ok, error, busy, denied, cancelled, failed.",
            ("method", "tool", "outcome"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "rag_tools_call_seconds",
            "Time from the admission of a call to its result, including the wait for a core.",
            ("method", "tool"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.inside = Gauge(
            "rag_tools_calls_inside",
            "Calls that run or wait for a core.",
            multiprocess_mode="livesum",
            registry=self._registry,
        )
        self.refused = Counter(
            "rag_tools_refused_requests",
            "Requests refused before they reached the protocol, by reason.",
            ("reason",),
            registry=self._registry,
        )

    def render(self, statuses: Mapping[str, Status]) -> bytes:
        """Return the metrics in Prometheus' text format, with the `statuses` of collections."""
        registry = self._registry
        if FILES_VARIABLE in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry) + _indexes(statuses.items())


def _indexes(statuses: Iterable[tuple[str, Status]]) -> bytes:
    lines = []
    for name, help in (
        ("documents", "Number of documents in the index."),
        ("passages", "Number of passages in the index."),
        ("generation", "Number of commits to the index."),
        ("bytes", "Size of the index on disk."),
    ):
        lines += [f"# HELP rag_tools_index_{name} {help}", f"# TYPE rag_tools_index_{name} gauge"]
        lines += [
            f'rag_tools_index_{name}{{collection="{collection}"}} {getattr(status, name)}'
            for collection, status in statuses
        ]
    name, help = "sync_failures", "Syncs in a row that failed, of an index that is kept up to date."
    lines += [f"# HELP rag_tools_index_{name} {help}", f"# TYPE rag_tools_index_{name} gauge"]
    lines += [
        f'rag_tools_index_{name}{{collection="{collection}"}} {status.watch.failures}'
        for collection, status in statuses
        if status.watch is not None
    ]
    return "\n".join([*lines, ""]).encode()
