import os
import subprocess
import sys

import pytest

from services.engines.tether import OWNER

PROGRAM = """
from services.engines import spinning, tether
from vllm.distributed.device_communicators.shm_broadcast import SpinCondition
from vllm.plugins import load_general_plugins
from zmq import Context

def spins():
    made = SpinCondition(is_reader=True, context=Context.instance(), notify_address="inproc://writer")
    return made.busy_loop_s

spinning.bound()
print(spins())
tether.own()
load_general_plugins()
print(spins(), spinning.SPIN_S)
"""


@pytest.mark.slow
def test_engines_of_a_service_wait_idly_on_a_cpu_and_others_as_vllm_has_it():
    unowned = {name: value for name, value in os.environ.items() if name != OWNER}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=600, env=unowned
    )
    assert done.returncode == 0, done.stderr[-2000:]
    before, after = done.stdout.strip().splitlines()[-2:]
    assert before == "1", "another's engine"
    assert after.split()[0] == after.split()[1]
