"""Tensors of InternVL2 in its published layout, of any size: names and shapes."""


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
