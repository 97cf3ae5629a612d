"""Presets of models: checkpoint, engines, image processing and training settings of each.

The models themselves are in presets.toml: the paper's five students (with Table 11) and three
teachers, their successors, and the pairs of this repository.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from services.core.errors import InvalidInput
from services.core.memory import Dimensions, Shape, Tower, serving_bytes
from services.core.model_parts import ALL
from services.core.training_memory import SampleSize, TrainingWay, host_bytes, training_bytes

TABLE_11 = (
    "learning_rate and batch_size: paper, Table 11; epochs: its Appendix C; "
    "all else: this project's own"
)
"""Source of hyperparameters: the paper gives no warm-up, schedule and weight decay."""


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Parity Leveler settings (paper, Section 3.3)."""

    learning_rate: float
    """Peak learning rate of AdamW (paper, Table 11)."""
    batch_size: int = 16
    """Samples per optimizer step, the effective batch (paper, Table 11)."""
    epochs: int = 1
    """Passes over the samples."""
    warmup_ratio: float = 0.03
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 0.0
    """Weight decay of AdamW."""
    loss: str = "token"
    """"token" averages over the batch's answer tokens. "sample" sums over a sample's answer tokens
    and averages over samples (Eq. 3 as printed)."""
    seed: int = 0
    """Random seed of the order of samples and of adapters."""
    lora_rank: int = 0
    """Rank of low-rank adapters; 0 trains the whole student, like the paper."""
    lora_alpha: float = 32.0
    """Scale of low-rank adapters."""
    trainable: str = ALL
    """Trained parts of the student (model_parts.py); the others are frozen. "attention": attention
    projections of the language model, and the connector. "gate-up": gate and up projections of its
    MLPs, and the connector."""
    tower_rate: float = 1.0
    """Factor on the learning rate of the vision tower; 0 freezes it."""


@dataclass(frozen=True, slots=True)
class Preset:
    """One model."""

    name: str
    roles: tuple[str, ...]
    """"student" up to 5B parameters, which the paper calls small; else "teacher"."""
    hub_id: str
    """Name of the checkpoint, or of a provider's model (engine "openai"); "" is one in zoo/."""
    revision: str
    """Commit of the checkpoint; "main" if it is unknown, "" if there is none."""
    architecture: str
    """Class in the checkpoint's config.json."""
    engines: tuple[str, ...]
    """Engines that load the checkpoint as published; training uses "transformers"."""
    licence: str
    hyperparameters: Hyperparameters
    hyperparameters_source: str
    folder: str = ""
    """Folder in zoo/ of a checkpoint of this repository."""
    conversion: str = ""
    """Class that `mpa-orch models convert` makes of the checkpoint, which training needs; "" if it
    is trained as published."""
    remote_code: bool = False
    """The checkpoint can't be loaded without Python code of its own."""
    chat_template: str = "the checkpoint's"
    system_prompt: str = ""
    """System turn; "" is the chat template's own."""
    image_processor: Mapping[str, Any] = field(default_factory=dict)
    """Keys that replace those of the checkpoint's image processor, a teacher's too."""
    visual_tokens: int = 0
    """Most tokens of one image with this image processor."""
    parameters: int = 0
    """Number of parameters; 0 if it is not published."""
    shape: Shape | None = None
    """Shape of the language model; None if it is not published."""
    tower: Tower | None = None
    """Shape of the vision tower; None if it is not published."""
    note: str = ""

    @property
    def model(self) -> str:
        """Name for the services: "Qwen/Qwen2-VL-2B-Instruct@895c..."; "" for one in zoo/."""
        return f"{self.hub_id}@{self.revision}" if self.revision else self.hub_id

    @property
    def dimensions(self) -> Dimensions | None:
        """None if the model runs elsewhere."""
        return Dimensions(self.parameters, self.shape, self.tower) if self.shape else None

    @property
    def serving_bytes(self) -> int:
        """An estimate (memory.py); 0 if the model runs elsewhere."""
        return serving_bytes(self.dimensions, self.visual_tokens) if self.dimensions else 0

    def training_bytes(
        self, lora_rank: int = 0, processes: int = 1, *, offloaded: bool = False
    ) -> int:
        """An estimate (training_memory.py) for one sample at a time with gradient checkpointing.

        Several processes divide the model, and each needs this much. 0 for a teacher, which is
        never trained.
        """
        if self.dimensions is None or "student" not in self.roles:
            return 0
        sample = SampleSize.of_image(self.dimensions, self.visual_tokens)
        way = TrainingWay(
            micro_batch=1,
            share=self.hyperparameters.batch_size // processes,
            checkpointing=True,
            lora_rank=lora_rank,
            processes=processes,
            sharded=processes > 1,
            offloaded=offloaded,
        )
        return training_bytes(self.dimensions, sample, way)

    @property
    def offloaded_bytes(self) -> int:
        """Memory of the machine that an offloaded training takes; 0 if the model runs elsewhere."""
        way = TrainingWay(micro_batch=1, share=1, offloaded=True)
        return host_bytes(self.dimensions, way) if self.dimensions else 0

    def require_loadable(self, engine: str, *, trust_remote_code: bool, prefix: str) -> None:
        """Raises InvalidInput if `engine` can't load the model; called before any download.

        `prefix`: start of the service's settings, such as "MPA_STUDENT_".
        """
        if not self.hub_id:
            return
        who = f"{self.hub_id} (preset {self.name})"
        if not self.engines:
            raise InvalidInput(
                f"no engine loads {who} as published: {converting(self.name, prefix)}",
                field=f"{prefix}PRESET",
                reason="CONVERSION_NEEDED",
            )
        if engine not in self.engines:
            other = (
                converting(self.name, prefix)
                if self.conversion
                else f"name another checkpoint by {prefix}MODEL"
            )
            raise InvalidInput(
                f"{who} runs on {' or '.join(self.engines)}, not on {engine}: set "
                f"{prefix}ENGINE={self.engines[-1]}, or {other}",
                field=f"{prefix}ENGINE",
            )
        if self.remote_code and not trust_remote_code:
            raise InvalidInput(
                f"{who} comes with Python code of its own, which would run in this service: "
                f"read it, then set {prefix}TRUST_REMOTE_CODE=1",
                field=f"{prefix}TRUST_REMOTE_CODE",
            )


def converting(source: str, prefix: str) -> str:
    """The commands that convert a model and have a service run it. `prefix`: as above."""
    both = " (`mpa-orch serve ... --convert` does both)" if source in PRESETS else ""
    return f"run `mpa-orch models convert {source} FOLDER`, then set {prefix}MODEL=FOLDER{both}"


def _read(path: Path) -> dict[str, Preset]:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    families = table["families"]
    models = table["models"]
    shapes = {name: Shape(**fields) for name, fields in table["shapes"].items()}
    towers = {name: Tower(**fields) for name, fields in table["towers"].items()}

    def preset(name: str) -> Preset:
        own = dict(models[name])
        fields = {**families.get(own.pop("family", ""), {}), **own}
        if model := fields.pop("trained_like", ""):
            fields["hyperparameters"] = models[model]["hyperparameters"]
            fields["hyperparameters_source"] = (
                f"{model} ({TABLE_11}), the nearest model of the paper"
            )
        fields.setdefault(
            "hyperparameters_source", TABLE_11 if "hyperparameters" in fields else "not trained"
        )
        fields["hyperparameters"] = Hyperparameters(
            **fields.get("hyperparameters", {"learning_rate": 1e-5})
        )
        fields["shape"] = shapes[fields["shape"]] if "shape" in fields else None
        fields["tower"] = towers[fields["tower"]] if "tower" in fields else None
        fields["roles"] = tuple(fields["roles"])
        fields["engines"] = tuple(fields["engines"])
        return Preset(name=name, **fields)

    return {name: preset(name) for name in models}


PRESETS = _read(Path(__file__).with_name("presets.toml"))


CONVERTED = {each.architecture: each.conversion for each in PRESETS.values() if each.conversion}
"""Published classes that no training can read, and those that a conversion makes of them."""


def find_preset(name: str, role: str = "", *, what: str = "the preset") -> Preset:
    """The preset of this name and role. `what` names the setting in InvalidInput."""
    fit = [preset.name for preset in PRESETS.values() if not role or role in preset.roles]
    if name in fit:
        return PRESETS[name]
    wrong = f", which is no {role}" if name in PRESETS else _meant(name, fit)
    raise InvalidInput(f"{what} is {name!r}{wrong}: use one of {', '.join(fit)}", field="preset")


def _meant(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name.lower(), list(names), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
