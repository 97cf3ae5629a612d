"""Choice of one of several equal places for a key, so that the same key finds what it left there.

Every caller chooses the same place without talking to others (rendezvous hashing). If a place is
gone, only its own keys move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

ABOVE_MEAN, SLACK = 1.25, 16
"""Factor of the mean load, and calls in addition, above which a place is passed over."""


def choose(key: str, loads: Mapping[str, int]) -> str:
    """The name of a place. `loads`: number of calls under way by name; at least one place."""
    most = ABOVE_MEAN * sum(loads.values()) / len(loads) + SLACK
    free = [name for name, load in loads.items() if load <= most]
    return max(free, key=lambda name: _rank(name, key))


def _rank(name: str, key: str) -> bytes:
    return hashlib.blake2b(f"{name} {key}".encode(), digest_size=8).digest()
