"""Test modules load the large libraries when they run: a single test starts at once."""

import subprocess
import sys

import pytest

from tests.e2e.processes import ROOT

LARGE = ("torch", "transformers", "vllm", "ray")


@pytest.mark.slow
def test_collecting_the_tests_loads_no_large_library():
    program = (
        "import sys, pytest;"
        "code = pytest.main(['--collect-only', '--quiet', '-pno:cacheprovider']);"
        f"print([name for name in {LARGE} if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert done.stdout.splitlines()[-1] == "[]"
