"""Authentication: static tokens and JSON web tokens, and what their bearers may do.

`http` takes the token from the request, and `calls` refuses what a caller may not do.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from anyio import CapacityLimiter, to_thread

from rag_tools.errors import ConfigurationError
from rag_tools.types import Principal
from rag_tools_mcp import logs
from rag_tools_mcp.settings import Http, Issuer, Token

MIN_TOKEN = 16
"""The fewest characters of a static token: shorter ones could be guessed."""

# Only signatures that a public key verifies. With HMAC, everyone with the public key could sign.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]

_LEEWAY = 30  # seconds by which the issuer's clock may differ from ours


@dataclass(frozen=True)
class Caller:
    """The caller of a request.

    Attributes
    ----------
    name
        The name of the token, or the address if the server has no tokens.
    writes
        Whether `sync` is allowed.
    collections
        The collections that the caller may see; None: all.
    principal
        Decides which documents the caller may read; None: all.
    """

    name: str
    writes: bool
    collections: frozenset[str] | None = None
    principal: Principal | None = None


current: ContextVar[Caller] = ContextVar("rag_tools_caller")
"""The caller of the request that is being answered."""

Authenticate = Callable[[str], Awaitable[Caller | None]]
"""Returns the bearer of a token, or None if it isn't valid."""


def authenticator(http: Http) -> Authenticate | None:
    """Return the function that authenticates tokens; None if the settings have none.

    Raises
    ------
    ConfigurationError
        If a token or the issuer's keys can't be read, or a token is too short.
    """
    if not http.guarded:
        return None
    known = StaticTokens(http.tokens)
    issued = None if http.issuer is None else WebTokens(http.issuer)

    async def authenticate(token: str) -> Caller | None:
        caller = known.bearer(token)
        if caller is None and issued is not None:
            caller = await issued.bearer(token)
        return caller

    return authenticate


class StaticTokens:
    """Tokens from the settings. Only their digests are kept in memory."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._bearers = [
            (
                _digest(_secret(token)),
                Caller(token.name, "write" in token.scopes, token.collections, token.principal),
            )
            for token in tokens
        ]

    def bearer(self, token: str) -> Caller | None:
        """Return the bearer of a token, in a time that doesn't depend on the token."""
        presented, found = _digest(token), None
        for digest, caller in self._bearers:
            if hmac.compare_digest(digest, presented):
                found = caller
        return found


class WebTokens:
    """Tokens that an issuer signed (RFC 7519, RFC 9068)."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._limiter = CapacityLimiter(1)
        self._keys: dict[str, jwt.PyJWK] = {}
        self._client: jwt.PyJWKClient | None = None
        if issuer.jwks.startswith(("https://", "http://")):
            self._client = jwt.PyJWKClient(issuer.jwks, timeout=10)
        else:
            self._keys = _read_keys(Path(issuer.jwks))

    async def bearer(self, token: str) -> Caller | None:
        """Return the bearer of a token if it is valid, from the issuer, and for this server."""
        try:
            header = jwt.get_unverified_header(token)
            if header["alg"] not in _ALGORITHMS:
                return None
            key = await self._key(header["kid"])
            claims = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                audience=self._issuer.audience,
                issuer=self._issuer.url,
                leeway=_LEEWAY,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            scopes = claims.get("scope", claims.get("scp", ""))
            scopes = scopes.split() if isinstance(scopes, str) else scopes
            if not {"read", "write"} & set(scopes):
                return None
            return Caller(
                f"jwt:{claims['sub']}",
                "write" in scopes,
                self._visible(claims.get("collections")),
                self._principal(claims),
            )
        except jwt.PyJWKClientConnectionError:
            logs.event("issuer unreachable", issuer=self._issuer.url)
            return None
        except (jwt.PyJWTError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
            # A token that isn't verified yet may contain anything, in any form.
            return None

    async def _key(self, id: str) -> jwt.PyJWK:
        if self._client is None:
            return self._keys[id]
        # This may ask the issuer. One thread is enough, since the client holds a lock meanwhile.
        return await to_thread.run_sync(self._client.get_signing_key, id, limiter=self._limiter)

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        groups = claims.get(self._issuer.groups_claim, ())
        if isinstance(groups, str):
            raise TypeError("the claim of groups must be a list")
        return Principal(user=claims[self._issuer.user_claim], groups=tuple(groups))

    def _visible(self, claimed: Sequence[str] | None) -> frozenset[str] | None:
        if claimed is None:
            return self._issuer.collections
        if isinstance(claimed, str):
            raise TypeError("the collections claim must be a list")
        names = frozenset(claimed)
        return names if self._issuer.collections is None else names & self._issuer.collections


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _secret(token: Token) -> str:
    if token.env is not None:
        place, secret = f"${token.env}", os.environ.get(token.env, "")
    else:
        assert token.file is not None
        place = str(token.file)
        try:
            secret = token.file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"can't read token {token.name!r}: {error}") from None
    secret = secret.strip()
    if len(secret) < MIN_TOKEN:
        raise ConfigurationError(
            f"token {token.name!r} in {place} has {len(secret)} characters, but needs at least "
            f"{MIN_TOKEN}. To make one, run: "
            'python -c "import secrets; print(secrets.token_urlsafe())"'
        )
    return secret


def _read_keys(file: Path) -> dict[str, jwt.PyJWK]:
    try:
        keys = jwt.PyJWKSet.from_json(file.read_text(encoding="utf-8")).keys
    except (OSError, ValueError, AttributeError, jwt.PyJWTError) as error:
        raise ConfigurationError(f"can't read the issuer's keys from {file}: {error}") from None
    return {key.key_id: key for key in keys if key.key_id is not None}
