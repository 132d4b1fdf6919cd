"""Tells sensitive files, which hold keys, passwords or tokens, by their names.

Such files are left out unless the caller names them. Only name and place count: files aren't
opened, so a password in a file of another name is indexed like everything else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate
from pathlib import PurePosixPath

from pathspec import GitIgnoreSpec

# Patterns in lower case; one with a slash matches the end of a path.
_SENSITIVE = (
    # Settings of programs and of their environments.
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
    # Credentials of cloud services and their command-line tools.
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
# Parts of names of files that only show what a file of secrets looks like.
_EXAMPLES = frozenset({"default", "defaults", "dist", "example", "sample", "schema", "template"})

_PATTERN = re.compile("|".join(translate(f"*/{pattern}") for pattern in _SENSITIVE))


def is_sensitive(relative: str) -> bool:
    """Tell by the path of a file, relative to its root, whether it is likely to be sensitive.

    Examples
    --------
    >>> [is_sensitive(path) for path in (".env", "ssh/ID_RSA", "ssh/id_rsa.pub", ".env.example")]
    [True, True, False, False]
    """
    path = relative.lower()
    parts = PurePosixPath(path).name.split(".")
    return _PATTERN.match("/" + path) is not None and not _EXAMPLES.intersection(parts)


def names_sensitive(relative: str, patterns: Sequence[GitIgnoreSpec]) -> bool:
    """Tell whether one of some patterns names this file rather than all files of its folder.

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
