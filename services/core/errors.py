"""Errors that users see, all in one tree; any other exception is a bug and shows its traceback.

    MpaError
    +-- InvalidInput         the request or file itself is wrong; repeating it cannot help
    |   `-- InvalidImage     the image can't be read, or is too large to be read safely
    +-- NotFound             a version, run, task or operation does not exist
    |   `-- ImageUnknown     the service doesn't hold the image of this sha256: send its bytes
    +-- Unauthenticated      no key, or none that the service knows
    +-- PermissionDenied     the caller's key lacks the role
    +-- WrongState           right request, wrong moment (a version that is not loaded)
    +-- Conflict             somebody else is doing it (a second training, a run open elsewhere)
    +-- Overloaded           come back after `retry_after_s`
    +-- Unavailable          the service is down, starting or stopping
    +-- Pending              accepted, but done much later (a provider's batch): repeat the request
    +-- BadReply             the model's reply is unusable; one request is lost, not the service
    +-- EngineFailed         the engine raised an error on this request; the service continues
    +-- SwapFailed           a version was not loaded; the live version stays live
    +-- TimedOut             the caller sent or read nothing for longer than a service waits
    +-- Cancelled            the caller or an operator cancelled it
    +-- BudgetSpent          the next call would exceed the budget of the run (exit code 4)
    `-- NothingToAlign       the gap is too small to train on: nothing was trained (exit code 3)

Messages name the value that was wrong and the next thing to do. `rpc/status.py` maps each error to
its gRPC status, the services' HTTP faces to a status code, the CLI to an exit code.
"""

from __future__ import annotations


class MpaError(Exception):
    """Base of every error a user can act on.

    `reason` is a constant in UPPER_SNAKE_CASE for programs (`google.rpc.ErrorInfo.reason`), and
    `str()` is for people.
    """

    reason = "ERROR"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


def described(error: BaseException) -> str:
    """Text of an error for people. A bug's has its class: its own may be empty, or a bare key."""
    if isinstance(error, MpaError):
        return str(error)
    return f"{type(error).__name__}: {error}".removesuffix(": ")


class InvalidInput(MpaError):
    """The request itself is wrong. `field` names the wrong part."""

    reason = "INVALID_INPUT"

    def __init__(self, message: str, *, field: str = "", reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.field = field


class InvalidImage(InvalidInput):
    """The image is wrong. `reason` names the fault, such as IMAGE_TOO_LARGE."""

    reason = "IMAGE_UNREADABLE"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message, field="image", reason=reason)


class NotFound(MpaError):
    """The thing named does not exist."""

    reason = "NOT_FOUND"


class ImageUnknown(NotFound):
    """The service does not hold the image of this sha256, or no longer."""

    reason = "IMAGE_UNKNOWN"


class Unauthenticated(MpaError):
    """The caller has not shown who it is. `reason` names the fault, such as KEY_MISSING."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(MpaError):
    """The caller is known and may not do this. `role` is one that would allow it."""

    reason = "ROLE_MISSING"

    def __init__(self, message: str, *, role: str = "", reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.role = role


class WrongState(MpaError):
    """The state of the thing does not allow this now."""

    reason = "WRONG_STATE"


class Conflict(MpaError):
    """Something else is under way that excludes this."""

    reason = "CONFLICT"


class Overloaded(MpaError):
    """There is more work than room. `retry_after_s` in seconds; `limit` names the limit reached.

    `limit` is a constant in lower_snake_case for metrics; it is not sent.
    """

    reason = "OVERLOADED"

    def __init__(self, message: str, *, retry_after_s: float = 1.0, limit: str = "other") -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.limit = limit


class Unavailable(MpaError):
    """The service cannot be reached or isn't ready."""

    reason = "UNAVAILABLE"


class Pending(MpaError):
    """The request was accepted and will be answered much later: repeat it until then.

    `retry_after_s` in seconds, a guess.
    """

    reason = "PENDING"

    def __init__(self, message: str, *, retry_after_s: float = 60.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BadReply(MpaError):
    """The model or its provider replied with nothing, or with something that can't be read."""

    reason = "BAD_REPLY"


class EngineFailed(MpaError):
    """The engine raised an error on this one request. Other requests are not harmed."""

    reason = "ENGINE_FAILED"


class SwapFailed(MpaError):
    """This service could not load a version. The live version stays live."""

    reason = "SWAP_FAILED"


class TimedOut(MpaError):
    """The caller sent or read nothing for longer than a service waits."""

    reason = "TIMED_OUT"


class Cancelled(MpaError):
    """The work was cancelled before it was done."""

    reason = "CANCELLED"


class BudgetSpent(MpaError):
    """The run stopped at its budget. Paid results are recorded; a larger budget continues it."""

    reason = "BUDGET_SPENT"


class NothingToAlign(MpaError):
    """The gap is too small to train on: the student is at parity, or there are too few images."""

    reason = "NOTHING_TO_ALIGN"


STOPS_THE_RUN = (
    Unavailable,
    Overloaded,
    Cancelled,
    WrongState,
    BudgetSpent,
    Unauthenticated,
    PermissionDenied,
)
"""Errors of the service, not of one request: finished work is kept, the next try does the rest."""
