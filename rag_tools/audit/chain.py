"""The chain of records: what a record's hash covers, and the head, which is the last of them.

With a key, hashes are HMAC-SHA-256, which only who knows the key can compute. Without one they are
SHA-256: they reveal mistakes and careless changes, but whoever can write to the file can also
compute a new chain.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rag_tools.errors import AuditError

FIRST = "0" * 64
"""What the first record has as the hash of the one before."""

MAX_LINE = 1_000_000
"""The longest line that is read, in bytes; the log writes none that is longer."""

# Not covered by the hash of a record, so that a text can be erased. What is covered is its digest.
_ERASABLE = ("hash", "query")

_ROTATED = re.compile(r"\.(\d{1,9})")


class Head(NamedTuple):
    """The last record: its number and its hash, and the size of the current file after it."""

    number: int
    hash: str
    size: int


def record_hash(record: Mapping[str, Any], key: bytes | None) -> str:
    """Return the hash of a record, which covers the hash of the record before it."""
    covered = {name: value for name, value in record.items() if name not in _ERASABLE}
    return digest(canonical(covered), key)


def canonical(value: Mapping[str, Any]) -> bytes:
    """Return the one way in which a JSON object is written to be hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def digest(content: bytes, key: bytes | None) -> str:
    """Return the HMAC of some bytes, or their SHA-256 without a key, in hexadecimal."""
    if key is None:
        return hashlib.sha256(content).hexdigest()
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def query_digest(text: str, salt: str) -> str:
    """Return what a record says of a query, so that its text can be erased but not changed.

    The salt, which is erased with the text, keeps the text from being found by trying.
    """
    return hashlib.sha256(f"{salt}:{text}".encode("utf-8", "replace")).hexdigest()


def head_path(file: Path) -> Path:
    """Return the file that contains the head of a log."""
    return file.with_name(f"{file.name}.head")


def read_head(file: Path, key: bytes | None) -> Head | None:
    """Return the head of the log in `file`; None if there is none.

    Raises
    ------
    AuditError
        If it isn't one that was written with this key.
    """
    path = head_path(file)
    try:
        stored = json.loads(path.read_bytes()[:MAX_LINE])
        head = Head(int(stored["number"]), str(stored["hash"]), int(stored["size"]))
        proof = str(stored["proof"])
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        raise AuditError(f"{path} is damaged ({error}): see what 'audit verify' says") from None
    if not hmac.compare_digest(proof, _proof(head, key)):
        raise AuditError(f"{path} was changed, or written with another key: pass the right key")
    return head


def head_as_bytes(head: Head, key: bytes | None) -> bytes:
    """Return a head as its file contains it."""
    return json.dumps({**head._asdict(), "proof": _proof(head, key)}).encode() + b"\n"


def _proof(head: Head, key: bytes | None) -> str:
    return digest(canonical(head._asdict()), key)


def files(file: Path) -> list[Path]:
    """Return the files of a log that exist, from the oldest to the current one."""
    numbered = []
    for path in file.parent.glob(f"{_literal(file.name)}.*"):
        if match := _ROTATED.fullmatch(path.name.removeprefix(file.name)):
            numbered.append((int(match[1]), path))
    return [path for _, path in sorted(numbered)] + [file] * file.exists()


def next_rotated(file: Path) -> Path:
    """Return what the current file is to be called when it is full."""
    *rotated, _ = files(file)
    last = int(rotated[-1].name.rpartition(".")[2]) if rotated else 0
    return file.with_name(f"{file.name}.{last + 1}")


def _literal(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
