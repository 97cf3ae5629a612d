"""Parity Leveler (paper, Section 3.3, Algorithm 4): the program that trains a student.

    python -m services.student.training STORE/jobs/<id>

It trains the whole student, vision tower and connector included, or low-rank adapters of it. It
uses AdamW, cosine decay and warm-up, and fp32 master weights. Stopped at any moment and started
again, it continues from its last checkpoint. With more than one process this program is the
launcher of its own ranks (torchrun).
"""

from __future__ import annotations

import gc
import math
import os
import signal
import sys
import traceback
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NoReturn

import torch
from transformers import AutoProcessor, TrainingArguments, set_seed

from services.core.errors import InvalidInput, MpaError
from services.core.presets import Hyperparameters
from services.engines import tether
from services.files import write_atomically
from services.student.batches import EffectiveBatches
from services.student.checkpoints import (
    CheckpointClock,
    gather,
    last_whole_checkpoint,
    read_student,
    save,
)
from services.student.datasets import DatasetStore
from services.student.encoding import EncodedSamples, Encoder, collate
from services.student.execution import Execution
from services.student.job import Job, sole_trainer
from services.student.leveler import Leveler, Reporter
from services.student.result import complete, is_trained, keep, partial_output
from services.student.store import verified


def computes_in_bf16(execution: Execution) -> bool:
    """Whether the training computes in bfloat16 on this machine."""
    return execution.precision == "bf16" or (
        execution.precision == "auto"
        and torch.cuda.is_available()
        and torch.cuda.is_bf16_supported()
    )


def training_arguments(
    settings: Hyperparameters, execution: Execution, samples: int, checkpoints: Path
) -> TrainingArguments:
    """Settings of the trainer for a number of samples. A last, partial batch counts as a step."""
    steps = math.ceil(samples / settings.batch_size) * settings.epochs
    micro_batch, accumulation = execution.divide(settings.batch_size)
    on_gpu = torch.cuda.is_available()
    sharding = {
        "activation_checkpointing": execution.gradient_checkpointing,
        # The whole model and its optimizer would be gathered, and the weights written twice.
        "state_dict_type": "SHARDED_STATE_DICT",
    }
    return TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        optim="adamw_torch_fused",
        bf16=computes_in_bf16(execution),
        use_cpu=not on_gpu,
        gradient_checkpointing=execution.gradient_checkpointing and not execution.sharded,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        # Some towers end in unused layers (LLaVA takes the penultimate features).
        ddp_find_unused_parameters=True,
        # The annotation of `fsdp` lags behind its documentation.
        fsdp=execution.sharded or None,  # type: ignore[arg-type]
        fsdp_config=sharding if execution.sharded else None,
        dataloader_num_workers=execution.workers,
        dataloader_persistent_workers=execution.workers > 0,
        dataloader_pin_memory=on_gpu,
        seed=settings.seed,
        data_seed=settings.seed,
        logging_steps=10,
        save_strategy="no",  # CheckpointClock saves
        save_total_limit=1,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
    )


def train(folder: Path) -> None:
    """Do the job in `folder` in this process, from its last checkpoint if there is one."""
    learn(folder)
    free_memory()
    complete(folder)


def learn(folder: Path) -> Leveler | None:
    """Train the weights of the job in `folder`, and return the trainer; None if they are there.

    If torchrun started this process, it is one of several. Only the first one writes.
    """
    with sole_trainer(folder) if int(os.environ.get("RANK", 0)) == 0 else nullcontext():
        return None if is_trained(folder) else _learn(folder, Job.read(folder))


def _learn(folder: Path, job: Job) -> Leveler:
    settings = job.hyperparameters
    execution = job.execution
    base = Path(job.base_folder)
    datasets = DatasetStore(Path(job.store))
    set_seed(settings.seed)
    with verified(base):
        processor = AutoProcessor.from_pretrained(base)
        model, dtype = read_student(base, settings, in_bf16=computes_in_bf16(execution))
    encoder = Encoder(
        processor, datasets, job.contract.training_template, job.contract.system_prompt
    )
    samples = EncodedSamples(datasets.samples(job.dataset), encoder)
    arguments = training_arguments(settings, execution, len(samples), folder / "checkpoints")
    batches = EffectiveBatches(
        len(samples),
        settings.batch_size,
        arguments.per_device_train_batch_size,
        processes=arguments.world_size,
        process=arguments.process_index,
        seed=settings.seed,
        lengths=samples.lengths() if execution.group_by_length else (),
    )
    trainer = Leveler(
        loss=settings.loss,
        batches=batches,
        model=model,
        args=arguments,
        train_dataset=samples,
        data_collator=partial(collate, pad_token=processor.tokenizer.pad_token_id or 0),
        callbacks=[Reporter(folder, settings.batch_size), CheckpointClock()],
    )
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
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def launch(folder: Path, processes: int) -> None:
    """Run this program in N processes (torchrun), which end with this one. Raises InvalidInput."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    devices = torch.cuda.device_count()
    if 0 < devices < processes:
        raise InvalidInput(
            f"MPA_STUDENT_TRAINING_PROCESSES is {processes}, but training may use only {devices} "
            "devices: set it lower, or add devices to MPA_STUDENT_TRAINING_DEVICES",
            field="processes",
        )
    tether.own()  # ranks end with this launcher, even during their imports
    program = ["-m", "services.engines.tether", "services.student.training", str(folder)]
    try:
        run.main(["--standalone", f"--nproc-per-node={processes}", *program])
    except ChildFailedError:
        sys.exit(1)
    except SignalException as stopped:
        # The waiting parent sees that this process died of the signal that it received.
        signal.signal(stopped.sigval, signal.SIG_DFL)
        os.kill(os.getpid(), stopped.sigval)


def main(folder: Path) -> None:
    """Train, or launch the processes that do. The reason of a failure is written to error.txt."""
    processes = Job.read(folder).execution.processes
    try:
        if "LOCAL_RANK" in os.environ:
            trainer = learn(folder)  # noqa: F841  # holds the process group
            leave()
        (folder / "error.txt").unlink(missing_ok=True)
        if processes > 1:
            if not is_trained(folder):
                launch(folder, processes)
            complete(folder)
            return
        # The trainer would spread one process, and its batch, over all devices that it sees.
        devices = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
        os.environ["CUDA_VISIBLE_DEVICES"] = devices.partition(",")[0]
        train(folder)
    except MpaError as error:
        _leave_word(folder, str(error))
        sys.stderr.write(f"{error}\n")
        leave(1)
    except torch.OutOfMemoryError:
        advice = (
            "set MPA_STUDENT_TRAINING_MICRO_BATCH lower, "
            "or MPA_STUDENT_TRAINING_GRADIENT_CHECKPOINTING to 1"
        )
        _leave_word(folder, f"the device has too little memory: {advice}")
        traceback.print_exc()
        leave(1)
    except Exception as error:
        _leave_word(folder, f"{type(error).__name__}: {error}")
        traceback.print_exc()
        leave(1)


def _leave_word(folder: Path, text: str) -> None:
    """Write error.txt once: only the first process to fail knows the reason."""
    if not (folder / "error.txt").exists():
        write_atomically(folder / "error.txt", text)


def leave(code: int = 0) -> NoReturn:
    """End a process that has written its results, without closing interpreter or process group.

    Threads of gloo, autograd and tokenizers live to the end of the process. A rank has been seen to
    abort while its interpreter ended (exit code -6), probably by a thread that woke up then, and
    torchrun ended all other ranks with it. Another rank hung: releasing the last reference to the
    group waits for gloo's thread while holding the interpreter lock, and that thread waited for
    the lock to release a tensor. Therefore this is called while the trainer still holds the group.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave()
