"""The transformers engine on a real architecture with random weights."""

import asyncio
import json
import re
import shutil
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from services.core.decoding import Decoding
from services.core.errors import EngineFailed, InvalidInput
from services.engines import adapters, checkpoint
from services.engines.images import LoadedImage, load_image
from services.engines.loading import load_model
from services.engines.model import Prompt, Reloadable
from services.engines.settings import EngineSettings
from tests.pictures import numbered_png, png
from tests.tiny import LAYERS, VISION_DEPTH

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
QUESTIONS = [
    "what color is the shape?",
    "is there a circle?",
    "what shape does the image contain, if it has one at all?",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tiny_checkpoint):
    engine = await load_model(tiny_checkpoint, EngineSettings(device="cpu"))
    yield engine
    await engine.close()


def _prompts(**decoding):
    settings = {"max_new_tokens": 12, **decoding}
    return [
        Prompt(
            load_image(numbered_png(number)),
            QUESTIONS[number % 3],
            Decoding(**settings, seed=number),
        )
        for number in range(9)
    ]


async def test_alone_or_in_a_batch_the_answer_is_the_same(engine):
    """Prompts of different lengths, padded on the left, do not disturb each other."""
    together = await asyncio.gather(*(engine.generate(prompt) for prompt in _prompts()))
    alone = [await engine.generate(prompt) for prompt in _prompts()]
    assert [reply.text for reply in together] == [reply.text for reply in alone]
    assert [reply.prompt_tokens for reply in together] == [reply.prompt_tokens for reply in alone]
    assert len({reply.text for reply in alone}) > 1


async def test_a_seed_decides_a_sample_whatever_is_in_its_batch(engine):
    sampled = _prompts(temperature=1.0)
    together = await asyncio.gather(*(engine.generate(prompt) for prompt in sampled))
    alone = await engine.generate(sampled[4])
    assert together[4].text == alone.text
    greedy = await engine.generate(_prompts()[4])
    assert greedy.text != alone.text


async def test_another_seed_is_another_sample(engine):
    sampled = _prompts(temperature=1.0)[0]
    seeded = [
        replace(sampled, decoding=replace(sampled.decoding, seed=seed)) for seed in (0, 1, 2, 3, 0)
    ]
    texts = [
        reply.text
        for reply in await asyncio.gather(*(engine.generate(prompt) for prompt in seeded))
    ]
    assert len(set(texts)) == 4
    assert texts[0] == texts[4]


async def test_an_image_that_can_not_be_prepared_fails_alone(engine):
    nothing: Any = None
    broken = replace(_prompts()[0], image=LoadedImage("0" * 64, nothing))
    alone = [await engine.generate(prompt) for prompt in _prompts()]
    failed, *others = await asyncio.gather(
        *(engine.generate(prompt) for prompt in (broken, *_prompts())), return_exceptions=True
    )
    assert isinstance(failed, EngineFailed)
    assert [reply.text for reply in others] == [reply.text for reply in alone]


async def test_every_layer_of_every_step_is_a_sign_of_life(engine):
    from services.engines.parts import at_each_layer

    beats = []
    at_each_layer(engine._model, lambda: beats.append(1))
    await engine.generate(Prompt(load_image(png()), "why?", Decoding(max_new_tokens=1)))
    first = len(beats)
    assert first >= LAYERS + VISION_DEPTH
    reply = await engine.generate(Prompt(load_image(png()), "why?", Decoding(max_new_tokens=5)))
    assert len(beats) >= 2 * first + (reply.completion_tokens - 1) * LAYERS


async def test_an_adapter_that_does_not_load_leaves_nothing_behind(tiny_checkpoint, tmp_path):
    settings = EngineSettings(device="cpu", max_lora_rank=8)
    engine: Any = await load_model(tiny_checkpoint, settings)
    before = (await engine.generate(_prompts()[0])).text
    config = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]}
    config["base_model_name_or_path"] = checkpoint.weights_sha256(tiny_checkpoint)
    (tmp_path / adapters.CONFIG).write_text(json.dumps(config))
    (tmp_path / adapters.WEIGHTS).write_bytes(b"cut off")
    with pytest.raises(InvalidInput, match="can't be loaded"):
        await engine.with_adapter(tmp_path)
    assert not [name for name, _ in engine._model.named_parameters() if "lora" in name]
    assert (await engine.generate(_prompts()[0])).text == before
    await engine.close()


async def test_greedy_and_sampled_requests_share_a_batch(engine):
    greedy, sampled = _prompts()[0], _prompts(temperature=1.0)[1]
    alone = await engine.generate(greedy)
    mixed, _ = await asyncio.gather(engine.generate(greedy), engine.generate(sampled))
    assert mixed.text == alone.text


async def test_a_tiny_nucleus_is_greedy(engine):
    narrow = await engine.generate(_prompts(temperature=1.0, top_p=1e-6)[2])
    assert narrow.text == (await engine.generate(_prompts()[2])).text


async def test_a_reply_ends_with_a_whole_character(engine):
    decodings = [Decoding(temperature=5.0, max_new_tokens=1, seed=seed) for seed in range(64)]
    replies = await asyncio.gather(
        *(engine.generate(Prompt(load_image(png()), "why?", decoding)) for decoding in decodings)
    )
    assert any(reply.text for reply in replies)
    assert not [reply.text for reply in replies if reply.text.endswith("\N{REPLACEMENT CHARACTER}")]


async def test_a_prompt_that_does_not_fit_fails_alone(engine):
    image = load_image(png())
    long = Prompt(image, "why " * 5000, Decoding(max_new_tokens=4))
    short = Prompt(image, "why?", Decoding(max_new_tokens=4))
    replies = [engine.generate(prompt) for prompt in (long, short)]
    refused, answered = await asyncio.gather(*replies, return_exceptions=True)
    assert isinstance(refused, InvalidInput)
    assert refused.reason == "PROMPT_TOO_LONG"
    assert answered.completion_tokens <= 4


async def test_a_prompt_that_does_not_fit_with_its_image_fails_alone(engine):
    """The question alone would fit."""
    from zoo.architecture import CONTEXT_LENGTH

    limit = Decoding(max_new_tokens=4)
    image = load_image(png())
    taken = (await engine.generate(Prompt(image, "why", limit))).prompt_tokens
    room = CONTEXT_LENGTH - limit.max_new_tokens - taken
    fitting, too_long = (Prompt(image, "why" + "~" * count, limit) for count in (room, room + 1))
    prompts = [Prompt(load_image(numbered_png(1)), "why?", limit), too_long, fitting]
    first, refused, last = await asyncio.gather(
        *map(engine.generate, prompts), return_exceptions=True
    )
    assert refused.reason == "PROMPT_TOO_LONG"
    assert f"take {CONTEXT_LENGTH - 3} tokens" in str(refused)
    assert first.text == (await engine.generate(prompts[0])).text
    assert last.text == (await engine.generate(fitting)).text


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tensors: tensors.pop(next(name for name in tensors if "mlp" in name)), "missing"),
        (
            lambda tensors: tensors.update(
                {"model.stranger.weight": next(iter(tensors.values())).clone()}
            ),
            "another architecture",
        ),
    ],
)
async def test_a_checkpoint_that_does_not_fit_is_refused(
    tiny_checkpoint, tmp_path, damage, message
):
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, broken)
    tensors = load_file(broken / "model.safetensors")
    damage(tensors)
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidInput, match=message):
        await load_model(broken, EngineSettings(device="cpu"))


async def test_a_cut_off_weight_file_is_refused(tiny_checkpoint, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(InvalidInput, match="can't be loaded"):
        await load_model(broken, EngineSettings(device="cpu"))


async def test_a_configuration_of_another_size_is_refused(tiny_checkpoint, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, broken)
    config = json.loads((broken / "config.json").read_text())
    config["text_config"]["intermediate_size"] *= 2
    (broken / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidInput):
        await load_model(broken, EngineSettings(device="cpu"))


OWN_CODE = """
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration


class OwnConfig(Qwen2VLConfig):
    model_type = "own"


class OwnModel(Qwen2VLForConditionalGeneration):
    config_class = OwnConfig
"""


async def test_a_checkpoint_with_code_of_its_own_is_reloaded(tiny_checkpoint, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "own"
    shutil.copytree(tiny_checkpoint, folder)
    (folder / "own.py").write_text(OWN_CODE)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "own.OwnConfig",
        "AutoModelForImageTextToText": "own.OwnModel",
    }
    config |= {"model_type": "own", "architectures": ["OwnModel"]}
    (folder / "config.json").write_text(json.dumps(config))
    # transformers knows Qwen2-VL's published names by its model type only.
    named = {
        re.sub(r"^model\.(?=layers|embed_tokens|norm)", "model.language_model.", name): tensor
        for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    settings = EngineSettings(device="cpu", trust_remote_code=True)
    engine = await load_model(folder, settings)
    before = await engine.generate(_prompts()[0])
    assert isinstance(engine, Reloadable)
    await engine.reload(folder)
    assert await engine.generate(_prompts()[0]) == before
    await engine.close()


async def test_a_checkpoints_defaults_of_sampling_do_not_count(engine, tiny_checkpoint, tmp_path):
    folder = tmp_path / "penalized"
    shutil.copytree(tiny_checkpoint, folder)
    path = folder / "generation_config.json"
    defaults = {"do_sample": True, "repetition_penalty": 9.0, "temperature": 0.01}
    path.write_text(json.dumps(json.loads(path.read_text()) | defaults))
    penalized = await load_model(folder, EngineSettings(device="cpu"))
    prompts = _prompts()
    found = [await penalized.generate(prompt) for prompt in prompts]
    assert found == [await engine.generate(prompt) for prompt in prompts]
    await penalized.close()
