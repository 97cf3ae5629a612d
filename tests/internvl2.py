"""InternVL2 as it is published, with a hundred thousand random weights.

Three language models: InternLM2 (2B, 8B), Phi-3 (4B), Qwen2 (1B). The folder has a configuration
with `auto_map`, Python code of its own, and the tokenizer's published files.
"""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.internvl2_shapes import shapes
from tests.internvl2_tokenizers import save_tokenizer

TILE, PATCH = 28, 7
"""Pixels: 4x4 patches a tile, 4 visual tokens."""
WINDOW = 2048
CODE = Path(__file__).with_name("internvl2_code")
LANGUAGES = ("internlm2", "phi3", "qwen2")


def save_internvl2(folder, language, seed=0):
    """Writes a checkpoint in its published layout, with two shards of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = save_tokenizer(folder, language)
    config = tiny_config(language, len(texts))
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    for code in CODE.glob("*.py"):
        (folder / code.name).write_text(code.read_text())
    end = texts.index("<|end|>" if language == "phi3" else "<|im_end|>")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [end]}))
    _save_weights(folder, config, texts, seed)
    return folder


def save_converted(language, folder, seed=0):
    """Writes the conversion of such a checkpoint."""
    from services.engines.conversion.conversion import convert

    with TemporaryDirectory() as work:
        published = save_internvl2(Path(work, "published"), language, seed)
        converted = Path(work, "converted")
        convert(str(published), converted)
        shutil.copytree(converted, folder, dirs_exist_ok=True)
    return folder


def build_converted(language):
    """Model and processor of a conversion; the model's weights are others."""
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    with TemporaryDirectory() as folder:
        converted = save_converted(language, Path(folder, "converted"))
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(converted))
        return model, AutoProcessor.from_pretrained(converted)


def ask_in_conversation(folder, converted):
    """Gives a published folder the conversation format of its training.

    The template of a published tokenizer is another one, without the system message. `converted`:
    the folder's conversion, which has that format for parts of a message.
    """
    from transformers import AutoProcessor

    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "QUESTION"}]}
    written = AutoProcessor.from_pretrained(converted).apply_chat_template(
        [turn], add_generation_prompt=True, tokenize=False
    )
    before, after = written.split("<IMG_CONTEXT>\nQUESTION")
    parts = [json.dumps(part, ensure_ascii=False) for part in (before, after)]
    path = folder / "tokenizer_config.json"
    template = f"{{{{ {parts[0]} + messages[-1].content + {parts[1]} }}}}"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "chat_template": template}))


def tiny_config(language, vocabulary):
    shared = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4 if language == "internlm2" else 2,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": WINDOW,
        "tie_word_embeddings": False,
    }
    if language == "internlm2":
        shared |= {"hidden_size": 128, "num_key_value_heads": 2}
    return config_of(language, shared, vision_config(64, 128, 2, 2, TILE, PATCH), max_tiles=6)


def config_of(language, shape, vision, max_tiles=12):
    """config.json; `shape` and `vision` are sizes of the language model and of the tower."""
    text = {
        "internlm2": {
            "architectures": ["InternLM2ForCausalLM"],
            "auto_map": {"AutoConfig": "configuration_internlm2.InternLM2Config"},
            "model_type": "internlm2",
            "bias": False,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 2,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1000000,
            "rope_scaling": {"factor": 2.0, "type": "dynamic"},
        },
        "phi3": {
            "architectures": ["Phi3ForCausalLM"],
            "model_type": "phi3",
            "bos_token_id": 1,
            "eos_token_id": shape["vocab_size"] - 20,
            "pad_token_id": shape["vocab_size"] - 20,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "original_max_position_embeddings": 4096,
            "max_position_embeddings": 131072,
            "sliding_window": 262144,
        },
        "qwen2": {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "bos_token_id": 0,
            "eos_token_id": 1,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1000000.0,
            "use_sliding_window": False,
            "sliding_window": 32768,
            "max_window_layers": 24,
        },
    }[language]
    if language == "phi3":
        half = shape["hidden_size"] // shape["num_attention_heads"] // 2
        text["rope_scaling"] = {
            "type": "su",
            "short_factor": [1.0 + number / 100 for number in range(half)],
            "long_factor": [1.0 + number / 10 for number in range(half)],
        }
        shape = {**shape, "max_position_embeddings": text["max_position_embeddings"]}
    template = {"internlm2": "internlm2-chat", "phi3": "phi3-chat", "qwen2": "Hermes-2"}[language]
    return {
        "architectures": ["InternVLChatModel"],
        "auto_map": {
            "AutoConfig": "configuration_internvl_chat.InternVLChatConfig",
            "AutoModel": "modeling_internvl_chat.InternVLChatModel",
            "AutoModelForCausalLM": "modeling_internvl_chat.InternVLChatModel",
        },
        "model_type": "internvl_chat",
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": vision["image_size"],
        "llm_config": {**shape, **text, "torch_dtype": "bfloat16"},
        "max_dynamic_patch": max_tiles,
        "min_dynamic_patch": 1,
        "ps_version": "v2",
        "select_layer": -1,
        "template": template,
        "torch_dtype": "float32",
        "use_thumbnail": True,
        "vision_config": vision,
    }


def vision_config(hidden, mlp, layers, heads, tile, patch):
    return {
        "architectures": ["InternVisionModel"],
        "model_type": "intern_vit_6b",
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "image_size": tile,
        "patch_size": patch,
        "num_channels": 3,
        "hidden_act": "gelu",
        "norm_type": "layer_norm",
        "layer_norm_eps": 1e-6,
        "qkv_bias": True,
        "qk_normalization": False,
        "attention_dropout": 0.0,
        "drop_path_rate": 0.0,
        "dropout": 0.0,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "use_flash_attn": False,
    }


def _save_weights(folder, config, texts, seed):
    """Answers depend on image and question, and are whole characters."""
    import torch
    from safetensors.torch import save_file

    random = torch.Generator().manual_seed(seed)
    halves = [at for at, text in enumerate(texts) if not _is_whole(text)]
    tensors = {}
    for name, shape in shapes(config).items():
        drawn = torch.randn(shape, generator=random, device="cpu")
        if "embed" in name:
            tensors[name] = drawn
        elif len(shape) == 1:  # norms and scales around 1, biases around 0
            around = 0.0 if name.endswith(".bias") else 1.0
            tensors[name] = around + 0.1 * drawn
        else:
            tensors[name] = drawn / drawn[0].numel() ** 0.5
        if name.removeprefix("language_model.") in ("output.weight", "lm_head.weight"):
            tensors[name][halves] = 0.0
    names = sorted(tensors)
    cut = len(names) // 2
    shards = {
        f"model-0000{number}-of-00002.safetensors": part
        for number, part in enumerate((names[:cut], names[cut:]), 1)
    }
    for file, part in shards.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    index = {name: file for file, part in shards.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )


def _is_whole(text):
    return text.isascii() and text.isprintable() and not text.startswith("<0x")
