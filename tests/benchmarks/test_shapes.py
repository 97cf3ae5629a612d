import pytest

from services.core.presets import PRESETS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["qwen2vl-7b", "qwen2vl-2b"])
def test_true_shapes_have_as_many_parameters_as_the_published_models(name):
    import torch
    from transformers import Qwen2VLForConditionalGeneration

    from benchmarks.shapes import TRUE_SHAPES, config_of

    with torch.device("meta"):
        model = Qwen2VLForConditionalGeneration._from_config(config_of(TRUE_SHAPES[name]))
    assert sum(each.numel() for each in model.parameters()) == PRESETS[name].parameters


def test_marks_have_the_published_ids_and_every_id_is_a_word():
    from benchmarks.shapes import MARKS, WORDS, whole_tokenizer

    tokenizer = whole_tokenizer()
    assert len(tokenizer) == WORDS + len(MARKS)
    assert tokenizer.convert_tokens_to_ids("<|im_start|>") == 151_644
    assert tokenizer.convert_tokens_to_ids("<|image_pad|>") == 151_655
    assert tokenizer.decode([WORDS - 1]).strip()
    assert tokenizer.decode(tokenizer("what color is it?").input_ids) == "what color is it?"


def test_a_random_checkpoint_is_a_whole_one(tmp_path):
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from benchmarks.shapes import write_random
    from services.engines.chat import Chat

    folder = write_random("tiny", tmp_path / "tiny")
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    assert Chat(AutoProcessor.from_pretrained(folder)).end_of_turn()[-1] == 151_645
    before = (folder / "config.json").stat().st_mtime_ns
    write_random("tiny", folder)
    assert (folder / "config.json").stat().st_mtime_ns == before
