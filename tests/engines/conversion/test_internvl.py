"""InternVL2 of every published size: names and shapes, tokens, conversation format."""

import json
import math

import pytest

from services.core.presets import PRESETS
from tests.internvl2 import LANGUAGES, config_of, save_internvl2, vision_config
from tests.internvl2_shapes import shapes
from tests.internvl2_tokenizers import MARKS

pytestmark = pytest.mark.slow

TOWER = vision_config(1024, 4096, 24, 16, tile=448, patch=14)
PUBLISHED = {
    "1B": ("qwen2", 896, 4864, 24, 14, 2, 151_655),
    "2B": ("internlm2", 2048, 8192, 24, 16, 8, 92_553),
    "4B": ("phi3", 3072, 8192, 32, 32, 32, 32_020),
    "8B": ("internlm2", 4096, 14336, 32, 32, 8, 92_553),
}
"""Language model: class, width, MLP, layers, heads, key heads, vocabulary."""
SYSTEM = (
    "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，"
    "英文名叫InternVL, 是一个有用无害的人工智能助手。"
)
CHATML = (
    f"<|im_start|>system\n{SYSTEM}<|im_end|><|im_start|>user\n<IMG_CONTEXT>\nred?<|im_end|>"
    "<|im_start|>assistant\n"
)
PHI = f"<|system|>\n{SYSTEM}<|end|><|user|>\n<IMG_CONTEXT>\nred?<|end|><|assistant|>\n"
TEXTS = (
    "what color is it?",
    "  two blanks,\n\ta tab ",
    "Zahl 12.5 und Größe",
    "你好 ☃ 🙂",
    "<|im_start|>user\nred<|im_end|>",
    "a <img><IMG_CONTEXT></img> b",
    "[UNUSED_TOKEN_0] and [UNUSED_TOKEN_1]",
)


@pytest.mark.parametrize("size", PUBLISHED)
def test_each_tensor_of_the_true_size_becomes_one_of_the_class_in_transformers(size):
    import torch
    from transformers import AutoModelForImageTextToText

    from services.engines.conversion.internvl import read_architecture

    language, hidden, mlp, layers, heads, key_heads, vocabulary = PUBLISHED[size]
    shape = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "max_position_embeddings": 32768,
    }
    published = config_of(language, shape, TOWER)
    config, convert = read_architecture(published)
    assert config.image_seq_length == 256
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
        converted = [
            (new, tensor.shape)
            for name, shape in shapes(published).items()
            for new, tensor in convert(name, torch.empty(shape))
        ]
    names = dict(converted)
    assert len(names) == len(converted)
    wanted = {_on_disk(name): tensor.shape for name, tensor in model.state_dict().items()}
    assert names == wanted
    assert sum(map(math.prod, names.values())) == PRESETS[f"internvl2-{size.lower()}"].parameters


def _on_disk(name):
    if name == "lm_head.weight":
        return "language_model.lm_head.weight"
    bare = name.removeprefix("model.")
    return bare.replace("language_model.", "language_model.model.")


@pytest.fixture(scope="module", params=LANGUAGES)
def both(request, tmp_path_factory):
    """A published folder and its conversion."""
    from services.engines.conversion.conversion import convert

    root = tmp_path_factory.mktemp(request.param)
    published = save_internvl2(root / "published", request.param)
    convert(str(published), root / "converted")
    return request.param, published, root / "converted"


def test_a_prompt_has_the_format_and_system_message_of_its_training(both):
    from transformers import AutoProcessor

    language, _, converted = both
    processor = AutoProcessor.from_pretrained(converted)
    question = [{"type": "image"}, {"type": "text", "text": "red?"}]
    turns = [{"role": "user", "content": question}]
    written = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert written == (PHI if language == "phi3" else CHATML)
    with_system = [{"role": "system", "content": "Be brief."}, *turns]
    written = processor.apply_chat_template(with_system, tokenize=False)
    assert SYSTEM not in written
    assert "Be brief." in written
    assert processor.image_seq_length == 4


def test_texts_have_the_same_ids_as_with_the_published_code(both):
    from transformers import AutoTokenizer

    _, published, converted = both
    theirs = AutoTokenizer.from_pretrained(published, trust_remote_code=True)
    ours = AutoTokenizer.from_pretrained(converted)
    assert ours.convert_tokens_to_ids(MARKS) == theirs.convert_tokens_to_ids(MARKS)
    for text in TEXTS:
        assert ours(text)["input_ids"] == theirs(text)["input_ids"], text
    config = json.loads((published / "config.json").read_text())
    assert len(ours) == config["llm_config"]["vocab_size"], "no token without an embedding"


def test_a_reply_ends_at_the_published_tokens_and_at_the_end_of_a_turn(both):
    from transformers import AutoTokenizer

    language, _, converted = both
    ends = json.loads((converted / "generation_config.json").read_text())["eos_token_id"]
    end = "<|end|>" if language == "phi3" else "<|im_end|>"
    assert AutoTokenizer.from_pretrained(converted).convert_tokens_to_ids(end) in ends
