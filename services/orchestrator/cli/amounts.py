"""Amounts as people write them: money, durations, sizes."""

from __future__ import annotations

import re

from services.core.errors import InvalidInput

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
DECIMAL = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
BYTES = {**DECIMAL, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)


def dollars(text: str) -> float:
    """US dollars in "20USD", "20" or "$20". Raises InvalidInput."""
    found = _NUMBER.fullmatch(text.strip().removeprefix("$"))
    if found is None or found[2].upper() not in ("", "USD"):
        raise InvalidInput(f"{text!r} is no amount of US dollars: give one such as 20USD")
    return float(found[1])


def seconds(text: str) -> float:
    """Seconds in "30d", "12h", "90m", "45s" or "2w". Raises InvalidInput."""
    return _measured(text, SECONDS, "duration: give one such as 30d or 12h")


def size_bytes(text: str) -> int:
    """Bytes in "2GiB", "500MB" or a plain number. Raises InvalidInput."""
    return int(_measured(text, BYTES, "size: give one such as 2GiB or 500MB"))


def _measured(text: str, units: dict[str, int], expected: str) -> float:
    found = _NUMBER.fullmatch(text)
    if found is None or found[2].lower() not in units:
        raise InvalidInput(f"{text!r} is no {expected}")
    return float(found[1]) * units[found[2].lower()]
