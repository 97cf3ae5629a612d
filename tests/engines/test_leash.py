"""A process on a leash ends with its owner, and the leash with either of them."""

import signal
import subprocess
import sys
import time

import psutil

OWNER = """
import subprocess, time
from services.engines import leash
held = subprocess.Popen(["sleep", "600"])
print(held.pid, leash.put_on(held.pid).pid, flush=True)
time.sleep(600)
"""


def wait_for_end(*pids):
    end = time.monotonic() + 60
    while any(psutil.pid_exists(pid) and is_alive(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.02)


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def start():
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    held, leash = (int(word) for word in owner.stdout.readline().split())
    until_ready(leash)
    return owner, held, leash


def until_ready(leash):
    """Waits until the leash ignores SIGTERM."""
    end = time.monotonic() + 60
    while not int(ignored_signals(leash), 16) >> (signal.SIGTERM - 1) & 1:
        assert time.monotonic() < end
        time.sleep(0.02)


def ignored_signals(pid):
    with open(f"/proc/{pid}/status") as file:  # noqa: PTH123
        return next(line.split()[1] for line in file if line.startswith("SigIgn"))


def test_a_killed_owner_takes_the_process_with_it():
    owner, held, leash = start()
    psutil.Process(leash).send_signal(signal.SIGTERM)
    owner.kill()
    owner.wait()
    wait_for_end(held, leash)


def test_a_process_that_ends_by_itself_ends_its_leash():
    owner, held, leash = start()
    psutil.Process(held).kill()
    wait_for_end(held, leash)
    owner.kill()
    owner.wait()
