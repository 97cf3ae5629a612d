"""The families' tokenizer, built once."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from zoo.architecture import build_processor
from zoo.families.corpus import build_tokenizer
from zoo.packing import Packer


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


@pytest.fixture(scope="session")
def packer(tokenizer: PreTrainedTokenizerFast) -> Packer:
    return Packer(build_processor(tokenizer, side=112, patch=14))
