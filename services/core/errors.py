"""The one tree of errors that users see; anything else that is raised is a bug and shows its traceback.

    MpaError
    +-- InvalidInput         the request or file itself is wrong; repeating it cannot help
    |   `-- InvalidImage     an image that can't be read, or that is too large to be read safely
    +-- NotFound             a version, run, task or operation that does not exist
    |   `-- ImageUnknown     an image named by its sha256 that this service does not hold: send its bytes
    +-- WrongState           right request, wrong moment (a version that is not loaded, a run of another recipe)
    +-- Conflict             somebody else is doing it (a second training, a run that is open elsewhere)
    +-- Overloaded           come back after `retry_after_s`
    +-- Unavailable          the service is down, starting or stopping
    +-- Pending              taken in, but not done for a while (a provider's batch): ask the same again later
    +-- BadReply             a model answered with nothing that can be used; one request is lost, not the service
    +-- EngineFailed         the engine raised an error on this request; the service goes on
    +-- SwapFailed           a version was not brought in; the live version stays live
    +-- TimedOut             the caller sent or read nothing for longer than a service waits
    +-- Cancelled            the caller or an operator called it off
    +-- BudgetSpent          what a run may cost is spent, or would be by the next call (exit code 4)
    `-- NothingToAlign       the gap is too small to train on: nothing was trained (exit code 3)

Messages name the value that was wrong and the next thing to do. `rpc/status.py` maps each to its gRPC status, the services'
HTTP faces to their code, the CLI to an exit code.
"""

from __future__ import annotations


class MpaError(Exception):
    """Base of every error a user can act on.

    `reason` is a constant in UPPER_SNAKE_CASE for programs (`google.rpc.ErrorInfo.reason`); `str()` is for people.
    """

    reason = "ERROR"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason


class InvalidInput(MpaError):
    """The request is wrong as it stands. `field` names the part of it that is."""

    reason = "INVALID_INPUT"

    def __init__(self, message: str, *, field: str = "", reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.field = field


class InvalidImage(InvalidInput):
    """`reason` says what is wrong with the image (see `images.py` of the service that read it)."""

    reason = "IMAGE_UNREADABLE"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message, field="image", reason=reason)


class NotFound(MpaError):
    """The thing named does not exist."""

    reason = "NOT_FOUND"


class ImageUnknown(NotFound):
    """The image was named by its sha256 only, and its bytes are not (or no longer) held here."""

    reason = "IMAGE_UNKNOWN"


class WrongState(MpaError):
    """The thing exists but isn't in a state that allows this."""

    reason = "WRONG_STATE"


class Conflict(MpaError):
    """Something else that excludes this is under way."""

    reason = "CONFLICT"


class Overloaded(MpaError):
    """More work than there is room for. `retry_after_s` in seconds."""

    reason = "OVERLOADED"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(MpaError):
    """The service cannot be reached or isn't ready."""

    reason = "UNAVAILABLE"


class Pending(MpaError):
    """The request was taken in and will be answered much later: who asks the same again gets the answer, or this again.

    `retry_after_s` in seconds, a guess.
    """

    reason = "PENDING"

    def __init__(self, message: str, *, retry_after_s: float = 60.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class BadReply(MpaError):
    """The model, or the provider it is behind, replied with nothing, or with something that can't be read."""

    reason = "BAD_REPLY"


class EngineFailed(MpaError):
    """The engine raised an error while it prepared or computed this one request. Other requests are not harmed."""

    reason = "ENGINE_FAILED"


class SwapFailed(MpaError):
    """A version could not be brought in, for a reason that lies with this service. The live version stays live."""

    reason = "SWAP_FAILED"


class TimedOut(MpaError):
    """The caller was silent, or did not read, for longer than a service waits for one."""

    reason = "TIMED_OUT"


class Cancelled(MpaError):
    """Called off before it was done."""

    reason = "CANCELLED"


class BudgetSpent(MpaError):
    """The run has stopped where its budget ends; everything that was paid for is recorded, and a larger budget goes on."""

    reason = "BUDGET_SPENT"


class NothingToAlign(MpaError):
    """The gap is too small to train on: the student is at parity, or the images are too few to tell."""

    reason = "NOTHING_TO_ALIGN"
