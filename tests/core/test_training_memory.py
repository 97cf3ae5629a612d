"""Memory of trainings: the formula, and the ways that fit one GPU of 48 GB."""

from dataclasses import replace
from itertools import pairwise

import pytest

from services.core.memory import GIB, Dimensions
from services.core.presets import PRESETS
from services.core.training_memory import (
    SampleSize,
    TrainingWay,
    activation_bytes,
    fastest_that_fits,
    fits,
    host_bytes,
    leaner,
    training_bytes,
)
from tests.core.test_memory import SHAPE, TOWER
from tests.core.test_presets import PAPER

GPU = 48 * GIB
"""An A6000 reports 49,140 MiB, of which the driver keeps some."""
BUSY = GIB
MODEL = Dimensions(1_000_000, SHAPE, TOWER)
SAMPLE = SampleSize(tokens=300, patches=176)
WAY = TrainingWay(micro_batch=4, share=16)


def test_full_training_takes_18_bytes_a_parameter_and_the_activations():
    logits = 64 * 100 * 16
    kept = 300 * 2 * SHAPE.layer_bytes(2) + 176 * 3 * TOWER.layer_bytes(2)
    assert activation_bytes(MODEL, SAMPLE, WAY) == kept + logits
    assert training_bytes(MODEL, SAMPLE, WAY) == 18 * 1_000_000 + 4 * (kept + logits) + GIB
    in_float32 = replace(WAY, value_bytes=4)
    assert (
        training_bytes(MODEL, SAMPLE, in_float32)
        == 16 * 1_000_000 + 4 * activation_bytes(MODEL, SAMPLE, in_float32) + GIB
    )


def test_checkpointing_keeps_the_stream_and_computes_one_layer_again():
    way = replace(WAY, checkpointing=True)
    stream = 300 * 2 * 10 * 4 + 176 * 3 * 8 * 4
    again = 2 * 300 * SHAPE.layer_bytes(2)
    assert activation_bytes(MODEL, SAMPLE, way) == stream + again + 64 * 100 * 16


def test_adapters_hold_a_frozen_base_in_its_own_format():
    way = replace(WAY, lora_rank=4)
    kept = 4 * activation_bytes(MODEL, SAMPLE, way)
    adapters = 18 * MODEL.adapter_parameters(4)
    assert training_bytes(MODEL, SAMPLE, way) == 2 * 1_000_000 + adapters + kept + GIB


def test_frozen_parts_are_held_in_their_own_format():
    way = replace(WAY, trained=200_000)
    kept = 4 * activation_bytes(MODEL, SAMPLE, way)
    assert training_bytes(MODEL, SAMPLE, way) == 2 * 800_000 + 18 * 200_000 + kept + GIB
    in_float32 = replace(way, base_bytes=4, value_bytes=4)
    kept = 4 * activation_bytes(MODEL, SAMPLE, in_float32)
    assert training_bytes(MODEL, SAMPLE, in_float32) == 4 * 800_000 + 16 * 200_000 + kept + GIB


def test_copies_reduce_gradients_in_buckets_and_shards_are_divided():
    copied = replace(WAY, processes=2)
    assert training_bytes(MODEL, SAMPLE, copied) - training_bytes(MODEL, SAMPLE, WAY) == 4_000_000
    sharded = training_bytes(MODEL, SAMPLE, replace(copied, sharded=True))
    assert training_bytes(MODEL, SAMPLE, WAY) - sharded == 9 * 1_000_000 - 3 * 100 * 10 * 4
    four = replace(WAY, lora_rank=1, processes=4, sharded=True)
    wide, narrow = (
        training_bytes(MODEL, SAMPLE, replace(four, base_bytes=size)) for size in (4, 2)
    )
    assert wide - narrow == 2 * 1_000_000 / 4, "a frozen base is divided, too"


def test_offloaded_weights_take_16_bytes_a_parameter_of_the_machine():
    way = replace(WAY, offloaded=True)
    assert host_bytes(MODEL, way) == 16 * 1_000_000 + GIB
    layer = 10 * (2 * 10 + 2 * 5 + 3 * 40)
    assert SHAPE.largest_layer == layer
    kept = 4 * activation_bytes(MODEL, SAMPLE, way)
    assert training_bytes(MODEL, SAMPLE, way) == 28 * layer + kept + GIB
    four = replace(way, processes=4)
    assert host_bytes(MODEL, four) == 5 * 4 * 1_000_000 + 4 * GIB, "each reads the weights"
    adapters = replace(way, lora_rank=4)
    trained = MODEL.adapter_parameters(4)
    assert host_bytes(MODEL, adapters) == 2 * (2 * 1_000_000 + 4 * trained) + GIB


def test_offloaded_weights_are_computed_twice_before_the_batch_is_cut():
    """They are transferred for each micro batch."""
    ways = leaner(TrainingWay(micro_batch=4, share=4, offloaded=True))
    assert [(way.micro_batch, way.checkpointing) for way in ways] == [
        (4, False),
        (4, True),
        (2, True),
        (1, True),
    ]


def test_leaner_ways_halve_the_micro_batch_and_then_turn_on_checkpointing():
    ways = list(leaner(replace(WAY, micro_batch=16)))
    sizes = [16, 8, 4, 2, 1]
    assert [(way.micro_batch, way.checkpointing) for way in ways] == [
        *((size, False) for size in sizes),
        *((size, True) for size in sizes),
    ]
    for more, less in pairwise(ways[:5]):
        assert training_bytes(MODEL, SAMPLE, more) > training_bytes(MODEL, SAMPLE, less)


def test_micro_batches_divide_the_share():
    assert [way.micro_batch for way in leaner(TrainingWay(micro_batch=6, share=6))] == [
        6,
        3,
        2,
        1,
    ] * 2


PLANNED = {
    "smolvlm-500m": (2, False),
    "tinyllava-2b": (2, False),
    "internvl2-2b": (2, True),
    "qwen2vl-2b": (2, True),
}


def _of_preset(name: str) -> tuple[Dimensions, SampleSize, TrainingWay]:
    preset = PRESETS[name]
    assert preset.dimensions
    batch = preset.hyperparameters.batch_size
    return (
        preset.dimensions,
        SampleSize.of_image(preset.dimensions, preset.visual_tokens),
        TrainingWay(micro_batch=batch, share=batch),
    )


@pytest.mark.parametrize("name", PLANNED)
def test_a_student_of_the_paper_trains_whole_on_one_gpu_of_48_gb(name):
    way = fastest_that_fits(*_of_preset(name), GPU - BUSY)
    assert way is not None
    assert (way.micro_batch, way.checkpointing) == PLANNED[name]


def test_the_student_of_4b_trains_by_offload_on_two_such_gpus_or_by_adapters():
    """18 bytes x 4.1B parameters are 70 GiB, however small the micro batch."""
    assert set(PLANNED) | {"internvl2-4b"} == set(PAPER)
    model, sample, way = _of_preset("internvl2-4b")
    assert fastest_that_fits(model, sample, way, GPU - BUSY) is None
    assert training_bytes(model, sample, replace(way, micro_batch=1, checkpointing=True)) > 70 * GIB
    offloaded = fastest_that_fits(model, sample, replace(way, offloaded=True), GPU - BUSY)
    assert offloaded is not None
    assert (offloaded.micro_batch, offloaded.checkpointing) == (6, True), "all of its batch"
    assert 62 * GIB < host_bytes(model, offloaded) < 63 * GIB
    shards = replace(way, micro_batch=3, share=3, processes=2, sharded=True)
    assert fastest_that_fits(model, sample, shards, GPU - BUSY)
    adapters = replace(way, micro_batch=1, lora_rank=16, checkpointing=True)
    assert fits(model, sample, adapters, GPU // 2)
