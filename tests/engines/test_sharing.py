"""Shared images. student/test_architectures.py tests that every architecture answers the same."""

import asyncio

import pytest

from services.core.decoding import Decoding
from services.engines.images import load_image
from services.engines.loading import load_model
from services.engines.model import Prompt
from services.engines.settings import EngineSettings
from tests.pictures import numbered_png, png

pytestmark = pytest.mark.slow
TEXTS = ["what color is the shape?", "is there a circle?", "what shape is it?"]
IMAGES = [load_image(png(size=(size, 56))).pixels for size in (56, 112)]
ORDER = [0, 1, 0, 0, 1]


@pytest.fixture
def processor(tiny_checkpoint):
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(tiny_checkpoint).eval()


def _inputs(processor):
    texts = [
        f"<|vision_start|><|image_pad|><|vision_end|>{TEXTS[number % 3]}"
        for number in range(len(ORDER))
    ]
    images = [[IMAGES[place]] for place in ORDER]
    return processor(
        text=texts, images=images, padding=True, padding_side="left", return_tensors="pt"
    )


def test_where_each_occurs_first():
    from services.engines import sharing

    assert sharing.distinct(["a", "b", "a", "c", "b"]) == [0, 1, 0, 3, 1]


def test_an_image_is_processed_once_and_described_for_each_prompt(processor):
    import torch

    from services.engines import sharing

    plain = _inputs(processor)
    processor.image_processor = sharing.DistinctImages(processor.image_processor)
    shared = _inputs(processor)
    patches = plain["image_grid_thw"].prod(-1)
    assert torch.equal(shared["image_grid_thw"], plain["image_grid_thw"])
    assert torch.equal(shared["input_ids"], plain["input_ids"])
    assert torch.equal(shared["pixel_values"], plain["pixel_values"][: patches[:2].sum()])


def test_an_image_is_encoded_once(processor, model):
    import torch

    from services.engines import sharing

    seen = []
    model.model.visual.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    expected = model.model.get_image_features(**_pixels(_inputs(processor))).pooler_output
    processor.image_processor = sharing.DistinctImages(processor.image_processor)
    with torch.inference_mode():
        ready = sharing.share_features(model, _inputs(processor), sharing.distinct(ORDER))
    features = ready["mm_encoder_outputs"]["image"].pooler_output
    assert "pixel_values" not in ready
    assert len(features) == len(ORDER)
    assert all(
        torch.allclose(ours, theirs, atol=1e-5)
        for ours, theirs in zip(features, expected, strict=True)
    )
    assert seen[1] < seen[0] / 2


def _pixels(inputs):
    return {name: inputs[name] for name in ("pixel_values", "image_grid_thw")}


def test_a_prompt_for_each_image_is_left_as_it_is(processor, model):
    from services.engines import sharing

    inputs = _inputs(processor)
    assert sharing.share_features(model, inputs, [0, 1, 2, 3, 4]) == dict(inputs)


async def test_questions_about_few_images_are_answered_as_one_by_one(tiny_checkpoint):
    """This holds even if the same image is another object."""
    engine = await load_model(tiny_checkpoint, EngineSettings(device="cpu"))
    prompts = [
        Prompt(load_image(numbered_png(number)), text, Decoding(max_new_tokens=12), scored=True)
        for text in TEXTS
        for number in (3, 1, 2)
    ]
    together = await asyncio.gather(*(engine.generate(prompt) for prompt in prompts))
    alone = [await engine.generate(prompt) for prompt in prompts]
    await engine.close()
    assert [reply.text for reply in together] == [reply.text for reply in alone]
    assert [reply.logprob for reply in together] == pytest.approx(
        [reply.logprob for reply in alone], abs=1e-3
    )
    assert len({reply.text for reply in alone}) > 1
