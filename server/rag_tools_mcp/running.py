"""Running the server: over standard input and output, or over HTTP in one or more processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, cast

from rag_tools.errors import ConfigurationError
from rag_tools_mcp.collections import Collections
from rag_tools_mcp.limits import LATEST_SECONDS
from rag_tools_mcp.server import build
from rag_tools_mcp.settings import Http, Settings


def serve(settings: Settings) -> None:
    """Serve until the input ends, or, over HTTP, until the process is told to stop.

    Raises
    ------
    ConfigurationError
        A token, or the issuer's keys, can't be read; or the address can't be bound.
    """
    if settings.http is None:
        # A thread that waits for input can't be interrupted, and a reader holds nothing that
        # would have to be saved: let Ctrl-C end the process at once, as SIGTERM does.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        build(
            Collections(settings.collections),
            profile=settings.profile,
            writable=settings.allow_write,
        ).run("stdio")
    else:
        _serve_http(settings, settings.http)


def _serve_http(settings: Settings, http: Http) -> None:
    # Some 0.2 s that a server on standard input and output needn't wait for.
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from rag_tools_mcp import logs
    from rag_tools_mcp.auth import authenticator
    from rag_tools_mcp.internals.connection import Connection
    from rag_tools_mcp.metrics import FILES_VARIABLE

    authenticator(http)  # what can't be read is better said once than by every worker
    logs.configure()
    limits = http.limits
    config = uvicorn.Config(
        partial(_worker, settings),
        factory=True,
        host=http.host,
        port=http.port,
        workers=http.workers,
        http=cast(
            type[asyncio.Protocol],
            partial(
                Connection,
                header_seconds=limits.header_seconds,
                stall_seconds=limits.stall_seconds,
            ),
        ),
        ws="none",
        limit_concurrency=limits.connections,
        # Whoever is told to come back later comes back on the same connection.
        timeout_keep_alive=round(LATEST_SECONDS) + 5,
        # For a worker to start, on a busy machine: then it answers at once.
        timeout_worker_healthcheck=60,
        timeout_graceful_shutdown=limits.shutdown_seconds,
        proxy_headers=bool(http.trusted_proxies),
        forwarded_allow_ips=list(http.trusted_proxies),
        server_header=False,
        access_log=False,
        log_config=None,
    )
    with ExitStack() as stack:
        listening = stack.enter_context(_listening(http))
        logs.event("serving", host=http.host, port=listening.getsockname()[1])
        stack.enter_context(_stopped_by_signals())
        if http.workers == 1:
            uvicorn.Server(config).run([listening])
        else:
            # Each worker leaves its numbers there, and any of them tells the sum.
            # Windows keeps a file that a process still has open: leave it then.
            folder = TemporaryDirectory(ignore_cleanup_errors=True)
            os.environ[FILES_VARIABLE] = stack.enter_context(folder)
            Multiprocess(config, _Listening([listening])).run()


def _worker(settings: Settings) -> Any:  # noqa: ANN401 - an ASGI application
    from rag_tools_mcp import logs
    from rag_tools_mcp.http import application

    logs.configure()
    return application(settings)


_SPREAD = sys.platform == "linux"  # elsewhere the last to open the address may get everything


class _Listening(list[socket.socket]):
    """The socket that workers share; a worker that is given it opens one of its own beside it.

    Of connections that come at once to one socket, the first worker to wake up takes nearly all:
    62 of 64. Those to several sockets of the same address are spread by Linux.
    """

    def __reduce__(self) -> tuple[Callable[[socket.socket], list[socket.socket]], tuple[Any, ...]]:
        return _with_own, tuple(self)


def _with_own(shared: socket.socket) -> list[socket.socket]:
    return [shared, _open(shared.getsockname(), shared.family, again=True)] if _SPREAD else [shared]


def _listening(http: Http) -> socket.socket:
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    try:
        # Whoever connects from now on waits until a worker has started.
        server = _open((http.host, http.port), family)
        if http.workers == 1 or not _SPREAD:
            return server
        # Opened so that it can be again, which another server's address couldn't: hence twice.
        address = server.getsockname()
        server.close()
        return _open(address, family, again=True)
    except OSError as error:
        raise ConfigurationError(f"can't listen on {http.address}: {error}") from None


def _open(address: tuple[Any, ...], family: int, *, again: bool = False) -> socket.socket:
    server = socket.create_server(address[:2], family=family, reuse_port=again)
    # asyncio sends at once, without Nagle's algorithm, where it is told that this is TCP. Else the
    # second part of every answer waits 40 ms for the client to acknowledge the first.
    return socket.socket(server.family, server.type, socket.IPPROTO_TCP, fileno=server.detach())


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGINT end the server, which notes them, and not the process.

    When uvicorn has finished what it was doing, it raises the signal again.
    """
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
