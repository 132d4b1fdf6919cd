"""What a server serves, to whom, and within which limits: one model for options and TOML alike.

Nothing here opens an index or a socket; secrets are named, not held.
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
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rag_tools.errors import ConfigurationError
from rag_tools_mcp.collections import DEFAULT_NAME, Collections
from rag_tools_mcp.server import Profile

TOKEN_VARIABLE = "RAG_TOOLS_TOKEN"
"""Environment variable with the token of a server that has only one."""

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")

Scope = Literal["read", "write"]


def _beside(path: Path, info: ValidationInfo) -> Path:
    """Return `path` as seen from the folder of the file that names it."""
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / path.expanduser()


BesidePath = Annotated[Path, AfterValidator(_beside)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Token(_Section):
    """A static token: who presents it, where it is kept, and what it allows.

    Attributes
    ----------
    name
        What logs call its bearer.
    file, env
        Where the secret is: a file, or an environment variable. Exactly one of them.
    scopes
        ``write`` is what `sync` needs.
    collections
        Those that exist for the bearer; None: all.
    """

    name: str = Field(min_length=1, max_length=64)
    file: BesidePath | None = None
    env: str | None = None
    scopes: frozenset[Scope] = frozenset({"read"})
    collections: frozenset[str] | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.file is None) == (self.env is None):
            raise ValueError(f"token {self.name!r} needs either file or env")
        return self


class Issuer(_Section):
    """Who issues the JSON web tokens (RFC 7519) that are accepted.

    Attributes
    ----------
    url
        The ``iss`` claim, exactly.
    audience
        The ``aud`` claim: the public address of this server.
    jwks
        The issuer's public keys (RFC 7517): an https address, or a file.
    collections
        Those that its tokens may see; None: all. A token's ``collections`` claim narrows this.
    """

    url: str = Field(pattern=r"^https?://")
    audience: str = Field(min_length=1)
    jwks: str
    collections: frozenset[str] | None = None

    @property
    def discoverable(self) -> bool:
        """Whether clients can be told where to get a token (RFC 9728): it goes by address."""
        return self.audience.startswith(("https://", "http://"))

    @field_validator("jwks")
    @classmethod
    def _safe(cls, value: str, info: ValidationInfo) -> str:
        if value.startswith("https://"):
            return value
        if value.startswith("http://"):
            host = re.sub(r"^http://(\[.*?\]|[^:/]*).*", r"\1", value)
            if not _loopback(host.strip("[]")):
                raise ValueError(f"{value} isn't encrypted: use https")
            return value
        return str(_beside(Path(value), info))


class Limits(_Section):
    """What one worker takes on. Whatever exceeds it is refused with the reason.

    Attributes
    ----------
    request_bytes, response_bytes
        Of one message, and of the text in one result.
    header_seconds, body_seconds, stall_seconds
        For the headers of a request to arrive, for its body, and for a client that doesn't read
        the answer.
    requests_per_minute
        Of one token, or of one address where there are no tokens; as many may come at once.
    calls
        Of one token or address at the same time.
    waiting, burst
        Calls that wait for a core, of all callers: for long, and once after a second of rest.
        None: 2 and 16 for each core of the worker.
    connections
        That are open; one caller may hold a quarter of them.
    shutdown_seconds
        For calls to finish when the server is told to stop.
    """

    request_bytes: PositiveInt = 4 * 2**20
    response_bytes: PositiveInt = 4 * 2**20
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
    """How the server is reached over HTTP.

    Attributes
    ----------
    address
        ``HOST:PORT``; port 0 is any that is free.
    workers
        Processes. Each maps the same files of the index, so that they share their memory, and has
        its share of the cores.
    allowed_hosts, allowed_origins
        What the Host and Origin headers may say besides this machine's own names; without a
        port, any port.
    trusted_proxies
        Addresses whose X-Forwarded-For header tells the client's address.
    tokens, issuer
        Who may call; without either, whoever reaches a loopback address.
    log_queries
        Whether the log holds what is searched for.
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
                raise ValueError(f"two tokens have the name {name!r}")
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
            missing.append("the host names by which clients reach it (--allow-host NAME)")
        if missing:
            raise ValueError(
                f"{self.address} can be reached from other machines: add {' and '.join(missing)}, "
                "or bind 127.0.0.1"
            )
        return self

    @property
    def guarded(self) -> bool:
        """Whether callers must show a token."""
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
        """What the Host header may say."""
        return self.allowed_hosts.union(LOOPBACK_HOSTS if _loopback(self.host) else ())

    @property
    def origins(self) -> frozenset[str]:
        """What the Origin header may say."""
        local = LOOPBACK_HOSTS if _loopback(self.host) else ()
        return self.allowed_origins.union(f"http://{host}" for host in local)

    def _split(self) -> tuple[str, int]:
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]/]+)):(\d{1,5})", self.address)
        if match is None or int(match[3]) > 65_535:
            raise ValueError(f"{self.address!r} isn't HOST:PORT, such as 127.0.0.1:8931")
        return match[1] or match[2], int(match[3])


class Settings(_Section):
    """All of it.

    Attributes
    ----------
    collections
        Name to directory of an index; None is the default index.
    profile
        Which tools are offered.
    allow_write
        Folders that may be indexed from outside.
    http
        None: standard input and output.
    """

    collections: dict[str, BesidePath | None] = Field(
        default={DEFAULT_NAME: None}, min_length=1, validate_default=True
    )
    profile: Profile = "full"
    allow_write: tuple[BesidePath, ...] = ()
    http: Http | None = None

    @model_validator(mode="after")
    def _known_collections(self) -> Self:
        Collections(self.collections)  # refuses names that won't do
        if self.http is None:
            return self
        confined = [token.collections for token in self.http.tokens]
        confined += [self.http.issuer.collections] if self.http.issuer else []
        for name in sorted(frozenset().union(*filter(None, confined))):
            if name not in self.collections:
                known = ", ".join(self.collections)
                raise ValueError(
                    f"there is no collection {name!r}, which a token names; there is {known}"
                )
        return self


def load(file: Path | None = None, given: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings in a TOML file, with those that are `given` in their place.

    Relative paths in the file start from its folder.

    Raises
    ------
    ConfigurationError
        The file can't be read, or a key is unknown or has a value that can't be used.
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
            {"name": DEFAULT_NAME, "env": TOKEN_VARIABLE, "scopes": ["read", "write"]}
        ]
    try:
        return Settings.model_validate(data, context=context)
    except ValidationError as error:
        source = "" if file is None else f"{file}: "
        raise ConfigurationError(source + _complaint(error)) from None


def _merge(data: dict[str, Any], given: Mapping[str, Any]) -> None:
    for key, value in given.items():
        if isinstance(value, Mapping) and isinstance(data.get(key), dict) and key == "http":
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
