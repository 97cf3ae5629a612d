"""Keys of callers, and the file that holds their hashes.

A key is `mpa-ID-SECRET`. The file holds the SHA-256 of the whole key: its 256 random bits need no
slower hash. The key itself is stored nowhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from services.core.errors import InvalidInput, NotFound
from services.files import write_atomically
from services.rpc.access.roles import Roles, parse_roles

TOKEN = re.compile(r"mpa-([0-9a-f]{8})-([A-Za-z0-9_-]{43})")
_ID = re.compile(r"[0-9a-f]{8}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
MOST_NAME = 100
MOST_FILE_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Limits of one key. 0 is the service's default, which may be "no limit"."""

    requests_per_minute: int = 0
    concurrent: int = 0
    """Requests under way at the same time."""
    bytes_per_minute: int = 0
    """Bytes of images."""
    pixels_per_minute: int = 0
    storage_bytes: int = 0
    """Bytes of data sets that the key has uploaded and that are still stored."""
    trainings_per_day: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A key as the file holds it. Times are seconds since 1970; 0 means never."""

    id: str
    name: str
    roles: Roles
    sha256: str = ""
    """Hash of the key; "" if the caller is known by a certificate only."""
    certificate: str = ""
    """Common name or alternative name of a client certificate that stands for the key."""
    limits: KeyLimits = field(default_factory=KeyLimits)
    created: float = 0.0
    expires: float = 0.0
    revoked: float = 0.0

    def fault(self, now: float) -> str:
        """Reason why it is not valid: KEY_REVOKED, KEY_EXPIRED, or "" for a valid key."""
        if self.revoked:
            return "KEY_REVOKED"
        return "KEY_EXPIRED" if self.expires and now >= self.expires else ""


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def new_key(
    name: str, roles: list[str], *, lifetime_s: float = 0.0, certificate: str = ""
) -> tuple[AccessKey, str]:
    """A key and its text, which is "" for a certificate. Raises InvalidInput."""
    if not 0 < len(name) <= MOST_NAME or not name.isprintable():
        raise InvalidInput(
            f"the name {name[:MOST_NAME]!r} is not 1 to {MOST_NAME} printable characters",
            field="name",
        )
    chosen = secrets.token_hex(4)
    token = "" if certificate else f"mpa-{chosen}-{secrets.token_urlsafe(32)}"
    now = time.time()
    key = AccessKey(
        id=chosen,
        name=name,
        roles=parse_roles(roles),
        sha256=hash_of(token) if token else "",
        certificate=certificate,
        created=now,
        expires=now + lifetime_s if lifetime_s else 0.0,
    )
    return key, token


def read_keys(path: Path) -> tuple[AccessKey, ...]:
    """All keys of a file. Raises InvalidInput: it is missing, unreadable or damaged."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no regular file")
        with path.open("rb") as file:
            raw = file.read(MOST_FILE_BYTES + 1)
        if len(raw) > MOST_FILE_BYTES:
            raise ValueError(f"it has more than {MOST_FILE_BYTES:,} bytes")
        keys = tuple(_key(entry) for entry in json.loads(raw)["keys"])
        if len({key.id for key in keys}) < len(keys):
            raise ValueError("two keys have the same id")
    except OSError as error:
        raise InvalidInput(
            f"the file of keys {path} can't be read ({error.strerror}): "
            f"make one with `mpa-orch keys add NAME --role ask --file {path}`",
            reason="KEYS_MISSING",
        ) from error
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        InvalidInput,
    ) as error:
        raise InvalidInput(
            f"the file of keys {path} is damaged ({error!s:.200}): restore it from a copy",
            reason="FILE_DAMAGED",
        ) from error
    return keys


def _key(entry: dict[str, Any]) -> AccessKey:
    """Raises ValueError, TypeError, KeyError or InvalidInput for anything that is no key."""
    limits = KeyLimits(**entry.get("limits", {}))
    key = AccessKey(**{**entry, "roles": parse_roles(entry["roles"]), "limits": limits})
    texts = (key.id, key.name, key.sha256, key.certificate)
    times = (key.created, key.expires, key.revoked)
    amounts = tuple(getattr(limits, part.name) for part in fields(limits))
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is none")
    if not _ID.fullmatch(key.id) or not (_SHA256.fullmatch(key.sha256) or key.certificate):
        raise ValueError(f"key {key.id[:20]!r} has no valid id or hash")
    if not all(isinstance(number, int | float) and number >= 0 for number in (*times, *amounts)):
        raise ValueError(f"key {key.id} has a number that is none")
    return key


def write_keys(path: Path, keys: tuple[AccessKey, ...]) -> None:
    """Replaces the file, which only its owner can read. Raises MpaError: disk full, not allowed."""
    entries = [{**asdict(key), "roles": sorted(key.roles)} for key in keys]
    write_atomically(path, json.dumps({"keys": entries}, indent=2) + "\n", mode=0o600)


def add_key(path: Path, key: AccessKey) -> None:
    """Raises InvalidInput: the file is damaged; MpaError: it can't be written."""
    with _alone(path) as file:
        write_keys(file, (*(read_keys(file) if file.exists() else ()), key))


def revoke_key(path: Path, id: str) -> AccessKey:
    """Marks a key as revoked. Raises NotFound, and as `add_key` does."""
    with _alone(path) as file:
        keys = read_keys(file)
        found = next((key for key in keys if key.id == id), None)
        if found is None:
            raise NotFound(f"there is no key {id[:20]!r} in {path}: see `mpa-orch keys list`")
        gone = replace(found, revoked=found.revoked or time.time())
        write_keys(file, tuple(gone if key is found else key for key in keys))
        return gone


@contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """The file itself, not a link to it, while no other command changes it."""
    file = path.resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(folder)
