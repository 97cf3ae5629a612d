"""Parts of a model by the names of its parameters, in memory and on disk."""

import pytest

from services.core.model_parts import is_trained, part_of

LAYER = "model.language_model.layers.3."


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.visual.blocks.0.attn.qkv.weight", "vision tower"),
        ("model.visual.merger.mlp.0.weight", "connector"),
        ("visual.merger.ln_q.weight", "connector"),
        ("model.visual.deepstack_merger_list.1.norm.weight", "connector"),
        ("model.vision_tower.encoder.layers.1.self_attn.q_proj.weight", "vision tower"),
        ("multi_modal_projector.linear_1.bias", "connector"),
        ("model.connector.modality_projection.proj.weight", "connector"),
        ("model.layers.3.self_attn.q_proj.weight", "layer 3"),
        ("language_model.model.layers.3.mlp.up_proj.weight", "layer 3"),
        ("model.language_model.embed_tokens.weight", "embeddings and head"),
        ("lm_head.weight", "embeddings and head"),
        ("model.image_newline", "embeddings and head"),
    ],
)
def test_every_parameter_has_a_part(name, part):
    assert part_of(name) == part


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (f"{LAYER}self_attn.q_proj.weight", {"attention"}),
        (f"{LAYER}self_attn.v_proj.bias", {"attention"}),
        (f"{LAYER}self_attn.o_proj.weight", {"attention"}),
        (f"{LAYER}self_attn.qkv_proj.weight", {"attention"}),
        (f"{LAYER}self_attn.q_norm.weight", set()),
        (f"{LAYER}mlp.gate_proj.weight", {"gate-up"}),
        (f"{LAYER}mlp.up_proj.weight", {"gate-up"}),
        (f"{LAYER}mlp.gate_up_proj.weight", {"gate-up"}),
        (f"{LAYER}mlp.experts.gate_up_proj", {"gate-up"}),
        (f"{LAYER}mlp.down_proj.weight", set()),
        (f"{LAYER}input_layernorm.weight", set()),
        ("model.multi_modal_projector.linear_1.weight", {"attention", "gate-up"}),
        ("model.vision_tower.encoder.layers.1.self_attn.q_proj.weight", set()),
        ("model.visual.blocks.1.mlp.gate_proj.weight", set()),
        ("lm_head.weight", set()),
    ],
)
def test_trained_parts_are_projections_and_the_connector(name, parts):
    assert {chosen for chosen in ("attention", "gate-up") if is_trained(name, chosen)} == parts
    assert is_trained(name, "all")


def test_a_tower_without_a_rate_is_frozen():
    tower, merger = "model.visual.blocks.0.attn.qkv.weight", "model.visual.merger.ln_q.weight"
    trained = {name for name in (tower, merger, "lm_head.weight") if is_trained(name, "all", 0.0)}
    assert trained == {merger, "lm_head.weight"}
    assert is_trained(tower, "all", 0.1)
