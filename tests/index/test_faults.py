"""Whatever fails while an index is changed, what is left is the state of before or after.

`benchmarks/faults.py` runs all points; here are some of each operation.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest

import faulting
from faulted import OPERATIONS
from faulting import Fault, Point, Server

pytestmark = pytest.mark.skipif(bool(faulting.missing()), reason=faulting.missing())

# At calls spread over an operation, from the first to the last.
SHARES = {"kill": 0.55, "torn": 0.8, "failing": 0.35, "full for good": 0.65}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("faults")) as server:
        yield server


def chosen(server: Server, operation: str) -> Iterator[Fault]:
    """Yield one fault of each kind, at the first call from some place on that it can happen at."""
    calls = server.calls(operation)
    for kind, share in SHARES.items():
        numbers = range(int(share * len(calls)), len(calls))
        yield from (
            Fault(number + 1, kind)
            for number in islice((each for each in numbers if calls[each].can(kind)), 1)
        )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_nothing_is_lost_or_half_written(server: Server, operation: str):
    points = [server.fault(operation, fault) for fault in chosen(server, operation)]
    assert len(points) == len(SHARES)
    assert not [point for point in points if point.problem]
    assert {point.outcome for point in points} >= {"killed"}


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


@pytest.mark.parametrize("kind", ["kill", "full", "failing for good"])
def test_the_test_would_notice_a_commit_in_two_steps(server: Server, kind: str):
    """Of a program that isn't part of this one, and commits documents one by one."""
    problems = [
        server.fault("careless", Fault(number, kind)).problem
        for number in range(1, len(server.calls("careless")) + 1, 9)
    ]
    assert any("no state of before or after" in problem for problem in problems)


def test_a_full_disk_during_a_repair_is_not_called_damage(server: Server):
    for call in (0.5, 0.55, 0.6):
        number = int(call * len(server.calls("repair")))
        assert not server.fault("repair", Fault(number, "full for good")).problem


def test_a_restore_deletes_what_no_commit_lists(server: Server):
    """Segments of the state before, and what a restore that was killed had copied."""
    assert not first(server, "replace", "rename", ".cb", "kill").problem
    assert not first(server, "restore", "write", ".tmp", "kill").problem


def test_a_restore_that_was_interrupted_can_be_done_again(server: Server):
    """Even if all that is missing is the name of the catalog."""
    assert not first(server, "restore", "rename", "catalog.new", "kill").problem
