"""What surrounds every call: permission, admission, the size limit, metrics and a log line.

The transport and tokens are in `http` and `auth`, the calls themselves in `server`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, TextContent
from opentelemetry import trace

from rag_tools.audit.log import Actor, AuditLog, acting
from rag_tools.wire.results import RETRY_AFTER
from rag_tools_mcp import auth, logs
from rag_tools_mcp.internals.connection import ENDLESS
from rag_tools_mcp.limits import BusyError, Gate
from rag_tools_mcp.metrics import Metrics
from rag_tools_mcp.places import shortened, without_places

BUSY = -32050
"""The JSON-RPC code of a call that is refused because the server is busy."""

# The methods that read or write an index. The others are answered from memory.
_WORK = frozenset({"tools/call", "resources/read", "completion/complete"})

_WRITES = frozenset({"sync"})


class Calls:
    """The server's middleware.

    Parameters
    ----------
    response_bytes
        The largest size of a result's text.
    tools
        The names of the tools. Calls of unknown tools aren't counted by name.
    log_queries
        Whether queries are logged.
    show_paths
        Whether callers who may not write learn where on the disk documents and indexes lie.
    audit
        Where calls that are refused are recorded; the engines record the others.
    """

    def __init__(
        self,
        gate: Gate,
        metrics: Metrics,
        *,
        response_bytes: int,
        tools: Collection[str],
        log_queries: bool = False,
        show_paths: bool = False,
        audit: AuditLog | None = None,
    ) -> None:
        self._show_paths = show_paths
        self._audit = audit
        self._gate, self._metrics = gate, metrics
        self._response_bytes, self._tools = response_bytes, tools
        self._log_queries = log_queries

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Answer one message, with the rest of the middleware."""
        if ctx.method == "tools/list":
            return _offered(await call_next(ctx))
        if ctx.method == "subscriptions/listen" and ctx.request is not None:
            ctx.request.scope["state"][ENDLESS] = True
        if ctx.method not in _WORK:
            return await call_next(ctx)
        tool, arguments = _asked(ctx)
        label = (ctx.method, tool if tool in self._tools else "")
        outcome, started = "failed", time.perf_counter()
        acting.set(Actor(auth.current.get().name, "mcp", logs.request_id.get()))
        try:
            outcome, result = await self._admitted(ctx, call_next, tool)
            return result
        except MCPError as error:
            outcome = "busy" if error.error.code == BUSY else "error"
            raise
        except anyio.get_cancelled_exc_class():
            outcome = "cancelled"
            raise
        finally:
            seconds = time.perf_counter() - started
            self._metrics.calls.labels(*label, outcome).inc()
            if outcome not in ("busy", "denied"):
                self._metrics.seconds.labels(*label).observe(seconds)
            self._report(label, outcome, seconds, arguments)
            if outcome == "denied" and self._audit is not None:
                refused = partial(self._audit.record, "refuse", outcome="refused: denied")
                await anyio.to_thread.run_sync(partial(refused, tool=label[1] or None))

    async def _admitted(
        self, context: ServerRequestContext[Any, Any], call_next: CallNext, tool: str
    ) -> tuple[str, HandlerResult]:
        caller = auth.current.get()
        if tool in _WRITES and not caller.writes:
            return "denied", _refusal(f"{tool} is not allowed: use a token with the scope write")
        shown = caller.writes or self._show_paths
        try:
            with self._gate.enter(caller.name), self._metrics.inside.track_inprogress():
                result = await call_next(context)
                result = result if shown else without_places(result)
        except MCPError as error:
            if shown:
                raise
            raise MCPError(
                error.error.code, shortened(error.error.message), error.error.data
            ) from error
        except BusyError as error:
            seconds = math.ceil(error.retry)
            message = f"the server is busy: {error}. Try again in {seconds} s."
            if context.method == "tools/call":
                return "busy", _refusal(message, {RETRY_AFTER: error.retry})
            raise MCPError(BUSY, message, {"retryAfter": error.retry}) from None
        size = _size(result)
        if size > self._response_bytes:
            message = (
                f"the result has {size} bytes, and the server returns at most "
                f"{self._response_bytes}: ask for less"
            )
            if context.method == "tools/call":
                return "error", _refusal(message)
            raise MCPError(BUSY, message)
        failed = isinstance(result, dict) and result.get("isError") is True
        return "error" if failed else "ok", result

    def _report(
        self, label: tuple[str, str], outcome: str, seconds: float, arguments: dict[str, Any]
    ) -> None:
        caller = auth.current.get()
        collection = arguments.get("collection")
        trace.get_current_span().set_attributes(
            {"rag_tools.caller": caller.name, "rag_tools.outcome": outcome}
        )
        logs.event(
            "call",
            method=label[0],
            tool=label[1] or None,
            collection=collection if isinstance(collection, str) else None,
            outcome=outcome,
            seconds=round(seconds, 6),
            caller=caller.name,
            query=arguments.get("query", arguments.get("claim")) if self._log_queries else None,
        )


def _asked(context: ServerRequestContext[Any, Any]) -> tuple[str, dict[str, Any]]:
    """Return the tool that a message calls, and its arguments, which aren't validated yet."""
    params = context.params or {}
    tool, arguments = params.get("name"), params.get("arguments")
    return (
        tool if isinstance(tool, str) else "",
        arguments if isinstance(arguments, dict) else {},
    )


def _offered(result: HandlerResult) -> HandlerResult:
    """Return the list of tools without those that the caller may not call."""
    if auth.current.get().writes or not isinstance(result, dict):
        return result
    tools = [tool for tool in result["tools"] if tool["name"] not in _WRITES]
    return {**result, "tools": tools}


def _size(result: HandlerResult) -> int:
    """Return the size of a result's text in bytes; the structured content repeats the text."""
    items: list[dict[str, Any]] = []
    if isinstance(result, dict):
        items = result.get("content") or result.get("contents") or []
    return sum(len(str(item.get("text", "")).encode("utf-8", "replace")) for item in items)


def _refusal(message: str, meta: dict[str, Any] | None = None) -> CallToolResult:
    content = [TextContent(type="text", text=message)]
    return CallToolResult(content=content, is_error=True, _meta=meta)
