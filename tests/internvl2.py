"""InternVL2 as it is published, with a hundred thousand random weights.

Three language models: InternLM2 (2B, 8B), Phi-3 (4B), Qwen2 (1B). The folder has a configuration
with `auto_map`, Python code of its own, and the tokenizer's published files. `shapes` lists the
tensors of a checkpoint of any size.
"""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from services.core.tasks import TASKS, answer_prompt

TILE, PATCH = 28, 7
"""Pixels: 4x4 patches a tile, 4 visual tokens."""
WINDOW = 2048
MARKS = [
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<quad>",
    "</quad>",
    "<ref>",
    "</ref>",
    "<box>",
    "</box>",
]
CODE = Path(__file__).with_name("internvl2_code")
LANGUAGES = ("internlm2", "phi3", "qwen2")

_CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_PHI = (
    "{{ bos_token }}{% for message in messages %}{{'<|' + message['role'] + '|>\n' + "
    "message['content'] + '<|end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
_UNUSED = 8
"""Placeholders at the end of InternLM2's vocabulary; the last six got names later."""
_INTERN_NAMES = [
    "<|plugin|>", "<|interpreter|>", "<|action_end|>", "<|action_start|>", "<|im_end|>",
    "<|im_start|>",
]  # fmt: skip
_PHI_NAMES = [
    "<|endoftext|>", "<|assistant|>", "<|placeholder1|>", "<|placeholder2|>", "<|placeholder3|>",
    "<|placeholder4|>", "<|system|>", "<|end|>", "<|placeholder5|>", "<|placeholder6|>",
    "<|user|>",
]  # fmt: skip


def save_internvl2(folder, language, seed=0):
    """Writes a checkpoint in its published layout, with two shards of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = {"internlm2": _internlm2_tokenizer, "phi3": _phi3_tokenizer, "qwen2": _qwen2_tokenizer}
    texts = tokens[language](folder)
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


def shapes(config):
    """Shapes of the published tensors by name."""
    vision, text = config["vision_config"], config["llm_config"]
    width, mlp, patch = vision["hidden_size"], vision["intermediate_size"], vision["patch_size"]
    places = (vision["image_size"] // patch) ** 2 + 1
    shuffled = width * int(1 / config["downsample_ratio"]) ** 2
    hidden = text["hidden_size"]
    found = {
        "vision_model.embeddings.class_embedding": [1, 1, width],
        "vision_model.embeddings.position_embedding": [1, places, width],
        **_layer("vision_model.embeddings.patch_embedding", [width, 3, patch, patch]),
        **_norm("mlp1.0", shuffled),
        **_layer("mlp1.1", [hidden, shuffled]),
        **_layer("mlp1.3", [hidden, hidden]),
    }
    for number in range(vision["num_hidden_layers"]):
        prefix = f"vision_model.encoder.layers.{number}"
        found |= {
            f"{prefix}.ls1": [width],
            f"{prefix}.ls2": [width],
            **_layer(f"{prefix}.attn.qkv", [3 * width, width]),
            **_layer(f"{prefix}.attn.proj", [width, width]),
            **_layer(f"{prefix}.mlp.fc1", [mlp, width]),
            **_layer(f"{prefix}.mlp.fc2", [width, mlp]),
            **_norm(f"{prefix}.norm1", width),
            **_norm(f"{prefix}.norm2", width),
        }
    names = {
        "InternLM2ForCausalLM": _internlm2,
        "Phi3ForCausalLM": _phi3,
        "Qwen2ForCausalLM": _qwen2,
    }
    language = names[text["architectures"][0]](text)
    return {**found, **{f"language_model.{name}": shape for name, shape in language.items()}}


def _layer(name, shape):
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def _norm(name, width):
    return {f"{name}.weight": [width], f"{name}.bias": [width]}


def _sizes(text):
    heads, key_heads = text["num_attention_heads"], text["num_key_value_heads"]
    head = text["hidden_size"] // heads
    return text["hidden_size"], text["intermediate_size"], heads * head, key_heads * head


def _internlm2(text):
    hidden, mlp, queries, keys = _sizes(text)
    found = {
        "model.tok_embeddings.weight": [text["vocab_size"], hidden],
        "model.norm.weight": [hidden],
        "output.weight": [text["vocab_size"], hidden],
    }
    for number in range(text["num_hidden_layers"]):
        prefix = f"model.layers.{number}"
        found |= {
            f"{prefix}.attention.wqkv.weight": [queries + 2 * keys, hidden],
            f"{prefix}.attention.wo.weight": [hidden, queries],
            f"{prefix}.feed_forward.w1.weight": [mlp, hidden],
            f"{prefix}.feed_forward.w2.weight": [hidden, mlp],
            f"{prefix}.feed_forward.w3.weight": [mlp, hidden],
            f"{prefix}.attention_norm.weight": [hidden],
            f"{prefix}.ffn_norm.weight": [hidden],
        }
    return found


def _phi3(text):
    hidden, mlp, queries, keys = _sizes(text)
    return _of_transformers(
        text,
        {
            "self_attn.qkv_proj.weight": [queries + 2 * keys, hidden],
            "self_attn.o_proj.weight": [hidden, queries],
            "mlp.gate_up_proj.weight": [2 * mlp, hidden],
            "mlp.down_proj.weight": [hidden, mlp],
        },
    )


def _qwen2(text):
    hidden, mlp, queries, keys = _sizes(text)
    return _of_transformers(
        text,
        {
            **_layer("self_attn.q_proj", [queries, hidden]),
            **_layer("self_attn.k_proj", [keys, hidden]),
            **_layer("self_attn.v_proj", [keys, hidden]),
            "self_attn.o_proj.weight": [hidden, queries],
            "mlp.gate_proj.weight": [mlp, hidden],
            "mlp.up_proj.weight": [mlp, hidden],
            "mlp.down_proj.weight": [hidden, mlp],
        },
    )


def _of_transformers(text, parts):
    hidden = text["hidden_size"]
    norms = {"input_layernorm.weight": [hidden], "post_attention_layernorm.weight": [hidden]}
    return {
        "model.embed_tokens.weight": [text["vocab_size"], hidden],
        "model.norm.weight": [hidden],
        "lm_head.weight": [text["vocab_size"], hidden],
        **{
            f"model.layers.{number}.{part}": shape
            for number in range(text["num_hidden_layers"])
            for part, shape in {**parts, **norms}.items()
        },
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


def _added(content, rstrip=False):
    return {
        "content": content,
        "lstrip": False,
        "normalized": False,
        "rstrip": rstrip,
        "single_word": False,
        "special": True,
    }


def _corpus():
    questions = ("what color is the shape?", "is there a circle?", "how many shapes are there?")
    return [*map(answer_prompt, questions), TASKS["vqa"].annotation_prompt, "red green blue yes no"]


def _sentencepiece(path, *, begins_with_blank, unused=0):
    """Trains tokenizer.model, and returns its pieces."""
    import io

    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as messages

    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_corpus() * 20),
        model_writer=trained,
        model_type="bpe",
        vocab_size=600,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=begins_with_blank,
        minloglevel=2,
    )
    model = messages.ModelProto.FromString(trained.getvalue())  # type: ignore[attr-defined] # no stubs
    for number in range(unused):
        model.pieces.add(piece=f"[UNUSED_TOKEN_{number}]", score=0.0, type=4)  # user defined
    path.write_bytes(model.SerializeToString())
    return [piece.piece for piece in model.pieces]


def _internlm2_tokenizer(folder):
    pieces = _sentencepiece(folder / "tokenizer.model", begins_with_blank=False, unused=_UNUSED)
    base = pieces[: -len(_INTERN_NAMES)]
    texts = [*base, *_INTERN_NAMES, *MARKS]
    _write_tokenizer_config(
        folder,
        {
            **{str(at): _added(texts[at]) for at in (0, 1, 2)},
            **{str(at): _added(texts[at]) for at in range(len(base), len(texts))},
        },
        tokenizer_class="InternLM2Tokenizer",
        auto_map={"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]},
        chat_template="{{ bos_token }}" + _CHATML,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>", *MARKS],
    )
    return texts


def _phi3_tokenizer(folder):
    pieces = _sentencepiece(folder / "tokenizer.model", begins_with_blank=True)
    texts = [*pieces, *_PHI_NAMES, *MARKS]
    _write_tokenizer_config(
        folder,
        {
            **{str(at): _added(texts[at]) for at in (0, 1, 2)},
            **{
                str(at): _added(texts[at], rstrip=texts[at] in _PHI_NAMES[1:])
                for at in range(len(pieces), len(texts))
            },
        },
        tokenizer_class="LlamaTokenizer",
        add_bos_token=True,
        add_eos_token=False,
        legacy=False,
        chat_template=_PHI,
        bos_token="<s>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        unk_token="<unk>",
        additional_special_tokens=MARKS,
    )
    return texts


def _qwen2_tokenizer(folder):
    from zoo.architecture import build_tokenizer

    state = json.loads(build_tokenizer().backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    merges = [
        merge if isinstance(merge, str) else " ".join(merge) for merge in state["model"]["merges"]
    ]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    by_id = {at: text for text, at in vocabulary.items()}
    by_id |= {added["id"]: added["content"] for added in state["added_tokens"]}
    texts = [by_id[at] for at in range(len(by_id))] + MARKS
    names = [added["id"] for added in state["added_tokens"]]
    _write_tokenizer_config(
        folder,
        {str(at): _added(texts[at]) for at in [*names, *range(len(by_id), len(texts))]},
        tokenizer_class="Qwen2Tokenizer",
        add_prefix_space=False,
        chat_template=_CHATML,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        additional_special_tokens=["<|im_start|>", "<|im_end|>", *MARKS],
    )
    return texts


def _write_tokenizer_config(folder, added, **rest):
    config = {"added_tokens_decoder": added, "model_max_length": 8192, **rest}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=1))
