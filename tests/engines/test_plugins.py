"""Plugins of vLLM where this package is not installed."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

from services.engines.vllm_plugins import GROUP

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, multiprocessing, sys
from importlib.metadata import entry_points

sys.path.append(sys.argv[1])
from services.engines import vllm_plugins

def found(plugins):
    return {plugin.name: plugin.value for plugin in plugins}

group = {"group": vllm_plugins.GROUP}
before = found(entry_points(**group))
vllm_plugins.announce()
with multiprocessing.get_context("spawn").Pool(1) as pool:
    print(json.dumps([before, found(pool.apply(entry_points, kwds=group))]))
"""


def test_spawned_processes_find_the_plugins_of_a_package_that_is_not_installed(tmp_path):
    # As in a bento: without site-packages, and without the metadata that an installation writes.
    (tmp_path / "services").symlink_to(ROOT / "services")
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert json.loads(done.stdout) == [{}, project["entry-points"][GROUP]]
