from dataclasses import replace

import pytest

TOWER = ("visual.blocks", "visual.patch_embed", "_spotter")
LANGUAGE = ("language_model.layers",)
SHARED = ("visual.merger", "language_model.norm", "embed_tokens")


@pytest.mark.parametrize(
    ("told", "moving", "still"),
    [
        ("SPOTS", TOWER, LANGUAGE),
        ("REPLIES", LANGUAGE, TOWER),
        ("ALL", (*TOWER, *LANGUAGE), ()),
    ],
)
def test_the_targets_of_a_lesson_decide_which_parts_learn(
    tiny, packer, tokenizer, told, moving, still
):
    from zoo.architecture import build_model
    from zoo.families.lessons import Steps, Told
    from zoo.families.pupil import Pupil

    size = tiny.course.size
    pupil = Pupil(build_model(size, tokenizer), size, tokenizer)
    exercise = Steps(tiny.course, packer, seed=0)[0]["charts"]
    pupil.compute_loss(exercise, Told[told]).backward()
    for name, parameter in pupil.named_parameters():
        if any(part in name for part in (*moving, *SHARED)):
            assert parameter.grad is not None, name
        assert not (any(part in name for part in still) and parameter.grad is not None), name


@pytest.mark.parametrize(
    ("told", "moving", "still"),
    [
        ("TOWER", ("vision_model.encoder",), ("text_model.layers", "_spotter")),
        ("SPOTS", ("vision_model.encoder", "_spotter"), ("text_model.layers",)),
        ("REPLIES", ("text_model.layers",), ("vision_model", "_spotter")),
    ],
)
def test_an_idefics3_learns_the_same_parts(imitator, told, moving, still):
    from zoo.architecture import build_model
    from zoo.families.corpus import build_tokenizer
    from zoo.families.lessons import Steps, Told
    from zoo.families.pupil import Pupil
    from zoo.families.transplant import Original
    from zoo.packing import Packer

    built, size = imitator.architecture, imitator.size
    tokenizer = build_tokenizer(built)
    packer = Packer(built.build_processor(tokenizer, built.side, size.patch))
    original = Original(build_model(replace(size, vision_width=32), build_tokenizer()))
    pupil = Pupil(built.build_model(size, tokenizer), size, tokenizer, original)
    exercise = Steps(imitator, packer, seed=0)[2]["reading"]
    pupil.compute_loss(exercise, Told[told]).backward()
    for name, parameter in pupil.named_parameters():
        if any(part in name for part in (*moving, "connector", "text_model.norm", "embed_tokens")):
            assert parameter.grad is not None, name
        assert not (any(part in name for part in still) and parameter.grad is not None), name
    right, _ = pupil.find_right(exercise)
    assert len(right) == exercise.batch.conversations
