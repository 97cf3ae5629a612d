"""The provider's batch API: half the price, within a day (docs/decisions/batch-api.md).

Nobody waits for a batch on an open call. A request is collected, and its caller is informed that
it is pending. Collected requests become a batch. The same request, asked again at any time and of
any later process, is found under way or has its reply. The key of a request is its content, so
nothing is submitted, or paid for, twice.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from services import metrics
from services.core.errors import BadReply, InvalidInput, MpaError, Pending, WrongState, described
from services.core.provenance import FinishReason
from services.engines.model import Reply
from services.engines.openai.api import Api, RequestRefused
from services.engines.openai.chat import ChatCompletions, Unusable
from services.engines.openai.faults import Fault
from services.engines.openai.settings import BatchSettings
from services.engines.openai.store import Batch, BatchStore

MAX_BYTES = 100 * 2**20
"""Largest file of a batch; providers accept 200 MB and up to 50,000 requests."""
TRANSFER_TIMEOUT_S = 900.0
TICK_S = 1.0
CLOSE_S = 5.0
ENDED = frozenset({"completed", "expired", "cancelled"})

_log = logging.getLogger(__name__)


class Batches:
    """Collects requests, submits and follows batches, keeps replies; in a task of its own."""

    def __init__(
        self, settings: BatchSettings, api: Api, chat: ChatCompletions, store: BatchStore
    ) -> None:
        self._settings = settings
        self._api = api
        self._chat = chat
        self._store = store
        self._collected, self._bytes = store.collected()
        self._due_at = time.monotonic() + settings.wait_s
        self._hand_in_at = self._look_at = 0.0
        self._trouble: WrongState | None = None
        self._delays: dict[int, str] = {}  # number of a batch, reason of its last failure
        self._at_work = asyncio.Lock()
        self._worker = asyncio.create_task(self._work())

    def holds(self, key: str) -> bool:
        return self._store.find(key) is not None

    def add(self, key: str, body: dict[str, Any]) -> None:
        """Collects a request. Raises WrongState, once for each batch that the provider refused."""
        for batch in self._store.batches("failed"):
            self._store.told(batch.number)
            raise WrongState(
                f"the provider refused the batch {batch.batch_id} ({batch.detail}): "
                "correct that, then repeat; its requests will be asked again",
                reason="BATCH_FAILED",
            )
        if not self._collected:
            self._due_at = time.monotonic() + self._settings.wait_s
        text = json.dumps(body)
        if self._store.collect(key, text):
            self._collected += 1
            self._bytes += len(text)
        if self._collected >= self._settings.size or self._bytes >= MAX_BYTES:
            self._close_pile()

    def reply(self, key: str) -> Reply:
        """Reply to a request. Raises Pending, or the error of the request."""
        asked = self._store.find(key)
        if asked is None or asked.status == 0:
            if self._trouble is not None:
                raise self._trouble
            raise self._pending(asked.batch if asked else 0)
        if asked.status == 200:
            try:
                return self._chat.reply(asked.response, batch=True)
            except Unusable as unusable:
                self._store.forget(key)
                raise BadReply(str(unusable)) from unusable
        fault = Fault.read(asked.status, asked.response, self._chat.settings.api_key)
        if fault.is_withheld:
            return Reply("", 0, 0, FinishReason.CONTENT_FILTER)
        error = self._api.error(fault)
        if not isinstance(error, InvalidInput):
            self._store.forget(key)
        raise error

    async def close(self) -> None:
        """Submits collected requests. Batches under way continue at the provider.

        An upload has CLOSE_S to end: if it were cut off, the provider might have a file that this
        side doesn't know.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._at_work.acquire(), CLOSE_S)
        self._worker.cancel()
        with suppress(asyncio.CancelledError):
            await self._worker
        self._close_pile()
        await self._hand_in_all()
        self._store.close()

    def _close_pile(self) -> None:
        if self._collected:
            self._store.close_pile()
            self._collected = self._bytes = 0

    def _pending(self, number: int) -> Pending:
        delay = self._delays.get(number)
        later = "repeat the command later" + (f" (its last try failed: {delay})" if delay else "")
        batch = self._store.batch(number) if number else None
        if batch is None or not batch.batch_id:
            return Pending(
                f"collected for the provider's next batch: {later}",
                retry_after_s=self._settings.poll_s,
            )
        return Pending(
            f"the provider's batch {batch.batch_id} is under way ({batch.detail or 'handed in'}): "
            f"{later}",
            retry_after_s=self._settings.poll_s,
        )

    async def _work(self) -> None:
        """Runs one round after another; a failed one is repeated."""
        while True:
            try:
                async with self._at_work:
                    await self._round(time.monotonic())
            except Exception:
                _log.exception("the batches of %s: a round failed", self._chat.model)
            await asyncio.sleep(min(TICK_S, self._settings.poll_s))

    async def _round(self, now: float) -> None:
        if now >= self._due_at:
            self._close_pile()
        if now >= self._hand_in_at and self._store.batches("new"):
            self._hand_in_at = now + self._settings.poll_s
            if await self._hand_in_all():
                self._hand_in_at = 0.0
        if now >= self._look_at:
            self._look_at = now + self._settings.poll_s
            await self._look_after_all()

    async def _hand_in_all(self) -> bool:
        """Whether all new batches were submitted. A lasting error is kept for the next caller."""
        for batch in self._store.batches("new"):
            try:
                await self._hand_in(batch)
            except RequestRefused as error:
                self._trouble = self._refused(error.fault)
                _log.error("batch %d is not handed in: %s", batch.number, self._trouble)
                return False
            except Exception as error:
                self._delay(batch, error)
                return False
            self._trouble = None
            self._delays.pop(batch.number, None)
        return True

    async def _hand_in(self, batch: Batch) -> None:
        """Submits a batch, unless the service was killed after it had done so.

        Such a batch is found by its file.
        """
        file_id = batch.file_id or await self._upload(batch)
        batch_id = await self._find(file_id) if batch.file_id else ""
        if not batch_id:
            wanted = {
                "input_file_id": file_id,
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
            }
            batch_id = str((await self._api.call("POST", "/batches", json=wanted)).json()["id"])
        self._store.created(batch.number, batch_id)
        _log.info("handed in batch %s", batch_id)

    async def _upload(self, batch: Batch) -> str:
        lines = "".join(_line(key, body) for key, body in self._store.bodies(batch.number))
        name = f"batch-{batch.number}.jsonl"
        uploaded = await self._api.call(
            "POST",
            "/files",
            files={"file": (name, lines.encode(), "application/jsonl")},
            data={"purpose": "batch"},
            timeout_s=TRANSFER_TIMEOUT_S,
        )
        file_id = str(uploaded.json()["id"])
        self._store.uploaded(batch.number, file_id)
        return file_id

    async def _find(self, file_id: str) -> str:
        """Id of the batch that was created from a file; "" if there is none."""
        listed = (await self._api.call("GET", "/batches", params={"limit": 100})).json()
        for found in listed.get("data", []):
            if found.get("input_file_id") == file_id:
                return str(found["id"])
        return ""

    async def _look_after_all(self) -> None:
        for batch in self._store.batches("under way"):
            try:
                await self._look_after(batch)
                self._delays.pop(batch.number, None)
            except RequestRefused as error:
                self._delay(batch, self._api.error(error.fault))
                if error.fault.status == 404:
                    self._store.fail(batch.number, "the provider does not know it")
            except Exception as error:
                self._delay(batch, error)

    def _delay(self, batch: Batch, error: Exception) -> None:
        """Keep the reason for callers who wait for this batch; the others go on."""
        self._delays[batch.number] = described(error)
        trace = None if isinstance(error, MpaError) else error
        step = "looked up" if batch.batch_id else "handed in"
        _log.warning("batch %d is not %s yet: %s", batch.number, step, error, exc_info=trace)

    async def _look_after(self, batch: Batch) -> None:
        found = (await self._api.call("GET", f"/batches/{batch.batch_id}")).json()
        status = str(found.get("status"))
        counts = found.get("request_counts") or {}
        if status == "failed":
            reasons = [
                str(error.get("message")) for error in (found.get("errors") or {}).get("data") or []
            ]
            self._store.fail(batch.number, "; ".join(reasons) or "without a reason")
        elif status in ENDED:
            responses: list[tuple[str, int, str]] = []
            for name in ("output_file_id", "error_file_id"):
                if found.get(name):
                    path = f"/files/{found[name]}/content"
                    content = await self._api.call("GET", path, timeout_s=TRANSFER_TIMEOUT_S)
                    responses += self._read(content.text)
            self._store.finish(batch.number, responses)
            for _, code, body in responses:
                if code == 200:
                    metrics.billed(self._chat.spent(body, batch=True))
            _log.info("batch %s is %s: %d responses", batch.batch_id, status, len(responses))
        else:
            self._store.progress(
                batch.number,
                f"{status}, {counts.get('completed', 0)} of {counts.get('total', 0)} done",
            )

    def _read(self, lines: str) -> Iterator[tuple[str, int, str]]:
        """Final responses: key, status, body; without transient failures (429, 500, expired)."""
        for line in filter(None, lines.split("\n")):
            try:
                result = json.loads(line)
                key = str(result["custom_id"])
                response = result.get("response") or {}
                status = int(response.get("status_code") or 0)
                body = json.dumps(response.get("body"))
            except (
                ValueError,
                LookupError,
                TypeError,
                AttributeError,
                OverflowError,
                RecursionError,
            ):
                _log.warning("a line of a batch's output can't be read and is skipped")
                continue
            if status == 200 or (
                status and not Fault.read(status, body, self._chat.settings.api_key).is_transient
            ):
                yield key, status, body

    def _refused(self, fault: Fault) -> WrongState:
        if fault.status in (404, 405, 501):
            return WrongState(
                f"{self._chat.settings.origin} offers no batch API ({fault.status}): "
                "start without MPA_TEACHER_BATCH"
            )
        error = self._api.error(fault)
        if isinstance(error, WrongState):
            return error
        return WrongState(str(error), reason="BATCH_FAILED")


def _line(key: str, body: str) -> str:
    """A line of a batch's file; `body` is JSON already."""
    request = f'"custom_id": "{key}", "method": "POST", "url": "/v1/chat/completions"'
    return f'{{{request}, "body": {body}}}\n'
