"""Errors of HTTP replies: {"error": {"reason", "message"}} with a status."""

from __future__ import annotations

import json
import math

from services.core.errors import MpaError, Overloaded
from services.rpc.shortening import shortened
from services.rpc.status import http_status

TOO_LARGE = "REQUEST_TOO_LARGE"
TOO_LATE = "DEADLINE_EXCEEDED"
INTERNAL = "INTERNAL"

_STATUS_OF_REASON = {"IMAGE_TOO_LARGE": 413, TOO_LARGE: 413, TOO_LATE: 504}
"""Reasons with their own HTTP status."""


def error_body(reason: str, message: str) -> bytes:
    """The JSON of an error. Messages may quote the caller, so they are shortened, and ASCII."""
    return json.dumps({"error": {"reason": reason, "message": shortened(message)}}).encode("ascii")


def error_status(error: MpaError) -> int:
    return _STATUS_OF_REASON.get(error.reason) or http_status(error)


def error_headers(error: MpaError) -> dict[str, str]:
    """Retry-After in whole seconds, if a retry can help."""
    if not isinstance(error, Overloaded):
        return {}
    return {"retry-after": str(max(1, math.ceil(error.retry_after_s)))}
