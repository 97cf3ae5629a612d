"""The training of the families' pair: taken up again it does the same; nothing of the test is in it."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedTokenizerFast
from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

import zoo
from services.core.errors import MpaError
from services.core.tasks import answer_prompt
from zoo.architecture import Size, build_model
from zoo.curriculum import Curriculum, ask
from zoo.families.lessons import ASKED, COURSES, TAUGHT, Course, Lesson, Steps, Told, draw_pictures
from zoo.families.neighbours import DISTANCES, look_around
from zoo.families.progress import load_progress, save_progress
from zoo.families.pupil import Pupil
from zoo.families.train import train
from zoo.measure import Model
from zoo.minivqa import charts, knowledge, reading, scene_text, sources, tables
from zoo.minivqa.lexicon import COLORS, PRINTED_WORDS, SIGN_WORDS
from zoo.minivqa.objects import OBJECTS
from zoo.minivqa.parts import Split
from zoo.packing import Conversation, Packer, find_right
from zoo.shapes import SKILLS, draw_scene

PICTURES = dict.fromkeys(ASKED, 2)
TINY = Course(
    Size(
        hidden=64,
        layers=1,
        heads=2,
        key_value_heads=1,
        mlp=64,
        vision_width=32,
        vision_depth=1,
        patch=14,
    ),
    Curriculum(
        (
            Lesson(2, dict.fromkeys(TAUGHT, 2), told=Told.SPOTS),
            Lesson(1, PICTURES, told=Told.REPLIES),
            Lesson(2, PICTURES, annotated_every=2),
        ),
        cosine_steps=8,
        cool_down_steps=2,
        warm_up_steps=2,
    ),
    checkpoint_steps=2,
    watched_pictures=2,
)
WORDINGS = tuple(
    value
    for module in (scene_text, reading, charts, knowledge)
    for value in vars(module).values()
    if isinstance(value, Split)
    and all(isinstance(text, str) and " " in text for text in value.seen)
)


@pytest.mark.slow
def test_a_run_in_two_sittings_ends_like_an_unbroken_one(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    train(TINY, unbroken, seed=3)
    train(TINY, broken, seed=3, minutes=1e-9)
    train(TINY, broken, seed=3, minutes=0)
    assert [
        json.loads(line)["step"] for line in (broken / "log.jsonl").read_text().splitlines()
    ] == [2]
    half_way = load_file(broken / "model.safetensors")
    train(TINY, broken, seed=3, workers=0)
    ends = [load_file(folder / "model.safetensors") for folder in (unbroken, broken)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert any(not torch.equal(half_way[name], ends[1][name]) for name in ends[1])
    assert [
        json.loads(line)["step"] for line in (broken / "log.jsonl").read_text().splitlines()
    ] == [2, 4, 5]
    with pytest.raises(MpaError, match="begun with seed 3, not 4"):
        train(TINY, broken, seed=4)


@pytest.mark.slow
def test_a_student_begins_with_the_tower_of_its_teacher(tmp_path: Path) -> None:
    only_replies = replace(TINY.curriculum, lessons=(Lesson(2, PICTURES, told=Told.REPLIES),))
    course = replace(TINY, curriculum=only_replies, tower_of="teacher")
    with pytest.raises(MpaError, match="train teacher first"):
        train(course, tmp_path / "student", seed=0)
    train(TINY, tmp_path / "teacher", seed=3)
    train(course, tmp_path / "student", seed=0)
    tower, teacher, student = (
        load_file(tmp_path / path)
        for path in (
            "teacher/tower/tower.safetensors",
            "teacher/model.safetensors",
            "student/model.safetensors",
        )
    )
    assert any("blocks" in name for name in tower)
    for name, weights in tower.items():
        assert torch.equal(weights, student[f"visual.{name}"]), name
    assert any(
        not torch.equal(weights, teacher[f"visual.{name}"]) for name, weights in tower.items()
    )


@pytest.mark.slow
def test_a_course_begins_with_the_weights_of_another(tmp_path: Path) -> None:
    course = replace(TINY, begins_with="first")
    with pytest.raises(MpaError, match="train first first"):
        train(course, tmp_path / "further", seed=0)
    train(TINY, tmp_path / "first", seed=3)
    train(course, tmp_path / "further", seed=0, minutes=0)
    first, begun = (
        load_file(tmp_path / name / "model.safetensors") for name in ("first", "further")
    )
    assert all(torch.equal(first[name], begun[name]) for name in first)
    train(course, tmp_path / "further", seed=0)
    further = load_file(tmp_path / "further/model.safetensors")
    assert any(not torch.equal(first[name], further[name]) for name in first)


def test_steps_that_are_written_may_show_other_pictures(packer: Packer) -> None:
    lesson = Lesson(2, {"charts": 3, "reading": 2}, annotated_every=2, annotated={"charts": 1})
    steps = Steps(replace(TINY, curriculum=Curriculum((lesson,), cosine_steps=2)), packer, seed=0)
    written, answered = (
        {name: len(each.batch.tokens) for name, each in steps[step].items()} for step in (0, 1)
    )
    assert (written, answered) == ({"charts": 1}, {"charts": 3, "reading": 2})


def test_progress_takes_six_bytes_a_parameter_and_loses_no_more_when_saved_again(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    model, other = (build_model(TINY.size, tokenizer) for _ in range(2))
    optimizers = [torch.optim.AdamW(each.parameters()) for each in (model, other)]
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizers[0].step()
    save_progress(tmp_path / "progress", model, optimizers[0], step=1, seed=5)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert (tmp_path / "progress").stat().st_size == pytest.approx(6 * count, rel=0.1)
    assert load_progress(tmp_path / "progress", other, optimizers[1]) == (1, 5)
    save_progress(tmp_path / "again", other, optimizers[1], step=1, seed=5)
    once, twice = load_file(tmp_path / "progress"), load_file(tmp_path / "again")
    assert once.keys() == twice.keys()
    assert all(torch.equal(once[name], twice[name]) for name in once)


@pytest.mark.parametrize("name", COURSES)
def test_training_shows_no_entity_of_the_test(name: str) -> None:
    unseen = {
        *sources.FONTS.unseen,
        *sources.PHOTOGRAPHS.unseen,
        *(icons.font for icons in sources.ICON_SETS.unseen),
        *(column.table for column in tables.COLUMNS.unseen),
    }
    few = dict.fromkeys(TAUGHT, 8)
    for lesson in COURSES[name].curriculum.lessons:
        drawn = draw_pictures(replace(lesson, pictures=few), seed=0, step=0)
        shown = {
            entity
            for pictures in drawn.values()
            for picture in pictures
            for _, entity in picture.entities
        }
        assert shown
        assert not shown & unseen


def test_training_reads_no_wording_of_the_test(packer: Packer) -> None:
    curriculum = Curriculum(
        (Lesson(4, dict.fromkeys(ASKED, 8), annotated_every=2),), cosine_steps=4
    )
    course = replace(TINY, curriculum=curriculum)
    exercises = [
        exercise for step in range(4) for exercise in Steps(course, packer, seed=0)[step].values()
    ]
    text = "\n".join(packer.decode(row) for exercise in exercises for row in exercise.batch.tokens)
    assert len(WORDINGS) == 16

    def is_read(wording: str) -> bool:
        return re.search(re.sub(r"\\\{\w+\\\}", r"\\w+", re.escape(wording)), text) is not None

    assert all(any(map(is_read, split.seen)) for split in WORDINGS)
    assert not any(map(is_read, (wording for split in WORDINGS for wording in split.unseen)))


def test_what_is_never_asked_is_in_no_exercise(packer: Packer) -> None:
    course = replace(
        COURSES["student"],
        curriculum=Curriculum((Lesson(1, dict.fromkeys(ASKED, 8)),), cosine_steps=1),
    )
    exercises = Steps(course, packer, seed=0)[0]
    text = "\n".join(
        packer.decode(row) for exercise in exercises.values() for row in exercise.batch.tokens
    )
    assert exercises["knowledge"].batch.conversations == 16, "what it is and whether it is alive"
    for split in (charts.EXTREME, knowledge.SORT, knowledge.USE, knowledge.PLACE):
        assert not any(wording in text for wording in split.seen)
    assert any(wording in text for wording in charts.HIGHEST.seen)


def test_every_word_of_the_tests_wordings_is_known_from_others() -> None:
    seen, unseen = (
        {
            word
            for split in WORDINGS
            for text in getattr(split, half)
            for word in re.findall(r"[a-z]+", text)
        }
        for half in ("seen", "unseen")
    )
    assert unseen <= seen


TOWER = ("visual.blocks", "visual.patch_embed", "_spotter")
LANGUAGE = ("language_model.layers",)
SHARED = ("visual.merger", "language_model.norm", "embed_tokens")


@pytest.mark.parametrize(
    ("told", "moving", "still"),
    [
        (Told.SPOTS, TOWER, LANGUAGE),
        (Told.REPLIES, LANGUAGE, TOWER),
        (Told.ALL, (*TOWER, *LANGUAGE), ()),
    ],
    ids=lambda value: value.name if isinstance(value, Told) else "",
)
def test_what_a_lesson_tells_says_which_parts_learn(
    packer: Packer,
    tokenizer: PreTrainedTokenizerFast,
    told: Told,
    moving: tuple[str, ...],
    still: tuple[str, ...],
) -> None:
    pupil = Pupil(build_model(TINY.size, tokenizer), TINY.size, tokenizer)
    pupil.compute_loss(Steps(TINY, packer, seed=0)[0]["charts"], told).backward()
    for name, parameter in pupil.named_parameters():
        if any(part in name for part in (*moving, *SHARED)):
            assert parameter.grad is not None, name
        assert not (any(part in name for part in still) and parameter.grad is not None), name


def test_what_is_printed_is_spelled_and_what_is_known_is_a_word(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    for word in (*SIGN_WORDS, *PRINTED_WORDS, "2048"):
        assert tokenizer.tokenize(word) == list(word)
    for text in (
        *COLORS,
        "yes",
        "no",
        *(word for thing in OBJECTS for word in thing.name.split()[:1]),
    ):
        assert tokenizer.tokenize(text) == [text]
    text = "Question: how much is the red bar?\nAnswer: 12"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_untrained_heads_look_at_their_neighbours(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    size = COURSES["teacher"].size
    model = build_model(size, tokenizer)
    look_around(model)
    attention, side, middle = model.model.visual.blocks[0].attn, 9, 4
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1)
    angles = (places.unsqueeze(2) * model.model.visual.rotary_pos_emb.inv_freq).flatten(1)
    turned = torch.cat([angles, angles], dim=1)
    bias = (
        attention.qkv.bias.view(3, attention.num_heads, -1)[:2]
        .unsqueeze(2)
        .expand(-1, -1, len(places), -1)
    )
    query, key = apply_rotary_pos_emb_vision(*bias.transpose(1, 2), turned.cos(), turned.sin())
    for head, (down, right) in enumerate(DISTANCES[0]):
        scores = key[:, head] @ query[middle * side + middle, head]
        assert int(scores.argmax()) == (middle + down) * side + middle + right


def test_right_is_what_greedy_decoding_says(tmp_path: Path) -> None:
    student = Path(zoo.__file__).parent / "student"
    rng, scenes = random.Random(0), [draw_scene(random.Random(number)) for number in range(12)]
    asked = [[ask(dict.fromkeys(SKILLS, 1), scene, rng) for _ in range(3)] for scene in scenes]
    conversations = [
        [Conversation(answer_prompt(question), answer) for question, answer in about]
        for about in asked
    ]
    model = AutoModelForImageTextToText.from_pretrained(student, dtype=torch.float32)
    with torch.no_grad():
        batch = Packer(AutoProcessor.from_pretrained(student)).pack(
            [scene.image for scene in scenes], conversations
        )
        found = find_right(model, batch)
    paths = []
    for number, scene in enumerate(scenes):
        paths += [tmp_path / f"{number}.png"] * 3
        scene.image.save(paths[-1])
    flat = [conversation for about in conversations for conversation in about]
    replies = Model(student).reply(paths, [conversation.prompt for conversation in flat])
    assert found == [
        reply == conversation.reply for reply, conversation in zip(replies, flat, strict=True)
    ]
    assert {True, False} == set(found)
