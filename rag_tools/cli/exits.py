"""The exit codes of the command line, besides 0 for success and 2 for wrong usage."""

from __future__ import annotations

FAILED = 1
"""The command failed, or a citation doesn't hold."""

SKIPPED = 3
"""At least one source was skipped because of an error."""

INTERRUPTED = 130
"""The user interrupted the command."""
