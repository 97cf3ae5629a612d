"""Tensors of training samples: the prompt exactly as it is served, then the answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch.nn.functional import pad
from torch.utils.data import Dataset

from services.core.tasks import answer_prompt
from services.engines.chat import Chat, TokenizedPrompt
from services.engines.image_cache import ImageCache
from services.engines.images import LoadedImage, load_stored_image
from services.engines.inputs import build_inputs
from services.student.datasets import DatasetStore, TrainingSample

IGNORED = -100
CACHE_BYTES = 2**30

Row: TypeAlias = dict[str, torch.Tensor]
"""One sample as tensors of the model's processor, with a batch dimension of 1, and its labels.

Its weight is there ("weights") unless it is 1. That of an anchor is its place in the divergence
("anchors"), with the base's probabilities ("likely", "logs": BaseAnswer). Its place in
the data set ("places") is there if it is asked for.
"""


class Encoder:
    """Encoder of samples. Labels of a row are the answer and the end of the turn, nothing else.

    The prompt is tokenized as the engine does to serve it (image tokens expanded, generation prompt
    included). The tokens of the answer follow, then the chat template's end of a turn. Nothing is
    truncated. Rows are kept in memory up to `cache_bytes`; equal samples share a row.
    """

    def __init__(
        self,
        processor: Any,
        datasets: DatasetStore,
        template: str,
        system_prompt: str = "",
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._processor = processor
        self.tokenizer = processor.tokenizer
        self.pad_token = int(processor.tokenizer.pad_token_id or 0)
        self._datasets = datasets
        self._template = template
        self._system_prompt = system_prompt
        self._chat = Chat(processor)
        self._end_of_turn = self._chat.end_of_turn()
        self._images = ImageCache()
        self._rows: dict[TrainingSample, Row] = {}
        self._cache_bytes = self._room_bytes = cache_bytes

    def __call__(self, sample: TrainingSample) -> Row:
        row = self._rows.get(sample) or self._encode(sample)
        size = _bytes(row)
        if sample not in self._rows and size <= self._room_bytes:
            self._rows[sample] = row
            self._room_bytes -= size
        return row

    @property
    def end_of_turn(self) -> int:
        """Last token of a turn, which ends an answer."""
        return self._end_of_turn[-1]

    def prompts(self, samples: Sequence[TrainingSample]) -> Any:
        """A batch of the samples' prompts, padded on the left, to answer."""
        images = [self._image(sample.image_sha256).pixels for sample in samples]
        return build_inputs(self._processor, [self._prompt(each) for each in samples], images)

    def forget_others(self, samples: Collection[TrainingSample]) -> None:
        """If little room is left, forget the rows that `samples` don't need."""
        if self._room_bytes < self._cache_bytes // 2:
            needed = set(samples)
            self._rows = {sample: row for sample, row in self._rows.items() if sample in needed}
            self._room_bytes = self._cache_bytes - sum(map(_bytes, self._rows.values()))

    def _encode(self, sample: TrainingSample) -> Row:
        prompt = self._prompt(sample)
        row: Row = dict(
            build_inputs(self._processor, [prompt], [self._image(sample.image_sha256).pixels])
        )
        if sample.weight != 1.0 and not sample.anchor:
            row["weights"] = torch.tensor([sample.weight])
        return append_target(
            row, torch.tensor([self._chat.text_ids(sample.answer) + self._end_of_turn])
        )

    def _prompt(self, sample: TrainingSample) -> TokenizedPrompt:
        text = answer_prompt(sample.question, self._template)
        return self._chat.tokenize(text, self._system_prompt)

    def _image(self, sha256: str) -> LoadedImage:
        known = self._images.find(sha256)
        return known or self._images.keep(
            load_stored_image(self._datasets.image_path(sha256).read_bytes())
        )


def _bytes(row: Row) -> int:
    return sum(tensor.nbytes for tensor in row.values())


def append_target(row: Row, target: torch.Tensor) -> Row:
    """Append the target, shaped (1, tokens), to the prompt.

    Tensors shaped (1, length) grow with it; pixels stay.
    """
    prompt = row["input_ids"]
    behind = {"input_ids": target, "attention_mask": torch.ones_like(target)}
    grown = {
        name: torch.cat([tensor, behind.get(name, torch.zeros_like(target))], 1)
        if tensor.shape == prompt.shape
        else tensor
        for name, tensor in row.items()
    }
    return {**grown, "labels": torch.cat([torch.full_like(prompt, IGNORED), target], 1)}


def collate(rows: Sequence[Row], pad_token: int) -> dict[str, torch.Tensor]:
    """Join rows into a batch: tokens padded on the right, pixels one after the other.

    If images have different numbers of tiles (Idefics3, LLaVA-OneVision), empty tiles are added, as
    the processors do. The batch has weights if one of its rows has, and anchors likewise; a row
    that is none has the weight 0 there.
    """
    if any("weights" in row for row in rows):
        rows = [{"weights": torch.ones(1), **row} for row in rows]
    if anchor := next((row for row in rows if "anchors" in row), None):
        blank = {name: torch.zeros_like(anchor[name]) for name in ("anchors", "likely", "logs")}
        rows = [{**blank, **row} for row in rows]
    fills = {"input_ids": pad_token, "labels": IGNORED}
    return {name: _stack([row[name] for row in rows], fills.get(name, 0)) for name in rows[0]}


def _stack(tensors: Sequence[torch.Tensor], fill: int) -> torch.Tensor:
    """Join along the first dimension; pad the others to the largest size."""
    sizes = [max(tensor.shape[axis] for tensor in tensors) for axis in range(1, tensors[0].dim())]
    return torch.cat([_grow(tensor, sizes, fill) for tensor in tensors])


def _grow(tensor: torch.Tensor, sizes: Sequence[int], fill: int) -> torch.Tensor:
    missing = [size - own for size, own in zip(sizes, tensor.shape[1:], strict=True)]
    # torch counts paddings from the last dimension backwards, as (before, after).
    return (
        pad(tensor, [side for after in reversed(missing) for side in (0, after)], value=fill)
        if any(missing)
        else tensor
    )


class EncodedSamples(Dataset[Row]):
    """Encoded rows of a dataset.

    Index ~i is sample i with nothing to learn: it completes the last batch of an epoch.
    """

    def __init__(
        self,
        samples: Sequence[TrainingSample],
        encoder: Encoder,
        besides: Mapping[TrainingSample, Row] | None = None,
        *,
        has_places: bool = False,
    ) -> None:
        """`besides`: more tensors of some samples' rows. `has_places`: rows name their place."""
        self._samples = samples
        self._encoder = encoder
        self._besides = besides or {}
        self._has_places = has_places

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Row:
        if index < 0:
            row = self[~index]
            return {**row, "labels": torch.full_like(row["labels"], IGNORED)}
        sample = self._samples[index]
        place = {"places": torch.tensor([index])} if self._has_places else {}
        return self._encoder(sample) | place | self._besides.get(sample, {})

    def lengths(self) -> list[int]:
        """Number of tokens of each sample, image and answer included. Encodes all samples."""
        return [self[index]["input_ids"].shape[1] for index in range(len(self))]
