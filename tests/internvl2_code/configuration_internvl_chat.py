"""Configuration code beside a published InternVL2: it runs only where remote code is trusted."""

from transformers import PretrainedConfig

from .configuration_internlm2 import InternLM2Config
from .configuration_phi3 import Phi3Config


class InternVisionConfig(PretrainedConfig):
    model_type = "intern_vit_6b"

    def __init__(self, **sizes):
        super().__init__(**sizes)
        for name, size in sizes.items():
            setattr(self, name, size)


class InternVLChatConfig(PretrainedConfig):
    model_type = "internvl_chat"
    is_composition = True

    def __init__(
        self,
        vision_config=None,
        llm_config=None,
        select_layer=-1,
        force_image_size=None,
        downsample_ratio=0.5,
        template=None,
        dynamic_image_size=False,
        use_thumbnail=False,
        ps_version="v1",
        min_dynamic_patch=1,
        max_dynamic_patch=6,
        **rest,
    ):
        super().__init__(**rest)
        self.vision_config = InternVisionConfig(**(vision_config or {}))
        self.llm_config = _text_config(dict(llm_config or {"architectures": ["Qwen2ForCausalLM"]}))
        self.select_layer = select_layer
        self.force_image_size = force_image_size
        self.downsample_ratio = downsample_ratio
        self.template = template
        self.dynamic_image_size = dynamic_image_size
        self.use_thumbnail = use_thumbnail
        self.ps_version = ps_version
        self.min_dynamic_patch = min_dynamic_patch
        self.max_dynamic_patch = max_dynamic_patch


def _text_config(sizes):
    from transformers import Qwen2Config

    kinds = {
        "InternLM2ForCausalLM": InternLM2Config,
        "Phi3ForCausalLM": Phi3Config,
        "Qwen2ForCausalLM": Qwen2Config,
    }
    sizes.pop("model_type", None)
    return kinds[sizes["architectures"][0]](**sizes)
