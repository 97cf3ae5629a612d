"""Programs and rights that some tests need and pip can't bring."""

import os
import shutil

import pytest


def missing(why):
    """Leaves a test out, and says why; it fails where everything must be tested."""
    if "MPA_TEST_EVERYTHING" in os.environ:
        pytest.fail(why)
    pytest.skip(why)


def program(name, hint, folder="/usr/sbin"):
    """The path of a program, which may be in `folder`, too."""
    path = os.pathsep.join((os.environ.get("PATH", ""), str(folder)))
    return shutil.which(name, path=path) or missing(f"no {name}: {hint}")
