"""An id for each request, returned with the reply and written into the log line of the call.

Facts about the request, such as the version that answers, are noted while it is under way.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from contextvars import ContextVar

from services.rpc.shortening import printable

HEADER = "x-request-id"
"""The HTTP header and the key of gRPC metadata, in both directions."""

FAILURES_PER_S = 20
SUCCESSES_PER_S = 5

_HARMLESS = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_log = logging.getLogger("services.calls")

current_request_id: ContextVar[str] = ContextVar("current_request_id", default="-")
current_facts: ContextVar[dict[str, str]] = ContextVar("current_facts")
"""Facts of the request under way, which all of its tasks share."""


def begin_request(given: str | None) -> str:
    """Sets the id and the facts of a new request, and returns the id."""
    chosen = request_id(given)
    current_request_id.set(chosen)
    current_facts.set({})
    return chosen


def note(name: str, value: str) -> None:
    """Notes a fact about the request under way, if there is one."""
    if (facts := current_facts.get(None)) is not None:
        facts[name] = value


def request_id(given: str | None) -> str:
    """The caller's id if it is harmless (at most 64 letters, digits and `._:-`), else a new one."""
    return given if given and _HARMLESS.fullmatch(given) else secrets.token_hex(8)


class CallLog:
    """One line for each call, at a limited rate, so that no caller can fill the disk.

    Failures and successes each have a limit. The next line states how many lines were left out.
    """

    def __init__(
        self, failures_per_s: int = FAILURES_PER_S, successes_per_s: int = SUCCESSES_PER_S
    ) -> None:
        self._limits = {True: failures_per_s, False: successes_per_s}
        self._seconds = {True: -1, False: -1}
        self._written = {True: 0, False: 0}
        self._left_out = {True: 0, False: 0}

    def ended(
        self, method: str, code: str, seconds: float, *, peer: str, failed: bool, why: str = ""
    ) -> None:
        """Logs a call. `method`: "POST /v1/vqa" or a gRPC method, which may be the caller's text.

        `why`: the error's reason and message, of which 300 characters are logged.
        """
        second = int(time.monotonic())
        if second != self._seconds[failed]:
            self._seconds[failed], self._written[failed] = second, 0
        if self._written[failed] >= self._limits[failed]:
            self._left_out[failed] += 1
            return
        self._written[failed] += 1
        method = printable(method[:200])
        left_out, self._left_out[failed] = self._left_out[failed], 0
        _log.log(
            logging.WARNING if failed else logging.INFO,
            "%s %s %.3f s id=%s peer=%s%s%s",
            method,
            code,
            seconds,
            current_request_id.get(),
            peer,
            f" {why[:300]!r}" if why else "",
            f" ({left_out:,} lines like this one were left out)" if left_out else "",
            extra={
                "facts": {
                    "method": method,
                    "code": code,
                    "seconds": round(seconds, 6),
                    "peer": peer,
                    "left_out": left_out,
                }
            },
        )
