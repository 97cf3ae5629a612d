"""The bundled pair as it is shipped: size, processor, tokenizer, accuracy."""

from pathlib import Path

import pytest
from PIL import Image

import zoo
from services.core.tasks import TASKS, answer_prompt

PAIR = Path(zoo.__file__).parent
QUESTION = "is there not a red shape in the image?"
PROMPT_TEXT = (
    "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>"
    "Answer the following question in a single word or phrase.\n"
    "is there not a red shape in the image?<|im_end|>\n"
    "<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def built():
    """The tokenizer that the code builds."""
    from zoo.architecture import build_tokenizer

    return build_tokenizer()


@pytest.fixture(scope="module", params=["teacher", "student"])
def processor(request):
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(PAIR / request.param)


@pytest.mark.parametrize(("name", "budget"), [("teacher", 10_000_000), ("student", 2_500_000)])
def test_model_loads_within_its_budget(name, budget):
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(PAIR / name)
    assert type(model).__name__ == "Qwen2VLForConditionalGeneration"
    assert sum(parameter.numel() for parameter in model.parameters()) <= budget
    assert model.config.text_config.max_position_embeddings >= 1024
    assert not model.generation_config.do_sample


def test_teacher_is_the_larger():
    sizes = [(PAIR / name / "model.safetensors").stat().st_size for name in ("student", "teacher")]
    assert sizes == sorted(sizes)


def test_pair_fits_in_20_megabytes():
    files = [
        file
        for name in ("teacher", "student")
        for file in (PAIR / name).rglob("*")
        if file.is_file()
    ]
    assert sum(file.stat().st_size for file in files) <= 20_000_000


def test_processor_gives_the_served_prompt(processor):
    content = [{"type": "image"}, {"type": "text", "text": answer_prompt(QUESTION)}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    assert text == PROMPT_TEXT
    inputs = processor(text=[text], images=[Image.new("RGB", (64, 64), "red")], return_tensors="pt")
    assert inputs.image_grid_thw.tolist() == [[1, 6, 6]]
    assert (inputs.input_ids == processor.image_token_id).sum() == 9
    assert processor.tokenizer.eos_token == "<|im_end|>"
    assert processor.tokenizer.pad_token == "<|endoftext|>"
    assert processor.video_processor is not None


def test_tokenizer_is_the_one_that_the_code_builds(processor, built):
    saved = processor.tokenizer
    prompts = [task.annotation_prompt for task in TASKS.values()]
    for text in [answer_prompt(QUESTION), PROMPT_TEXT, "Größe: 5 €", *prompts]:
        assert saved(text).input_ids == built(text).input_ids
        assert saved.decode(saved(text).input_ids) == text


@pytest.mark.parametrize("word", ["yes", "no", "teal", "rectangle"])
def test_answers_are_single_tokens(built, word):
    assert len(built(word).input_ids) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lowest", "highest"), [("teacher", 0.93, 1.0), ("student", 0.45, 0.88)]
)
def test_accuracy_on_official_questions(name, lowest, highest):
    from zoo.measure import Model, score_answers

    assert lowest <= score_answers(Model(PAIR / name), 300).accuracy <= highest
