"""Memory that a training needs: an estimate by formula, in bytes, and the largest batch that fits.

The constants are counted from the training program: transformers' Trainer with float32 master
weights, autocast and fused AdamW. `python -m benchmarks.training_memory` holds the estimates to
measured peaks (docs/models.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from services.core.memory import BFLOAT16, FLOAT32, RUNTIME, TEXT_TOKENS, Dimensions

MOMENTS = 2 * FLOAT32
"""AdamW's two moments of a trained parameter."""
ANSWER_TOKENS = 64
"""Positions of a sample for which logits are computed: those of its answer."""
LOGIT_BYTES = 2 * BFLOAT16 + 3 * FLOAT32
"""Bytes of a logit: bfloat16 and float32, each with its gradient, and its log probability."""
IN_FLIGHT = 7 * FLOAT32
"""Bytes of a parameter of a layer whose weights are offloaded, while it is computed: this layer's
and the next one's weights, on arrival and cast, the gradient, and two of them on their way back."""
RESERVE = 0.05
"""Share of the free memory that is left to the allocator's fragments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingWay:
    """Choices of a training that decide its memory, but not its result."""

    micro_batch: int
    """Samples that one process computes at a time."""
    share: int
    """Samples of one process in an optimizer step; a multiple of `micro_batch`."""
    checkpointing: bool = False
    """Activations are computed twice instead of kept."""
    lora_rank: int = 0
    """Rank of the adapters; 0: none."""
    trained: int = 0
    """Number of trained parameters without adapters; 0: all."""
    processes: int = 1
    sharded: bool = False
    """Weights, gradients and moments are divided among the processes."""
    offloaded: bool = False
    """Weights, gradients and moments are in the machine's memory, divided among the processes."""
    value_bytes: int = BFLOAT16
    """Size of computed values: 2 under autocast to bfloat16, 4 in float32."""
    base_bytes: int = BFLOAT16
    """Size of a frozen weight: the checkpoint's own."""


@dataclass(frozen=True, slots=True)
class SampleSize:
    """The largest sample of a training."""

    tokens: int
    """Tokens of prompt, image and answer."""
    patches: int
    """Patches that the vision tower computes."""

    @staticmethod
    def of_image(model: Dimensions, visual_tokens: int) -> SampleSize:
        """Size of a sample with an image of N visual tokens and TEXT_TOKENS of text."""
        patches = visual_tokens * model.tower.patches if model.tower else 0
        return SampleSize(visual_tokens + TEXT_TOKENS, patches)


def training_bytes(model: Dimensions, sample: SampleSize, way: TrainingWay) -> int:
    """Peak of one process on its device.

    Gradients and activations are both counted whole: what a backward pass frees of the one is
    rarely a place for the other.
    """
    trained, frozen = _held(model, way)
    casts = trained * way.value_bytes if way.value_bytes < FLOAT32 else 0
    kept = trained * (FLOAT32 + FLOAT32 + MOMENTS) + casts
    if way.offloaded:
        frozen, kept = 0, model.language.largest_layer * IN_FLIGHT
    elif way.sharded:
        largest = model.language.vocabulary * model.language.hidden
        kept = kept // way.processes + 3 * largest * FLOAT32  # gathered for a moment
        frozen //= way.processes
    elif way.processes > 1:
        kept += trained * FLOAT32  # the buckets in which gradients are reduced
    return frozen + kept + way.micro_batch * activation_bytes(model, sample, way) + RUNTIME


def host_bytes(model: Dimensions, way: TrainingWay) -> int:
    """Peak of the machine's memory in an offloaded training, for all processes together.

    Each process reads the weights before it keeps its share. At the end moments and gradients are
    freed before the weights are gathered, which takes less.
    """
    trained, frozen = _held(model, way)
    weights = trained * FLOAT32 + frozen
    begins = (way.processes + 1) * weights
    return max(begins, weights + trained * (FLOAT32 + MOMENTS)) + way.processes * RUNTIME


def _held(model: Dimensions, way: TrainingWay) -> tuple[int, int]:
    """Trained parameters, and bytes of the frozen ones."""
    if way.lora_rank:
        return model.adapter_parameters(way.lora_rank), model.parameters * way.base_bytes
    trained = way.trained or model.parameters
    return trained, (model.parameters - trained) * way.base_bytes


def activation_bytes(model: Dimensions, sample: SampleSize, way: TrainingWay) -> int:
    """Bytes that one sample keeps from its forward to its backward pass."""
    logits = min(ANSWER_TOKENS, sample.tokens) * model.language.vocabulary * LOGIT_BYTES
    stacks = [(sample.tokens, model.language), (sample.patches, model.tower)]
    total = logits
    computed_again = 0
    for positions, stack in stacks:
        if stack is None:
            continue
        layer = positions * stack.layer_bytes(way.value_bytes)
        if way.checkpointing:
            total += positions * stack.layers * stack.hidden * FLOAT32
            computed_again = max(computed_again, 2 * layer)
        else:
            total += layer * stack.layers
    return total + computed_again


def leaner(way: TrainingWay) -> Iterator[TrainingWay]:
    """Ways from the fastest to the leanest, `way` first: smaller micro batches, checkpointing.

    All compute the same optimizer steps. Offloaded weights are read again for each micro batch, so
    checkpointing comes first there.
    """
    if way.offloaded and not way.checkpointing:
        yield way
        way = replace(way, checkpointing=True)
    sizes = [size for size in range(way.micro_batch, 0, -1) if way.share % size == 0]
    yield from (replace(way, micro_batch=size) for size in sizes)
    if not way.checkpointing:
        again = replace(way, micro_batch=way.share, checkpointing=True)
        yield from leaner(again)


def fits(model: Dimensions, sample: SampleSize, way: TrainingWay, free_bytes: int) -> bool:
    """Whether a training fits on a device with so many free bytes."""
    return training_bytes(model, sample, way) <= free_bytes * (1 - RESERVE)


def fits_in_host(model: Dimensions, way: TrainingWay, free_bytes: int) -> bool:
    """Whether the offloaded part of a training fits in a machine with so many free bytes."""
    return host_bytes(model, way) <= free_bytes * (1 - RESERVE)


def fastest_that_fits(
    model: Dimensions, sample: SampleSize, way: TrainingWay, free_bytes: int
) -> TrainingWay | None:
    """The fastest way, from `way` on, that fits into the free memory of each device."""
    return next((each for each in leaner(way) if fits(model, sample, each, free_bytes)), None)
