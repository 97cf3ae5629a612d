"""The training loop: transformers' Trainer, with exact losses over effective batches, and checkpoints that read back right."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState

from services.student.batches import EffectiveBatches
from services.student.encoding import IGNORED


class Leveler(Trainer):
    """Trains on `batches`, with the loss of Eq. 3 ("sample": sum over tokens, mean over samples) or the token mean ("token").

    Both means are over the whole effective batch, however many micro batches and processes it is spread over.
    """

    def __init__(self, *, loss: str, batches: EffectiveBatches, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._loss = loss
        self._batches = batches
        # Tells the trainer that `compute_loss` divides by the items of the effective batch, so that it does not divide again.
        self.model_accepts_loss_kwargs = True
        self.add_callback(_NextEpoch(batches))

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
        """The micro batches of one optimizer step, and the items of that step in all processes."""
        micro_batches = list(islice(epoch_iterator, num_batches))
        items = torch.tensor(
            sum(count_items(batch["labels"], self._loss) for batch in micro_batches), device=device
        )
        return micro_batches, self.accelerator.reduce(items, "sum")

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        targets = inputs["labels"][:, 1:]
        # Logits are computed only where any row has an answer: with a vocabulary of 150,000 they are the bulk of the memory.
        answered = (targets != IGNORED).any(0).nonzero().flatten()
        positions = answered if len(answered) else answered.new_zeros(1)
        features = {name: tensor for name, tensor in inputs.items() if name != "labels"}
        # A cache of keys and values is of no use here, and layers that are computed again would find their own in it.
        outputs = model(**features, logits_to_keep=positions, use_cache=False)
        total = cross_entropy(
            outputs.logits.flatten(0, 1).float(),
            targets[:, positions].flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        )
        items = (
            count_items(targets, self._loss) if num_items_in_batch is None else num_items_in_batch
        )
        # Gradients are averaged over the processes; the sum is what `items` has counted.
        loss = total * self.accelerator.num_processes / items
        return (loss, outputs) if return_outputs else loss

    def create_accelerator_and_postprocess(self) -> None:
        """Shards on CPUs as on GPUs: accelerate (1.15) ignores FSDP there without a word, although torch can do it."""
        super().create_accelerator_and_postprocess()
        state = AcceleratorState()
        if self.args.fsdp and state.distributed_type == DistributedType.MULTI_CPU:
            state.distributed_type = PartialState._shared_state["distributed_type"] = (
                DistributedType.FSDP
            )
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            if state.mixed_precision != "no":
                state.fsdp_plugin.set_mixed_precision(state.mixed_precision)
            self.is_fsdp_enabled = True

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Reads a checkpoint of the whole model as `from_pretrained` does.

        `save_pretrained` writes some architectures (Qwen2-VL) under their older tensor names; the trainer's own way of
        reading does not translate them back, warns, and would go on from the base weights (transformers 5.19). Adapters and
        shards are written and read under the names they have in memory.
        """
        model = model or self.model
        if self.is_fsdp_enabled or hasattr(model, "peft_config"):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        saved = type(model).from_pretrained(
            resume_from_checkpoint, dtype=model.dtype, use_safetensors=True
        )
        model.load_state_dict(saved.state_dict())


def count_items(labels: torch.Tensor, loss: str) -> int:
    """What a loss averages over: labelled tokens ("token"), or samples that have any ("sample")."""
    labelled = labels != IGNORED
    return int(labelled.sum() if loss == "token" else labelled.any(-1).sum())


class _NextEpoch(TrainerCallback):
    """Tells the sampler which epoch it draws; right also after a resumption."""

    def __init__(self, batches: EffectiveBatches) -> None:
        self._batches = batches

    def on_epoch_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._batches.epoch = state.global_step // self._batches.steps
