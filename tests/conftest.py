import pytest


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory):
    """See tests/tiny.py; built once."""
    from tests.tiny import save_tiny_checkpoint

    return save_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))
