"""The student's trainings: one at a time, in a subprocess, durable, cancellable, resumed after a crash of the service."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from services.core.contract import Contract
from services.core.errors import Conflict, InvalidInput, MpaError, NotFound
from services.core.presets import Hyperparameters
from services.files import write_atomically
from services.student import programs
from services.student.execution import Execution
from services.student.job import START_AGAIN, Job, TrainingProgress
from services.student.records import read_record

_log = logging.getLogger(__name__)
_PROGRAMS = {"fake": "services.student.fake_training"}
_PROGRAM = "services.student.training"
_AGAIN_AFTER_S = 3.0


class Phase(StrEnum):
    """Where a job stands. The last three are final."""

    TRAINING = "training"
    SAVING = "saving"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({Phase.DONE, Phase.FAILED, Phase.CANCELLED})


@dataclass(frozen=True, slots=True)
class JobState:
    """`version` is set when done, `error` when failed."""

    phase: Phase
    version: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What a caller asks for, defaults filled in."""

    request_id: str
    dataset: str
    base_version: str
    base_folder: Path
    run: str
    recipe: str
    contract: Contract
    hyperparameters: Hyperparameters


Publish = Callable[[Job, Path, TrainingProgress], str]
"""Takes the finished checkpoint into the version store (once) and returns the version's name. Runs in a thread."""


class TrainingJobs:
    """STORE/jobs. `engine` picks the program; `devices` is its CUDA_VISIBLE_DEVICES ("" inherits)."""

    def __init__(
        self, store: Path, publish: Publish, *, engine: str, devices: str, execution: Execution
    ) -> None:
        self._store = store
        self._root = store / "jobs"
        self._root.mkdir(parents=True, exist_ok=True)
        self._publish = publish
        self._program = _PROGRAMS.get(engine, _PROGRAM)
        self._devices = devices
        self._execution = execution
        self._running: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self._waits: set[asyncio.Future[None]] = set()
        self._is_leaving = False
        self._states: dict[str, JobState] = {}
        """States of jobs that this process knows, also where the disk was too full to keep them."""
        self._by_request: dict[str, str] = {}

    def resume(self) -> None:
        """Takes up the job that was under way when the service went down, and removes files that ended jobs no longer need."""
        for name in self.names():
            phase = self.state(name).phase
            try:
                job = self.job(name)
            except InvalidInput as error:
                _log.error("training %s is left alone: %s", name, error)
                continue
            if job.request_id:
                self._by_request.setdefault(job.request_id, name)
            if phase in (Phase.DONE, Phase.CANCELLED):
                self._tidy(name, phase)
            elif phase is not Phase.FAILED:
                _log.info("training %s goes on", name)
                self._launch(name)

    def names(self) -> list[str]:
        """Oldest first, damaged ones included."""
        found = []
        for path in self._root.glob("*/job.json"):
            with suppress(OSError):
                found.append((path.stat().st_mtime_ns, path.parent.name))
        return [name for _, name in sorted(found)]

    def job(self, name: str) -> Job:
        """Raises NotFound, InvalidInput: its file is damaged."""
        self._require(name)
        return Job.read(self._root / name)

    def datasets_in_use(self) -> set[str]:
        """Data sets that a training under way reads, or will when it is resumed. May be asked in a thread."""
        found = set()
        for name in list(self._running):
            with suppress(MpaError):
                found.add(self.job(name).dataset)
        return found

    def state(self, name: str) -> JobState:
        """FAILED, and why, where its file or that of the job is damaged."""
        if name in self._states:
            return self._states[name]
        path = self._root / name / "state.json"
        try:
            if path.exists():
                return read_record(
                    JobState, path, f"look whether it made a version; if not, {START_AGAIN}"
                )
            Job.read(self._root / name)
        except InvalidInput as error:
            return JobState(Phase.FAILED, error=str(error))
        return JobState(Phase.TRAINING)

    def progress(self, name: str) -> TrainingProgress:
        return TrainingProgress.read(self._root / name)

    def start(self, request: TrainingRequest) -> str:
        """Returns the job's name; that of the first one if `request_id` was seen before.

        Raises Conflict: one is under way; InvalidInput: the batch can't be divided among the processes.
        """
        if request.request_id in self._by_request:
            return self._by_request[request.request_id]
        for name in self._running:
            raise Conflict(
                f"training {name} is under way: wait for it or cancel it",
                reason="TRAINING_UNDER_WAY",
            )
        self._execution.divide(request.hyperparameters.batch_size)
        name = uuid.uuid4().hex[:12]
        job = Job(
            id=name,
            request_id=request.request_id,
            base_version=request.base_version,
            base_folder=str(request.base_folder.resolve()),
            dataset=request.dataset,
            run=request.run,
            recipe=request.recipe,
            contract=request.contract,
            hyperparameters=request.hyperparameters,
            store=str(self._store.resolve()),
            execution=self._execution,
        )
        job.write(self._root / name)
        if request.request_id:
            self._by_request[request.request_id] = name
        self._launch(name)
        return name

    async def cancel(self, name: str) -> None:
        """Stops a job; one that has ended stays as it ended. Raises NotFound."""
        self._require(name)
        task = self._running.get(name)
        if task is not None:
            self._cancelled.add(name)
            task.cancel()
            await asyncio.wait([task])

    async def wait(self, name: str, timeout_s: float | None) -> None:
        """Returns when the job has ended, the time is up or the service leaves. Raises NotFound."""
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
        """Waits return, now and from now on: the service leaves, and its jobs go on when it is back."""
        self._is_leaving = True
        for leaving in self._waits:
            if not leaving.done():
                leaving.set_result(None)

    async def close(self) -> None:
        """Stops the subprocess; the job resumes when the service is back."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _require(self, name: str) -> None:
        if not name.isalnum() or not os.path.lexists(self._root / name / "job.json"):
            raise NotFound(
                f"there is no training {name!r}: there are {', '.join(self.names()) or 'none'}",
                reason="OPERATION_NOT_FOUND",
            )

    def _launch(self, name: str) -> None:
        self._states[name] = JobState(Phase.TRAINING)
        task = asyncio.get_running_loop().create_task(self._run(name))
        self._running[name] = task
        task.add_done_callback(lambda _: self._running.pop(name, None))

    async def _run(self, name: str) -> None:
        try:
            code = await self._train(name)
            while code == -signal.SIGTERM:
                # Nobody cancelled it. `bentoml serve` hands its own SIGTERM to every child, so most likely the service is
                # about to stop, which ends this wait; the job then resumes with the next start.
                await asyncio.sleep(_AGAIN_AFTER_S)
                code = await self._train(name)
            if code != 0:
                self._end(
                    name,
                    JobState(
                        Phase.FAILED,
                        error=f"the training process ended with code {code}: {self._last_words(name)}",
                    ),
                )
                return
            self._end(name, JobState(Phase.SAVING))
            folder = self._root / name
            version = await asyncio.to_thread(
                self._publish, self.job(name), folder / "output", self.progress(name)
            )
            self._end(name, JobState(Phase.DONE, version=version))
        except asyncio.CancelledError:
            if name in self._cancelled:
                self._end(name, JobState(Phase.CANCELLED, error="cancelled"))
            raise
        except Exception as error:
            _log.exception("training %s", name)
            self._end(name, JobState(Phase.FAILED, error=str(error)))

    async def _train(self, name: str) -> int:
        folder = self._root / name
        with (folder / "log.txt").open("ab") as log:
            return await programs.run(self._program, [str(folder.resolve())], self._devices, log)

    def _last_words(self, name: str) -> str:
        folder = self._root / name
        said = next(path for path in (folder / "error.txt", folder / "log.txt") if path.is_file())
        lines = said.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _end(self, name: str, state: JobState) -> None:
        """Keeps the state, on disk unless that is full or broken: then the service's next start takes the job up again."""
        self._states[name] = state
        try:
            write_atomically(self._root / name / "state.json", json.dumps(asdict(state)))
        except MpaError as error:
            _log.error("training %s is %s, but that can't be kept: %s", name, state.phase, error)
            return
        self._tidy(name, state.phase)

    def _tidy(self, name: str, phase: Phase) -> None:
        """Removes the weights that a job which has ended no longer needs. A failed one keeps its output, for people."""
        unneeded = {
            Phase.DONE: ("checkpoints", "output.partial", "output"),
            Phase.CANCELLED: ("checkpoints", "output.partial", "output"),
            Phase.FAILED: ("checkpoints", "output.partial"),
        }
        for part in unneeded.get(phase, ()):
            shutil.rmtree(self._root / name / part, ignore_errors=True)
