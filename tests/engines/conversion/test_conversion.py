"""`mpa-orch models convert`: whole or not at all, and clear about what is missing."""

import json
import os
import resource

import pytest
from typer.testing import CliRunner

from services.core.errors import InvalidInput, MpaError, NotFound
from services.orchestrator.cli.main import app

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    from tests.internvl2 import save_internvl2

    return save_internvl2(tmp_path_factory.mktemp("published") / "model", "internlm2")


@pytest.fixture
def copy(published, tmp_path):
    """A copy to damage."""
    import shutil

    return shutil.copytree(published, tmp_path / "copy")


def refuses(source, out, error, *parts):
    from services.engines.conversion.conversion import convert

    with pytest.raises(error) as raised:
        convert(str(source), out)
    assert all(part in str(raised.value) for part in parts), str(raised.value)
    assert not out.exists()
    assert [path for path in out.parent.iterdir() if path.name.startswith(".")] == []
    return raised.value


def test_the_command_converts_and_names_the_next_step(published, tmp_path):
    out = tmp_path / "converted"
    result = CliRunner().invoke(app, ["models", "convert", str(published), str(out)])
    assert result.exit_code == 0, result.output
    assert "InternVLForConditionalGeneration" in result.output
    assert f"MPA_STUDENT_MODEL={out}" in result.output
    assert json.loads((out / "config.json").read_text())["model_type"] == "internvl"
    again = CliRunner().invoke(app, ["models", "convert", str(published), str(out)])
    assert again.exit_code == 1
    assert "already exists" in again.output


def test_weights_of_several_shards_have_an_index(published, tmp_path):
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file

    from services.engines.conversion.conversion import convert
    from services.engines.conversion.shards import ShardReader, ShardWriter

    out = tmp_path / "converted"
    convert(str(published), out)
    whole = load_file(out / "model.safetensors")
    writer = ShardWriter(tmp_path, shard_bytes=320_000)
    for name, tensor in whole.items():
        writer.add(name, tensor)
    writer.finish()
    shards = ShardReader.of(tmp_path)
    assert len(shards.files) > 2
    assert max(path.stat().st_size for path in shards.files) < 330_000
    again = dict(shards)
    assert again.keys() == whole.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in whole.values())
    for name, file in index["weight_map"].items():
        with safe_open(tmp_path / file, "pt") as shard:
            assert name in list(shard.keys())


def test_a_missing_shard_is_named(copy, tmp_path):
    (copy / "model-00002-of-00002.safetensors").unlink()
    error = refuses(
        copy, tmp_path / "out", InvalidInput, "lacks 1 of its 2", "model-00002-of-00002"
    )
    assert error.reason == "SHARD_MISSING"


def test_a_shard_that_is_cut_short_is_named(copy, tmp_path):
    shard = copy / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    refuses(copy, tmp_path / "out", InvalidInput, shard.name, "download it again")


def test_a_missing_tensor_is_named(copy, tmp_path):
    from safetensors.torch import load_file, save_file

    shard = copy / "model-00001-of-00002.safetensors"
    tensors = load_file(shard)
    del tensors["language_model.model.layers.0.attention.wqkv.weight"]
    save_file(tensors, shard, metadata={"format": "pt"})
    refuses(copy, tmp_path / "out", InvalidInput, "3 tensors are missing", "self_attn")


def test_a_foreign_tensor_is_named(copy, tmp_path):
    from safetensors.torch import load_file, save_file

    shard = copy / "model-00001-of-00002.safetensors"
    tensors = load_file(shard)
    save_file({**tensors, "audio.weight": tensors["mlp1.1.weight"].clone()}, shard)
    refuses(copy, tmp_path / "out", InvalidInput, "'audio.weight'", "can't be converted")


def changed(folder, **keys):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **keys}))
    return folder


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"architectures": ["LlavaLlamaForCausalLM"]}, "LlavaLlamaForCausalLM"),
        ({"architectures": []}, "an unnamed class"),
        ({"ps_version": "v1"}, "ps_version='v1'"),
        ({"select_layer": -2}, "select_layer=-2"),
        ({"template": "internvl_zh"}, "internvl_zh"),
        ({"llm_config": {"architectures": ["GemmaForCausalLM"]}}, "GemmaForCausalLM"),
        ({"vision_config": {"image_size": 28}}, "has no 'patch_size'"),
    ],
)
def test_an_unknown_architecture_or_setting_is_named(copy, tmp_path, keys, part):
    refuses(changed(copy, **keys), tmp_path / "out", InvalidInput, part)


def pickled(folder):
    """The same checkpoint with weights in PyTorch's own files."""
    import torch
    from safetensors.torch import load_file

    index = folder / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    index.unlink()
    for weights in sorted(folder.glob("*.safetensors")):
        named = weights.name.replace("model", "pytorch_model").replace("safetensors", "bin")
        torch.save(load_file(weights), folder / named)
        weights.unlink()
        weight_map = {k: named if v == weights.name else v for k, v in weight_map.items()}
    named = folder / "pytorch_model.bin.index.json"
    named.write_text(json.dumps({"weight_map": weight_map}))
    return folder


def test_weights_of_pytorch_convert_to_the_same_model(published, copy, tmp_path):
    from services.engines.conversion.conversion import convert

    convert(str(published), tmp_path / "usual")
    (copy / "training_args.bin").write_text("not weights")
    convert(str(pickled(copy)), tmp_path / "out")
    usual, ours = (tmp_path / name / "model.safetensors" for name in ("usual", "out"))
    assert ours.read_bytes() == usual.read_bytes()
    shard = copy / "pytorch_model-00001-of-00002.bin"
    shard.write_bytes(shard.read_bytes()[:-1000])
    refuses(copy, tmp_path / "again", InvalidInput, shard.name, "download it again")
    shard.unlink()
    refuses(copy, tmp_path / "again", InvalidInput, "lacks 1 of its 2", shard.name)


class Harm:
    """An object whose pickle would make a folder when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_with_code_is_refused_and_runs_nothing(copy, tmp_path):
    import torch

    harm = tmp_path / "harm"
    pickled(copy)
    torch.save({"mlp1.1.weight": Harm(str(harm))}, copy / "pytorch_model-00001-of-00002.bin")
    error = refuses(copy, tmp_path / "out", InvalidInput, "could run code when loaded")
    assert error.reason == "CHECKPOINT_UNSAFE"
    assert not harm.exists()


def test_a_folder_without_weights_is_named(copy, tmp_path):
    for weights in copy.glob("*.safetensors*"):
        weights.unlink()
    refuses(copy, tmp_path / "out", InvalidInput, "holds no weights", "pytorch_model*.bin")


@pytest.mark.parametrize(("name", "role"), [("bundled", "STUDENT"), ("gpt-4o", "TEACHER")])
def test_a_preset_that_needs_no_conversion_says_so(tmp_path, name, role):
    refuses(name, tmp_path / "out", InvalidInput, "needs no conversion", f"MPA_{role}_PRESET")


def test_a_folder_that_is_not_there_and_a_hub_id_without_hub(tmp_path):
    refuses("no/such/folder", tmp_path / "out", NotFound, "no model folder")
    refuses("OpenGVLab/Nothing", tmp_path / "out", NotFound, "the hub doesn't provide it")


def test_a_full_disk_leaves_nothing(published, tmp_path):
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, usual[1]))
    try:
        refuses(published, tmp_path / "out", MpaError, "can't be written", "make room")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_too_little_room_is_known_before_the_first_byte(copy, tmp_path):
    from services.engines.conversion.conversion import convert

    shard = copy / "model-00002-of-00002.safetensors"
    with shard.open("r+b") as file:
        file.truncate(2**43)  # sparse
    with pytest.raises(MpaError, match=r"needs 8192\.0 GiB, but .* GiB free"):
        convert(str(copy), tmp_path / "out")
