"""Errors as statuses: MpaErrors by their table, others as INTERNAL with a logged traceback."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc._cython import cygrpc
from grpc_status import rpc_status

from services import metrics
from services.core.errors import MpaError, Overloaded
from services.rpc.interceptors.around import Around, Context
from services.rpc.interceptors.calls import with_request_id
from services.rpc.request_id import current_request_id
from services.rpc.status import to_status

_log = logging.getLogger(__name__)


class Failures(Around):
    """Ends no call with UNKNOWN, and shows no caller the inside of the service."""

    @asynccontextmanager
    async def around(self, method: str, context: Context) -> AsyncIterator[None]:
        try:
            yield
        except MpaError as error:
            await _abort(context, error)
        except (grpc.aio.AbortError, cygrpc.BaseError):
            raise
        except NotImplementedError as error:
            if context.code() is not grpc.StatusCode.UNIMPLEMENTED:
                await _abort(context, internal(error, method))
            # The contract's own servicer: this service lacks the method.
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not offered here")
        except Exception as error:
            await _abort(context, internal(error, method))


def internal(error: Exception, method: str) -> MpaError:
    """The error that a caller gets for a bug; the traceback is logged."""
    chosen = current_request_id.get()
    _log.error("%s failed, request id %s", method, chosen, exc_info=error)
    return MpaError(
        f"the service failed at this request ({type(error).__name__}); its log has the cause "
        f"under request id {chosen}",
        reason="INTERNAL",
    )


async def _abort(context: Context, error: MpaError) -> None:
    metrics.failed(metrics.GRPC, error)
    status = rpc_status.to_status(to_status(error))
    trailing = list(status.trailing_metadata)
    if isinstance(error, Overloaded):
        trailing.append(("grpc-retry-pushback-ms", str(int(error.retry_after_s * 1000))))
    await context.abort(status.code, status.details, with_request_id(trailing))
