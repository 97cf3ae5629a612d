"""Language models inside published checkpoints, by the class that their configuration names."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from transformers import Phi3Config, PreTrainedConfig, Qwen2Config

from services.core.errors import InvalidInput
from services.engines.conversion import internlm2
from services.engines.conversion.converted import ConvertTensor, Tensors


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """Configuration of a language model, and the conversion of its tensors."""

    config: Any
    tensors: ConvertTensor


def language_model(published: dict[str, Any]) -> LanguageModel:
    """Raises InvalidInput: the class in `published`, a configuration, is unknown."""
    architecture = (published.get("architectures") or ["an unnamed class"])[0]
    if architecture == "InternLM2ForCausalLM":
        llama = internlm2.text_config(published)
        return LanguageModel(llama, partial(internlm2.text_tensors, config=llama))
    if architecture not in _OF_TRANSFORMERS:
        known = ", ".join(["InternLM2ForCausalLM", *_OF_TRANSFORMERS])
        raise InvalidInput(
            f"the language model is {architecture}, which can't be converted; known: {known}",
            field="source",
            reason="ARCHITECTURE_UNKNOWN",
        )
    return LanguageModel(_own(_OF_TRANSFORMERS[architecture], published), _unchanged)


_OF_TRANSFORMERS = {"Qwen2ForCausalLM": Qwen2Config, "Phi3ForCausalLM": Phi3Config}
"""Classes whose tensors stay as they are."""


def _own(kind: type[PreTrainedConfig], published: dict[str, Any]) -> PreTrainedConfig:
    """Keeps the architecture of a configuration that an old release of transformers wrote.

    The head has weights of its own, whatever the file says: InternVL unties it.
    """
    known = {field.name for field in fields(kind)} | {"rope_scaling", "rope_theta"}
    kept = {key: value for key, value in published.items() if key in known - _INCIDENTAL}
    if scaling := published.get("rope_scaling"):
        kept["rope_scaling"] = _long_rope(scaling, published)
    return kind(**{**kept, "tie_word_embeddings": False})


def _long_rope(scaling: dict[str, Any], published: dict[str, Any]) -> dict[str, Any]:
    """Scaling of Phi-3's positions under its present name; it was "su" at first."""
    kind = scaling.get("rope_type") or scaling.get("type")
    if kind not in ("su", "longrope"):
        raise InvalidInput(
            f"the language model scales its positions by {kind!r}, which can't be converted",
            field="source",
        )
    return {
        "rope_type": "longrope",
        "short_factor": scaling["short_factor"],
        "long_factor": scaling["long_factor"],
        "original_max_position_embeddings": published["original_max_position_embeddings"],
    }


_INCIDENTAL = {"architectures", "dtype", "id2label", "label2id", "problem_type", "return_dict"}


def _unchanged(name: str, tensor: Any) -> Tensors:
    return [(name, tensor)]
