"""Errors of a provider: who must act, and whether another try helps."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from services.core.errors import InvalidInput, MpaError, Overloaded, Unavailable, WrongState

_TRANSIENT = frozenset({408, 409, 429})
_NOT_IMPLEMENTED = 501
_EXHAUSTED = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_WITHHELD = frozenset(
    {"content_policy_violation", "content_filter", "ResponsibleAIPolicyViolation"}
)
_KEYS = re.compile(r"\bsk-[\w*.-]+")


@dataclass(frozen=True, slots=True)
class Fault:
    """An error response: HTTP status, and the provider's code, message and parameter, or ""."""

    status: int
    code: str
    message: str
    param: str = ""

    @staticmethod
    def read(status: int, content: bytes | str, api_key: str) -> Fault:
        """Reads a response and removes keys: providers quote parts of the key that they refuse."""
        try:
            error = json.loads(content)
            error = error.get("error", error)
            fields: dict[str, Any] = error if isinstance(error, dict) else {"message": error}
        except (ValueError, AttributeError, RecursionError):
            text = content.decode(errors="replace") if isinstance(content, bytes) else content
            fields = {"message": text}
        message = str(fields.get("message") or fields.get("detail") or "no reason given")
        inner = fields.get("innererror")
        inner_code = inner.get("code") if isinstance(inner, dict) else None
        return Fault(
            status=status,
            code=str(inner_code or fields.get("code") or fields.get("type") or ""),
            message=without_key(message, api_key)[:500],
            param=str(fields.get("param") or ""),
        )

    @property
    def is_exhausted(self) -> bool:
        """Whether the account has no money left; waiting does not help."""
        return self.code in _EXHAUSTED

    @property
    def is_transient(self) -> bool:
        """Whether another try may help: a timeout, a conflict, a limit, or the server's fault."""
        is_servers = self.status >= 500 and self.status != _NOT_IMPLEMENTED
        return (is_servers or self.status in _TRANSIENT) and not self.is_exhausted

    @property
    def is_withheld(self) -> bool:
        """Whether the provider's filter withheld the reply."""
        return self.status in (400, 403, 451) and self.code in _WITHHELD

    def error(self, model: str, origin: str, retry_after_s: float = 1.0) -> MpaError:
        """WrongState for faults that an operator must correct, InvalidInput for a bad request."""
        if self.is_exhausted:
            return WrongState(
                f"the account at {origin} has no quota left ({self.message}): "
                "add credit or raise its limit, then repeat",
                reason="QUOTA_EXHAUSTED",
            )
        if self.status == 401:
            return WrongState(
                f"{origin} does not accept the key in OPENAI_API_KEY (401): "
                "set a valid one and start the teacher again",
                reason="KEY_REFUSED",
            )
        if self.status == 403:
            return WrongState(
                f"the key in OPENAI_API_KEY may not use {model} at {origin} "
                f"(403, {self.message}): allow it at the provider, or set another key",
                reason="KEY_REFUSED",
            )
        if self.status == 404:
            return WrongState(
                f"{origin} has no model {model!r}, or not for this key (404, {self.message}): "
                "check MPA_TEACHER_MODEL and OPENAI_BASE_URL",
                reason="MODEL_NOT_FOUND",
            )
        if self.status == 429:
            return Overloaded(
                f"{origin} limits the rate of requests ({self.message})",
                retry_after_s=retry_after_s,
                limit="provider_rate",
            )
        if self.is_transient:
            return Unavailable(
                f"{origin} fails with {self.status} ({self.message}): try again later"
            )
        if self.status < 400:
            return WrongState(
                f"{origin} answers {self.status} instead of serving: check OPENAI_BASE_URL",
                reason="BAD_ADDRESS",
            )
        return InvalidInput(
            f"{model} at {origin} refuses the request ({self.status}, {self.message})",
            field=self.param,
            reason="PROVIDER_REFUSED",
        )


def without_key(text: str, api_key: str) -> str:
    """`text` with every trace of a key replaced."""
    return _KEYS.sub("(key)", text.replace(api_key, "(key)") if api_key else text)
