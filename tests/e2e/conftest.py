"""Services with the fake engine, for tests that leave them as they are. Others start their own."""

import pytest

from tests.e2e.processes import serving
from tests.serving import fake_checkpoint


@pytest.fixture(scope="package")
def model(tmp_path_factory):
    return fake_checkpoint(tmp_path_factory.mktemp("model"), skill=0.5, latency_s=0.01)


@pytest.fixture(scope="package")
def student(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("student")
    with serving("student", folder, model=model, store=folder / "store") as service:
        yield service


@pytest.fixture(scope="package")
def teacher(tmp_path_factory, model):
    with serving("teacher", tmp_path_factory.mktemp("teacher"), model=model) as service:
        yield service
