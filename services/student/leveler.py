"""Training loop: transformers' Trainer with exact losses over effective batches.

It also reads its own checkpoints back correctly.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState

from services.student.base_answers import divergences
from services.student.batches import EffectiveBatches
from services.student.encoding import IGNORED
from services.student.loss_notes import LossNotes
from services.student.progress import Stopwatch
from services.student.sharding import plugin_settings, shard_on_cpu
from services.student.trainable import slow_tower

_LEARNED = ("labels", "weights", "anchors", "likely", "logs", "places")
"""Tensors of a batch that are no inputs of the model."""


class Leveler(Trainer):
    """Trainer on `batches`, with one of two losses.

    "sample" is the loss of Eq. 3: the sum over tokens, averaged over samples. "token" is the mean
    over tokens. Both means are over the whole effective batch, whatever its micro batches and
    processes. A sample with a weight counts that many times, in the sum and in its divisor.

    An anchor has no cross entropy. Its term in the sum is its weight times KL(base || student),
    summed over its tokens (base_answers.py); in the divisor it counts once, as a sample of weight 1
    with the same answer does. So a step that meets mostly anchors is no larger than others, and
    one that meets nothing else has a mean, too.
    """

    def __init__(
        self,
        *,
        loss: str,
        batches: EffectiveBatches,
        tower_rate: float = 1.0,
        losses: LossNotes | None = None,
        **kwargs: Any,
    ) -> None:
        """`tower_rate`: factor on the learning rate of the vision tower.

        `losses`: takes down the loss of each sample.
        """
        super().__init__(**kwargs)
        self._losses = losses
        self._loss = loss
        self._batches = batches
        self._tower_rate = tower_rate
        # `compute_loss` divides by the items of the effective batch: the trainer must not do so
        # again.
        self.model_accepts_loss_kwargs = True
        self.add_callback(_NextEpoch(batches))
        self.add_callback(_NoInputGradients())
        if losses is not None:
            self.add_callback(losses)

    def get_train_dataloader(self) -> DataLoader[Any]:
        samples: Any = self.train_dataset
        return DataLoader(
            samples,
            batch_sampler=self._batches,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor]:
        """Micro batches of one optimizer step, and the number of its items in all processes."""
        micro_batches = list(islice(epoch_iterator, num_batches))
        items = sum(
            count_items(batch["labels"], self._loss, batch.get("weights"))
            for batch in micro_batches
        )
        return micro_batches, self.accelerator.reduce(
            torch.tensor(items, dtype=torch.float32, device=device), "sum"
        )

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        targets = inputs["labels"][:, 1:]
        # Logits are computed only at positions where a row has an answer: with a vocabulary of
        # 150,000 they take most of the memory.
        answered = (targets != IGNORED).any(0).nonzero().flatten()
        positions = answered if len(answered) else answered.new_zeros(1)
        weights = inputs.get("weights")
        features = {name: tensor for name, tensor in inputs.items() if name not in _LEARNED}
        # A cache of keys and values is useless here, and recomputed layers would find their own
        # entries in it.
        outputs = model(**features, logits_to_keep=positions, use_cache=False)
        total = _total(outputs.logits, targets[:, positions], inputs)
        if self._losses is not None:
            self._losses.take(outputs.logits, targets[:, positions], inputs)
        items = (
            count_items(targets, self._loss, weights)
            if num_items_in_batch is None
            else num_items_in_batch
        )
        # Gradients are averaged over the processes, but `items` is a sum.
        loss = total * self.accelerator.num_processes / items
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new and self._tower_rate != 1.0:
            slow_tower(optimizer, model or self.model, self._tower_rate)
        return optimizer

    def create_accelerator_and_postprocess(self) -> None:
        """Complete the settings of FSDP, which depend on the model."""
        plugin = self.args.fsdp_plugin_args
        model: Any = self.model
        if plugin is not None:
            offload = bool(plugin.get("cpu_offload"))
            plugin.update(plugin_settings(model, in_bf16=self.args.bf16, offload=offload))
        super().create_accelerator_and_postprocess()
        if plugin is not None and shard_on_cpu(plugin):
            self.is_fsdp_enabled = True

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Read a checkpoint of the whole model as `from_pretrained` does.

        `save_pretrained` writes some architectures (Qwen2-VL) under their older tensor names. The
        trainer's own code does not translate them back: it warns, and would go on from the base
        weights (transformers 5.19). Adapters and shards keep their names in memory.
        """
        model = model or self.model
        if self.is_fsdp_enabled or hasattr(model, "peft_config"):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        # Trained weights are in fp32, whatever the format of frozen ones.
        saved = type(model).from_pretrained(
            resume_from_checkpoint, dtype=torch.float32, use_safetensors=True
        )
        model.load_state_dict(saved.state_dict())


def _total(
    logits: torch.Tensor, targets: torch.Tensor, inputs: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Sum of the terms of all rows: cross entropies of samples, divergences of anchors."""
    weights, anchors = inputs.get("weights"), inputs.get("anchors")
    if anchors is None:
        return summed_losses(logits, targets, weights)
    is_anchor = anchors > 0
    of_samples = (~is_anchor).float() if weights is None else weights * ~is_anchor
    kept = divergences(
        logits[is_anchor],
        targets[is_anchor],
        inputs["likely"][is_anchor],
        inputs["logs"][is_anchor],
    )
    return summed_losses(logits, targets, of_samples) + (anchors[is_anchor] * kept).sum()


def summed_losses(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None
) -> torch.Tensor:
    """Sum of the cross entropies of all tokens, each times the weight of its sample (row)."""
    losses = cross_entropy(
        logits.flatten(0, 1).float(),
        targets.flatten(),
        ignore_index=IGNORED,
        reduction="sum" if weights is None else "none",
    )
    return losses if weights is None else (weights * losses.view(targets.shape).sum(1)).sum()


def count_items(labels: torch.Tensor, loss: str, weights: torch.Tensor | None = None) -> float:
    """Number of items of a mean: labelled tokens ("token"), or samples with labels ("sample").

    Each counts as often as the weight of its sample (row) states.
    """
    labelled = labels != IGNORED
    items = labelled.sum(-1) if loss == "token" else labelled.any(-1)
    return float((items if weights is None else weights * items).sum())


class _NextEpoch(TrainerCallback):
    """Callback that sets the sampler's epoch, also after a resumption."""

    def __init__(self, batches: EffectiveBatches) -> None:
        self._batches = batches

    def on_epoch_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._batches.epoch = state.global_step // self._batches.steps


class _NoInputGradients(TrainerCallback):
    """Callback that computes no gradients of embeddings and towers for their own sake.

    With gradient checkpointing, transformers (5.19) has the output of every embedding require
    gradients, which only reentrant checkpoints need: a frozen tower would have a backward pass.
    """

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        kwargs["model"].disable_input_require_grads()


class Reporter(TrainerCallback):
    """Callback that writes progress.json."""

    def __init__(self, folder: Path, batch_size: int) -> None:
        self._folder = folder
        self._batch_size = batch_size
        self._watch: Stopwatch | None = None
        self._loss = 0.0

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self._loss = float((logs or {}).get("loss", self._loss))

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._watch = Stopwatch(self._folder, self._batch_size, state.global_step, state.max_steps)

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._watch is not None and state.is_world_process_zero:
            self._watch.report(state.global_step, self._loss)
