"""Errors of HTTP replies: {"error": {"reason", "message", "type", "param", "code"}} with a status.

The last three are for clients of OpenAI's API, which all paths share.
"""

from __future__ import annotations

import json
import math

from services.core.errors import InvalidInput, MpaError, Overloaded, Unauthenticated
from services.rpc.shortening import NAME_BYTES, shortened
from services.rpc.status import http_status

TOO_LARGE = "REQUEST_TOO_LARGE"
TOO_LATE = "DEADLINE_EXCEEDED"
INTERNAL = "INTERNAL"

_STATUS_OF_REASON = {"IMAGE_TOO_LARGE": 413, TOO_LARGE: 413, TOO_LATE: 504}
"""Reasons with their own HTTP status."""


_TYPE_OF_STATUS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    499: "cancelled",
}
_CODE_OF_REASON = {
    "OVERLOADED": "rate_limit_exceeded",
    "PROMPT_TOO_LONG": "context_length_exceeded",
    "VERSION_NOT_FOUND": "model_not_found",
}
"""OpenAI's names of errors; any other is the reason in lower case."""


def error_body(status: int, reason: str, message: str, param: str = "") -> bytes:
    """The JSON of an error. Texts may quote the caller, so they are shortened, and ASCII."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {
        "reason": reason,
        "message": shortened(message),
        "type": _TYPE_OF_STATUS.get(status, kind),
        "param": shortened(param, NAME_BYTES) or None,
        "code": _CODE_OF_REASON.get(reason, reason.lower()),
    }
    return json.dumps({"error": error}).encode("ascii")


def body_of(error: MpaError) -> bytes:
    """The JSON of an error, with the name of the wrong field."""
    param = error.field if isinstance(error, InvalidInput) else ""
    return error_body(error_status(error), error.reason, str(error), param)


def error_status(error: MpaError) -> int:
    return _STATUS_OF_REASON.get(error.reason) or http_status(error)


def error_headers(error: MpaError) -> dict[str, str]:
    """Retry-After in whole seconds, if a retry can help; for a caller without a key, its form."""
    if isinstance(error, Unauthenticated):
        return {"www-authenticate": "Bearer"}
    if not isinstance(error, Overloaded):
        return {}
    return {"retry-after": str(max(1, math.ceil(error.retry_after_s)))}
