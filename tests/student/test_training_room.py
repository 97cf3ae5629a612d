"""Room for a training: true shapes of real models, sparse weights, GPUs of a simulated driver."""

import json
import math
import struct
from dataclasses import replace

import pytest

from services.core.errors import InvalidInput, WrongState
from services.core.memory import NO_ROOM
from services.core.presets import PRESETS, Hyperparameters
from services.core.training_memory import SampleSize
from services.student.disk import training_disk_bytes
from services.student.execution import AUTO, Execution
from services.student.settings import StudentSettings
from services.student.student import HostedStudent
from services.student.trainable import trained_parameters
from services.student.training_room import can_offload, training_room
from tests.driver import install_driver
from tests.serving import fake_student_settings

TABLE_11 = Hyperparameters(learning_rate=1e-5)
BY_MEMORY = Execution(micro_batch=AUTO)
LARGEST = SampleSize(tokens=3_584, patches=13_312)
"""A photo in InternVL2's 13 tiles."""


def write_sparse(folder, shapes, *, has_data=True):
    """Weights of these shapes in bfloat16, as a file without blocks on the disk, or its header."""
    header = {}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end * has_data)


@pytest.fixture(scope="module")
def qwen2vl_2b(tmp_path_factory):
    """A checkpoint of Qwen2-VL-2B's true shape, with the preset's pixel budget and no blocks."""
    import torch
    from transformers import AutoModelForImageTextToText

    from tests.engines.test_presets import CONFIGS
    from zoo.architecture import build_processor

    preset = PRESETS["qwen2vl-2b"]
    folder = tmp_path_factory.mktemp("qwen2vl-2b")
    config = CONFIGS[preset.architecture](preset)
    processor = build_processor()
    for mark in ("image", "video"):
        ids = processor.tokenizer.convert_tokens_to_ids(f"<|{mark}_pad|>")
        setattr(config, f"{mark}_token_id", ids)
    config.save_pretrained(folder)
    processor.image_processor.size = {"shortest_edge": 200_704, "longest_edge": 1_003_520}
    processor.save_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    write_sparse(folder, {name: tensor.shape for name, tensor in model.named_parameters()})
    return folder


@pytest.fixture(scope="module")
def internvl2_4b(tmp_path_factory):
    """A checkpoint of the shape that InternVL2-4B has after its conversion, without blocks."""
    import torch
    from transformers import AutoModelForImageTextToText, InternVLConfig

    from tests.engines.test_presets import CONFIGS

    preset = PRESETS["internvl2-4b"]
    folder = tmp_path_factory.mktemp("internvl2-4b")
    config = CONFIGS["InternVLForConditionalGeneration"](preset)
    shape = preset.shape
    text = {
        "model_type": "phi3",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "vocab_size": shape.vocabulary,
    }
    config = InternVLConfig(
        text_config=text, vision_config=config.vision_config, tie_word_embeddings=False
    )
    config.save_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    write_sparse(folder, {name: tensor.shape for name, tensor in model.named_parameters()})
    return folder


@pytest.fixture
def machine(tmp_path):
    """Root of a machine with so much memory, all of it free."""

    def make(gib):
        (tmp_path / "proc").mkdir(exist_ok=True)
        kib = int(gib * 2**20)
        table = f"MemTotal: {kib} kB\nMemAvailable: {kib} kB\n"
        (tmp_path / "proc" / "meminfo").write_text(table)
        return tmp_path

    return make


@pytest.fixture
def one_gpu(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(free, total):
        install_driver(monkeypatch, tmp_path / f"{free}-{total}", (free, total))

    return install


pytestmark = pytest.mark.slow


def test_a_model_of_2b_trains_whole_on_a_free_gpu_of_48_gb(qwen2vl_2b, one_gpu):
    one_gpu(47, 48)
    room = training_room(qwen2vl_2b, TABLE_11, BY_MEMORY, "0")
    assert room.fits, room.reason
    assert room.way is not None
    assert (room.way.micro_batch, room.way.checkpointing) == (2, True)
    assert "2 samples at a time, computing activations twice; 47.0 GiB are free" in room.reason


def test_a_micro_batch_that_was_set_is_not_made_smaller(qwen2vl_2b, one_gpu):
    """The training would not make it smaller either, and would run out of memory."""
    one_gpu(47, 48)
    room = training_room(qwen2vl_2b, TABLE_11, Execution(micro_batch=8), "0")
    assert not room.fits
    assert room.way is not None
    assert (room.way.micro_batch, room.way.checkpointing) == (8, False)
    assert room.needed > room.free == 47 * 2**30
    assert "in micro batches of 8, but 47.0 GiB are free: set" in room.reason
    assert room.reason.endswith("MPA_STUDENT_TRAINING_MICRO_BATCH=auto")
    set_well = Execution(micro_batch=1, gradient_checkpointing=True)
    assert training_room(qwen2vl_2b, TABLE_11, set_well, "0").fits


def test_a_gpu_that_is_not_there_is_refused_with_those_that_are(qwen2vl_2b, one_gpu):
    """Without the refusal, the training would take it for a machine without a GPU."""
    one_gpu(47, 48)
    for named in ("1", "0,1"):
        with pytest.raises(InvalidInput) as refused:
            training_room(qwen2vl_2b, TABLE_11, BY_MEMORY, named)
        assert f"MPA_STUDENT_TRAINING_DEVICES is {named}, but not all" in str(refused.value)
        assert "it finds GPU 0: NVIDIA RTX A6000" in str(refused.value)


async def test_a_student_does_not_start_if_its_trainings_gpu_is_not_there(one_gpu, tmp_path):
    one_gpu(47, 48)
    settings = replace(fake_student_settings(tmp_path), training_devices="1")
    student = HostedStudent(settings)
    with pytest.raises(InvalidInput, match="MPA_STUDENT_TRAINING_DEVICES is 1"):
        await student.start()
    await student.close()


def test_more_processes_than_gpus_are_told_before_a_run(qwen2vl_2b, one_gpu):
    one_gpu(47, 48)
    with pytest.raises(InvalidInput, match="PROCESSES is 2, but training may use only 1 devices"):
        training_room(qwen2vl_2b, TABLE_11, Execution(micro_batch=AUTO, processes=2), "0")


def test_beside_a_served_model_on_the_same_gpu_it_does_not_fit_and_says_what_would(
    qwen2vl_2b, one_gpu
):
    one_gpu(28, 48)
    room = training_room(qwen2vl_2b, TABLE_11, BY_MEMORY, "")
    assert not room.fits
    assert room.free == 28 * 2**30 < room.needed
    assert "even one sample at a time with gradient checkpointing, but 28.0 GiB" in room.reason
    for way_out in (
        "--lora-rank 16",
        "MPA_STUDENT_TRAINING_PROCESSES=2 and MPA_STUDENT_TRAINING_SHARDED=1",
        "name a free one by MPA_STUDENT_TRAINING_DEVICES",
    ):
        assert way_out in room.reason
    adapters = Hyperparameters(learning_rate=1e-5, lora_rank=16)
    assert training_room(qwen2vl_2b, adapters, BY_MEMORY, "").fits


def test_a_part_of_the_model_needs_less_memory_and_disk(qwen2vl_2b, one_gpu):
    one_gpu(28, 48)
    part = Hyperparameters(learning_rate=1e-5, trainable="attention")
    leanest = Execution(micro_batch=1, gradient_checkpointing=True)
    whole, narrow = (training_room(qwen2vl_2b, each, leanest, "") for each in (TABLE_11, part))
    frozen = PRESETS["qwen2vl-2b"].parameters - trained_parameters(qwen2vl_2b, part)
    assert (whole.fits, narrow.fits) == (False, True)
    assert whole.needed - narrow.needed == 16 * frozen > 30 * 2**30
    disk = [training_disk_bytes(qwen2vl_2b, each) for each in (TABLE_11, part)]
    assert disk[0] - disk[1] == 2 * (12 - 4) * frozen


def test_internvl2_4b_trains_whole_on_one_gpu_of_48_gb_by_offload(internvl2_4b, one_gpu, machine):
    one_gpu(47, 48)
    settings = PRESETS["internvl2-4b"].hyperparameters

    def room(execution, gib):
        root = machine(gib)
        return training_room(internvl2_4b, settings, execution, "0", LARGEST, root=root)

    plain = room(BY_MEMORY, 128)
    assert not plain.fits
    assert plain.needed > 70 * 2**30
    assert (
        "MPA_STUDENT_TRAINING_OFFLOAD=1: 7.7 GiB of 47.0 GiB on the GPU, 62.8 GiB" in plain.reason
    )
    assert "OFFLOAD" not in room(BY_MEMORY, 64).reason, "it takes more than 95 % of that"
    offloaded = room(Execution(micro_batch=AUTO, offload=True), 128)
    assert offloaded.fits, offloaded.reason
    assert offloaded.way is not None
    assert (offloaded.way.micro_batch, offloaded.way.checkpointing) == (6, True), "all of a batch"
    assert offloaded.needed < 27 * 2**30
    assert offloaded.reason.endswith("47.0 GiB are free; and 62.8 GiB of this machine's memory")
    refused = room(Execution(micro_batch=AUTO, offload=True), 64)
    assert not refused.fits
    assert "takes about 62.8 GiB of this machine's memory" in refused.reason
    assert "64.0 GiB are free: use a machine with more memory" in refused.reason


def test_after_the_leanest_attempt_comes_offload_if_the_machine_has_room(
    internvl2_4b, one_gpu, machine, monkeypatch
):
    one_gpu(1, 48)
    settings = PRESETS["internvl2-4b"].hyperparameters
    assert can_offload(internvl2_4b, settings, BY_MEMORY, machine(128))
    assert not can_offload(internvl2_4b, settings, BY_MEMORY, machine(64))
    done = Execution(micro_batch=1, offload=True)
    assert not can_offload(internvl2_4b, settings, done, machine(128)), "it was tried"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not can_offload(internvl2_4b, settings, BY_MEMORY, machine(128)), "the same memory"


def test_a_device_gathers_no_layer_larger_than_the_estimates(internvl2_4b, qwen2vl_2b):
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    from services.engines.dimensions import read_dimensions
    from services.student.sharding import layer_classes

    for base in (internvl2_4b, qwen2vl_2b):
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(base))
        names = layer_classes(model)
        layers = [part for part in model.modules() if type(part).__name__ in names]
        largest = max(sum(each.numel() for each in layer.parameters()) for layer in layers)
        embeddings = model.get_input_embeddings().weight.numel()
        estimated = read_dimensions(base).language.largest_layer
        assert max(largest, embeddings) == pytest.approx(estimated, rel=0.01)


def test_a_training_that_fits_nowhere_says_so(qwen2vl_2b, one_gpu):
    one_gpu(5.5, 6)
    room = training_room(qwen2vl_2b, TABLE_11, BY_MEMORY, "")
    assert not room.fits
    assert room.reason.endswith("choose a smaller student (`mpa-orch models`)")


def test_without_a_gpu_the_machines_memory_counts(qwen2vl_2b, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    room = training_room(qwen2vl_2b, TABLE_11, BY_MEMORY, "")
    assert "of the CPU's memory" in room.reason
    assert room.needed > 16 * PRESETS["qwen2vl-2b"].parameters


def test_a_model_that_transformers_does_not_know_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "internvl_chat"}')
    write_sparse(tmp_path, {"a": (2, 2)})
    with pytest.raises(InvalidInput, match="can't be trained: transformers doesn't load it"):
        training_room(tmp_path, TABLE_11, BY_MEMORY, "")


async def test_a_second_student_on_a_gpu_with_room_for_one_does_not_start(one_gpu, tmp_path):
    one_gpu(10, 48)
    variables = {"STORE": tmp_path / "store", "ENGINE": "vllm", "PRESET": "bundled"}
    named = {f"MPA_STUDENT_{name}": str(value) for name, value in variables.items()}
    student = HostedStudent(StudentSettings.from_env(named))
    with pytest.raises(WrongState) as refused:
        await student.start()
    assert refused.value.reason == NO_ROOM
    assert "takes 19.2 GiB of the GPU, but only 10.0 GiB are free" in str(refused.value)
    await student.close()
