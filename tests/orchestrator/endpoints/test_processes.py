"""--local: real service processes with the fake engine, started, watched and stopped."""

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from services.core.errors import MpaError
from services.environment import Environment
from services.orchestrator.endpoints.processes import (
    GIVEN_OUT,
    free_ports,
    from_here,
    local_environment,
    service_environment,
)
from services.orchestrator.run.ledger import Ledger
from services.rpc.settings import RpcSettings
from tests.orchestrator.cli.test_main import run, start
from tests.pictures import numbered_png
from tests.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture
def models(tmp_path) -> dict[str, str]:
    """The environment that makes both services fake."""
    environment = {}
    for role, skill in (("teacher", 0.95), ("student", 0.5)):
        folder = tmp_path / role
        folder.mkdir()
        (folder / "fake.json").write_text(json.dumps({"skill": skill}))
        environment |= {
            f"MPA_{role.upper()}_ENGINE": "fake",
            f"MPA_{role.upper()}_MODEL": str(folder),
        }
    return environment


@pytest.fixture
def images(tmp_path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(150):
        (folder / f"{number:03}.png").write_bytes(numbered_png(number))
    return folder


def services_of(folder: Path) -> list[int]:
    """Processes that hold the logs of this run's services open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "fd" / "1").readlink().is_relative_to(folder):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def has_begun(folder: Path) -> bool:
    """Whether the teacher is up and at work."""
    try:
        with closing(Ledger(folder / "ledger.sqlite", read_only=True)) as ledger:
            return any(ledger.read("SELECT 1 FROM annotations"))
    except MpaError:  # its tables are being made
        return False


async def test_the_whole_loop_and_no_process_is_left(tmp_path, models, images):
    folder = tmp_path / "run"
    arguments = ("align", images, "--task", "vqa", "--local", "--run", folder)
    code, output, errors = await run(*arguments, **models)
    assert code == 0, errors
    assert "starting the teacher" in errors
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["recipe"] == "parity"
    assert summary["version"]["after"]
    assert summary["swap"]["failed"] == 0
    assert services_of(folder) == []
    again = await run(*arguments, **models)
    assert again == (0, output, "")


async def test_the_services_do_not_outlive_a_killed_orchestrator_and_the_next_one_waits_for_them(
    tmp_path, models, images
):
    folder = tmp_path / "run"
    (tmp_path / "teacher" / "fake.json").write_text(json.dumps({"skill": 0.9, "latency_s": 2.0}))
    arguments = ("annotate", images, "--task", "vqa", "--local", "--run", folder)
    process = await start(*arguments, **models)
    await until(lambda: (folder / "ledger.sqlite").exists() and has_begun(folder))
    assert len(services_of(folder)) > 1, "the supervisor and its worker"
    os.kill(process.pid, signal.SIGKILL)
    await process.communicate()
    # The same command at once, while they still leave: it waits for them.
    (tmp_path / "teacher" / "fake.json").write_text(json.dumps({"skill": 0.9}))
    code, _, errors = await run(*arguments, **models)
    assert code == 1
    assert "another model" in errors
    assert services_of(folder) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("MPA_STUDENT_MODEL", "/no-such-model"), ("MPA_STUDENT_DEVICES", "0,0")],
)
async def test_a_service_that_cannot_start_shows_the_end_of_its_log(
    tmp_path, models, images, name, value
):
    models[name] = value
    began = time.monotonic()
    code, _, errors = await run(
        "align", images, "--task", "vqa", "--local", "--run", tmp_path / "run", **models
    )
    assert code == 1
    assert value in errors
    assert "student.log" in errors
    assert "Traceback (most recent call last):\n" not in errors.partition("student.log")[0]
    assert services_of(tmp_path / "run") == []
    assert time.monotonic() - began < 60


async def test_an_unknown_preset_is_named_before_a_service_starts(tmp_path, models, images):
    models["MPA_STUDENT_PRESET"] = "no-such-preset"
    folder = tmp_path / "run"
    code, _, errors = await run(
        "align", images, "--task", "vqa", "--local", "--run", folder, **models
    )
    assert code == 1
    assert "MPA_STUDENT_PRESET is 'no-such-preset': use one of" in errors
    assert not (folder / "logs").exists()


async def test_the_tether_gives_way_to_the_command(tmp_path):
    tether = (sys.executable, "-m", "services.orchestrator.endpoints.die_with_parent")
    echo = await asyncio.create_subprocess_exec(
        *tether, str(os.getpid()), "/bin/echo", "here", stdout=asyncio.subprocess.PIPE
    )
    assert (await echo.communicate())[0] == b"here\n"
    orphan = await asyncio.create_subprocess_exec(
        *tether, "1", "/bin/echo", "here", stdout=asyncio.subprocess.PIPE
    )
    assert ((await orphan.communicate())[0], orphan.returncode) == (b"", 1)


def test_a_service_reads_relative_paths_from_the_folder_of_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models/own").mkdir(parents=True)
    environment = service_environment("student", 1, tmp_path / "home")
    assert environment["MPA_STUDENT_STORE"] == str(tmp_path / ".mpa/student")
    monkeypatch.setenv("MPA_STUDENT_STORE", "stores/own")
    monkeypatch.setenv("MPA_STUDENT_MODEL", "models/own")
    environment = service_environment("student", 1, tmp_path / "home")
    assert environment["MPA_STUDENT_STORE"] == str(tmp_path / "stores/own")
    assert environment["MPA_STUDENT_MODEL"] == str(tmp_path / "models/own")
    monkeypatch.setenv("MPA_STUDENT_MODEL", "Qwen/Qwen2-VL-2B-Instruct")
    environment = service_environment("student", 1, tmp_path / "home")
    assert environment["MPA_STUDENT_MODEL"] == "Qwen/Qwen2-VL-2B-Instruct"


def test_services_of_a_run_need_no_key_of_others(tmp_path, monkeypatch):
    for name, value in (("KEYS", "k"), ("TLS_CERT", "c"), ("HOST", "0.0.0.0")):
        monkeypatch.setenv(f"MPA_STUDENT_{name}", value)
    variables = from_here("student", local_environment("student", 50099, tmp_path))
    settings = RpcSettings.from_environment(Environment("MPA_STUDENT_", variables), 50052)
    assert settings.listen.host == "127.0.0.1"
    assert settings.access.keys is None and settings.access.tls is None


def test_free_ports_are_different_and_none_that_the_system_gives_out_by_itself():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    first, last = map(int, GIVEN_OUT.read_text().split())
    assert not [port for port in ports if first <= port <= last]
