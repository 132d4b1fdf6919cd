"""The server over HTTP: one application for all protocol revisions, and its protection.

A request passes these steps in order: the check of its Host and Origin headers, of its token and of
its caller's rate, the arrival of its body, and the protocol. Requests are independent, so that any
worker may answer them.
"""

from __future__ import annotations

import math
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.types import INVALID_REQUEST
from pydantic import AnyHttpUrl, ConfigDict, TypeAdapter
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, request_response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rag_tools.aio import take_turns
from rag_tools.audit.log import Actor, AuditLog, acting
from rag_tools.cores import available_cores
from rag_tools.errors import RagToolsError
from rag_tools.types import Status
from rag_tools_mcp import auth, logs
from rag_tools_mcp.auth import Authenticate, Caller
from rag_tools_mcp.calls import BUSY, Calls
from rag_tools_mcp.collections import Collections
from rag_tools_mcp.internals.sdk import http_protocol
from rag_tools_mcp.limits import Gate, Rate
from rag_tools_mcp.metrics import CONTENT_TYPE, Metrics
from rag_tools_mcp.server import build
from rag_tools_mcp.settings import Http, Limits, Settings

if TYPE_CHECKING:
    from rag_tools.engine import Engine

_Seen = TypeVar("_Seen")

PATH = "/mcp"

# Load balancers use the address as Host; these paths reveal nothing.
_OPEN_PATHS = frozenset({"/healthz", "/readyz"})

_PROBE_SECONDS = 2.0

# Issuers are compared character by character (RFC 8414): no slash may be added.
_url = TypeAdapter(AnyHttpUrl, config=ConfigDict(url_preserve_empty_path=True)).validate_python


def application(settings: Settings) -> Starlette:
    """Return the application: ``/mcp``, ``/metrics``, ``/healthz`` and ``/readyz``.

    Raises
    ------
    ConfigurationError
        If a token, the issuer's keys or the key of the audit log can't be read.
    """
    http = settings.http or Http()
    limits, metrics, tools = http.limits, Metrics(), set[str]()
    cores = max(1, available_cores() // http.workers)
    audit = settings.audit_log()
    collections = Collections(settings.collections, audit)
    server = build(
        collections,
        profile=settings.profile,
        writable=settings.allow_write,
        visible=lambda: auth.current.get().collections,
        identified=lambda: auth.current.get().principal,
    )
    server.middleware.append(
        Calls(
            Gate(
                cores,
                waiting=limits.waiting or 2 * cores,
                burst=limits.burst or 16 * cores,
                per_caller=limits.calls,
            ),
            metrics,
            response_bytes=limits.response_bytes,
            tools=tools,
            log_queries=http.log_queries,
            show_paths=http.show_paths,
            audit=audit,
        )
    )
    endpoint = http_protocol(server, request_bytes=limits.request_bytes)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        # The tools run on the threads of this limiter. A search is pure computation: more threads
        # than cores would only compete for the interpreter with each other and the event loop.
        # Measured on 2 busy cores with 8 clients, in searches per second: 13.7 with 2 threads,
        # 11.9 with 3, 11.8 with 4; the engine alone makes 14.1.
        limiter = to_thread.current_default_thread_limiter()
        limiter.total_tokens = cores
        take_turns(limiter)
        tools.update(tool.name for tool in await server.list_tools())
        async with endpoint.run():
            yield

    probe = _Probe(collections)

    async def measured(_request: Request) -> Response:
        if auth.current.get().collections is not None:
            return _refusal(
                403, "metrics cover all collections: use a token that may read all of them"
            )
        if auth.current.get().principal is not None:
            return _refusal(403, "metrics cover all documents: use a token with reads_all = true")
        return Response(metrics.render(await probe.statuses()), media_type=CONTENT_TYPE)

    authenticate, rate = auth.authenticator(http), Rate(limits.requests_per_minute)

    def admitted(app: ASGIApp) -> ASGIApp:
        return _Admission(app, http, authenticate, rate, metrics, audit)

    protocol = _Arrival(endpoint.app, limits, metrics)
    routes: list[BaseRoute] = [
        # GET and DELETE are for sessions, which the server doesn't have.
        Route(PATH, admitted(protocol), methods=["POST"]),
        Route("/metrics", admitted(request_response(measured)), methods=["GET"]),
        Route("/healthz", _healthy),
        Route("/readyz", probe.ready),
    ]
    if http.issuer is not None and http.issuer.discoverable:
        routes += create_protected_resource_routes(
            _url(http.issuer.audience), [_url(http.issuer.url)], ["read", "write"]
        )
    ports = "|".join(f"{re.escape(origin)}(:[0-9]+)?" for origin in sorted(http.origins))
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            Middleware(_Guard, http=http, metrics=metrics),
            Middleware(
                CORSMiddleware,
                allow_origin_regex=ports,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=["WWW-Authenticate", "X-Request-Id"],
            ),
        ],
    )


class _Guard:
    """Gives each request an id, and refuses those that a foreign web page made a browser send."""

    def __init__(self, app: ASGIApp, http: Http, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics
        self._hosts, self._origins = http.hosts, http.origins
        self._open, self._most = 0, http.limits.connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = secrets.token_hex(8)
        logs.request_id.set(name)

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = name
            await send(message)

        if self._open >= self._most:
            self._metrics.refused.labels("connections").inc()
            busy = _refusal(503, "the server has too many open requests: try again later", retry=1)
            await busy(scope, receive, named)
            return
        self._open += 1
        try:
            await (self._refused(scope) or self._app)(scope, receive, named)
        finally:
            self._open -= 1

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", "")[:200], headers.get("origin")
        if scope["path"] not in _OPEN_PATHS and not _listed(host, self._hosts):
            self._metrics.refused.labels("host").inc()
            logs.event("refused", reason="host", host=host)
            return _refusal(421, "host not allowed: add it to allowed_hosts")
        if origin is not None and not _listed(origin, self._origins):
            self._metrics.refused.labels("origin").inc()
            logs.event("refused", reason="origin", origin=origin)
            return _refusal(403, "origin not allowed: add it to allowed_origins")
        return None


class _Admission:
    """Authenticates callers, and refuses unknown ones and those who call too often."""

    def __init__(
        self,
        app: ASGIApp,
        http: Http,
        authenticate: Authenticate | None,
        rate: Rate,
        metrics: Metrics,
        audit: AuditLog | None,
    ) -> None:
        self._audit = audit
        self._app, self._authenticate, self._rate, self._metrics = app, authenticate, rate, metrics
        # A subscription stays open as long as its client wants; leave room for the other callers.
        self._open, self._most = Counter[str](), max(1, http.limits.connections // 4)
        self._challenge = 'Bearer realm="rag-tools"'
        if http.issuer is not None and http.issuer.discoverable:
            place = build_resource_metadata_url(_url(http.issuer.audience))
            self._challenge += f', resource_metadata="{place}"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = scope["client"][0] if scope.get("client") else "unknown"
        caller: Caller | None = Caller(address, writes=True)
        if self._authenticate is not None:
            scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
            caller = await self._authenticate(token) if scheme.lower() == "bearer" else None
        wait = self._rate.admit(address if caller is None else caller.name)
        if wait:
            reason, answer = "rate", _refusal(429, "too many requests: try again later", retry=wait)
        elif caller is None:
            reason, answer = (
                "token",
                _refusal(401, "no valid token: send one as Authorization: Bearer TOKEN"),
            )
            answer.headers["WWW-Authenticate"] = self._challenge
        elif self._open[caller.name] >= self._most:
            reason, answer = (
                "open",
                _refusal(429, "you have too many open requests: close some or wait", retry=1),
            )
        else:
            auth.current.set(caller)
            self._open[caller.name] += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._open[caller.name] -= 1
                if not self._open[caller.name]:
                    del self._open[caller.name]
            return
        self._metrics.refused.labels(reason).inc()
        logs.event("refused", reason=reason, address=address, caller=caller and caller.name)
        if self._audit is not None and reason == "token":
            # Not those who call too often: they would fill the disk.
            await to_thread.run_sync(partial(_refused, self._audit, address))
        await answer(scope, receive, send)


class _Arrival:
    """Waits for the complete body of a request, within limits of time and size."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()
        try:
            with anyio.fail_after(self._limits.body_seconds):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > self._limits.request_bytes:
                        await self._refuse(413, "size", scope, receive, send)
                        return
        except TimeoutError:
            await self._refuse(408, "slow", scope, receive, send)
            return
        arrived = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def replay() -> Message:
            return next(arrived, None) or await receive()

        await self._app(scope, replay, send)

    async def _refuse(
        self, status: int, reason: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._metrics.refused.labels(reason).inc()
        logs.event("refused", reason=reason, caller=auth.current.get().name)
        answer = _refusal(
            status,
            f"a request must arrive within {self._limits.body_seconds:g} seconds and have at most "
            f"{self._limits.request_bytes} bytes",
        )
        # Otherwise the rest of the body would be read as the next request.
        answer.headers["Connection"] = "close"
        await answer(scope, receive, send)


class _Probe:
    """Examines the indexes without waiting long for one that is being opened."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections
        # Not the threads of the tools, which may all be busy.
        self._limiter = CapacityLimiter(1)

    async def ready(self, _request: Request) -> Response:
        """Answer 200 if every index is open with its model loaded; otherwise try to open them."""
        if len(await self._of_each(lambda engine: True)) == len(self._collections.names):
            return Response("ready\n")
        answer = Response("not ready\n", status_code=503)
        answer.headers["Retry-After"] = "1"
        return answer

    async def statuses(self) -> dict[str, Status]:
        """Return the status of each index that is open."""
        return await self._of_each(lambda engine: engine.status())

    async def _of_each(self, look: Callable[[Engine], _Seen]) -> dict[str, _Seen]:
        seen: dict[str, _Seen] = {}

        def visit(name: str) -> _Seen:
            return look(self._collections.engine(name))

        with anyio.move_on_after(_PROBE_SECONDS):
            for name in self._collections.names:
                with suppress(RagToolsError):
                    seen[name] = await to_thread.run_sync(
                        visit, name, limiter=self._limiter, abandon_on_cancel=True
                    )
        return seen


def _refused(audit: AuditLog, address: str) -> None:
    """Record that somebody without a valid token was refused."""
    token = acting.set(Actor(address, "http", logs.request_id.get()))
    try:
        audit.record("refuse", outcome="refused: no valid token")
    finally:
        acting.reset(token)


async def _healthy(_request: Request) -> Response:
    return Response("ok\n")


def _listed(value: str, allowed: frozenset[str]) -> bool:
    """Return whether a host or an origin is allowed, as it is or without its port."""
    value = value.lower()
    return value in allowed or re.sub(r":\d+$", "", value) in allowed


def _refusal(status: int, message: str, *, retry: float = 0) -> Response:
    """Return an answer in the form of a JSON-RPC error that belongs to no request id."""
    error = {"code": BUSY if retry else INVALID_REQUEST, "message": message}
    answer = JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, status_code=status)
    if retry:
        answer.headers["Retry-After"] = str(math.ceil(retry))
    return answer
