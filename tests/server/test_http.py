"""The server over HTTP, as a process of its own: what it answers, and what it refuses."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import httpx2 as httpx
import jwt
import pytest
from anyio import to_thread
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import PARSE_ERROR

import rag_tools_mcp.http
from rag_tools.engine import Engine
from rag_tools.types import Document, Principal
from rag_tools.wire.ids import ShortIds
from rag_tools_mcp import running
from rag_tools_mcp.auth import Caller, WebTokens
from rag_tools_mcp.resources import TEMPLATE
from rag_tools_mcp.settings import Http, Issuer, Settings

READER, WRITER, OWNER = "reader-" + "r" * 20, "writer-" + "w" * 20, "owner-" + "o" * 20
SECRET_WORDS = "The kumquat vault opens at dusk."

MODERN, LEGACY = "2026-07-28", "2025-06-18"


class Server:
    """A server process. Its log is read as it comes."""

    def __init__(self, config: str, folder: Path, **env: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "server.toml"
        file.write_text(config, encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rag_tools.cli.main", "serve", "--config", str(file)],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **env},
        )
        self.log: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        started = self.logged(event="serving")
        self.address = (started["host"], started["port"])
        self.url = f"http://{started['host']}:{started['port']}"
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(json.loads(line))

    def logged(self, after: int = 0, **wanted: Any) -> dict[str, Any]:
        """Return the first line of the log, `after` so many, with these fields; wait for it."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for line in self.log[after:]:
                if wanted.items() <= line.items():
                    return line
            assert self.process.poll() is None, self.log
            time.sleep(0.02)
        raise AssertionError(f"{wanted} not in {self.log}")

    def ready(self) -> Server:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if self.http.get("/readyz").status_code == 200:
                    return self
            except httpx.ConnectError:  # a worker that starts
                pass
            time.sleep(0.05)
        raise AssertionError(self.log)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.http.close()
        code = self.process.wait(timeout=30)
        self._reader.join()
        return code

    def post(
        self,
        body: Any,
        token: str | None = None,
        version: str | None = MODERN,
        **headers: str,
    ) -> httpx.Response:
        """Send a message, or bytes that may be none, as any client could."""
        sent: dict[str, Any] = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
        }
        if version:
            sent["MCP-Protocol-Version"] = version
        if token:
            sent["Authorization"] = f"Bearer {token}".encode()
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        if version == MODERN and isinstance(body, dict):
            sent["Mcp-Method"] = str(body.get("method"))
            name = (body.get("params") or {}).get("name")
            if isinstance(name, str) and name.isascii():
                sent["Mcp-Name"] = name
        return self.http.post("/mcp", content=content, headers={**sent, **headers})

    def ask(
        self, method: str, token: str | None = None, version: str = MODERN, **params: Any
    ) -> dict[str, Any]:
        """Return the answer to a request, in either era."""
        if version == MODERN:
            params["_meta"] = {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        answer = self.post(
            {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, token, version
        )
        assert answer.status_code < 500, answer.text
        if answer.headers["content-type"].startswith("text/event-stream"):
            (data,) = re.findall(r"^data: (\{.*\})\r?$", answer.text, re.MULTILINE)
            return json.loads(data)
        return answer.json()

    def call(self, tool: str, token: str | None = None, **arguments: Any) -> dict[str, Any]:
        return self.ask("tools/call", token, name=tool, arguments=arguments)["result"]


@pytest.fixture(scope="session")
def vault_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that few may see."""
    directory = tmp_path_factory.mktemp("vault") / "index"
    with Engine.open(directory, create=True) as engine:
        engine.add([Document(uri="test:kumquat", text=SECRET_WORDS, title="Kumquat")])
    return directory


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def begin(config: str, **env: str) -> Server:
        servers.append(Server(config, tmp_path_factory.mktemp("server"), **env))
        return servers[-1]

    yield begin
    for server in servers:
        server.process.terminate()
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def free(start: Callable[..., Server], index_dir: Path) -> Server:
    """One index, no tokens."""
    return start(
        f"""
        [collections]
        notes = {json.dumps(str(index_dir))}
        [http]
        address = "127.0.0.1:0"
        [http.limits]
        requests_per_minute = 100000
        request_bytes = 100000
        header_seconds = 1
        body_seconds = 1
        stall_seconds = 1
        """
    ).ready()


@pytest.fixture(scope="module")
def guarded(
    start: Callable[..., Server],
    index_dir: Path,
    vault_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Server:
    """Two indexes, and tokens: one that sees both, one that may write, one that sees one."""
    file = tmp_path_factory.mktemp("tokens") / "owner"
    file.write_text(OWNER + "\n")
    return start(
        f"""
        allow_write = [{json.dumps(str(index_dir.parent))}]
        [collections]
        notes = {json.dumps(str(index_dir))}
        vault = {json.dumps(str(vault_dir))}
        [http]
        address = "127.0.0.1:0"
        allowed_hosts = ["search.example.com"]
        allowed_origins = ["https://app.example.com"]
        limits = {{requests_per_minute = 100000}}
        [[http.tokens]]
        name = "owner"
        file = {json.dumps(str(file))}
        reads_all = true
        [[http.tokens]]
        name = "reader"
        env = "READER_TOKEN"
        collections = ["notes"]
        [[http.tokens]]
        name = "writer"
        env = "WRITER_TOKEN"
        scopes = ["read", "write"]
        collections = ["notes"]
        """,
        READER_TOKEN=READER,
        WRITER_TOKEN=WRITER,
    ).ready()


# -- the protocol ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_official_client(guarded: Server, mode: str):
    async def use() -> None:
        headers = {"Authorization": f"Bearer {READER}"}
        async with (
            httpx.AsyncClient(headers=headers) as http_client,
            Client(
                streamable_http_client(guarded.url + "/mcp", http_client=http_client), mode=mode
            ) as client,
        ):
            assert "search" in {tool.name for tool in (await client.list_tools()).tools}
            reports = []

            async def follow(done: float, total: float | None, message: str | None) -> None:
                reports.append(message)

            found = await client.call_tool(
                "search", {"query": "high tides"}, progress_callback=follow
            )
            assert not found.is_error
            assert "Moon" in found.content[0].text
            assert reports

    anyio.run(use)


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", LEGACY, "2025-11-25", MODERN])
def test_every_revision_on_one_endpoint(free: Server, version: str):
    answer = free.ask("tools/call", version=version, name="search", arguments={"query": "bees"})
    assert "honeybee" in answer["result"]["content"][0]["text"]


def test_a_handshake_needs_no_session(free: Server):
    answer = free.ask(
        "initialize",
        version=LEGACY,
        protocolVersion=LEGACY,
        capabilities={},
        clientInfo={"name": "test", "version": "1"},
    )
    assert answer["result"]["protocolVersion"] == LEGACY
    for method in ("GET", "DELETE"):
        assert free.http.request(method, "/mcp").status_code == 405


def test_short_answers_are_json(free: Server):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    answer = free.post({**body, "params": {"_meta": {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }}})  # fmt: skip
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert len(answer.headers["x-request-id"]) == 16


def test_many_clients_at_once(free: Server):
    queries = ["tides", "bees", "bread", "sorting"] * 3
    alone = [free.call("search", query=query)["content"] for query in queries]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda query: free.call("search", query=query), queries))
    assert [result["content"] for result in together] == alone


# -- who may call ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token", [None, "x", OWNER + "x", OWNER[:-1], "é" * 20, "a.b.c", OWNER.upper()]
)
@pytest.mark.parametrize("path", ["/mcp", "/metrics"])
def test_strangers_are_refused(guarded: Server, path: str, token: str | None):
    headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
    method = "POST" if path == "/mcp" else "GET"
    answer = guarded.http.request(method, path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "vault" not in answer.text


def test_only_bearer_tokens(guarded: Server):
    for scheme in (f"Basic {OWNER}", OWNER, f"Bearer {OWNER} {OWNER}"):
        assert guarded.post({}, Authorization=scheme).status_code == 401


def test_probes_are_open_and_tell_nothing(guarded: Server):
    for path, text in (("/healthz", "ok\n"), ("/readyz", "ready\n")):
        answer = guarded.http.get(path, headers={"Host": "10.0.0.7:8931"})
        assert (answer.status_code, answer.text) == (200, text)


@pytest.mark.parametrize("path", ["/mcp", "/metrics", "/nothing"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost:x"])
def test_a_foreign_host_is_refused(guarded: Server, path: str, host: str):
    headers = {"Host": host, "Authorization": f"Bearer {OWNER}"}
    assert guarded.http.post(path, headers=headers).status_code == 421


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://app.example.com", ""])
def test_a_foreign_origin_is_refused(guarded: Server, origin: str):
    assert guarded.post({}, OWNER, Origin=origin).status_code == 403


def test_known_hosts_and_origins_are_let_in(guarded: Server):
    for header in (
        {"Host": "search.example.com"},
        {"Host": "SEARCH.example.com:443"},
        {"Host": "localhost:1"},
        {"Origin": "https://app.example.com"},
        {"Origin": "http://localhost:6274"},
    ):
        assert guarded.post({}, OWNER, **header).status_code == 400
    preflight = guarded.http.options(
        "/mcp",
        headers={
            "Origin": "https://app.example.com",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,mcp-protocol-version",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example.com"


def test_only_writers_see_sync(guarded: Server):
    offered = {
        token: [tool["name"] for tool in guarded.ask("tools/list", token)["result"]["tools"]]
        for token in (READER, WRITER)
    }
    assert "sync" not in offered[READER]
    assert "sync" in offered[WRITER]
    refused = guarded.call("sync", READER, path="/")
    assert refused["isError"]
    assert "scope write" in refused["content"][0]["text"]


def test_another_collection_does_not_exist(guarded: Server, vault_dir: Path):
    with Engine.open(vault_dir) as engine:
        hidden = engine.search("kumquat").results[0]
        short = ShortIds(engine).of(hidden.document_id, hidden.start, hidden.text)
    seen = guarded.call("search", OWNER, collection="vault", query="kumquat")
    assert "kumquat vault" in json.dumps(seen)
    answers = [guarded.ask(method, READER) for method in ("tools/list", "resources/list")]
    answers += [
        guarded.ask("resources/templates/list", READER),
        guarded.ask("prompts/list", READER),
    ]
    answers += [
        guarded.call("status", READER),
        guarded.call("search", READER, query="kumquat dusk"),
        guarded.call("cite", READER, claim="The kumquat opens at dusk."),
        guarded.call("cite", READER, claim="The kumquat opens at dusk.", detail="full"),
        guarded.call(
            "check_answer", READER, draft=f"We know that the kumquat opens at dusk. [{short}]"
        ),
        guarded.call("fetch", READER, id=short),
        guarded.call("verify", READER, ids=[short]),
        guarded.call("list_documents", READER),
        guarded.call("fetch", READER, id=hidden.document_id),
        guarded.call("fetch", READER, id=hidden.id),
        guarded.call("verify", READER, citation={"document_id": hidden.document_id, "quote": "x"}),
    ]
    answers += [
        guarded.ask("resources/read", READER, uri=f"rag://{name}/document/{hidden.document_id}")
        for name in ("document", "notes")
    ]
    answers += [
        guarded.ask(
            "completion/complete",
            READER,
            ref={"type": "ref/resource", "uri": template["uriTemplate"]},
            argument={"name": name, "value": value},
        )
        for template in answers[2]["result"]["resourceTemplates"]
        for name in re.findall(r"\{[?]?(\w+)", template["uriTemplate"])
        for value in ("", "v", "k")
    ]
    for answer in answers:
        text = json.dumps(answer).replace(hidden.id, "").replace(hidden.document_id, "")
        # Of what was asked itself, the words that no quote has.
        text = re.sub(r'(?<="uncovered": \[)[^]]*|(?<=\\"uncovered\\":\[)[^]]*', "", text)
        assert "vault" not in text, answer
        assert "umquat opens" not in text.replace("The kumquat opens at dusk.", ""), answer
        assert SECRET_WORDS not in text
    assert guarded.http.get(
        "/metrics", headers={"Authorization": f"Bearer {READER}"}
    ).status_code == 403  # fmt: skip


@pytest.mark.parametrize("tool", ["search", "cite", "fetch", "status", "list_documents"])
def test_a_hidden_collection_is_as_unknown_as_any(guarded: Server, tool: str):
    arguments = {"search": {"query": "q"}, "cite": {"claim": "c"}, "fetch": {"id": "x"}}
    answers = [
        guarded.call(tool, READER, collection=name, **arguments.get(tool, {}))
        for name in ("vault", "nosuch")
    ]
    assert all(answer["isError"] for answer in answers)
    vault, nosuch = (answer["content"][0]["text"] for answer in answers)
    assert vault.replace("vault", "nosuch") == nosuch


# -- tokens that someone else signed --------------------------------------------------------------

ISSUER, AUDIENCE = "https://login.example.com", "https://search.example.com/mcp"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def jwks(key: rsa.RSAPrivateKey) -> str:
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    return json.dumps({"keys": [{**public, "kid": "one", "use": "sig", "alg": "RS256"}]})


@pytest.fixture(scope="module")
def issued(
    start: Callable[..., Server],
    index_dir: Path,
    vault_dir: Path,
    jwks: str,
) -> Iterator[Server]:
    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(jwks.encode())

        def log_message(self, *_: object) -> None:
            pass

    issuer = ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    threading.Thread(target=issuer.serve_forever).start()
    yield start(
        f"""
        [collections]
        notes = {json.dumps(str(index_dir))}
        vault = {json.dumps(str(vault_dir))}
        [http]
        address = "127.0.0.1:0"
        [http.issuer]
        url = "{ISSUER}"
        audience = "{AUDIENCE}"
        jwks = "http://127.0.0.1:{issuer.server_port}/jwks"
        """
    ).ready()
    issuer.shutdown()
    issuer.server_close()


def signed(key: Any, *, algorithm: str = "RS256", kid: str = "one", **claims: Any) -> str:
    now = int(time.time())
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": now + 60, "scope": "read"}
    stated = {name: claim for name, claim in (usual | claims).items() if claim is not None}
    return jwt.encode(stated, key, algorithm=algorithm, headers={"kid": kid})


def forged(public: bytes) -> str:
    """A token that a server takes for genuine if it lets the token choose the algorithm."""
    encode = jwt.utils.base64url_encode
    header = encode(b'{"alg":"HS256","kid":"one"}')
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": 2**33, "scope": "write"}
    content = header + b"." + encode(json.dumps(claims).encode())
    return (content + b"." + encode(hmac.digest(public, content, "sha256"))).decode()


def test_issued_tokens(issued: Server, key: rsa.RSAPrivateKey):
    for claims in ({}, {"scope": "openid write"}, {"scope": None, "scp": ["read"]}):
        assert "result" in issued.ask("tools/list", signed(key, **claims))
    confined = signed(key, collections=["notes"])
    assert "vault" not in json.dumps(issued.call("status", confined))
    assert "vault" in json.dumps(issued.call("search", signed(key), query="q", collection="no"))
    assert "vault" not in json.dumps(issued.call("search", confined, query="q", collection="no"))


def test_keys_in_a_file(key: rsa.RSAPrivateKey, jwks: str, tmp_path: Path):
    (tmp_path / "jwks.json").write_text(jwks)
    issuer = Issuer(url=ISSUER, audience=AUDIENCE, jwks=str(tmp_path / "jwks.json"))
    tokens = WebTokens(issuer)
    caller = anyio.run(tokens.bearer, signed(key, scope="read write", collections=["a"]))
    ada = Principal(user="ada")
    assert caller == Caller("jwt:ada", writes=True, collections=frozenset("a"), principal=ada)
    assert anyio.run(tokens.bearer, signed(key, kid="two")) is None


def test_claims_say_who_a_bearer_is(key: rsa.RSAPrivateKey, jwks: str, tmp_path: Path):
    (tmp_path / "jwks.json").write_text(jwks)
    issuer = Issuer(url=ISSUER, audience=AUDIENCE, jwks=str(tmp_path / "jwks.json"))

    def principal(issuer: Issuer, **claims: Any) -> Principal | None:
        caller = anyio.run(WebTokens(issuer).bearer, signed(key, **claims))
        return caller and caller.principal

    assert principal(issuer, groups=["ops"]) == Principal(user="ada", groups=["ops"])
    other = issuer.model_copy(update={"user_claim": "email", "groups_claim": "roles"})
    named = principal(other, email="a@example.com", roles=["ops"], groups=["board"])
    assert named == Principal(user="a@example.com", groups=["ops"])
    assert principal(other) is None  # a token without the name isn't an anonymous one
    for wrong in ("ops", 7, [7], ["user:bo"], [""]):
        assert principal(issuer, groups=wrong) is None


def test_tokens_that_do_not_hold(issued: Server, key: rsa.RSAPrivateKey):
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    nested = jwt.utils.base64url_encode(b'{"kid":' + b"[" * 20_000).decode() + ".e30.e30"
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for token in (
        signed(stranger),
        signed(key, kid="two"),
        signed(key, aud="https://other.example.com"),
        signed(key, aud=None),
        signed(key, iss="https://evil.example"),
        signed(key, exp=int(time.time()) - 120),
        signed(key, exp=None),
        signed(key, sub=None),
        signed(key, scope="openid"),
        signed(key, scope=7),
        signed(key, collections="vault"),
        signed(key, collections=[["vault"]]),
        forged(public),
        jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "sub": "ada"}, "", algorithm="none"),
        signed(key)[:-4] + "AAAA",
        nested,
        "é.é.é",
        "eyJ9.eyJ9.",
    ):
        answer = issued.post({}, token)
        assert answer.status_code == 401, token
    metadata = re.search(r'resource_metadata="([^"]+)"', answer.headers["www-authenticate"])
    assert metadata
    path = metadata[1].removeprefix("https://search.example.com")
    assert issued.http.get(path).json()["authorization_servers"] == [ISSUER]


# -- what is too much -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", [MODERN, LEGACY, None, "9999-99-99"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"[" * 50_000,
        b'{"jsonrpc": "2.0"}',
        b'{"jsonrpc": "2.0", "id": {}, "method": "tools/list"}',
        b'{"jsonrpc": "2.0", "id": 1, "method": 7}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": []}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": []}}',
        b'{"jsonrpc": "2.0", "id": 1e999, "method": "tools/list"}',
        b'[{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}]',
    ],
)
def test_what_is_not_a_request(free: Server, body: bytes, version: str | None):
    # Before 2026-07-28 what has no proper id is a notification, and errors come with 200.
    low = 400 if version == MODERN else 200
    assert low <= free.post(body, version=version).status_code < 500
    assert free.process.poll() is None


@pytest.mark.parametrize("version", [MODERN, LEGACY])
def test_text_that_is_none_is_an_error_of_the_caller(free: Server, version: str):
    """JSON can hold a lone surrogate and numbers of any size; UTF-8 and SQLite can't."""
    for tool, arguments in (
        ("search", {"query": "\ud800"}),
        ("search", {"query": "q", "filter": {"title": "\ud800"}}),
        ("search", {"query": "q", "filter": {"\ud800": 1}}),
        ("search", {"query": "q", "filter": {"a": list(range(600))}}),
        ("search", {"query": "q", "filter": {str(n): n for n in range(600)}}),
        ("list_documents", {"cursor": "\ud800"}),
        ("fetch", {"id": "\ud800"}),
        ("fetch", {"id": f"x:{'9' * 5000}-1"}),
        ("verify", {"citation": {"document_id": "\ud800", "quote": "q"}}),
        ("\ud800", {}),
    ):
        answer = free.ask("tools/call", version=version, name=tool, arguments=arguments)
        assert answer.get("error") or answer["result"]["isError"]
        assert "Error executing" not in json.dumps(answer)
    completed = free.ask(
        "completion/complete",
        version=version,
        ref={"type": "ref/resource", "uri": TEMPLATE},
        argument={"name": "id", "value": "\ud800"},
    )
    if version == MODERN:
        assert completed["result"]["completion"]["values"] == []
    else:
        assert completed["error"]["code"] == PARSE_ERROR


async def test_answers_leave_at_once():
    """With Nagle's algorithm the second part of an answer waits for the client, for 40 ms."""
    listening = running._listening(Http(address="127.0.0.1:0"))
    at_once: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        at_once.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(answer, sock=listening):
        _, writer = await asyncio.open_connection(*listening.getsockname())
        assert await at_once
        writer.close()


def test_large_requests_are_refused(free: Server):
    assert free.post(b" " * 100_001).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 10_000

    answer = free.http.post("/mcp", content=chunks())
    assert answer.status_code == 413
    assert "result" in free.ask("tools/list")


def test_slow_requests_are_refused(free: Server):
    def connected() -> closing[socket.socket]:
        connection = socket.create_connection(free.address)
        connection.settimeout(10)
        return closing(connection)

    with connected() as idle, connected() as slow, connected() as later, connected() as body:
        slow.sendall(b"POST /mcp HTTP/1.1\r\nHost: x")
        later.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"ok\n"):
            answer += later.recv(1000)
        later.sendall(b"POST /mcp HTTP/1.1\r\nHost: x")
        host = f"{free.address[0]}:{free.address[1]}".encode()
        body.sendall(b"POST /mcp HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 9\r\n\r\n12")
        for connection in (idle, slow, later):
            assert connection.recv(1) == b""
        assert body.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_connection_stays_open_for_who_was_told_to_come_back(free: Server):
    """uvicorn closes one after five seconds; the longest that anybody is told is twice that."""

    def ask() -> bytes:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"ok\n"):
            received = connection.recv(1000)
            assert received, "closed"
            answer += received
        return answer

    with closing(socket.create_connection(free.address)) as connection:
        first = ask()
        time.sleep(6)
        assert ask().startswith(first[:15])


def test_who_does_not_read_is_cut_off(free: Server):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    request = (
        f"POST /mcp HTTP/1.1\r\nHost: {free.address[0]}\r\nContent-Length: {len(body)}\r\n"
        "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\r\n"
    ).encode() + body
    with closing(socket.socket()) as unread:
        unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        unread.settimeout(30)
        unread.connect(free.address)
        unread.sendall(request * 300)  # answered with more than the system keeps for us
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() < began + 30:
                unread.sendall(request)
                time.sleep(0.05)


def test_a_refused_body_cannot_go_on_for_ever(free: Server):
    with closing(socket.create_connection(free.address)) as endless:
        endless.settimeout(10)
        endless.sendall(b"POST /mcp HTTP/1.1\r\nHost: evil\r\nContent-Length: 999999999\r\n\r\n")
        assert endless.recv(1000).startswith(b"HTTP/1.1 421")
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            while time.monotonic() < began + 10:
                endless.sendall(b"x" * 100)
                time.sleep(0.01)


LISTEN: dict[str, Any] = {
    "headers": {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": MODERN,
        "Mcp-Method": "subscriptions/listen",
    },
    "json": {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "subscriptions/listen",
        "params": {
            "notifications": {"resourcesListChanged": True},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    },
}


def test_who_calls_too_often_waits(start: Callable[..., Server], index_dir: Path):
    server = start(
        f"""
        [collections]
        notes = {json.dumps(str(index_dir))}
        [http]
        address = "127.0.0.1:0"
        limits = {{requests_per_minute = 100, calls = 1, response_bytes = 5000, connections = 16}}
        """
    ).ready()
    busy: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        for _ in range(24):  # one may run at a time, and four come at once
            results = pool.map(lambda _: server.call("search", query="bees", limit=1), range(4))
            busy += [found["content"][0]["text"] for found in results if found.get("isError")]
            if busy:
                break
    assert busy
    assert all("busy" in text and "Try again" in text for text in busy)
    large = server.call("search", query="bees", detail="full")
    assert large["isError"]
    assert "5000" in large["content"][0]["text"]
    with ExitStack() as clients:
        listening = []
        for _ in range(4):
            client = clients.enter_context(httpx.Client(base_url=server.url, timeout=60))
            listening.append(clients.enter_context(client.stream("POST", "/mcp", **LISTEN)))
        assert [answer.status_code for answer in listening] == [200] * 4
        refused = server.post({})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert "open" in refused.text
    for _ in range(1000):
        refused = server.post({})
        if refused.status_code == 429 and "open" not in refused.text:
            break
    assert refused.json()["error"]["message"] == "too many requests: try again later"
    assert 1 <= int(refused.headers["retry-after"]) <= 60


# -- running --------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_calls_finish_when_the_server_is_told_to_stop(
    start: Callable[..., Server], index_dir: Path
):
    server = start(
        f"""
        [collections]
        notes = {json.dumps(str(index_dir))}
        [http]
        address = "127.0.0.1:0"
        """
    ).ready()
    with ThreadPoolExecutor(9) as pool:
        listening = pool.submit(
            server.ask, "subscriptions/listen", notifications={"resourcesListChanged": True}
        )
        calls = [pool.submit(server.call, "search", query=f"bees {n}") for n in range(8)]
        next(call for call in calls if call.result())
        server.process.send_signal(signal.SIGTERM)
        for call in calls:
            with suppress(httpx.ConnectError):  # came when nobody listened any more
                assert "honeybee" in call.result()["content"][0]["text"]
        with pytest.raises(httpx.RemoteProtocolError):
            listening.result()
    assert server.stop() == 0
    assert not [line for line in server.log if line["level"] in ("error", "critical")]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address)


@pytest.mark.parametrize(("workers", "share"), [(1, 8), (3, 2), (16, 1)])
def test_workers_share_the_cores(
    index_dir: Path, monkeypatch: pytest.MonkeyPatch, workers: int, share: int
):
    monkeypatch.setattr(rag_tools_mcp.http, "available_cores", lambda: 8)
    served = Settings(collections={"notes": index_dir}, http=Http(workers=workers))
    app = rag_tools_mcp.http.application(served)

    async def threads() -> float:
        async with app.router.lifespan_context(app):
            return to_thread.current_default_thread_limiter().total_tokens

    assert anyio.run(threads) == share


def two_workers(start: Callable[..., Server], index_dir: Path) -> Server:
    return start(
        f"""
        [collections]
        notes = {json.dumps(str(index_dir))}
        [http]
        address = "127.0.0.1:0"
        workers = 2
        """
    ).ready()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers share one socket")
def test_workers_share_the_connections(start: Callable[..., Server], index_dir: Path):
    server = two_workers(start, index_dir)
    here, listens = f":{server.address[1]:04X}", "0A"  # as in the kernel's table of sockets

    def listening() -> int:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        return sum(row[1].endswith(here) and row[3] == listens for row in rows)

    deadline = time.monotonic() + 30
    while listening() < 3:  # what was there from the start, and each worker's own
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(OSError, match="in use"):
        socket.create_server(server.address)  # for all that it is open thrice
    assert server.stop() == 0
    assert listening() == 0


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_workers_count_together(start: Callable[..., Server], index_dir: Path):
    server = two_workers(start, index_dir)
    calls = 0
    deadline = time.monotonic() + 30
    while len({line["process"] for line in server.log if line["event"] == "call"}) < 2:
        assert time.monotonic() < deadline
        server.http.close()  # a connection stays with its worker
        server.http = httpx.Client(base_url=server.url, timeout=60)
        server.call("search", query="bees")
        calls += 1
    line = f'rag_tools_calls_total{{method="tools/call",outcome="ok",tool="search"}} {calls}.0'
    for _ in range(4):
        assert line in server.http.get("/metrics").text.splitlines()
    assert server.stop() == 0


def test_what_is_measured_and_logged(guarded: Server):
    guarded.call("cite", OWNER, claim="pellucid zeitgeist", collection="notes")
    guarded.call("search", OWNER, query="q", limit=-1)
    guarded.call("nosuchtool", OWNER)
    call = guarded.logged(event="call", tool="cite", caller="owner", outcome="ok")
    assert call["collection"] == "notes"
    assert call["seconds"] > 0
    metrics = guarded.http.get("/metrics", headers={"Authorization": f"Bearer {OWNER}"}).text
    for line in (
        'rag_tools_calls_total{method="tools/call",outcome="error",tool="search"}',
        'rag_tools_calls_total{method="tools/call",outcome="error",tool=""}',
        'rag_tools_index_documents{collection="vault"} 1',
        'rag_tools_refused_requests_total{reason="token"}',
        "rag_tools_calls_inside 0.0",
    ):
        assert f"\n{line}" in metrics
    assert "nosuchtool" not in metrics
    everything = json.dumps(guarded.log)
    for secret in (OWNER, READER, "pellucid", "honeybee"):
        assert secret not in everything


def test_an_address_is_not_what_the_client_says_it_is(free: Server):
    before = len(free.log)
    free.post(b" " * 100_001, **{"X-Forwarded-For": "10.9.8.7"})
    assert free.logged(before, event="refused", reason="size")["caller"] == "127.0.0.1"


@pytest.mark.parametrize("version", [MODERN, LEGACY])
def test_an_abandoned_call_is_cancelled(free: Server, version: str):
    """The client goes away while its call waits: it isn't answered, and counts as cancelled."""
    citation = {"document_id": "x" * 200, "quote": "q" * 300}
    body = json.dumps(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {
                "name": "verify",
                "arguments": {"citations": [citation] * 100},
                "_meta": {
                    "progressToken": 1,
                    "io.modelcontextprotocol/protocolVersion": MODERN,
                    "io.modelcontextprotocol/clientCapabilities": {},
                },
            },
        }
    ).encode()
    host = f"{free.address[0]}:{free.address[1]}"
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
        f"Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
        f"MCP-Protocol-Version: {version}\r\nMcp-Method: tools/call\r\nMcp-Name: verify\r\n\r\n"
    )
    before = len(free.log)
    for _ in range(20):
        with closing(socket.create_connection(free.address)) as client:
            client.sendall(head.encode() + body)
            client.recv(100)
    free.logged(before, event="call", tool="verify", outcome="cancelled")
    assert "result" in free.ask("tools/list")


# -- whatever else may come -----------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)


def fitting(schema: Any, root: dict[str, Any]) -> SearchStrategy[Any]:
    """What a JSON schema allows, and now and then what it doesn't."""
    if not isinstance(schema, dict):
        return JSON
    if "$ref" in schema:
        return fitting(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return st.one_of(*(fitting(each, root) for each in schema["anyOf"]))
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "string":
            return st.text(max_size=50) | st.sampled_from(["bees", "vault", "notes", "\ud800", "é"])
        case "integer":
            low, high = schema.get("minimum"), schema.get("maximum")
            return st.integers(low, high) | st.sampled_from([0, -1, 10**9, 10**30])
        case "number":
            return st.floats(allow_nan=False)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            return st.lists(fitting(schema.get("items"), root), max_size=3)
        case "object":
            known = {
                name: fitting(each, root) for name, each in schema.get("properties", {}).items()
            }
            required = {name: known.pop(name) for name in schema.get("required", ())}
            return st.fixed_dictionaries(required, optional=known) | st.dictionaries(
                st.text(max_size=8), fitting(schema.get("additionalProperties"), root), max_size=2
            )
    return JSON


@pytest.fixture(scope="module")
def schemas(guarded: Server) -> dict[str, Any]:
    tools = guarded.ask("tools/list", WRITER)["result"]["tools"]
    return {tool["name"]: tool["inputSchema"] for tool in tools if tool["name"] != "sync"}


quick = settings(
    max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


@quick
@given(data=st.data())
def test_arguments_of_every_shape(guarded: Server, schemas: dict[str, Any], data: st.DataObject):
    tool = data.draw(st.sampled_from(sorted(schemas)))
    arguments = data.draw(fitting(schemas[tool], schemas[tool]) | JSON)
    version = data.draw(st.sampled_from([MODERN, LEGACY]))
    answer = guarded.ask("tools/call", READER, version, name=tool, arguments=arguments)
    text = json.dumps(answer)
    assert ("result" in answer) != ("error" in answer)
    assert "Traceback" not in text
    assert SECRET_WORDS not in text
    if "vault" not in json.dumps(arguments):
        assert "vault" not in text
    assert guarded.process.poll() is None


@quick
@given(
    body=JSON | st.fixed_dictionaries(
        {},
        optional={
            "jsonrpc": st.just("2.0") | JSON,
            "id": st.integers() | JSON,
            "method": st.sampled_from(
                ["initialize", "tools/call", "tools/list", "resources/read", "prompts/get",
                 "completion/complete", "server/discover", "notifications/cancelled", "ping"]
            ) | JSON,
            "params": JSON,
        },
    ),
    version=st.sampled_from([MODERN, LEGACY, "2024-11-05", "x", None]),
)  # fmt: skip
def test_messages_of_every_shape(guarded: Server, body: Any, version: str | None):
    answer = guarded.post(json.dumps(body).encode(), READER, version)
    assert answer.status_code < 500
    assert "vault" not in answer.text
    assert guarded.process.poll() is None


def test_nothing_went_wrong_inside(guarded: Server, free: Server):
    """Last: after all of the above."""
    for server in (guarded, free):
        assert not [line for line in server.log if line["level"] in ("error", "critical")]
