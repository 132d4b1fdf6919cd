"""Names of sensitive files, which hold keys, passwords or tokens: left out unless named.

Judged by name and place alone. What is in a file isn't looked at, so a password in a file of
another name is indexed like everything else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate
from pathlib import PurePosixPath

from pathspec import GitIgnoreSpec

# In lower case; a pattern with a slash takes the end of a path.
_SENSITIVE = (
    # Settings of programs and their environments.
    ".env",
    ".env.*",
    "*.env",
    ".envrc",
    "secrets.json",
    "secrets.toml",
    "secrets.yaml",
    "secrets.yml",
    "*.tfstate",
    "*.tfstate.backup",
    # Private keys and stores of keys.
    "id_dsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
    "id_rsa",
    "*.jks",
    "*.kdb",
    "*.kdbx",
    "*.key",
    "*.keystore",
    "*.ovpn",
    "*.p12",
    "*.p8",
    "*.pem",
    "*.pfx",
    "*.ppk",
    # Passwords that programs log in with.
    ".git-credentials",
    ".htpasswd",
    ".my.cnf",
    ".mylogin.cnf",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    ".vault-token",
    ".vault_pass",
    "_netrc",
    "pgpass.conf",
    # Of cloud services and their commands.
    ".boto",
    ".dockercfg",
    ".s3cfg",
    "accesstokens.json",
    "application_default_credentials.json",
    "client_secret*.json",
    "credentials",
    "credentials.json",
    "service-account*.json",
    "service_account*.json",
    ".config/gh/hosts.yml",
    ".docker/config.json",
    ".kube/config",
)
# They show how a file of secrets is made, and hold none.
_EXAMPLES = frozenset({"default", "defaults", "dist", "example", "sample", "schema", "template"})

_PATTERN = re.compile("|".join(translate(f"*/{pattern}") for pattern in _SENSITIVE))


def is_sensitive(relative: str) -> bool:
    """Tell by the path of a file below its root whether it is likely to be sensitive.

    Examples
    --------
    >>> [is_sensitive(path) for path in (".env", "ssh/ID_RSA", "ssh/id_rsa.pub", ".env.example")]
    [True, True, False, False]
    """
    path = relative.lower()
    parts = PurePosixPath(path).name.split(".")
    return _PATTERN.match("/" + path) is not None and not _EXAMPLES.intersection(parts)


def names_sensitive(relative: str, patterns: Sequence[GitIgnoreSpec]) -> bool:
    """Tell whether one of some patterns is about this file rather than about all in a folder.

    Examples
    --------
    >>> everything, keys = (GitIgnoreSpec.from_lines([line]) for line in ("*", "*.key"))
    >>> [names_sensitive("a/b.key", [pattern]) for pattern in (everything, keys)]
    [False, True]
    """
    path = PurePosixPath(relative)
    hidden = "." if path.name.startswith(".") else ""
    other = str(path.with_name(f"{hidden}any other name"))
    return any(
        pattern.match_file(relative) and not pattern.match_file(other) for pattern in patterns
    )
