import pytest


def test_progress_takes_six_bytes_a_parameter_and_loses_no_more_when_saved_again(
    tiny, tokenizer, tmp_path
):
    import torch
    from safetensors.torch import load_file

    from zoo.architecture import build_model
    from zoo.families.progress import load_progress, save_progress

    model, other = (build_model(tiny.course.size, tokenizer) for _ in range(2))
    optimizer, further = (torch.optim.AdamW(each.parameters()) for each in (model, other))
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    save_progress(tmp_path / "progress", model, optimizer, step=1, seed=5)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert (tmp_path / "progress").stat().st_size == pytest.approx(6 * count, rel=0.1)
    assert load_progress(tmp_path / "progress", other, further) == (1, 5)
    save_progress(tmp_path / "again", other, further, step=1, seed=5)
    once = load_file(tmp_path / "progress")
    twice = load_file(tmp_path / "again")
    assert once.keys() == twice.keys()
    assert all(torch.equal(once[name], twice[name]) for name in once)
