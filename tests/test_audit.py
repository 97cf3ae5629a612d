"""The comparison with known vulnerabilities: what it prints, and its exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / ".ci" / "audit"
SOUND = {"name": "sound", "version": "1", "vulns": []}
FAULTY = {"name": "faulty", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "ours", "skip_reason": "not found"}


def audit(folder, printed, **variables):
    """Runs the script with a pip-audit that prints `printed`."""
    (folder / "pip_audit.py").write_text(f"print({printed!r})")
    env = {**os.environ, "PYTHONPATH": str(folder), **variables}
    env = {name: value for name, value in env.items() if value is not None}
    return subprocess.run([sys.executable, SCRIPT], env=env, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([SOUND, SKIPPED], 0, "1 packages, 0 with a vulnerability, 1 skipped"),
        ([SOUND, FAULTY], 1, "faulty 2: CVE-1, mended in 3"),
        ([SKIPPED, SKIPPED], 0, "NOT AUDITED: pip-audit could not ask for advisories: not found"),
        ([], 0, "NOT AUDITED"),
    ],
)
def test_the_exit_code_tells_of_vulnerabilities(tmp_path, packages, code, said):
    done = audit(tmp_path, json.dumps({"dependencies": packages}), MPA_TEST_EVERYTHING=None)
    assert said in done.stdout
    assert done.returncode == code


def test_what_could_not_be_audited_fails_where_everything_is_tested(tmp_path):
    assert audit(tmp_path, "no network", MPA_TEST_EVERYTHING="1").returncode == 2
