"""Trainings of the student: one at a time, in a subprocess.

They are durable and can be cancelled. After a crash of the service they are resumed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from services import metrics, tracing
from services.core.errors import Conflict, InvalidInput, MpaError, NotFound, described
from services.student.attempts import OUT_OF_HOST_MEMORY
from services.student.disk import require_disk_space
from services.student.execution import Execution
from services.student.job import Job, TrainingRequest
from services.student.job_state import FINAL, JobState, Phase
from services.student.persistence import is_kill, last_words, run_to_end
from services.student.progress import TrainingProgress
from services.student.result import is_trained
from services.student.series import TrainingProcess

_log = logging.getLogger(__name__)
_PROGRAMS = {"fake": "services.student.fake_training"}
_PROGRAM = "services.student.training"
KEEP_AGAIN_S = 5.0
"""Pause before a state is written again that the disk could not keep."""


Publish = Callable[[Job, Path, TrainingProgress], str]
"""Function that stores a trained checkpoint as a version (once) and returns the version's name.

It runs in a thread.
"""


class TrainingJobs:
    """Trainings in STORE/jobs.

    `engine` decides the program; `devices` is its CUDA_VISIBLE_DEVICES ("" inherits).
    """

    def __init__(
        self, store: Path, publish: Publish, *, engine: str, devices: str, execution: Execution
    ) -> None:
        self._store = store
        self._root = store / "jobs"
        self._root.mkdir(parents=True, exist_ok=True)
        self._publish = publish
        self._process = TrainingProcess(_PROGRAMS.get(engine, _PROGRAM), devices)
        self._execution = execution
        self._running: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self._waits: set[asyncio.Future[None]] = set()
        self._keeping: set[asyncio.Task[None]] = set()
        self._is_leaving = False
        self._states: dict[str, JobState] = {}
        """States of jobs known to this process, also those that a full disk could not keep."""
        self._by_request: dict[str, str] = {}

    def resume(self) -> None:
        """Resume the job that the last service left unfinished; tidy up after the others."""
        for folder in self._root.iterdir():
            self._remove_empty(folder.name)
        for name in self.names():
            state = self.state(name)
            try:
                job = self.job(name)
            except InvalidInput as error:
                _log.error("training %s is left alone: %s", name, error)
                continue
            if job.request_id:
                self._by_request.setdefault(job.request_id, name)
            if state.phase in (Phase.DONE, Phase.CANCELLED):
                state.tidy(self._root / name)
            elif state.phase is not Phase.FAILED:
                _log.info("training %s goes on", name)
                self._launch(name)

    @property
    def running(self) -> str:
        """Name of the training under way; "" if there is none."""
        return next(iter(self._running), "")

    def names(self) -> list[str]:
        """Names of all jobs, the oldest first, damaged ones included."""
        return [name for _, name in self.starts()]

    def starts(self) -> list[tuple[float, str]]:
        """Time and name of the start of each job, the oldest first."""
        found = []
        for path in self._root.glob("*/job.json"):
            with suppress(OSError):
                found.append((path.stat().st_mtime, path.parent.name))
        return sorted(found)

    def of_request(self, request_id: str) -> str:
        """Name of the training with this request id; "" if there is none."""
        return self._by_request.get(request_id, "") if request_id else ""

    def job(self, name: str) -> Job:
        """Raises NotFound; InvalidInput: the job's file is damaged."""
        self._require(name)
        return Job.read(self._root / name)

    def datasets_in_use(self) -> set[str]:
        """Names of datasets of trainings under way. It may be called in a thread."""
        found = set()
        for name in list(self._running):
            with suppress(MpaError):
                found.add(self.job(name).dataset)
        return found

    def bases_in_use(self) -> set[str]:
        """Versions that trainings under way start from."""
        found = set()
        for name in list(self._running):
            with suppress(MpaError):
                found.add(self.job(name).base_version)
        return found

    def state(self, name: str) -> JobState:
        """State of a job: FAILED, with the reason, if a file is damaged."""
        return self._states.get(name) or JobState.read(self._root / name)

    def progress(self, name: str) -> TrainingProgress:
        return TrainingProgress.read(self._root / name)

    def start(self, request: TrainingRequest, base: Path) -> str:
        """Start a training on the files of version `base`, and return its name.

        A repeated `request_id` starts nothing and returns the name of the first training. If that
        has failed with trained weights, it continues from them.
        Raises Conflict: one is under way; InvalidInput: the batch can't be divided among processes;
        WrongState: the disk has no room for it.
        """
        known = self._by_request.get(request.request_id, "")
        if known and not self._can_continue(known):
            return known
        for name in self._running:
            raise Conflict(
                f"training {name} is under way: wait for it or cancel it",
                reason="TRAINING_UNDER_WAY",
            )
        if known:
            _log.info("training %s goes on from its trained weights", known)
            self._states[known] = JobState(Phase.TRAINING)
            self._launch(known)
            return known
        self._execution.divide(request.hyperparameters.batch_size)
        require_disk_space(self._store, base, request.hyperparameters)
        name = uuid.uuid4().hex[:12]
        job = Job.of_request(
            request, id=name, base=base, store=self._store, execution=self._execution
        )
        try:
            job.write(self._root / name)
        except MpaError:
            self._remove_empty(name)
            raise
        if request.request_id:
            self._by_request[request.request_id] = name
        self._launch(name)
        return name

    async def cancel(self, name: str) -> None:
        """Stop a job; a job that has ended is left alone.

        Raises NotFound; MpaError: it has stopped, but the disk can't keep that, and the service's
        next start would resume it.

        A trained result is being stored in a thread, which can't be stopped: the job then ends with
        its version.
        """
        self._require(name)
        task = self._running.get(name)
        if task is not None:
            if self.state(name).phase is not Phase.SAVING:
                self._cancelled.add(name)
                task.cancel()
            await asyncio.wait([task])
        state = self.state(name)
        if state.phase is Phase.CANCELLED and JobState.read(self._root / name) != state:
            await asyncio.to_thread(state.write, self._root / name)

    async def wait(self, name: str, timeout_s: float | None) -> None:
        """Wait until the job has ended, the time is up or the service stops. Raises NotFound."""
        self._require(name)
        task = self._running.get(name)
        if task is None or self._is_leaving:
            return
        leaving = asyncio.get_running_loop().create_future()
        self._waits.add(leaving)
        try:
            await asyncio.wait(
                [task, leaving], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            self._waits.discard(leaving)

    def end_waits(self) -> None:
        """End all waits, also later ones: the service stops. Its jobs resume when it is back."""
        self._is_leaving = True
        for leaving in self._waits:
            if not leaving.done():
                leaving.set_result(None)

    async def close(self) -> None:
        """End the subprocess; the job resumes when the service is back."""
        tasks = [*self._running.values(), *self._keeping]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._process.end()

    def _require(self, name: str) -> None:
        if not name.isalnum() or not os.path.lexists(self._root / name / "job.json"):
            raise NotFound(
                f"there is no training {name!r}: there are {', '.join(self.names()) or 'none'}",
                reason="OPERATION_NOT_FOUND",
            )

    def _remove_empty(self, name: str) -> None:
        """Remove the folder of a job that was never written."""
        with suppress(OSError):
            (self._root / name).rmdir()

    def _can_continue(self, name: str) -> bool:
        return self.state(name).phase is Phase.FAILED and is_trained(self._root / name)

    def _launch(self, name: str) -> None:
        self._states.setdefault(name, JobState.read(self._root / name))
        task = asyncio.get_running_loop().create_task(self._run(name))
        self._running[name] = task
        task.add_done_callback(lambda _: self._running.pop(name, None))

    async def _run(self, name: str) -> None:
        try:
            version = self.state(name).version or await self._make_version(name)
            if version:
                # The result's files are names of the version's: they are removed, which changes
                # their times, before anybody hears of the version.
                await self._end(name, JobState(Phase.SAVING, version=version))
                await self._end(name, JobState(Phase.DONE, version=version))
        except asyncio.CancelledError:
            if name in self._cancelled:
                await self._end(name, JobState(Phase.CANCELLED, error="cancelled"))
            raise
        except Exception as failure:
            _log.exception("training %s", name)
            await self._end(name, JobState(Phase.FAILED, error=described(failure)))

    async def _make_version(self, name: str) -> str:
        """Train and store the version; "" if the training failed, which is kept as its state."""
        with tracing.span("training"):
            return await self._trained(name)

    async def _trained(self, name: str) -> str:
        job = self.job(name)
        code = await run_to_end(self._process, self._root / name, stays=job.is_trial)
        if code != 0:
            said = OUT_OF_HOST_MEMORY if is_kill(code) else last_words(self._root / name)
            error = f"the training process ended with code {code}: {said}"
            await self._end(name, JobState(Phase.FAILED, error=error))
            return ""
        await self._end(name, JobState(Phase.SAVING))
        return await asyncio.to_thread(
            self._publish, job, self._root / name / "output", self.progress(name)
        )

    async def _end(self, name: str, state: JobState) -> None:
        """Keep the state. While the disk can't, the service's next start would resume the job."""
        self._states[name] = state
        if state.phase in FINAL:
            metrics.TRAININGS.labels(state.phase).inc()
        try:
            await asyncio.to_thread(self._keep, name, state)
        except MpaError as error:
            _log.error("training %s is %s, but that can't be kept: %s", name, state.phase, error)
            keeping = asyncio.get_running_loop().create_task(self._keep_later(name, state))
            self._keeping.add(keeping)
            keeping.add_done_callback(self._keeping.discard)

    async def _keep_later(self, name: str, state: JobState) -> None:
        while self._states.get(name) is state:
            await asyncio.sleep(KEEP_AGAIN_S)
            with suppress(MpaError):
                await asyncio.to_thread(self._keep, name, state)
                return

    def _keep(self, name: str, state: JobState) -> None:
        """Raises MpaError: the disk is full or broken."""
        state.write(self._root / name)
        state.tidy(self._root / name)
