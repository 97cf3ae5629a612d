"""A world of versions to swap, and a store of datasets to train on."""

import pytest

from services.student.datasets import DatasetStore
from tests.student.swapping import World


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def datasets(tmp_path):
    return DatasetStore(tmp_path)
