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
