"""The bundled pair: its weights, its processor, its data split, and how its training packs conversations."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

import zoo
from services.core.tasks import TASKS, answer_prompt
from zoo import architecture, curriculum, easy_vqa
from zoo.measure import Model, score_answers
from zoo.packing import Conversation, Packer, compute_loss
from zoo.shapes import SKILLS, draw_scene, find_answer, find_skill, list_questions

PAIR = Path(zoo.__file__).parent
QUESTION = "is there not a red shape in the image?"
PROMPT_TEXT = (
    "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>"
    "Answer the following question in a single word or phrase.\nis there not a red shape in the image?<|im_end|>\n"
    "<|im_start|>assistant\n"
)


def user_turn(prompt: str) -> list[dict[str, object]]:
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]


@pytest.mark.parametrize(("name", "budget"), [("teacher", 10_000_000), ("student", 2_500_000)])
def test_model_loads_within_its_budget(name: str, budget: int) -> None:
    model = AutoModelForImageTextToText.from_pretrained(PAIR / name)
    assert type(model).__name__ == "Qwen2VLForConditionalGeneration"
    assert sum(parameter.numel() for parameter in model.parameters()) <= budget
    assert model.config.text_config.max_position_embeddings >= 1024
    assert not model.generation_config.do_sample


def test_teacher_is_the_larger() -> None:
    sizes = [(PAIR / name / "model.safetensors").stat().st_size for name in ("student", "teacher")]
    assert sizes == sorted(sizes)


def test_pair_fits_in_20_megabytes() -> None:
    files = [
        file
        for name in ("teacher", "student")
        for file in (PAIR / name).rglob("*")
        if file.is_file()
    ]
    assert sum(file.stat().st_size for file in files) <= 20_000_000


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_processor_gives_the_served_prompt(name: str) -> None:
    processor = AutoProcessor.from_pretrained(PAIR / name)
    text = processor.apply_chat_template(
        user_turn(answer_prompt(QUESTION)), add_generation_prompt=True
    )
    assert text == PROMPT_TEXT
    inputs = processor(text=[text], images=[Image.new("RGB", (64, 64), "red")], return_tensors="pt")
    assert inputs.image_grid_thw.tolist() == [[1, 6, 6]]
    assert (inputs.input_ids == processor.image_token_id).sum() == 9
    assert processor.tokenizer.eos_token == "<|im_end|>"
    assert processor.tokenizer.pad_token == "<|endoftext|>"
    assert processor.video_processor is not None


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_tokenizer_is_the_one_that_the_code_builds(name: str) -> None:
    saved, built = (
        AutoProcessor.from_pretrained(PAIR / name).tokenizer,
        architecture.build_tokenizer(),
    )
    for text in [
        answer_prompt(QUESTION),
        PROMPT_TEXT,
        "Größe: 5 €",
        *(task.annotation_prompt for task in TASKS.values()),
    ]:
        assert saved(text).input_ids == built(text).input_ids
        assert saved.decode(saved(text).input_ids) == text


@pytest.mark.parametrize("word", ["yes", "no", "teal", "rectangle"])
def test_answers_are_single_tokens(word: str) -> None:
    assert len(architecture.build_tokenizer()(word).input_ids) == 1


def test_renderer_is_deterministic_per_seed() -> None:
    one, same, other = (draw_scene(random.Random(seed)) for seed in (1, 1, 2))
    assert one.image.tobytes() == same.image.tobytes()
    assert one.caption == same.caption
    assert one.image.tobytes() != other.image.tobytes()


def test_grammar_answers_what_it_asks() -> None:
    rng = random.Random(0)
    for skill, ask in SKILLS.items():
        for _ in range(50):
            scene = draw_scene(rng)
            question = ask(scene, rng)
            assert find_skill(question) == skill
            assert question in list_questions()
            assert find_answer(question, scene.shape, scene.color)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("is there a red shape?", "yes"),
        ("is no red shape present?", "no"),
        ("does the image not contain a circle?", "yes"),
        ("what is the color of the triangle?", "red"),
        ("what is the red shape?", "triangle"),
        ("what is the teal shape?", None),
        ("how many dogs are there?", None),
    ],
)
def test_golden_answers_about_a_red_triangle(question: str, answer: str | None) -> None:
    assert find_answer(question, "triangle", "red") == answer


def test_grammar_covers_the_official_questions() -> None:
    assert {question.text for question in easy_vqa.test_questions()} <= set(list_questions())


def test_pool_is_disjoint_from_training_and_test() -> None:
    pool, training = easy_vqa.pool_image_paths(), easy_vqa.training_image_paths()
    assert len(pool) == len(training) == 2000
    assert not pool.keys() & training.keys()
    trained_on = {scene.image.tobytes() for scene in easy_vqa.training_scenes()}
    for path in (*pool.values(), *easy_vqa.test_image_paths().values()):
        assert Image.open(path).convert("RGB").tobytes() not in trained_on


def test_export_writes_an_unlabelled_pool_and_a_labelled_test(tmp_path: Path) -> None:
    easy_vqa.export(tmp_path)
    pool = {path.name: path.read_bytes() for path in (tmp_path / "pool").iterdir()}
    assert pool == {
        f"{i}.png": path.read_bytes() for i, path in easy_vqa.pool_image_paths().items()
    }
    lines = [
        json.loads(line)
        for line in (tmp_path / "test.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(lines) == 9673
    assert all((tmp_path / line["image"]).is_file() and line["answers"] for line in lines)


def test_packed_loss_is_that_of_separate_conversations() -> None:
    processor = architecture.build_processor()
    model = AutoModelForImageTextToText.from_pretrained(PAIR / "student", dtype=torch.float32)
    lesson = curriculum.Lesson(
        1, images=2, questions=3, skills={"color": 1, "shape absent": 1}, annotation_rate=1
    )
    scenes, conversations = curriculum.plan_step(lesson, random.Random(0), [])
    packed = compute_loss(
        model, Packer(processor).pack([scene.image for scene in scenes], conversations)
    )
    alone = [
        reply_loss(processor, model, scene.image, conversation)
        for scene, about in zip(scenes, conversations, strict=True)
        for conversation in about
    ]
    torch.testing.assert_close(packed, torch.stack(alone).mean(), rtol=1e-4, atol=1e-5)


def reply_loss(
    processor: AutoProcessor, model: torch.nn.Module, image: Image.Image, conversation: Conversation
) -> torch.Tensor:
    """By the ordinary processor and forward pass."""
    prompt = processor.apply_chat_template(
        user_turn(conversation.prompt), add_generation_prompt=True
    )
    inputs = processor(
        text=[prompt + conversation.reply + "<|im_end|>"], images=[image], return_tensors="pt"
    )
    asked = processor(text=[prompt], images=[image], return_tensors="pt").input_ids.shape[1]
    labels = inputs.input_ids.clone()
    labels[:, :asked] = -100
    return model(**inputs, labels=labels).loss * (labels != -100).sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lowest", "highest"), [("teacher", 0.93, 1.0), ("student", 0.45, 0.88)]
)
def test_accuracy_on_official_questions(name: str, lowest: float, highest: float) -> None:
    assert lowest <= score_answers(Model(PAIR / name), 300).accuracy <= highest
