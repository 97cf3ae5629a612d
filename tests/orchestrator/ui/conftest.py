import pytest

from tests.orchestrator.ui.exhibits import make_run, serving, until_counted


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with the run "a"; tests of a module share it, and change nothing."""
    folder = tmp_path_factory.mktemp("ui")
    make_run(folder / "runs" / "a", folder / "pool")
    return folder / "runs"


@pytest.fixture(scope="module")
def client(root):
    """A client of the explorer over `root`, when the run is counted."""
    with serving(root) as opened:
        until_counted(opened, "a")
        yield opened
