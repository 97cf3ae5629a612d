"""Configuration code of InternLM2."""

from transformers import PretrainedConfig


class InternLM2Config(PretrainedConfig):
    model_type = "internlm2"

    def __init__(self, **sizes):
        super().__init__(**sizes)
        for name, size in sizes.items():
            setattr(self, name, size)
