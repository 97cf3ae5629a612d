"""Tokenizer and packer of the families, built once."""

import pytest


@pytest.fixture(scope="session")
def tokenizer():
    from zoo.families.corpus import build_tokenizer

    return build_tokenizer()


@pytest.fixture(scope="session")
def packer(tokenizer):
    from zoo.architecture import build_processor
    from zoo.packing import Packer

    return Packer(build_processor(tokenizer, side=112, patch=14))
