"""Trainers: one for each job at a time, and none outlives its service."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from services.core.contract import Contract
from services.core.errors import Conflict
from services.core.presets import Hyperparameters
from services.engines import tether
from services.student.datasets import TrainingSample
from services.student.job import Job, sole_trainer
from services.student.progress import TrainingProgress
from tests.pictures import numbered_png
from tests.serving import fake_checkpoint

HEAVY = """
import os, sys, time
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(600)  # an import that takes long
"""
SERVICE = """
import os, subprocess, sys
from services.engines import tether
tether.own()
program = [sys.executable, "-m", "services.engines.tether", "heavy", sys.argv[1]]
started = subprocess.Popen(program)
print(started.pid, flush=True)
if sys.argv[2] == "now":
    os.kill(os.getpid(), 9)
started.wait()
"""


@pytest.fixture
def job(tmp_path, datasets):
    """The folder of a job of three steps for the fake engine."""
    samples = [
        TrainingSample(datasets.add_image(numbered_png(1)), f"what is {n}?", "red")
        for n in range(3)
    ]
    folder = tmp_path / "jobs" / "one"
    base = str(fake_checkpoint(tmp_path / "base", skill=0.5))
    Job(
        id="one",
        base_version="v1",
        base_folder=base,
        dataset=datasets.add(samples),
        contract=Contract(),
        hyperparameters=Hyperparameters(1e-3, batch_size=1),
        store=str(tmp_path),
    ).write(folder)
    return folder


def _train(folder, **environment):
    command = [sys.executable, "-m", "services.student.fake_training", str(folder)]
    return subprocess.Popen(
        command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("when", ["now", "later"])
def test_a_program_whose_owner_is_killed_while_it_imports_ends(tmp_path, when):
    (tmp_path / "heavy.py").write_text(HEAVY)
    told = tmp_path / "pid"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())])}
    service = subprocess.Popen(
        [sys.executable, "-c", SERVICE, str(told), when],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        program = psutil.Process(int(service.stdout.readline()))
    except psutil.NoSuchProcess:
        return
    if when == "later":
        while not (told.is_file() and told.read_text()):
            assert service.poll() is None
        service.kill()
    service.wait()
    psutil.wait_procs([program], timeout=20)
    assert not program.is_running() or program.status() == psutil.STATUS_ZOMBIE


def test_another_process_with_the_owners_id_is_not_the_owner():
    """The owner has ended, and this process has its id."""
    program = "from services.engines import tether; tether.hold(); import time; time.sleep(60)"
    own = tether.mark()[tether.OWNER]
    owners = {own: None, f"{own}0": 1, "999999999 1": 1}
    for owner, code in owners.items():
        process = subprocess.Popen(
            [sys.executable, "-c", program], env={**os.environ, tether.OWNER: owner}
        )
        try:
            assert process.wait(timeout=20 if code else 2) == code
        except subprocess.TimeoutExpired:
            assert code is None
        finally:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_resumed_trainer_waits_for_one_that_is_about_to_end(job):
    orphan = _train(job, MPA_FAKE_STEP_S="600")
    while not (job / "trainer.lock").is_file():
        assert orphan.poll() is None
    resumed = _train(job, MPA_FAKE_STEP_S="0")
    with pytest.raises(subprocess.TimeoutExpired):
        resumed.wait(timeout=3)
    assert not (job / "output").exists()
    orphan.kill()
    orphan.wait()
    assert resumed.wait(timeout=60) == 0, resumed.stderr.read()
    assert TrainingProgress.read(job).step == 3
    assert not (job / "checkpoints").exists()


def test_two_trainers_of_one_job_make_one_output(job):
    trainers = [_train(job, MPA_FAKE_STEP_S="0.2") for _ in range(2)]
    assert [trainer.wait(timeout=90) for trainer in trainers] == [0, 0], [
        trainer.stderr.read() for trainer in trainers
    ]
    assert (job / "output" / "fake.json").is_file()


def test_what_a_killed_trainer_left_of_its_output_is_replaced(job):
    for left in ("output.partial/canaries", "output.partial/adapter"):
        (job / left).mkdir(parents=True)
        (job / left / "old").write_text("old")
    assert _train(job).wait(timeout=60) == 0
    assert not list(job.rglob("old"))
    assert not (job / "output.partial").exists()


def test_killed_while_canaries_were_computed_it_trains_no_second_time(job):
    assert _train(job).wait(timeout=60) == 0
    (job / "output").rename(job / "trained")
    shutil.rmtree(job / "trained" / "canaries")
    (job / "progress.json").unlink()
    assert _train(job).wait(timeout=60) == 0
    assert (job / "output" / "canaries").is_dir()
    assert not (job / "trained").exists()
    assert TrainingProgress.read(job).step == 0


def test_a_trainer_that_does_not_end_is_named(tmp_path):
    held, done = threading.Event(), threading.Event()

    def hold():
        with sole_trainer(tmp_path):
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        with (
            pytest.raises(Conflict, match="another process still trains"),
            sole_trainer(tmp_path, patience_s=0.1),
        ):
            raise AssertionError
    finally:
        done.set()
        thread.join()
    with sole_trainer(tmp_path, patience_s=0.1):
        pass


@pytest.mark.parametrize("content", ["", "{", '{"step": "one"}', '{"step": 1, "zeal": 2}', "\x00"])
def test_damaged_progress_is_no_progress(tmp_path, content):
    (tmp_path / "progress.json").write_text(content)
    assert TrainingProgress.read(tmp_path) == TrainingProgress()
    TrainingProgress(step=3).write(tmp_path)
    assert TrainingProgress.read(tmp_path).step == 3


def test_a_trainer_that_is_told_to_end_dies_of_that_signal(job):
    trainer = _train(job, MPA_FAKE_STEP_S="600")
    while not (job / "trainer.lock").is_file():
        assert trainer.poll() is None
    trainer.terminate()
    assert trainer.wait(timeout=20) == -signal.SIGTERM
    assert json.loads((job / "job.json").read_text())["id"] == "one"
