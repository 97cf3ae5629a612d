"""An engine's processes end with the service that started them, however that ends."""

import os
import subprocess
import sys

import psutil
import pytest

from services.engines.tether import OWNER
from tests.e2e.processes import ROOT

HELD = """
import subprocess, sys, threading, time
from services.engines import tether
tether.own()
program = '''
import time
from services.engines.tether import hold
hold()
print("held", flush=True)
time.sleep(60)
'''
child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
assert child.stdout.readline() == "held\\n"
tether.hold()
print(child.pid, threading.active_count(), flush=True)
time.sleep(60)
"""


def test_what_is_held_ends_with_its_owner_however_that_ends():
    owner = subprocess.Popen([sys.executable, "-c", HELD], stdout=subprocess.PIPE, text=True)
    pid, threads = owner.stdout.readline().split()
    child = psutil.Process(int(pid))
    assert threads == "1", "the owner does not watch itself"
    assert child.is_running()
    owner.kill()
    owner.wait()
    gone, _ = psutil.wait_procs([child], timeout=10)
    assert gone or child.status() == psutil.STATUS_ZOMBIE


FREE = f"""
import os, threading
from services.engines import tether
os.environ.pop("{OWNER}", None)
tether.hold()
print(threading.active_count())
"""


def test_without_an_owner_nothing_is_held():
    assert (
        subprocess.run([sys.executable, "-c", FREE], capture_output=True, text=True).stdout.strip()
        == "1"
    )


LONELY = """
import asyncio, time
from services.engines.loading import load_model
from services.engines.settings import EngineSettings
from services.engines.choice import ZOO

async def main():
    await load_model(ZOO / "student", EngineSettings(engine="vllm", max_model_len=512, threads=1))
    print("loaded", flush=True)
    time.sleep(600)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.slow
def test_a_service_that_is_killed_leaves_no_engine_behind(tmp_path):
    program = tmp_path / "lonely.py"
    program.write_text(LONELY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    service = subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert "loaded\n" in iter(service.stdout.readline, ""), "it ended before it was up"
    engines = psutil.Process(service.pid).children(recursive=True)
    assert any("EngineCore" in process.name() for process in engines)
    service.kill()
    service.wait()
    _, alive = psutil.wait_procs(engines, timeout=30)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
