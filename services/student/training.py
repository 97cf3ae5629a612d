"""Parity Leveler (paper, Section 3.3, Algorithm 4): trains a student on a parity set, in processes of its own.

    python -m services.student.training STORE/jobs/<id>

The whole student trains, vision tower and connector included, or low-rank adapters of it, with AdamW, cosine decay and
warm-up, from fp32 master weights. Stopped at any moment and started again it goes on from its last checkpoint. With
more than one process this program is the launcher of its own ranks (torchrun).
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import shutil
import signal
import sys
import traceback
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from peft import PeftModel
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from services.core.errors import InvalidInput, MpaError
from services.core.presets import Hyperparameters
from services.engines import tether
from services.engines.checkpoint import weights_sha256
from services.engines.tensors import require_whole
from services.files import write_atomically
from services.student import canaries
from services.student.batches import EffectiveBatches
from services.student.datasets import DatasetStore
from services.student.encoding import EncodedSamples, Encoder, collate
from services.student.execution import Execution
from services.student.job import Job, Stopwatch, finish, partial_output, sole_trainer
from services.student.leveler import Leveler
from services.student.lora import add_adapter, merge, save_adapter
from services.student.store import ADAPTER, verified

CHECKPOINT_EVERY_STEPS = 50


class Reporter(TrainerCallback):
    """Writes progress.json."""

    def __init__(self, folder: Path, batch_size: int) -> None:
        self._folder = folder
        self._batch_size = batch_size
        self._watch: Stopwatch | None = None
        self._loss = 0.0

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._loss = float((logs or {}).get("loss", self._loss))

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._watch = Stopwatch(self._folder, self._batch_size, state.global_step, state.max_steps)

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._watch is not None and state.is_world_process_zero:
            self._watch.report(state.global_step, self._loss)


def training_arguments(
    settings: Hyperparameters, execution: Execution, samples: int, checkpoints: Path
) -> TrainingArguments:
    """The trainer's settings, for a given number of samples (the last, partial batch counts as a step)."""
    steps = math.ceil(samples / settings.batch_size) * settings.epochs
    micro_batch, accumulation = execution.divide(settings.batch_size)
    on_gpu = torch.cuda.is_available()
    in_bf16 = execution.precision == "bf16" or (
        execution.precision == "auto" and on_gpu and torch.cuda.is_bf16_supported()
    )
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
        bf16=in_bf16,
        use_cpu=not on_gpu,
        gradient_checkpointing=execution.gradient_checkpointing and not execution.sharded,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        # Some towers end in layers that nothing is taken from (LLaVA's penultimate features).
        ddp_find_unused_parameters=True,
        fsdp=execution.sharded or None,  # type: ignore[arg-type]  # its annotation lags behind its documentation
        fsdp_config={"activation_checkpointing": execution.gradient_checkpointing}
        if execution.sharded
        else None,
        dataloader_num_workers=execution.workers,
        dataloader_persistent_workers=execution.workers > 0,
        dataloader_pin_memory=on_gpu,
        seed=settings.seed,
        data_seed=settings.seed,
        logging_steps=10,
        save_steps=CHECKPOINT_EVERY_STEPS,
        save_total_limit=1,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
    )


def read_student(base: Path, settings: Hyperparameters) -> tuple[Any, torch.dtype]:
    """The model to train, in fp32, with an adapter if one is trained; and the number format of its checkpoint."""
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        base, dtype="auto", use_safetensors=True, output_loading_info=True
    )
    model, info = loaded
    require_whole(base, info)
    dtype = model.dtype
    model = model.float()
    return (add_adapter(model, settings) if settings.lora_rank else model), dtype


def save(model: Any, dtype: torch.dtype, base: Path, output: Path) -> None:
    """Writes the checkpoint as the base is: same number format, same tokenizer, processor and template files.

    Of an adapter both are written: the whole model with the adapter merged in, and the adapter alone in `adapter/`.
    """
    if isinstance(model, PeftModel):
        save_adapter(model, weights_sha256(base), output / ADAPTER)
        model = merge(model)
    model.to(dtype).save_pretrained(output)
    for file in base.iterdir():
        if file.is_file() and not (output / file.name).exists() and ".safetensors" not in file.name:
            shutil.copy2(file, output / file.name)


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end: the trainer writes trainer_state.json last."""
    found = [
        path
        for path in folder.glob("checkpoint-*")
        if path.name.removeprefix("checkpoint-").isdecimal()
    ]
    by_step = sorted(
        found, key=lambda path: int(path.name.removeprefix("checkpoint-")), reverse=True
    )
    return next((str(path) for path in by_step if _is_json(path / "trainer_state.json")), None)


def _is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except (OSError, ValueError):
        return False


def train(folder: Path) -> None:
    """Does the job in `folder`, from its last checkpoint if there is one.

    One of several processes if torchrun says so; then it ends the process, too. The first of them is the one that writes.
    """
    with sole_trainer(folder) if int(os.environ.get("RANK", 0)) == 0 else nullcontext():
        if not (folder / "output").is_dir():
            _train(folder)


def _train(folder: Path) -> None:
    job = Job.read(folder)
    settings, execution, base = job.hyperparameters, job.execution, Path(job.base_folder)
    datasets = DatasetStore(Path(job.store))
    set_seed(settings.seed)
    with verified(base):
        processor = AutoProcessor.from_pretrained(base)
        model, dtype = read_student(base, settings)
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
        callbacks=[Reporter(folder, settings.batch_size)],
    )
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(folder / "checkpoints"))
    trained = trainer.model
    if trainer.is_fsdp_enabled:
        # Every process takes part in gathering the shards; the first one gets them all.
        shards = trainer.accelerator.get_state_dict(trained)
        if trainer.is_world_process_zero():
            trained, _ = read_student(base, settings)
            trained.load_state_dict(shards)
    if trainer.is_world_process_zero():
        unfinished = partial_output(folder)
        save(trained, dtype, base, unfinished)
        asyncio.run(canaries.compute_for_training(job, unfinished))
        finish(folder, unfinished)
    if torch.distributed.is_initialized():
        leave()


def launch(folder: Path, processes: int) -> None:
    """Runs this program in so many processes (torchrun); they end with this one. Raises InvalidInput: too few devices."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    devices = torch.cuda.device_count()
    if 0 < devices < processes:
        raise InvalidInput(
            f"MPA_STUDENT_TRAINING_PROCESSES is {processes}, but training may use only {devices} devices: see "
            "MPA_STUDENT_TRAINING_DEVICES",
            field="processes",
        )
    tether.own()  # a rank ends with this launcher, even one that has not been imported yet
    program = ["-m", "services.engines.tether", "services.student.training", str(folder)]
    try:
        run.main(["--standalone", f"--nproc-per-node={processes}", *program])
    except ChildFailedError:
        sys.exit(1)
    except SignalException as stopped:
        # To whoever waits, this process died of the signal that it was sent.
        signal.signal(stopped.sigval, signal.SIG_DFL)
        os.kill(os.getpid(), stopped.sigval)


def main(folder: Path) -> None:
    """Trains, or launches the processes that do. What went wrong is left in error.txt, for people."""
    processes = Job.read(folder).execution.processes
    is_rank = "LOCAL_RANK" in os.environ
    try:
        if processes > 1 and not is_rank:
            (folder / "error.txt").unlink(missing_ok=True)
            launch(folder, processes)
            return
        if not is_rank:
            (folder / "error.txt").unlink(missing_ok=True)
            # The trainer would spread one process over all devices it sees, and the batch with it.
            os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get(
                "CUDA_VISIBLE_DEVICES", "0"
            ).partition(",")[0]
        train(folder)
    except MpaError as error:
        _leave_word(folder, str(error))
        sys.stderr.write(f"{error}\n")
        leave(1)
    except torch.OutOfMemoryError:
        advice = "set MPA_STUDENT_TRAINING_MICRO_BATCH lower, or MPA_STUDENT_TRAINING_GRADIENT_CHECKPOINTING to 1"
        _leave_word(folder, f"the device has too little memory: {advice}")
        traceback.print_exc()
        leave(1)
    except Exception as error:
        _leave_word(folder, f"{type(error).__name__}: {error}")
        traceback.print_exc()
        leave(1)


def _leave_word(folder: Path, text: str) -> None:
    """The first process to fail knows why; the others only see it gone."""
    if not (folder / "error.txt").exists():
        write_atomically(folder / "error.txt", text)


def leave(code: int = 0) -> NoReturn:
    """Ends a process that has written what it had to, without taking the interpreter or the process group apart.

    Threads of gloo, autograd and tokenizers live on to the end. A rank has been seen to abort when its interpreter ended (exit
    code -6), most likely by one that woke up meanwhile, and torchrun ends all others with it. Another hung for good: its last
    reference to the group went, which waits for gloo's thread, interpreter in hand; that thread was letting go of a tensor,
    and waited for the interpreter. So this comes while the trainer still holds the group.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave()
