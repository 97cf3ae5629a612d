"""Text that is quoted back to a caller, or logged: short, and on one line."""

from __future__ import annotations

MESSAGE_BYTES = 800
"""Longest message of an error. Metadata holds it three times, in characters of up to three bytes,
and a gRPC client refuses more than 8 KB of metadata."""
NAME_BYTES = 120
"""Longest name of a field, or reason."""
GAP = " [...] "


def shortened(text: str, most_bytes: int = MESSAGE_BYTES) -> str:
    """The text itself, or its start and end. Characters that UTF-8 can't encode are escaped."""
    encoded = text[: 2 * most_bytes].encode("utf-8", "backslashreplace")
    if len(text) <= most_bytes and len(encoded) <= most_bytes:
        return encoded.decode()
    kept = most_bytes - len(GAP)
    ending = text[-most_bytes:].encode("utf-8", "backslashreplace")[-(kept // 2) :]
    beginning = encoded[: kept - kept // 2]
    return beginning.decode("utf-8", "ignore") + GAP + ending.decode("utf-8", "ignore")


def printable(text: str) -> str:
    """The text with escapes for line ends, terminal codes and other characters without a shape."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
