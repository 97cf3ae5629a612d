"""Size of the check: true shapes on a GPU, tiny ones on a machine without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Scale:
    """Models, and the amount of work for them."""

    name: str
    teacher: str
    """Model of benchmarks/shapes.py."""
    student: str
    photos: int
    """Photos that are annotated and answered."""
    samples: int
    """Training samples of one epoch."""
    batch: int
    """Training samples of an optimizer step."""
    learning_rate: float
    """High enough for answers that tell the trained version from the first one."""
    clients: int
    """Clients during swaps."""
    window: int
    """MPA_*_MAX_MODEL_LEN."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Share of the GPU for each role; the student's is for one of two slots."""
    presets: Mapping[str, str] = field(default_factory=dict)
    """Preset of each role, for pixels and prompts."""


SCALES = {
    "full": Scale(
        "full",
        teacher="qwen2vl-7b",
        student="qwen2vl-2b",
        photos=512,
        samples=256,
        batch=16,
        learning_rate=1e-4,
        clients=32,
        window=4096,
        shares={"teacher": 0.35, "student": 0.15},
        presets={"teacher": "qwen2vl-7b", "student": "qwen2vl-2b"},
    ),
    "tiny": Scale(
        "tiny",
        teacher="tiny-teacher",
        student="tiny",
        photos=8,
        samples=16,
        batch=4,
        learning_rate=1e-2,
        clients=4,
        window=1024,
    ),
}
