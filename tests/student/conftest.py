"""A world of versions to swap, and a store of datasets to train on."""

import pytest

from services.student.datasets import DatasetStore
from tests.student.swapping import World
from tests.student.trained import NAMES, train_both


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture
def datasets(tmp_path):
    return DatasetStore(tmp_path)


@pytest.fixture(scope="module", params=NAMES)
def trained(request, tmp_path_factory):
    """Both versions of an architecture."""
    return train_both(request.param, tmp_path_factory.mktemp(request.param))
