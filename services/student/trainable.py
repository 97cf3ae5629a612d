"""Trained parts of a student: parameters that are frozen, and the learning rate of its tower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.core.errors import InvalidInput
from services.core.model_parts import ALL, CONNECTOR, TOWER, TRAINABLE, is_trained, part_of
from services.core.presets import Hyperparameters
from services.engines import weights


def require_trainable_parts(settings: Hyperparameters) -> None:
    """Raises InvalidInput: there are no such parts, or they contradict other settings."""
    trainable = settings.trainable
    if trainable not in TRAINABLE:
        raise InvalidInput(
            f"trainable is {trainable!r}: use {', '.join(TRAINABLE)}",
            field="hyperparameters.trainable",
        )
    if settings.lora_rank and (trainable != ALL or settings.tower_rate != 1.0):
        raise InvalidInput(
            f"lora_rank is {settings.lora_rank}, and adapters are trained in all parts at one "
            "rate: give lora_rank, or trainable and tower_rate",
            field="hyperparameters.lora_rank",
        )
    if trainable != ALL and settings.tower_rate != 1.0:
        raise InvalidInput(
            f"tower_rate is {settings.tower_rate:g}, and trainable {trainable!r} freezes the "
            "vision tower: give one of them",
            field="hyperparameters.tower_rate",
        )


def trained_parameters(base: Path, settings: Hyperparameters) -> int:
    """Number of parameters of the checkpoint in `base` that are trained, adapters aside.

    Raises InvalidInput: it has no such part, or a damaged header.
    """
    trained = weights.parameters(
        base, lambda name: is_trained(name, settings.trainable, settings.tower_rate)
    )
    connector = weights.parameters(base, lambda name: part_of(name) == CONNECTOR)
    if settings.trainable != ALL and trained == connector and weights.parameters(base):
        raise InvalidInput(
            f"trainable is {settings.trainable!r}, and the language model in {base} has no such "
            "projections: train all parts, or adapters (lora_rank)",
            field="hyperparameters.trainable",
            reason="NOT_TRAINABLE",
        )
    return trained


def freeze(model: Any, settings: Hyperparameters) -> bool:
    """Freeze the parameters that are not trained. Returns whether there are any."""
    frozen = [
        parameter
        for name, parameter in model.named_parameters()
        if not is_trained(name, settings.trainable, settings.tower_rate)
    ]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return bool(frozen)


def slow_tower(optimizer: Any, model: Any, factor: float) -> None:
    """Give the parameters of the vision tower a learning rate of their own."""
    tower = {id(each) for name, each in model.named_parameters() if part_of(name) == TOWER}
    for group in list(optimizer.param_groups):
        own = [each for each in group["params"] if id(each) in tower]
        if own:
            group["params"] = [each for each in group["params"] if id(each) not in tower]
            optimizer.add_param_group({**group, "params": own, "lr": group["lr"] * factor})
