"""What is known of each student: how it is trained (paper, Table 11) and by which recipe it is aligned."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Parity Leveler settings (paper, Section 3.3 and Table 11). `batch_size` is the effective batch.

    `loss`: "token" averages over the batch's answer tokens, "sample" sums over a sample's tokens and averages over samples
    (Eq. 3 as printed).
    """

    learning_rate: float
    batch_size: int = 16
    epochs: int = 1
    warmup_ratio: float = 0.03
    weight_decay: float = 0.0
    loss: str = "token"
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Preset:
    """A student model. `recipe` is what `mpa-orch align` uses for it unless told otherwise."""

    name: str
    recipe: str
    hyperparameters: Hyperparameters


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("qwen2vl-2b", "paper", Hyperparameters(1e-5)),
        Preset("internvl2-2b", "paper", Hyperparameters(4e-5)),
        Preset("internvl2-4b", "paper", Hyperparameters(4e-5, batch_size=6)),
        Preset("smolvlm-500m", "paper", Hyperparameters(1e-4)),
        Preset("tinyllava-2b", "paper", Hyperparameters(1e-4)),
        Preset("bundled", "rehearsal", Hyperparameters(5e-4, epochs=2)),
    )
}
