"""docs/attacks.md lists each attack once, and every test of this folder."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "attacks.md"
AT_LEAST = 120
NO_ATTACKS = {
    "test_image_urls.py::test_an_image_of_an_allowed_host_is_read",
    "test_listing.py::test_every_attack_is_listed_once",
}
"""Tests that prove the others. Random requests are two attacks, however many tests they take."""


def test_every_attack_is_listed_once():
    rows = re.findall(r"^\| (.+?) \| `(test_.+)` \|$", PAGE.read_text(), re.MULTILINE)
    names, tests = (list(column) for column in zip(*rows, strict=True))
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    usual = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    found = subprocess.run(
        [*command, FOLDER], capture_output=True, text=True, check=True, env=usual
    )
    cases = set(re.findall(r"^tests/attacks/(.+::.+)$", found.stdout, re.MULTILINE))
    functions = {case.partition("[")[0] for case in cases}
    listed = {test.partition("[")[0] for test in tests}
    whole = {test for test in tests if "[" not in test}
    repeated = [name for name, count in Counter(names).items() if count > 1]
    assert not repeated
    assert len(names) >= AT_LEAST
    assert len(tests) == len(set(tests)), "an attack has a test, or a case, of its own"
    assert not [test for test in tests if "[" in test and test.partition("[")[0] in whole]
    assert set(tests) <= cases | functions, set(tests) - cases - functions
    others = {test for test in functions if test.startswith("test_fuzz.py")} | NO_ATTACKS
    assert functions - others <= listed, functions - others - listed
