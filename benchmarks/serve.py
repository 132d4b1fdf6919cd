"""The server under load: many clients of one process, beside one client and the engine itself.

    python benchmarks/serve.py INDEX [--clients N] [--seconds T] [--workers N] [--json]

Starts `rag-tools serve` on a free port. Each client sends a search, reads the answer, and sends the
next; one that is told that the server is busy waits as long as it was told to, as an agent would.
Queries are the titles of the documents, drawn at random. Memory is what /proc says: Linux only.
`memory` is all that is resident, the pages of the index that were read included, which the system
takes back when it needs them; `heap` is the rest. Both are taken after a warm-up under the same
load, and at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from rag_tools.cores import available_cores
from rag_tools.engine import Engine
from rag_tools.wire.results import RETRY_AFTER

VERSION = "2026-07-28"
LIMIT = 10


@dataclass
class Load:
    """What some clients saw. Times in seconds, memory in bytes."""

    clients: int
    elapsed: float = 0.0
    times: list[float] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)
    heap: list[int] = field(default_factory=list)
    cpu: float = 0.0

    def report(self) -> dict[str, Any]:
        """Return the figures; memory in the first and the last twentieth of the time."""
        some = max(1, len(self.memory) // 20)
        return {
            "clients": self.clients,
            "seconds": round(self.elapsed, 1),
            "searches_per_second": round(len(self.times) / self.elapsed, 1),
            "p50_ms": round(1000 * statistics.median(self.times), 1),
            "p95_ms": round(1000 * statistics.quantiles(self.times, n=20)[18], 1),
            "cpu_ms_per_search": round(1000 * self.cpu / len(self.times), 1),
            "outcomes": dict(self.outcomes),
            "memory_start_mb": round(statistics.mean(self.memory[:some]) / 1e6, 1),
            "memory_end_mb": round(statistics.mean(self.memory[-some:]) / 1e6, 1),
            "heap_start_mb": round(statistics.mean(self.heap[:some]) / 1e6, 1),
            "heap_end_mb": round(statistics.mean(self.heap[-some:]) / 1e6, 1),
        }


def main(
    index: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    clients: Annotated[int, typer.Option(help="That search at once.")] = 64,
    seconds: Annotated[float, typer.Option(help="How long they do.")] = 600,
    workers: Annotated[int, typer.Option(help="Processes of the server.")] = 1,
    waiting: Annotated[int | None, typer.Option(help="Calls that may wait for a core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure."""
    short = min(seconds, 20)
    with Engine.open(index) as engine:
        queries = [document.title for document in engine.documents()]
        own, own_cpu = _engine(engine, queries, short)
    limits = {"requests_per_minute": 10**6, "calls": 10**4, "connections": 10**4}
    if waiting is not None:
        limits["waiting"] = waiting
    with _server(index, workers, limits) as (port, process):
        _run(port, process, queries, 1, 3)  # warms up
        one = _run(port, process, queries, 1, short).report()
        _run(port, process, queries, clients, min(seconds, 60))
        many = _run(port, process, queries, clients, seconds).report()
    figures = {
        "engine": {
            "searches_per_second": round(own, 1),
            "cpu_ms_per_search": round(1000 * own_cpu, 1),
        },
        "one": one,
        "many": many,
        "throughput_of_engine": round(many["searches_per_second"] / own, 3),
        "p95_of_one": round(many["p95_ms"] / one["p95_ms"], 2),
        "memory_growth": round(many["memory_end_mb"] / many["memory_start_mb"] - 1, 4),
        "heap_growth": round(many["heap_end_mb"] / many["heap_start_mb"] - 1, 4),
    }
    if as_json:
        print(json.dumps(figures, indent=2))
        return
    for name, figure in figures.items():
        print(f"{name}: {figure}")


def _engine(engine: Engine, queries: Sequence[str], seconds: float) -> tuple[float, float]:
    """Return the engine's searches per second on all cores, and the processor seconds of each."""
    engine.search(queries[0])
    deadline = time.monotonic() + seconds

    def search(number: int) -> int:
        drawn, done = random.Random(number), 0
        while time.monotonic() < deadline:
            engine.search(drawn.choice(queries), limit=LIMIT)
            done += 1
        return done

    began, cpu = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(available_cores()) as pool:
        done = sum(pool.map(search, range(available_cores())))
    return done / (time.monotonic() - began), (time.process_time() - cpu) / done


@contextmanager
def _server(
    index: Path, workers: int, limits: dict[str, int]
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    table = ", ".join(f"{name} = {value}" for name, value in limits.items())
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "server.toml"
        config.write_text(
            f"collections = {{default = {json.dumps(str(index.absolute()))}}}\n"
            f'[http]\naddress = "127.0.0.1:0"\nworkers = {workers}\nlimits = {{{table}}}\n'
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "rag_tools.cli.main", "serve", "--config", str(config)],
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        port = json.loads(process.stderr.readline())["port"]
        # The log must be read, or the server waits for us.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            asyncio.run(_ready(port))
            yield port, process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


async def _ready(port: int) -> None:
    while True:
        try:
            status, _ = await _exchange(
                await asyncio.open_connection("127.0.0.1", port), _get(port)
            )
            if status == 200:
                return
        except OSError:
            pass
        await asyncio.sleep(0.1)


def _run(
    port: int,
    process: subprocess.Popen[bytes],
    queries: Sequence[str],
    clients: int,
    seconds: float,
) -> Load:
    load = Load(clients)

    async def client(number: int, deadline: float) -> None:
        drawn = random.Random(number)
        connection = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < deadline:
            began = time.monotonic()
            status, body = await _exchange(connection, _search(port, drawn.choice(queries)))
            # Within the text of a document the quotation marks would be escaped.
            if status == 200 and b'"isError":false' in body:
                load.outcomes["ok"] += 1
                load.times.append(time.monotonic() - began)
                continue
            result = json.loads(body).get("result", {}) if status == 200 else {}
            if result and "busy" in result["content"][0]["text"]:
                load.outcomes["busy"] += 1
                left = deadline - time.monotonic()
                await asyncio.sleep(min(result["_meta"][RETRY_AFTER], max(0, left)))
            else:
                load.outcomes[f"error {status}"] += 1
        connection[1].close()

    async def watch() -> None:
        while True:
            memory, heap = _memory(process.pid)
            load.memory.append(memory)
            load.heap.append(heap)
            await asyncio.sleep(1)

    async def everybody() -> None:
        watcher = asyncio.create_task(watch())
        began, cpu = time.monotonic(), _cpu(process.pid)
        await asyncio.gather(*(client(number, began + seconds) for number in range(clients)))
        load.elapsed, load.cpu = time.monotonic() - began, _cpu(process.pid) - cpu
        watcher.cancel()

    asyncio.run(everybody())
    return load


async def _exchange(
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], request: bytes
) -> tuple[int, bytes]:
    """Send a request and return the status and the body: the least that a client can do.

    The official client takes more time than the server does, and here they share the cores.
    """
    reader, writer = connection
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status, length = int(head.split(b" ")[1]), head.partition(b"content-length: ")[2]
    if length:
        return status, await reader.readexactly(int(length.split(b"\r\n")[0]))
    events = b""  # of an answer that took so long that the server began to send signs of life
    while size := int(await reader.readline(), 16):
        events += (await reader.readexactly(size + 2))[:size]
    await reader.readline()
    return status, events.rpartition(b"data: ")[2]


def _get(port: int) -> bytes:
    return f"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()


def _search(port: int, query: str) -> bytes:
    body = json.dumps(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {
                "name": "search",
                "arguments": {"query": query, "limit": LIMIT},
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": VERSION,
                    "io.modelcontextprotocol/clientCapabilities": {},
                },
            },
        }
    ).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        f"MCP-Protocol-Version: {VERSION}\r\nMcp-Method: tools/call\r\nMcp-Name: search\r\n\r\n"
    )
    return head.encode() + body


def _processes(process: int) -> list[Path]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [Path("/proc") / str(each) for each in (process, *children)]


def _cpu(process: int) -> float:
    """Return the processor seconds that a process and its children have used."""
    fields = [
        (each / "stat").read_text().rpartition(")")[2].split() for each in _processes(process)
    ]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def _memory(process: int) -> tuple[int, int]:
    """Return the resident memory of a process and its children, and what of it no file backs.

    What they share counts once.
    """
    totals = Counter[str]()
    for each in _processes(process):
        for line in (each / "smaps_rollup").read_text().splitlines()[1:]:
            name, kilobytes, *_ = line.split()
            totals[name] += 1024 * int(kilobytes)
    return totals["Pss:"], totals["Pss_Anon:"]


if __name__ == "__main__":
    typer.run(main)
