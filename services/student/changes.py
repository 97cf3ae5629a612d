"""Changes of the versions in memory: each is finished, even if its caller hangs up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from services.core.errors import Conflict, InvalidInput, NotFound, SwapFailed, WrongState, described

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Changes:
    """Changes under way. `who_serves` tells people which version is live after a failed one."""

    def __init__(self, who_serves: Callable[[], str]) -> None:
        self._who_serves = who_serves
        self._under_way: set[asyncio.Task[Any]] = set()

    def cancel(self) -> None:
        for change in tuple(self._under_way):
            change.cancel()

    async def finish(self, name: str, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` on version `name` to its end: no version stays half loaded.

        Raises NotFound, Conflict, WrongState, InvalidInput; SwapFailed: any other error.
        """
        change = asyncio.create_task(work)
        self._under_way.add(change)
        change.add_done_callback(self._under_way.discard)
        try:
            return await asyncio.shield(change)
        except (NotFound, Conflict, WrongState):
            raise
        except InvalidInput as error:
            raise InvalidInput(
                f"{error}; {self._who_serves()}", field=error.field, reason=error.reason
            ) from error
        except asyncio.CancelledError:
            if not change.cancelled():
                raise  # the caller has hung up
            raise SwapFailed(
                f"version {name} was not loaded: the change was cancelled; {self._who_serves()}"
            ) from None
        except Exception as error:
            _log.error("version %s was not loaded", name, exc_info=error)
            raise SwapFailed(
                f"version {name} was not loaded ({described(error)}); {self._who_serves()}"
            ) from error
