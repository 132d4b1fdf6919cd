"""Whatever fails while an index is changed, what is left is the state of before or after.

`benchmarks/faults.py` runs all points; here are some of each operation.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import faulting
from faulted import OPERATIONS
from faulting import Fault, Point, Server

pytestmark = pytest.mark.skipif(bool(faulting.missing()), reason=faulting.missing())

# For every other operation, where: a share of its calls, from the first to the last.
SOME = ({"kill": 0.55, "failing": 0.35}, {"torn": 0.8, "full for good": 0.65})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("faults")) as server:
        yield server


def chosen(server: Server, operation: str) -> Iterator[Fault]:
    """Yield a fault of some kinds, at the calls nearest to a place at which they can happen."""
    calls = server.calls(operation)
    for kind, share in SOME[list(OPERATIONS).index(operation) % len(SOME)].items():
        able = [number for number, call in enumerate(calls, 1) if call.can(kind)]
        yield Fault(min(able, key=lambda number: abs(number - share * len(calls))), kind)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_nothing_is_lost_or_half_written(server: Server, operation: str):
    points = [server.fault(operation, fault) for fault in chosen(server, operation)]
    assert not [point for point in points if point.problem]
    assert "killed" in {point.outcome for point in points}


def test_calls_are_seen_from_the_first_to_the_last(server: Server):
    """Or the faults above would be at none of those that matter."""
    names = [call.name for call in server.calls("add")]
    assert names.count("rename") >= 2  # a segment and a codebook, at least
    files = {call.path.partition(".")[2].partition(".")[0] for call in server.calls("add")}
    assert {"sqlite", "sqlite-wal", "seg", "cb"} <= files
    assert {"fsync", "fdatasync", "unlink", "write", "pwrite"} <= set(names)


def first(server: Server, operation: str, name: str, end: str, kind: str) -> Point:
    """Return what becomes of a fault at the first call of some name on a file."""
    number = next(
        number
        for number, call in enumerate(server.calls(operation), 1)
        if call.name == name and call.path.endswith(end)
    )
    return server.fault(operation, Fault(number, kind))


def test_the_test_would_notice_a_commit_in_two_steps(server: Server):
    """Of a program that isn't part of this one, and commits documents one by one."""
    half = len(server.calls("careless")) // 2
    point = server.fault("careless", Fault(half, "kill"))
    assert "no state of before or after" in point.problem


def test_a_full_disk_during_a_repair_is_not_called_damage(server: Server):
    calls = server.calls("repair")
    number = next(  # where what is encoded again is committed
        number
        for number, call in enumerate(calls, 1)
        if "/repair-" in call.path and call.path.endswith("-wal") and call.name == "fdatasync"
    )
    assert not server.fault("repair", Fault(number, "full for good")).problem


def test_a_restore_deletes_what_no_commit_lists(server: Server):
    """Segments of the state before, and what a restore that was killed had copied."""
    assert not first(server, "replace", "rename", ".cb", "kill").problem
    assert not first(server, "restore", "write", ".tmp", "kill").problem


def test_a_restore_that_was_interrupted_can_be_done_again(server: Server):
    """Even if all that is missing is the name of the catalog."""
    assert not first(server, "restore", "rename", "catalog.new", "kill").problem
