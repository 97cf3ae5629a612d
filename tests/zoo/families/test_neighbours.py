def test_untrained_heads_look_at_their_neighbours(tokenizer):
    import torch
    from transformers.models.qwen2_vl.modeling_qwen2_vl import apply_rotary_pos_emb_vision

    from zoo.architecture import build_model
    from zoo.families.lessons import COURSES
    from zoo.families.neighbours import DISTANCES, look_around

    torch.manual_seed(0)
    model = build_model(COURSES["teacher"].size, tokenizer)
    look_around(model)
    attention = model.model.visual.blocks[0].attn
    side = 9
    middle = 4
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([rows.flatten(), columns.flatten()], dim=1)
    angles = (places.unsqueeze(2) * model.model.visual.rotary_pos_emb.inv_freq).flatten(1)
    turned = torch.cat([angles, angles], dim=1)
    biases = attention.qkv.bias.view(3, attention.num_heads, -1)[:2]
    everywhere = biases.unsqueeze(1).expand(-1, len(places), -1, -1)
    query, key = apply_rotary_pos_emb_vision(
        everywhere[0], everywhere[1], turned.cos(), turned.sin()
    )
    for head, (down, right) in enumerate(DISTANCES[0]):
        scores = key[:, head] @ query[middle * side + middle, head]
        assert int(scores.argmax()) == (middle + down) * side + middle + right
