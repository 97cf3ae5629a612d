"""Micro batches chosen by memory: the ladder of attempts, and real trainings without memory."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest

from services.core.training_memory import TrainingWay
from services.student import canaries
from services.student.attempts import (
    Attempt,
    after_kill,
    begin,
    execution_of,
    make_smaller,
    offload,
    read_attempts,
    too_large,
)
from services.student.datasets import TrainingSample
from services.student.execution import AUTO, Execution
from services.student.job import Job
from services.student.progress import TrainingProgress
from tests.pictures import numbered_png
from tests.student.trainings import furthest, new_job, new_samples

LIMITED = """
import resource, sys
from pathlib import Path
from services.student import training

lines = Path("/proc/self/status").read_text().splitlines()
held = next(int(line.split()[1]) for line in lines if line.startswith("VmData")) * 2**10
most = held + int(sys.argv[2]) * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (most, most))
training.main(Path(sys.argv[1]))
"""
"""Trains with a limit on the memory of this process and of those that it starts or becomes."""


def _job(tmp_path, datasets, execution, batch_size=12):
    folder = new_job(
        tmp_path,
        datasets,
        tmp_path,
        new_samples(datasets, 4),
        execution=execution,
        batch_size=batch_size,
    )
    return folder, Job.read(folder)


def test_each_attempt_halves_the_micro_batch_and_the_last_one_computes_twice(tmp_path, datasets):
    folder, job = _job(tmp_path, datasets, Execution(micro_batch=AUTO, processes=2), 24)
    assert execution_of(folder, job) == job.execution
    begin(folder, TrainingWay(micro_batch=12, share=12))
    tried = []
    while (attempt := make_smaller(folder, job)) is not None:
        tried.append((attempt.micro_batch, attempt.gradient_checkpointing))
        execution = execution_of(folder, job)
        assert execution.divide(24) == (attempt.micro_batch, 12 // attempt.micro_batch)
        assert execution.gradient_checkpointing is attempt.gradient_checkpointing
        assert execution.processes == 2
    assert tried == [(6, False), (3, False), (1, False), (1, True)]
    said = too_large(folder, job)
    assert "tried micro batches of size 12, 6, 3, 1, 1 with gradient checkpointing; free" in said
    assert "MPA_STUDENT_TRAINING_OFFLOAD=1" in said
    assert "train adapters (--lora-rank 16)" in said
    assert "MPA_STUDENT_TRAINING_SHARDED=1" in said


def test_an_estimate_that_needs_checkpointing_keeps_it(tmp_path, datasets):
    folder, job = _job(tmp_path, datasets, Execution(micro_batch=AUTO))
    begin(folder, TrainingWay(micro_batch=4, share=12, checkpointing=True))
    assert make_smaller(folder, job) == Attempt(2, True)
    assert make_smaller(folder, job) == Attempt(1, True)
    assert make_smaller(folder, job) is None


def test_a_micro_batch_that_was_set_is_kept(tmp_path, datasets):
    folder, job = _job(tmp_path, datasets, Execution(micro_batch=4))
    assert make_smaller(folder, job) is None
    assert execution_of(folder, job) == job.execution
    assert "of size 4; set MPA_STUDENT_TRAINING_MICRO_BATCH=auto; or" in too_large(folder, job)


def test_after_a_kill_for_lack_of_memory_the_next_attempt_takes_less(tmp_path, datasets):
    folder, job = _job(tmp_path, datasets, Execution(micro_batch=AUTO))
    assert after_kill(folder, job) is None, "killed before its first attempt"
    begin(folder, TrainingWay(micro_batch=4, share=12))
    assert after_kill(folder, job) == Attempt(2, False)
    offload(folder)
    assert after_kill(folder, job) is None, "those weights are in the memory that ran out"


def test_an_offloaded_attempt_begins_again_and_chooses_its_micro_batch(tmp_path, datasets):
    folder, job = _job(tmp_path, datasets, Execution(micro_batch=AUTO))
    begin(folder, TrainingWay(micro_batch=1, share=12, checkpointing=True))
    assert make_smaller(folder, job) is None
    (folder / "checkpoints" / "checkpoint-7").mkdir(parents=True)
    assert str(offload(folder)) == "auto with gradient checkpointing and offload"
    assert not (folder / "checkpoints").exists(), "FSDP can't read them"
    execution = execution_of(folder, job)
    assert (execution.micro_batch, execution.offload, execution.needs_launcher) == (
        AUTO,
        True,
        True,
    )
    begin(folder, TrainingWay(micro_batch=6, share=12, checkpointing=True, offloaded=True))
    assert read_attempts(folder) == [Attempt(1, True), Attempt(6, True, True)]
    assert make_smaller(folder, job) == Attempt(3, True, True)


def test_offloaded_weights_are_read_less_often_with_checkpointing(tmp_path, datasets):
    folder, job = _job(tmp_path, datasets, Execution(micro_batch=AUTO, offload=True))
    begin(folder, TrainingWay(micro_batch=12, share=12, offloaded=True))
    assert make_smaller(folder, job) == Attempt(12, True, True)
    assert make_smaller(folder, job) == Attempt(6, True, True)


def test_attempts_of_an_earlier_release_are_read(tmp_path):
    (tmp_path / "attempts.json").write_text('[{"micro_batch": 4, "gradient_checkpointing": true}]')
    assert read_attempts(tmp_path) == [Attempt(4, True)]


def _long_job(tmp_path, datasets, base, name, execution):
    """A job of one step whose activations take about 1 GB if computed at once.

    It is a trial: canaries, which the limit would leave without memory too, have their own test.
    """
    image = datasets.add_image(numbered_png(1))
    samples = [
        TrainingSample(image, f"what is {'a ' * (1700 + number % 5)}new?", "red")
        for number in range(64)
    ]
    folder = new_job(
        tmp_path,
        datasets,
        base,
        samples,
        name,
        execution=execution,
        batch_size=64,
        warmup_ratio=0.0,
    )
    replace(Job.read(folder), is_trial=True).write(folder)
    return folder


def _train(folder, mib):
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder), str(mib)],
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.slow
def test_a_training_whose_memory_runs_out_ends_with_the_same_weights(
    tiny_checkpoint, datasets, tmp_path
):
    """Memory is limited for real: torch's allocator fails, and a fresh process tries again.

    Memory of the offloaded training runs out in the process that torchrun started.
    """
    from safetensors.torch import load_file

    from services.student.training import learn

    limited, offloaded, free = (
        _long_job(tmp_path, datasets, tiny_checkpoint, name, execution)
        for name, execution in {
            "limited": Execution(micro_batch=AUTO),
            "offloaded": Execution(micro_batch=AUTO, offload=True),
            "free": Execution(micro_batch=8),
        }.items()
    )
    begin(offloaded, TrainingWay(micro_batch=64, share=64, checkpointing=True, offloaded=True))
    for folder, mib in ((limited, 600), (offloaded, 850)):
        done = _train(folder, mib)
        assert done.returncode == 0, done.stderr[-3000:]
        assert len(read_attempts(folder)) > 1
        assert "can't allocate memory" in done.stderr
        assert not (folder / "error.txt").exists()
    by_memory = Attempt(64, False)
    assert read_attempts(limited)[0] == by_memory, "of the machine, which is larger"
    learn(free)
    before = load_file(tiny_checkpoint / "model.safetensors")
    expected = load_file(free / "trained" / "model.safetensors")
    assert furthest(expected, before) > 5e-4
    for folder in (limited, offloaded):
        found = load_file(folder / "output" / "model.safetensors")
        assert furthest(found, expected) < 2e-4


@pytest.mark.slow
def test_a_later_attempt_continues_from_an_earlier_ones_checkpoint(
    tiny_checkpoint, datasets, tmp_path
):
    from safetensors.torch import load_file

    from services.student.training import learn

    samples = new_samples(datasets, 2 * 60)
    unbroken, changed = (
        new_job(tmp_path, datasets, tiny_checkpoint, samples, name, execution, batch_size=2)
        for name, execution in {
            "unbroken": Execution(),
            "changed": Execution(micro_batch=AUTO),
        }.items()
    )
    begin(changed, TrainingWay(micro_batch=2, share=2))
    process = subprocess.Popen(
        [sys.executable, "-m", "services.student.training", str(changed)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not list((changed / "checkpoints").glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert make_smaller(changed, Job.read(changed)) == Attempt(1, False)
    learn(changed)
    assert TrainingProgress.read(changed).step == 60
    learn(unbroken)
    one, other = (
        load_file(folder / "trained" / "model.safetensors") for folder in (changed, unbroken)
    )
    assert furthest(one, other) < 2e-4


HELD = """
import resource, sys
from pathlib import Path
from services.engines import parts, transformers  # before the limit
from services.student import training

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmData")) * 2**10

most = held() + int(sys.argv[2]) * 2**20
ballast = bytearray(most - held() - 16 * 2**20)
resource.setrlimit(resource.RLIMIT_DATA, (most, most))
training.main(Path(sys.argv[1]))
"""
"""Goes on with a job in a process that holds all but 16 MiB of its memory."""


@pytest.mark.slow
def test_canaries_without_memory_are_tried_again_and_trained_weights_are_kept(
    tiny_checkpoint, datasets, tmp_path
):
    from services.student.training import learn

    folder = new_job(tmp_path, datasets, tiny_checkpoint, new_samples(datasets, 8))
    learn(folder)
    weights = (folder / "trained" / "model.safetensors").read_bytes()

    def complete(mib):
        command = [sys.executable, "-c", HELD, str(folder), str(mib)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    failed = complete(32)
    assert failed.returncode == 1, failed.stderr[-3000:]
    said = (folder / "error.txt").read_text()
    assert "are trained and kept in" in said
    assert "free memory, then repeat the command" in said
    for batches in ("batches of 8 on the device", "batches of 8 on the cpu"):
        assert f"trying {batches}" in failed.stderr
    done = complete(2048)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "trying batches of 8 on the device" in done.stderr, "the first process had no memory"
    assert not (folder / "error.txt").exists()
    assert (folder / "output" / "model.safetensors").read_bytes() == weights
    assert canaries.are_stored(folder / "output")
