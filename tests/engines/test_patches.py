"""Patch embeddings as matrix products: the values and gradients of the convolution."""

import pytest
import torch

from services.engines.choice import ZOO
from services.engines.patches import PatchProduct, multiply_patches
from services.engines.settings import EngineSettings
from services.engines.transformers import read_checkpoint
from services.student.checkpoints import read_model

STUDENT = ZOO / "student"


def _pair(**options):
    torch.manual_seed(0)
    convolution = torch.nn.Sequential(torch.nn.Conv3d(3, 16, (2, 8, 8), **options))
    product = torch.nn.Sequential(torch.nn.Conv3d(3, 16, (2, 8, 8), **options))
    product.load_state_dict(convolution.state_dict())
    multiply_patches(product)
    return convolution, product


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [(2, 8, 8), (4, 16, 8)])
def test_a_product_has_the_values_and_gradients_of_the_convolution(bias, size):
    convolution, product = _pair(stride=(2, 8, 8), bias=bias)
    assert type(product[0]) is PatchProduct
    batch = torch.randn(5, 3, *size)
    outputs = [model(batch) for model in (convolution, product)]
    for output in outputs:
        output.pow(2).sum().backward()
    torch.testing.assert_close(*outputs)
    for one, other in zip(convolution.parameters(), product.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert convolution.state_dict().keys() == product.state_dict().keys()


def test_no_convolution_takes_place_over_whole_patches():
    _, product = _pair(stride=(2, 8, 8))
    with torch.profiler.profile() as profile:
        product(torch.randn(5, 3, 2, 8, 8)).sum().backward()
    assert not [event.key for event in profile.key_averages() if "convolution" in event.key]


@pytest.mark.parametrize("options", [{"padding": 1}, {"dilation": 2}])
def test_other_convolutions_stay(options):
    _, same = _pair(**options)
    assert type(same[0]) is torch.nn.Conv3d


def _products(model) -> int:
    return sum(isinstance(module, PatchProduct) for module in model.modules())


def test_what_is_trained_multiplies_and_is_saved_as_it_was(tmp_path):
    model = read_model(STUDENT)
    assert _products(model) == 1
    model.save_pretrained(tmp_path)
    plain = type(model).from_pretrained(tmp_path)
    assert _products(plain) == 0
    for (name, one), (other, two) in zip(
        model.state_dict().items(), plain.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(one, two)


def test_what_is_served_multiplies():
    assert _products(read_checkpoint(STUDENT, EngineSettings()).model) == 1


def test_half_precision_has_the_values_of_the_convolution():
    convolution, product = _pair(stride=(2, 8, 8))
    batch = torch.randn(5, 3, 2, 8, 8, dtype=torch.bfloat16)
    torch.testing.assert_close(product.bfloat16()(batch), convolution.bfloat16()(batch))
