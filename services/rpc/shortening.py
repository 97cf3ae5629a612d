"""Shortening of text that is quoted back to a caller, for metadata, logs and replies."""

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
