import subprocess
import sys
import time

import psutil

from services.engines.tether import OWNER

HELD = """
import os, subprocess, sys, time
from services.engines import tether
tether.own()
program = "import time; from services.engines.tether import hold; hold(); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", program])
print(child.pid, flush=True)
tether.hold()
time.sleep(60)
"""


def test_what_is_held_ends_with_its_owner_however_that_ends():
    owner = subprocess.Popen([sys.executable, "-c", HELD], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(owner.stdout.readline()))
    time.sleep(2.5)
    assert owner.poll() is None, "the owner does not watch itself"
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
    assert subprocess.run([sys.executable, "-c", FREE], capture_output=True, text=True).stdout.strip() == "1"
