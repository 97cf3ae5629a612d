"""Estimates of memory: the stated formulas."""

from services.core.memory import GIB, Dimensions, Shape, Tower, serving_bytes

SHAPE = Shape(
    layers=2,
    hidden=10,
    intermediate=40,
    heads=2,
    key_value_heads=1,
    head_size=5,
    vocabulary=100,
)
TOWER = Tower(layers=3, hidden=8, intermediate=32, patches=4)


def test_serving_takes_weights_cache_and_tokens_at_work():
    assert SHAPE.cache_bytes == 2 * 2 * 2 * 5
    assert (
        serving_bytes(Dimensions(1000, SHAPE), 44)
        == 2000 + 16 * 300 * 40 + 8192 * 10 * 16 * 2 + GIB
    )


def test_adapters_have_the_widths_of_each_linear_layer():
    language = 4 * 2 * ((10 + 10) + (10 + 5) + (10 + 5) + (10 + 10) + 3 * 50)
    assert Dimensions(1000, SHAPE).adapter_parameters(4) == language
    tower = 4 * 3 * ((8 + 24) + (8 + 8) + (8 + 32) + (32 + 8))
    assert Dimensions(1000, SHAPE, TOWER).adapter_parameters(4) == language + tower


def test_a_layer_keeps_what_autograd_saves():
    """Counted by torch.autograd.graph.saved_tensors_hooks on Qwen2-VL, transformers 5."""
    shape = Shape(
        layers=2,
        hidden=512,
        intermediate=1536,
        heads=8,
        key_value_heads=4,
        head_size=64,
        vocabulary=2000,
    )
    assert shape.layer_bytes(4) == 43_008
    assert shape.layer_bytes(2) == 28_672
    assert Tower(layers=2, hidden=256, intermediate=1024).layer_bytes(4) == 23_552
