import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""The models are tiny: more threads of torch only spin, and slow down parallel tests."""

pytest_plugins = ("tests.quick",)


def pytest_collection_modifyitems(items):
    """Long modules begin first, lest one is left to a single process at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: ("vllm" not in item.path.stem, item.path not in slow))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A process takes a module at a time, and all modules of vLLM, or of Ray.

    Two of vLLM would need 10 GB. Clusters of Ray on one machine get in each other's way.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByModule(LoadFileScheduling):
        def _split_scope(self, nodeid):
            module = super()._split_scope(nodeid)
            groups = ("vllm", "distributed")
            return next((group for group in groups if group in module), module)

    return ByModule(config, log)


@pytest.fixture(scope="module", autouse=True)
def own_teacher_cache(tmp_path_factory):
    """A cache for each test module: never the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPA_CACHE", str(tmp_path_factory.mktemp("cache") / "teacher.sqlite"))
        yield


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory):
    """See tests/tiny.py; built once."""
    from tests.tiny import save_tiny_checkpoint

    return save_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The package, built once."""
    from tests.installation import build_wheel

    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installation(wheel, tmp_path_factory):
    """See tests/installation.py; without extras."""
    from tests.installation import install

    return install(wheel, tmp_path_factory.mktemp("installation"))


@pytest.fixture(scope="session")
def remote(installation, tmp_path_factory):
    """Two services of this environment, and a run that the small installation aligned on them."""
    from tests.remote import aligned

    with aligned(installation, tmp_path_factory.mktemp("remote")) as remote:
        yield remote
