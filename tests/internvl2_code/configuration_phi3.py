"""Configuration code of Phi-3."""

from transformers import PretrainedConfig


class Phi3Config(PretrainedConfig):
    model_type = "phi3"

    def __init__(self, **sizes):
        super().__init__(**sizes)
        for name, size in sizes.items():
            setattr(self, name, size)
