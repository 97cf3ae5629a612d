"""A thread that works for an engine off the event loop, one job at a time; abandoned if it hangs.

An executor would not do: the interpreter waits for an executor's threads when it exits, and an
exception such as StopIteration can't pass through a future, so that its caller waits for ever.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from services.core.errors import EngineFailed, MpaError, described

T = TypeVar("T")

MOST_QUOTED = 300
"""Characters of a library's error text that are passed on to callers."""

_log = logging.getLogger(__name__)


def failure_of(error: BaseException) -> MpaError:
    """Error for a caller: an MpaError as it is, anything else as EngineFailed.

    It has no traceback, whose frames would keep the tensors of the failed batch in memory, and
    memory may be what was missing.
    """
    if isinstance(error, MpaError):
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)
    said = described(error)[:MOST_QUOTED]
    return EngineFailed(
        f"the engine failed on this request ({said}): see its log; other requests are not affected"
    )


class WorkerThread:
    """Runs functions in the order of their submission.

    `died` is called on the loop if the thread ends by itself.
    """

    def __init__(self, name: str, died: Callable[[str], None]) -> None:
        self._name = name
        self._died = died
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = (
            SimpleQueue()
        )
        self._is_ending = False
        self._ended = asyncio.Event()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def do(self, work: Callable[..., T], *arguments: Any) -> T:
        """The result of `work`, which is skipped if the caller is cancelled before it begins.

        Raises MpaError (EngineFailed for any other error of `work`).
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((future, partial(work, *arguments)))
        return await future

    def end(self) -> None:
        """Ends the thread after all submitted work."""
        self._is_ending = True
        self._jobs.put(None)

    async def ended(self) -> None:
        await self._ended.wait()

    def _work(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                future, work = job
                if not future.done():
                    self._do(future, work)
                del job, future, work  # an idle thread holds no batch
        finally:
            self._tell(self._end)

    def _do(self, future: asyncio.Future[Any], work: Callable[[], Any]) -> None:
        try:
            value = work()
        except BaseException as error:  # SystemExit, too, is the failure of one job
            if not future.done() and not isinstance(error, MpaError):
                _log.exception("a job of thread %s failed", self._name)
            self._tell(_settle, future, None, failure_of(error))
        else:
            self._tell(_settle, future, value, None)

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop has been closed: nobody waits
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _end(self) -> None:
        self._ended.set()
        if not self._is_ending:
            self._died(f"its thread {self._name!r} has ended")


def _settle(future: asyncio.Future[Any], value: Any, error: MpaError | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
