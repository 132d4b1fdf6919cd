"""Running the server on standard input and output, or over HTTP in one or more processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, cast

from rag_tools.errors import ConfigurationError
from rag_tools_mcp.collections import Collections
from rag_tools_mcp.limits import LATEST_SECONDS
from rag_tools_mcp.server import build
from rag_tools_mcp.settings import Http, Settings


def serve(settings: Settings) -> None:
    """Serve until the input ends or, over HTTP, until the process is told to stop.

    Raises
    ------
    ConfigurationError
        If a token or the issuer's keys can't be read, or the address can't be bound.
    """
    if settings.http is None:
        # A thread that waits for input can't be interrupted, and there is nothing to save: Ctrl-C
        # may end the process at once, as SIGTERM does.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with _kept_fresh(settings):
            build(
                Collections(settings.collections, audit=settings.audit_log()),
                profile=settings.profile,
                writable=settings.allow_write,
            ).run("stdio")
    else:
        _serve_http(settings, settings.http)


def _kept_fresh(settings: Settings) -> AbstractContextManager[None]:
    if not settings.watch and settings.sync_every is None:
        return nullcontext()
    # This imports NumPy, for which the list of tools would have to wait.
    from rag_tools_mcp.freshness import kept_fresh

    return kept_fresh(settings)


def _serve_http(settings: Settings, http: Http) -> None:
    # These imports take 0.2 s, which a server on standard input and output doesn't need.
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from rag_tools_mcp import logs
    from rag_tools_mcp.auth import authenticator
    from rag_tools_mcp.internals.connection import Addresses, Connection
    from rag_tools_mcp.metrics import FILES_VARIABLE

    # Reports unreadable tokens and keys once, rather than from every worker.
    authenticator(http)
    settings.audit_log()
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
                addresses=Addresses(max(1, limits.connections // 2), http.trusted_proxies),
            ),
        ),
        ws="none",
        limit_concurrency=limits.connections,
        # A caller who is told to come back later does so on the same connection.
        timeout_keep_alive=round(LATEST_SECONDS) + 5,
        # Workers take long to start on a busy machine; afterwards they answer at once.
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
        stack.enter_context(_kept_fresh(settings))
        if http.workers == 1:
            uvicorn.Server(config).run([listening])
        else:
            # Each worker writes its metrics to this folder, and any of them can report the sum.
            # On Windows, files that a process still has open can't be deleted.
            folder = TemporaryDirectory(ignore_cleanup_errors=True)
            os.environ[FILES_VARIABLE] = stack.enter_context(folder)
            Multiprocess(config, _Listening([listening])).run()


def _worker(settings: Settings) -> Any:  # noqa: ANN401 - an ASGI application
    from rag_tools_mcp import logs
    from rag_tools_mcp.http import application

    logs.configure()
    return application(settings)


_SPREAD = sys.platform == "linux"  # elsewhere the last socket of an address may get all connections


class _Listening(list[socket.socket]):
    """The socket that workers share; each worker opens another one for the same address.

    If many connections arrive at one socket at once, the first worker to wake up takes nearly all
    of them, 62 of 64. Linux distributes connections among several sockets of the same address.
    """

    def __reduce__(self) -> tuple[Callable[[socket.socket], list[socket.socket]], tuple[Any, ...]]:
        return _with_own, tuple(self)


def _with_own(shared: socket.socket) -> list[socket.socket]:
    return [shared, _open(shared.getsockname(), shared.family, again=True)] if _SPREAD else [shared]


def _listening(http: Http) -> socket.socket:
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    try:
        # Connections are accepted from now on and wait until a worker has started.
        server = _open((http.host, http.port), family)
        if http.workers == 1 or not _SPREAD:
            return server
        # The first opening fails if another server uses the address. The second one, with
        # reuse_port, wouldn't.
        address = server.getsockname()
        server.close()
        return _open(address, family, again=True)
    except OSError as error:
        raise ConfigurationError(f"can't listen on {http.address}: {error}") from None


def _open(address: tuple[Any, ...], family: int, *, again: bool = False) -> socket.socket:
    server = socket.create_server(address[:2], family=family, reuse_port=again)
    # asyncio turns Nagle's algorithm off only for sockets that say they are TCP. Otherwise the
    # second
    # part of every answer would wait 40 ms for the client to acknowledge the first.
    return socket.socket(server.family, server.type, socket.IPPROTO_TCP, fileno=server.detach())


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGINT stop the server instead of ending the process.

    uvicorn handles the signals and raises them again when it has finished.
    """
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
