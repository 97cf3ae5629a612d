"""What is known of each model: where its checkpoint is, what runs it, how it is shown images, and how it is trained.

The models themselves are in presets.toml: the paper's five students (with Table 11) and three teachers, their successors, and
the pairs of this repository.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from services.core.errors import InvalidInput
from services.core.memory import Shape, serving_bytes, training_bytes

TABLE_11 = "learning_rate and batch_size: paper, Table 11; epochs: its Appendix C; all else: this project's own"
"""The table has no more, and the paper says nothing of warm-up, schedule and weight decay."""


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Parity Leveler settings (paper, Section 3.3). `batch_size` is the effective batch; it and the rate are in Table 11.

    `loss`: "token" averages over the batch's answer tokens, "sample" sums over a sample's tokens and averages over samples
    (Eq. 3 as printed). `lora_rank` 0 trains the whole student, as the paper does.
    """

    learning_rate: float
    batch_size: int = 16
    epochs: int = 1
    warmup_ratio: float = 0.03
    weight_decay: float = 0.0
    loss: str = "token"
    seed: int = 0
    lora_rank: int = 0
    lora_alpha: float = 32.0


@dataclass(frozen=True, slots=True)
class Preset:
    """One model.

    `roles`: "student" up to the 5B parameters that the paper calls small, else "teacher". `hub_id` "" is a checkpoint of this
    repository, in this `folder` of zoo/; with the engine "openai" it is the provider's name of the model. `revision`: a
    commit, "main" where none could be established, "" where there is none. `architecture`: the class in the checkpoint's
    config.json. `engines` that load the checkpoint as it is published; training takes "transformers". `remote_code`: it comes
    with Python code without which it can't be loaded. `system_prompt` "" is the chat template's own. `image_processor`: keys
    to be merged into the checkpoint's image processor. `visual_tokens`: the most that one image becomes with them.
    `parameters` is 0 and `shape` None where nobody published them. `recipe`: what `mpa-orch align` uses unless told
    otherwise.
    """

    name: str
    roles: tuple[str, ...]
    hub_id: str
    revision: str
    architecture: str
    engines: tuple[str, ...]
    licence: str
    hyperparameters: Hyperparameters
    hyperparameters_source: str
    folder: str = ""
    remote_code: bool = False
    chat_template: str = "the checkpoint's"
    system_prompt: str = ""
    image_processor: Mapping[str, Any] = field(default_factory=dict)
    visual_tokens: int = 0
    parameters: int = 0
    shape: Shape | None = None
    recipe: str = "paper"
    note: str = ""

    @property
    def model(self) -> str:
        """As the services take it: "Qwen/Qwen2-VL-2B-Instruct@895c...". "" for a checkpoint of this repository."""
        return f"{self.hub_id}@{self.revision}" if self.revision else self.hub_id

    @property
    def serving_bytes(self) -> int:
        """An estimate (memory.py); 0 where the model runs elsewhere."""
        return serving_bytes(self.parameters, self.shape, self.visual_tokens) if self.shape else 0

    def training_bytes(self, lora_rank: int = 0) -> int:
        """An estimate (memory.py); 0 for a teacher, which is never trained."""
        if self.shape is None or "student" not in self.roles:
            return 0
        return training_bytes(self.parameters, self.shape, self.visual_tokens, lora_rank)

    def require_loadable(self, engine: str, *, trust_remote_code: bool, prefix: str) -> None:
        """To be asked before any download. `prefix`: of the service's variables, "MPA_STUDENT_". Raises InvalidInput."""
        if not self.hub_id:
            return
        who = f"{self.hub_id} (preset {self.name})"
        if not self.engines:
            raise InvalidInput(
                f"{who} is loaded by no engine as it is published: {self.note}",
                field=f"{prefix}PRESET",
            )
        if engine not in self.engines:
            raise InvalidInput(
                f"{who} runs on {' or '.join(self.engines)}, not on {engine}: set {prefix}ENGINE={self.engines[-1]}, "
                f"or name another checkpoint by {prefix}MODEL",
                field=f"{prefix}ENGINE",
            )
        if self.remote_code and not trust_remote_code:
            raise InvalidInput(
                f"{who} comes with Python code of its own, which would run in this service: read it, then set "
                f"{prefix}TRUST_REMOTE_CODE=1",
                field=f"{prefix}TRUST_REMOTE_CODE",
            )


def _read(path: Path) -> dict[str, Preset]:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    shapes, families, models = table["shapes"], table["families"], table["models"]

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
        fields["shape"] = Shape(**shapes[fields["shape"]]) if "shape" in fields else None
        fields["roles"], fields["engines"] = tuple(fields["roles"]), tuple(fields["engines"])
        return Preset(name=name, **fields)

    return {name: preset(name) for name in models}


PRESETS = _read(Path(__file__).with_name("presets.toml"))


def find_preset(name: str, role: str = "", *, what: str = "the preset") -> Preset:
    """`what` names the setting in the message. Raises InvalidInput: no such preset, or none for this `role` ("" takes any)."""
    fit = [preset.name for preset in PRESETS.values() if not role or role in preset.roles]
    if name in fit:
        return PRESETS[name]
    wrong = f", which is no {role}" if name in PRESETS else _meant(name, fit)
    raise InvalidInput(f"{what} is {name!r}{wrong}: use one of {', '.join(fit)}", field="preset")


def _meant(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name.lower(), list(names), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
