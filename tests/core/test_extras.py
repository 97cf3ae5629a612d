import pytest

from services.core import extras
from services.core.errors import InvalidInput


def test_a_missing_library_is_reported_with_the_extra_that_brings_it():
    extras.require("json", "serve", "the teacher")
    with pytest.raises(InvalidInput, match="the teacher needs warpdrive") as refused:
        extras.require("warpdrive", "serve", "the teacher")
    assert "pip install -c constraints.txt '.[serve]'" in str(refused.value)
    assert refused.value.reason == "NOT_INSTALLED"
