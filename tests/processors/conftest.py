"""Says in the end which processors and kernels were covered."""

from __future__ import annotations

import pytest

_COVERED = pytest.StashKey[list[str]]()


def pytest_configure(config):
    config.covered = _COVERED
    config.stash[_COVERED] = []


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[_COVERED]:
        terminalreporter.section("covered")
        for line in config.stash[_COVERED]:
            terminalreporter.line(line)
