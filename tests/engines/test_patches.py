"""Patch embeddings as matrix products: the values and gradients of the convolution."""

import pytest

from services.engines.choice import ZOO

STUDENT = ZOO / "student"


@pytest.fixture(scope="module")
def torch():
    import torch

    return torch


@pytest.fixture(scope="module")
def patches():
    from services.engines import patches

    return patches


@pytest.fixture
def pair(torch, patches):
    """Makes a model of one convolution, and the same as a product."""

    def make(**options):
        torch.manual_seed(0)
        convolution, product = (
            torch.nn.Sequential(torch.nn.Conv3d(3, 16, (2, 8, 8), **options)) for _ in range(2)
        )
        product.load_state_dict(convolution.state_dict())
        patches.multiply_patches(product)
        return convolution, product

    return make


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [(2, 8, 8), (4, 16, 8)])
def test_a_product_has_the_values_and_gradients_of_the_convolution(
    torch, patches, pair, bias, size
):
    convolution, product = pair(stride=(2, 8, 8), bias=bias)
    assert type(product[0]) is patches.PatchProduct
    batch = torch.randn(5, 3, *size)
    outputs = [model(batch) for model in (convolution, product)]
    for output in outputs:
        output.pow(2).sum().backward()
    torch.testing.assert_close(*outputs)
    for one, other in zip(convolution.parameters(), product.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert convolution.state_dict().keys() == product.state_dict().keys()


def test_no_convolution_takes_place_over_whole_patches(torch, pair):
    _, product = pair(stride=(2, 8, 8))
    with torch.profiler.profile() as profile:
        product(torch.randn(5, 3, 2, 8, 8)).sum().backward()
    assert not [event.key for event in profile.key_averages() if "convolution" in event.key]


def test_half_precision_has_the_values_of_the_convolution(torch, pair):
    convolution, product = pair(stride=(2, 8, 8))
    batch = torch.randn(5, 3, 2, 8, 8, dtype=torch.bfloat16)
    torch.testing.assert_close(product.bfloat16()(batch), convolution.bfloat16()(batch))


@pytest.mark.parametrize("options", [{"padding": 1}, {"dilation": 2}])
def test_other_convolutions_stay(torch, pair, options):
    _, same = pair(**options)
    assert type(same[0]) is torch.nn.Conv3d


def test_what_is_trained_multiplies_and_is_saved_as_it_was(torch, patches, tmp_path):
    from services.student.checkpoints import read_model

    model = read_model(STUDENT)
    assert _products(patches, model) == 1
    model.save_pretrained(tmp_path)
    plain = type(model).from_pretrained(tmp_path)
    assert _products(patches, plain) == 0
    for (name, one), (other, two) in zip(
        model.state_dict().items(), plain.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(one, two)


def _products(patches, model) -> int:
    return sum(isinstance(module, patches.PatchProduct) for module in model.modules())
