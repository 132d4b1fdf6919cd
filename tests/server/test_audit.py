"""The audit log of a server over HTTP: callers by name, and refusals."""

from __future__ import annotations
