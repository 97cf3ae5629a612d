"""Conversations packed into one row score like separate ones."""

import random
from pathlib import Path
from typing import Any

import pytest

import zoo
from services.core.tasks import answer_prompt
from zoo.shapes import SKILLS, draw_scene

ZOO = Path(zoo.__file__).parent
STUDENT = ZOO / "student"


@pytest.mark.parametrize("folder", ["student", "families/idefics3"])
def test_packed_loss_is_that_of_separate_conversations(folder):
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from zoo.curriculum import Lesson, plan_step
    from zoo.packing import Packer, compute_loss

    processor = AutoProcessor.from_pretrained(ZOO / folder)
    model: Any = AutoModelForImageTextToText.from_pretrained(ZOO / folder, dtype=torch.float32)
    skills = {"color": 1, "shape absent": 1}
    lesson = Lesson(1, images=2, questions=3, skills=skills, annotation_rate=1)
    scenes, conversations = plan_step(lesson, random.Random(0), [])
    images = [scene.image for scene in scenes]
    packed = compute_loss(model, Packer(processor).pack(images, conversations))
    alone = [
        reply_loss(processor, model, image, conversation)
        for image, about in zip(images, conversations, strict=True)
        for conversation in about
    ]
    torch.testing.assert_close(packed, torch.stack(alone).mean(), rtol=1e-4, atol=1e-5)


def reply_loss(processor, model, image, conversation):
    """The loss by the ordinary processor and forward pass."""
    content = [{"type": "image"}, {"type": "text", "text": conversation.prompt}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    whole = prompt + conversation.reply + processor.tokenizer.eos_token
    inputs = processor(text=[whole], images=[image], return_tensors="pt")
    asked = processor(text=[prompt], images=[image], return_tensors="pt").input_ids.shape[1]
    labels = inputs.input_ids.clone()
    labels[:, :asked] = -100
    return model(**inputs, labels=labels).loss * (labels != -100).sum()


def test_a_reply_is_right_if_greedy_decoding_gives_it(tmp_path):
    import torch
    from transformers import AutoProcessor, Qwen2VLForConditionalGeneration

    from zoo.curriculum import ask
    from zoo.measure import Model
    from zoo.packing import Conversation, Packer, find_right

    rng = random.Random(0)
    scenes = [draw_scene(random.Random(number)) for number in range(12)]
    conversations = []
    for scene in scenes:
        asked = [ask(dict.fromkeys(SKILLS, 1), scene, rng) for _ in range(3)]
        conversations.append(
            [Conversation(answer_prompt(question), answer) for question, answer in asked]
        )
    packer = Packer(AutoProcessor.from_pretrained(STUDENT))
    model = Qwen2VLForConditionalGeneration.from_pretrained(STUDENT, dtype=torch.float32)
    with torch.no_grad():
        found = find_right(model, packer.pack([scene.image for scene in scenes], conversations))
    paths = []
    for number, scene in enumerate(scenes):
        paths += [tmp_path / f"{number}.png"] * 3
        scene.image.save(paths[-1])
    flat = [conversation for about in conversations for conversation in about]
    replies = Model(STUDENT).reply(paths, [conversation.prompt for conversation in flat])
    assert found == [
        reply == conversation.reply for reply, conversation in zip(replies, flat, strict=True)
    ]
    assert {True, False} == set(found)
