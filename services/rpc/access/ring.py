"""The keys that a service knows, read again when their file changes."""

from __future__ import annotations

import hmac
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidInput, Unauthenticated
from services.rpc.access.keys import TOKEN, AccessKey, hash_of, read_keys

_NOBODY = "0" * 64
"""A hash that no key has: an unknown id takes as long as a known one."""
_FAULTS = {
    "KEY_REVOKED": "this key is revoked: ask the service's operator for another",
    "KEY_EXPIRED": "this key has expired: ask the service's operator for another",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """Ids of keys that a new file adds, changes (also by revoking) and removes."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


class KeyRing:
    """The keys of one file. A damaged or missing file leaves the last good keys in force."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidInput: the file is missing or damaged."""
        self._path = path
        self._stamp = self._look()
        self._keep(read_keys(path))

    def _look(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return (found.st_mtime_ns, found.st_ino, found.st_size)

    def _keep(self, keys: Iterable[AccessKey]) -> None:
        self._keys = {key.id: key for key in keys}
        now = time.time()
        valid_last = sorted(self._keys.values(), key=lambda key: not key.fault(now))
        self._by_certificate = {key.certificate: key for key in valid_last if key.certificate}

    def refresh(self) -> KeyChanges | None:
        """Reads the file if it has changed; None if it was not. It may be called in a thread."""
        stamp = self._look()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            keys = read_keys(self._path)
        except InvalidInput as error:
            _log.error("the keys stay as they were: %s", error)
            return None
        _log.info("%s: %d keys", self._path, len(keys))
        before = self._keys
        self._keep(keys)
        return KeyChanges(
            added=tuple(self._keys.keys() - before.keys()),
            changed=tuple(
                id for id, key in self._keys.items() if id in before and before[id] != key
            ),
            removed=tuple(before.keys() - self._keys.keys()),
        )

    def of_token(self, token: str) -> AccessKey:
        """The valid key with this text. Raises Unauthenticated."""
        parts = TOKEN.fullmatch(token)
        known = self._keys.get(parts[1]) if parts else None
        expected = known.sha256 if known and known.sha256 else _NOBODY
        if not hmac.compare_digest(hash_of(token), expected) or known is None:
            raise Unauthenticated("this service does not know that key", reason="KEY_UNKNOWN")
        return _valid(known)

    def of_certificate(self, names: Iterable[str]) -> AccessKey | None:
        """The valid key of a client certificate's names. Raises Unauthenticated: not valid."""
        for name in names:
            if (known := self._by_certificate.get(name)) is not None:
                return _valid(known)
        return None

    def fault(self, key: AccessKey) -> str:
        """Reason why a key of an open call is no longer valid; "" if it is."""
        now = self._keys.get(key.id)
        if now is None or now.sha256 != key.sha256 or now.certificate != key.certificate:
            return "KEY_UNKNOWN"
        return now.fault(time.time()) or ("KEY_CHANGED" if now.roles != key.roles else "")


def _valid(key: AccessKey) -> AccessKey:
    if fault := key.fault(time.time()):
        raise Unauthenticated(_FAULTS[fault], reason=fault)
    return key
