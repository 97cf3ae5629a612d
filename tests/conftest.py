import pytest

pytest_plugins = ("tests.quick",)


def pytest_collection_modifyitems(items):
    """Modules with slow tests come first, lest a long one is left to the end with one process."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="module", autouse=True)
def own_teacher_cache(tmp_path_factory):
    """Of each test module: never the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPA_CACHE", str(tmp_path_factory.mktemp("cache") / "teacher.sqlite"))
        yield


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory):
    """See tests/tiny.py; built once."""
    from tests.tiny import save_tiny_checkpoint

    return save_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def installation(tmp_path_factory):
    """See tests/installation.py; built once."""
    from tests.installation import install

    return install(tmp_path_factory.mktemp("installation"))


@pytest.fixture(scope="session")
def remote(installation, tmp_path_factory):
    """Two services of this environment, and a run that the small installation aligned on them."""
    from tests.remote import aligned

    with aligned(installation, tmp_path_factory.mktemp("remote")) as remote:
        yield remote
