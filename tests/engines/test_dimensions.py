"""Dimensions of checkpoints, and the size of their largest samples, against their own models."""

import pytest

from tests.pictures import numbered_png

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["qwen2_vl", "internvl", "idefics3"])
def test_a_checkpoint_tells_its_dimensions_and_its_largest_sample(name, tmp_path):
    from transformers import AutoModelForImageTextToText

    from services.core.memory import TEXT_TOKENS
    from services.engines.dimensions import largest_sample, read_dimensions
    from services.engines.images import load_image
    from services.engines.model import Prompt
    from services.engines.rendering import renderer
    from tests.architectures import ARCHITECTURES

    folder = ARCHITECTURES[name].save(tmp_path)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    found = read_dimensions(folder)
    assert found.parameters == model.num_parameters()
    assert (found.language.layers, found.language.hidden, found.language.heads) == (2, 64, 2)
    assert found.tower is not None
    assert found.tower.layers == {"qwen2_vl": 1}.get(name, 2)
    sample = largest_sample(folder)
    small = renderer(folder)(Prompt(load_image(numbered_png(1)), "red"))
    assert sample.tokens >= small.tokens + TEXT_TOKENS - 1
    patches = {"qwen2_vl": 36, "internvl": 5 * 16, "idefics3": 5 * 16}
    assert sample.patches == patches[name]
