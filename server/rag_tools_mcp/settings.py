"""The settings of a server: what it serves, to whom, and within which limits.

One model describes both the options of the command line and the settings file. Nothing here opens
an index or a socket. Secrets aren't stored in settings, only the places where they are.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rag_tools.audit.log import AuditLog, key_from
from rag_tools.durations import seconds
from rag_tools.errors import ConfigurationError
from rag_tools.types import Principal
from rag_tools_mcp.collections import DEFAULT_NAME, Collections
from rag_tools_mcp.server import Profile

TOKEN_VARIABLE = "RAG_TOOLS_TOKEN"
"""The environment variable with the token of a server that has only one."""

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")

Scope = Literal["read", "write"]


def _beside(path: Path, info: ValidationInfo) -> Path:
    """Return `path` relative to the folder of the settings file."""
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / path.expanduser()


BesidePath = Annotated[Path, AfterValidator(_beside)]

Interval = Annotated[
    PositiveFloat,
    BeforeValidator(lambda value: seconds(value) if isinstance(value, str) else value),
]
"""A number of seconds, or a text such as ``"10m"`` or ``"1h"``."""

Size = Annotated[ByteSize, Field(gt=0)]
"""A number of bytes, or a text such as ``"4MiB"`` or ``"10MB"``."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Token(_Section):
    """A static token: its bearer, where it is stored, and what it allows.

    Attributes
    ----------
    name
        The name of its bearer in logs.
    file, env
        The file or the environment variable that contains the secret: exactly one of them.
    scopes
        The permissions; `sync` needs ``write``.
    collections
        The collections that the bearer may see; None: all.
    user, groups
        Who the bearer is to the labels of documents, see `rag_tools.types.Principal`. Without
        either, the bearer may read what everyone may.
    reads_all
        Whether the bearer may read every document, whatever its labels.
    """

    name: str = Field(min_length=1, max_length=64)
    file: BesidePath | None = None
    env: str | None = None
    scopes: frozenset[Scope] = frozenset({"read"})
    collections: frozenset[str] | None = None
    user: str = ""
    groups: frozenset[str] = frozenset()
    reads_all: bool = False

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.file is None) == (self.env is None):
            raise ValueError(f"token {self.name!r} needs exactly one of file and env")
        if self.reads_all and (self.user or self.groups):
            raise ValueError(f"token {self.name!r} reads all documents: leave out user and groups")
        _ = self.principal  # raises for names that can't be labels
        return self

    @property
    def principal(self) -> Principal | None:
        """The bearer, to the labels of documents; None: may read all of them."""
        return None if self.reads_all else Principal(user=self.user, groups=tuple(self.groups))


class Issuer(_Section):
    """The issuer of the JSON web tokens (RFC 7519) that are accepted.

    Attributes
    ----------
    url
        The exact ``iss`` claim.
    audience
        The ``aud`` claim: the public URL of this server.
    jwks
        The https URL, or the file, of the issuer's public keys (RFC 7517).
    collections
        The collections that bearers of its tokens may see; None: all. A ``collections`` claim in a
        token restricts this further.
    user_claim, groups_claim
        The claims with the name of the user, and with the list of the user's groups, to which the
        labels of documents are compared.
    """

    url: str = Field(pattern=r"^https?://")
    audience: str = Field(min_length=1)
    jwks: str
    collections: frozenset[str] | None = None
    user_claim: str = Field(default="sub", min_length=1)
    groups_claim: str = Field(default="groups", min_length=1)

    @property
    def discoverable(self) -> bool:
        """Whether clients can be told where to get a token (RFC 9728), which needs a URL."""
        return self.audience.startswith(("https://", "http://"))

    @field_validator("jwks")
    @classmethod
    def _safe(cls, value: str, info: ValidationInfo) -> str:
        if value.startswith("https://"):
            return value
        if value.startswith("http://"):
            host = re.sub(r"^http://(\[.*?\]|[^:/]*).*", r"\1", value)
            if not _loopback(host.strip("[]")):
                raise ValueError(f"{value} is not encrypted: use https")
            return value
        return str(_beside(Path(value), info))


class Limits(_Section):
    """The limits of one worker. Whatever exceeds them is refused, with the reason.

    Attributes
    ----------
    request_bytes, response_bytes
        The size of one message, and of the text in one result: a number of bytes, or a text
        such as ``"4MiB"``.
    header_seconds, body_seconds, stall_seconds
        The time for the headers of a request to arrive, for its body to arrive, and for a client
        to read the answer.
    requests_per_minute
        Requests of one token, or of one address if there are no tokens. All of them may come at
        once.
    calls
        Calls of one token or address at the same time.
    waiting, burst
        Calls of all callers that may wait for a core: permanently, and in a burst after a second
        without calls. None: 2 and 16 for each core of the worker.
    connections
        Open connections. One caller may have a quarter of them, and one address half, unless it
        is that of a trusted proxy.
    shutdown_seconds
        The time for calls to finish when the server is told to stop.
    """

    request_bytes: Size = ByteSize(4 * 2**20)
    response_bytes: Size = ByteSize(4 * 2**20)
    header_seconds: PositiveFloat = 10
    body_seconds: PositiveFloat = 10
    stall_seconds: PositiveFloat = 30
    requests_per_minute: PositiveInt = 1200
    calls: PositiveInt = 16
    waiting: PositiveInt | None = None
    burst: PositiveInt | None = None
    connections: PositiveInt = 512
    shutdown_seconds: PositiveInt = 10


class Http(_Section):
    """The settings of the server over HTTP.

    Attributes
    ----------
    address
        ``HOST:PORT``. Port 0 stands for any free port.
    workers
        The number of processes. They share the memory of the index, whose files all of them map,
        and divide the cores among them.
    allowed_hosts, allowed_origins
        The values that the Host and Origin headers may have besides the names of this machine.
        A value without a port allows any port.
    trusted_proxies
        The addresses of proxies, whose X-Forwarded-For header has the client's address.
    tokens, issuer
        Who may call. Without either, everyone who can reach the loopback address.
    log_queries
        Whether queries are logged.
    show_paths
        Whether callers without the scope ``write`` learn where files lie on this machine's disk.
    """

    address: str = "127.0.0.1:8931"
    workers: PositiveInt = 1
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()
    trusted_proxies: tuple[str, ...] = ()
    tokens: tuple[Token, ...] = ()
    issuer: Issuer | None = None
    limits: Limits = Limits()
    log_queries: bool = False
    show_paths: bool = False

    @field_validator("allowed_hosts", "allowed_origins")
    @classmethod
    def _lower(cls, values: frozenset[str]) -> frozenset[str]:
        return frozenset(value.lower().rstrip("/") for value in values)

    @field_validator("tokens")
    @classmethod
    def _distinct(cls, tokens: tuple[Token, ...]) -> tuple[Token, ...]:
        names = [token.name for token in tokens]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two tokens have the name {name!r}: give each its own")
        return tokens

    @model_validator(mode="after")
    def _safe_to_expose(self) -> Self:
        host = self.host
        if _loopback(host):
            return self
        missing = []
        if not self.guarded:
            missing.append(
                f"a token (--token-file FILE, ${TOKEN_VARIABLE} or [[http.tokens]]) or "
                "[http.issuer]"
            )
        if not self.allowed_hosts:
            missing.append("the host names that clients use (--allow-host NAME)")
        if missing:
            raise ValueError(
                f"{self.address} can be reached from other machines: add {' and '.join(missing)}, "
                "or bind 127.0.0.1"
            )
        return self

    @property
    def guarded(self) -> bool:
        """Whether callers need a token."""
        return bool(self.tokens or self.issuer)

    @property
    def host(self) -> str:
        """The address to bind."""
        return self._split()[0]

    @property
    def port(self) -> int:
        """The port to bind."""
        return self._split()[1]

    @property
    def hosts(self) -> frozenset[str]:
        """The allowed values of the Host header."""
        return self.allowed_hosts.union(LOOPBACK_HOSTS if _loopback(self.host) else ())

    @property
    def origins(self) -> frozenset[str]:
        """The allowed values of the Origin header."""
        local = LOOPBACK_HOSTS if _loopback(self.host) else ()
        return self.allowed_origins.union(f"http://{host}" for host in local)

    def _split(self) -> tuple[str, int]:
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]/]+)):(\d{1,5})", self.address)
        if match is None or int(match[3]) > 65_535:
            raise ValueError(
                f"{self.address!r} is not an address: write HOST:PORT, such as 127.0.0.1:8931"
            )
        return match[1] or match[2], int(match[3])


class Audit(_Section):
    """The audit log, see `rag_tools.audit.log.AuditLog`.

    Attributes
    ----------
    file
        Where it is written.
    queries
        What is recorded of queries: ``off``, ``hashed`` or ``on``.
    key_file
        The file with its key.
    max_bytes
        The size from which on a file is full.
    """

    file: BesidePath
    queries: Literal["off", "hashed", "on"] = "off"
    key_file: BesidePath | None = None
    max_bytes: Size = ByteSize(64 * 2**20)

    def log(self) -> AuditLog:
        """Return the log.

        Raises
        ------
        ConfigurationError
            If the key is missing, or can't be read.
        """
        return AuditLog(
            self.file,
            queries=self.queries,
            key=None if self.key_file is None else key_from(self.key_file),
            max_bytes=int(self.max_bytes),
        )


class Settings(_Section):
    """All settings of a server.

    Attributes
    ----------
    collections
        The directories of the indexes by the names of their collections; None is the default
        directory.
    profile
        The tools that are offered, see `rag_tools_mcp.server.build`.
    allow_write
        The folders that clients may have indexed.
    watch
        Whether the indexes are updated when their files change.
    sync_every
        Seconds after which the indexes are compared with their files again, whatever happens; None:
        never.
    audit
        The audit log; None: that of the environment, or none.
    http
        None: the server uses standard input and output.
    """

    collections: dict[str, BesidePath | None] = Field(
        default={DEFAULT_NAME: None}, min_length=1, validate_default=True
    )
    profile: Profile = "full"
    allow_write: tuple[BesidePath, ...] = ()
    watch: bool = False
    sync_every: Interval | None = None
    audit: Audit | None = None
    http: Http | None = None

    def audit_log(self) -> AuditLog | None:
        """Return the audit log; raises `ConfigurationError` as `Audit.log` does."""
        return AuditLog.from_environment() if self.audit is None else self.audit.log()

    @model_validator(mode="after")
    def _known_collections(self) -> Self:
        Collections(self.collections)  # raises for invalid names
        if self.http is None:
            return self
        confined = [token.collections for token in self.http.tokens]
        confined += [self.http.issuer.collections] if self.http.issuer else []
        for name in sorted(frozenset().union(*filter(None, confined))):
            if name not in self.collections:
                known = ", ".join(self.collections)
                raise ValueError(
                    f"there is no collection {name!r}, which a token names: choose from {known}"
                )
        return self


def load(file: Path | None = None, given: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings of a TOML file; those that are `given` take precedence.

    Relative paths in the file are relative to its folder.

    Raises
    ------
    ConfigurationError
        If the file can't be read, or a key is unknown, or a value is invalid.
    """
    data, context = dict[str, Any](), dict[str, Any]()
    if file is not None:
        context["folder"] = file.absolute().parent
        try:
            data = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"can't read {file}: {error}") from None
    _merge(data, given or {})
    http = data.get("http")
    if isinstance(http, dict) and not http.get("tokens") and os.environ.get(TOKEN_VARIABLE):
        http["tokens"] = [
            {
                "name": DEFAULT_NAME,
                "env": TOKEN_VARIABLE,
                "scopes": ["read", "write"],
                "reads_all": True,
            }
        ]
    try:
        return Settings.model_validate(data, context=context)
    except ValidationError as error:
        source = "" if file is None else f"{file}: "
        raise ConfigurationError(source + _complaint(error)) from None


def _merge(data: dict[str, Any], given: Mapping[str, Any]) -> None:
    for key, value in given.items():
        if (
            isinstance(value, Mapping)
            and isinstance(data.get(key), dict)
            and key in ("http", "audit")
        ):
            _merge(data[key], value)
        else:
            data[key] = value


def _complaint(error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_context=False):
        key = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            problems.append(f"unknown key {key}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            problems.append(message if problem["type"] == "value_error" else f"{key}: {message}")
    return "; ".join(problems)


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
