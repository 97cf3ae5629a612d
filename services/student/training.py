"""Parity Leveler (paper, Section 3.3, Algorithm 4): the program that trains a student.

    python -m services.student.training STORE/jobs/<id> [ATTEMPT]

It trains the whole student, vision tower and connector included, or low-rank adapters of it. It
uses AdamW, cosine decay and warm-up, and fp32 master weights. Stopped at any moment and started
again, it continues from its last checkpoint. With more than one process, or weights in this
machine's memory, this program is the launcher of its own ranks (torchrun). ATTEMPT counts the
attempts to compute canaries. More jobs may follow the first one (series.py).
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

from services.core.errors import MpaError, described
from services.engines.device_memory import empty_cache, is_out_of_memory
from services.files import write_atomically
from services.student.attempts import (
    Attempt,
    begin,
    execution_of,
    make_smaller,
    offload,
    too_large,
)
from services.student.checkpoints import gather, last_whole_checkpoint, remove_unfinished, save
from services.student.execution import AUTO
from services.student.job import Job, sole_trainer
from services.student.leveler import Leveler
from services.student.ranks import OUT_OF_MEMORY, end_workers, launch, leave
from services.student.result import (
    CANARY_WAYS,
    complete,
    is_trained,
    keep,
    not_completed,
    partial_output,
)
from services.student.series import jobs_of
from services.student.trainer import answer_anchors, forget_rows, largest_of, prepare
from services.student.training_room import can_offload, training_room


def train(folder: Path, attempt: int = 0) -> None:
    """Do the job in `folder` from its last checkpoint, here or in processes that this one starts.

    Raises MpaError; an error of memory (`is_out_of_memory`).
    """
    job = Job.read(folder)
    choose_attempt(folder, job)
    execution = execution_of(folder, job)
    if not execution.needs_launcher:
        learn(folder)
        if not job.is_trial:
            forget_rows()
        free_memory()
    elif not is_trained(folder):
        answer_anchors(folder, job)
        free_memory()
        launch(folder, execution)
    complete(folder, attempt)


def choose_attempt(folder: Path, job: Job) -> None:
    """Estimate the micro batch that fits, if it shall be chosen and none has been tried.

    Raises MpaError.
    """
    execution = execution_of(folder, job)
    if execution.micro_batch == AUTO and not is_trained(folder):
        sample = largest_of(job)
        room = training_room(Path(job.base_folder), job.hyperparameters, execution, sample=sample)
        _log(room.reason)
        begin(folder, room.way)


def learn(folder: Path) -> Leveler | None:
    """Train the weights of the job in `folder`, and return the trainer; None if they are there.

    If torchrun started this process, it is one of several. Only the first one writes.
    Raises MpaError: the model alone does not fit; an error of memory (`is_out_of_memory`): the
    training does not.
    """
    is_first = int(os.environ.get("RANK", 0)) == 0
    with sole_trainer(folder) if is_first else nullcontext():
        if is_first:
            remove_unfinished(folder / "checkpoints")
        return None if is_trained(folder) else _learn(folder, Job.read(folder))


def _learn(folder: Path, job: Job) -> Leveler:
    settings = job.hyperparameters
    base = Path(job.base_folder)
    try:
        trainer, dtype = prepare(folder, job)
    except Exception as error:
        if is_out_of_memory(error):
            raise MpaError(
                f"the device has too little memory for the model in {base} alone: free it of "
                "other processes, or use a device with more memory",
                reason="OUT_OF_MEMORY",
            ) from error
        raise
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(folder / "checkpoints"))
    trained = gather(trainer, base, settings) if trainer.is_fsdp_enabled else trainer.model
    if trainer.is_world_process_zero():
        unfinished = partial_output(folder)
        save(trained, dtype, base, unfinished)
        keep(folder, unfinished)
    return trainer


def free_memory() -> None:
    """Give back the memory of a trainer that has ended, on the device and in this process."""
    gc.collect()
    empty_cache()


def main(folder: Path, attempt: int = 0) -> None:
    """Train, or launch the processes that do. The reason of a failure is written to error.txt."""
    job = Job.read(folder)
    is_rank = "LOCAL_RANK" in os.environ
    try:
        if is_rank:
            trainer = learn(folder)  # noqa: F841  # holds the process group
            leave()
        (folder / "error.txt").unlink(missing_ok=True)
        if job.execution.processes == 1:
            # The trainer would spread one process, and its batch, over all devices that it sees.
            devices = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
            os.environ["CUDA_VISIBLE_DEVICES"] = devices.partition(",")[0]
        train(folder, attempt)
    except Exception as error:
        is_memory = is_out_of_memory(error)
        if is_memory and is_trained(folder) and not is_rank:
            complete_again(folder, attempt, error)
        if isinstance(error, MpaError):
            _leave_word(folder, str(error))
            _log(str(error))
            leave(1)
        traceback.print_exc()
        if not is_memory:
            _leave_word(folder, described(error))
            leave(1)
        if is_rank:
            leave(OUT_OF_MEMORY)
        begin_again(folder, job)


def begin_again(folder: Path, job: Job) -> NoReturn:
    """Replace this process, whose memory ran out, by one that makes the next attempt."""
    (folder / "error.txt").unlink(missing_ok=True)  # of ranks that lost the one that failed
    attempt = make_smaller(folder, job) or _offload(folder, job)
    if attempt is None:
        _leave_word(folder, too_large(folder, job))
        leave(1)
    _log(f"memory ran out: trying micro batches of size {attempt}")
    _start_again(str(folder))


def complete_again(folder: Path, attempt: int, error: Exception) -> NoReturn:
    """Replace this process, whose memory ran out, by one whose canaries need less of it."""
    if attempt + 1 == len(CANARY_WAYS):
        _leave_word(folder, not_completed(folder, error))
        leave(1)
    _log(f"memory ran out for the canaries ({error}): trying {CANARY_WAYS[attempt + 1]}")
    _start_again(str(folder), str(attempt + 1))


def _start_again(*arguments: str) -> NoReturn:
    end_workers()
    sys.stdout.flush()
    program = ["-m", "services.engines.tether", "services.student.training", *arguments]
    os.execv(sys.executable, [sys.executable, *program])


def _offload(folder: Path, job: Job) -> Attempt | None:
    """The attempt after the leanest one; None if the micro batch is set, or there is no room."""
    execution = execution_of(folder, job)
    if job.execution.micro_batch != AUTO:
        return None
    has_room = can_offload(Path(job.base_folder), job.hyperparameters, execution)
    return offload(folder) if has_room else None


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _leave_word(folder: Path, text: str) -> None:
    """Write error.txt once: only the first process to fail knows the reason."""
    if not (folder / "error.txt").exists():
        write_atomically(folder / "error.txt", text)


if __name__ == "__main__":
    earlier = int(next(iter(sys.argv[2:]), 0))
    for job_folder in jobs_of(sys.argv[1:]):
        main(job_folder, earlier)
        earlier = 0
        gc.freeze()  # or else each later collection would visit all modules: 0.7 s
    leave()
