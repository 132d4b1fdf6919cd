"""Says in the end which processors and kernels were covered."""

from __future__ import annotations


def pytest_terminal_summary(terminalreporter):
    covered = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "covered"
    ]
    if covered:
        terminalreporter.section("covered")
        for line in sorted(covered):
            terminalreporter.line(line)
