"""Errors on the wire: MpaError <-> google.rpc.Status with details. This is the only mapping."""

from __future__ import annotations

from typing import TypeVar

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.core import errors
from services.rpc.shortening import NAME_BYTES, shortened

DOMAIN = "mpa"

T = TypeVar("T")

_CODES: dict[type[errors.MpaError], grpc.StatusCode] = {
    errors.InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.WrongState: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.Pending: grpc.StatusCode.UNAVAILABLE,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.TimedOut: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.MpaError: grpc.StatusCode.INTERNAL,
}
_HTTP: dict[type[errors.MpaError], int] = {
    errors.InvalidInput: 400,
    errors.NotFound: 404,
    errors.Unauthenticated: 401,
    errors.PermissionDenied: 403,
    errors.WrongState: 409,
    errors.Conflict: 409,
    errors.Overloaded: 429,
    errors.Unavailable: 503,
    errors.Pending: 503,
    errors.BadReply: 502,
    errors.TimedOut: 408,
    errors.Cancelled: 499,
    errors.MpaError: 500,
}
_BY_REASON: dict[str, type[errors.MpaError]] = {
    kind.reason: kind
    for kind in (
        errors.ImageUnknown,
        errors.Pending,
        errors.BadReply,
        errors.EngineFailed,
        errors.SwapFailed,
    )
}
_FROM_CODE: dict[grpc.StatusCode, type[errors.MpaError]] = {
    **{code: error for error, code in _CODES.items() if error.reason not in _BY_REASON},
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.Unavailable,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidInput,
}


def _nearest(table: dict[type[errors.MpaError], T], error: errors.MpaError) -> T:
    return next(table[kind] for kind in type(error).__mro__ if kind in table)


def http_status(error: errors.MpaError) -> int:
    """The HTTP status code of an error."""
    return _nearest(_HTTP, error)


def to_status(error: errors.MpaError) -> status_pb2.Status:
    """A status with ErrorInfo, and with BadRequest or RetryInfo if they apply.

    All texts are shortened: each may quote the caller.
    """
    message = shortened(str(error))
    info = error_details_pb2.ErrorInfo(reason=shortened(error.reason, NAME_BYTES), domain=DOMAIN)
    details: list[Message] = [info]
    if isinstance(error, errors.PermissionDenied):
        info.metadata["role"] = error.role
    if isinstance(error, errors.InvalidInput):
        field = shortened(error.field, NAME_BYTES)
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, (errors.Overloaded, errors.Pending)):
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return status_pb2.Status(
        code=_nearest(_CODES, error).value[0], message=message, details=map(_packed, details)
    )


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


def from_status(status: status_pb2.Status) -> errors.MpaError:
    """The error that `to_status` received, as far as the wire carries it."""
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        for message in (info, bad, retry):
            if detail.Is(message.DESCRIPTOR):
                detail.Unpack(message)
    code = next(
        (code for code in grpc.StatusCode if code.value[0] == status.code), grpc.StatusCode.UNKNOWN
    )
    kind = _BY_REASON.get(info.reason) or _FROM_CODE.get(code, errors.MpaError)
    retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9 or 1.0
    if kind is errors.Overloaded:
        return errors.Overloaded(status.message, retry_after_s=retry_after_s)
    if kind is errors.Pending:
        return errors.Pending(status.message, retry_after_s=retry_after_s)
    if kind is errors.InvalidInput:
        field = bad.field_violations[0].field if bad.field_violations else ""
        return errors.InvalidInput(status.message, field=field, reason=info.reason or None)
    if kind is errors.PermissionDenied:
        role = info.metadata.get("role", "")
        return errors.PermissionDenied(status.message, role=role, reason=info.reason or None)
    return kind(status.message, reason=info.reason or None)


def from_rpc_error(error: grpc.aio.AioRpcError, peer: str = "") -> errors.MpaError:
    """The error of a failed call. `peer` (HOST:PORT) is named if the service is unreachable."""
    status = rpc_status.from_call(error)
    if status is not None:
        return from_status(status)
    message = error.details() or error.code().name
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        message = f"no service answers at {peer}: {message}" if peer else message
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in message:
        return errors.InvalidInput(
            f"{peer or 'the service'} takes no message of that size: {message}", reason="TOO_LARGE"
        )
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = f"{peer or 'the service'} did not answer in time"
    return from_status(status_pb2.Status(code=error.code().value[0], message=message))
