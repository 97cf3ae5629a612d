"""BaseAnswers of the base to a training's anchors, and the probabilities of their tokens.

STORE/jobs/<id>/base_answers.safetensors    written once, before the first step

The base is the model as it is read, before any step or checkpoint. It answers as it is served,
greedily; the answer is then encoded as that of a sample is, and at each of its tokens (the end of
the turn, too) the TOP likeliest ones are kept, and all others as one class.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import safe_open
from safetensors.torch import save
from transformers import GenerationConfig

from services.engines.device_memory import empty_cache, is_out_of_memory
from services.files import write_atomically
from services.student.datasets import TrainingSample
from services.student.encoding import IGNORED, Encoder, Row, collate
from services.student.job import BASE_ANSWERS

TOP = 20


@dataclass(frozen=True, slots=True)
class BaseAnswer:
    """One answer."""

    text: str
    likely: torch.Tensor
    """Ids of the likeliest tokens at each of its tokens, shaped (tokens, TOP)."""
    logs: torch.Tensor
    """Their log-probabilities, and that of all others together, shaped (tokens, TOP + 1)."""

    def row(self, weight: float) -> Row:
        """The tensors of an anchor's row that other rows lack."""
        return {
            "anchors": torch.tensor([weight]),
            "likely": self.likely[None],
            "logs": self.logs[None],
        }


BaseAnswers: TypeAlias = Mapping[TrainingSample, BaseAnswer]


def anchors_among(samples: Iterable[TrainingSample]) -> list[TrainingSample]:
    """The different anchors of a data set, in its order."""
    return list(dict.fromkeys(sample for sample in samples if sample.anchor))


def read_answers(folder: Path, anchors: Sequence[TrainingSample]) -> BaseAnswers | None:
    """The answers that an attempt of the job in `folder` has kept; None if none has yet."""
    if not (folder / BASE_ANSWERS).is_file():
        return None
    with safe_open(folder / BASE_ANSWERS, "pt") as file:
        texts = json.loads(file.get_tensor("texts").numpy().tobytes())
        tokens = file.get_tensor("tokens").tolist()
        likely = file.get_tensor("likely").long().split(tokens)
        logs = file.get_tensor("logs").split(tokens)
    found = map(BaseAnswer, texts, likely, logs)
    return dict(zip(anchors, found, strict=True))


def write_answers(folder: Path, answers: Iterable[BaseAnswer]) -> None:
    """Keep the answers, in the order of their anchors, for all attempts of the job in `folder`."""
    kept = list(answers)
    tensors = {
        "tokens": torch.tensor([len(each.likely) for each in kept]),
        "likely": torch.cat([each.likely.int() for each in kept]),
        "logs": torch.cat([each.logs for each in kept]),
    }
    # A tensor, too: the header of such a file, where text belongs, has a limit of 100 MB.
    texts = json.dumps([each.text for each in kept]).encode()
    tensors["texts"] = torch.frombuffer(bytearray(texts), dtype=torch.uint8)
    write_atomically(folder / BASE_ANSWERS, save(tensors))


class BaseRespondent:
    """The base, answering. Its state and settings are as before when it has answered."""

    def __init__(self, model: Any, encoder: Encoder, *, max_new_tokens: int, in_bf16: bool) -> None:
        self._model = model
        self._encoder = encoder
        self._limit = max_new_tokens
        self._in_bf16 = in_bf16
        self._has_adapter = hasattr(model, "peft_config")

    def answer(self, anchors: Sequence[TrainingSample], at_once: int) -> list[BaseAnswer]:
        """BaseAnswers in batches of at most `at_once`, smaller ones if memory runs out.

        A model that has no room on the device, since its training divides it, answers on the CPU.
        Raises an error of memory (`is_out_of_memory`).
        """
        was_training = self._model.training
        self._model.eval()
        try:
            return self._on_device(anchors, at_once)
        finally:
            self._model.train(was_training)

    def _on_device(self, anchors: Sequence[TrainingSample], at_once: int) -> list[BaseAnswer]:
        if torch.cuda.is_available():
            try:
                self._model.to("cuda")
                return list(self._in_batches(anchors, at_once))
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            self._model.to("cpu")
            empty_cache()
        return list(self._in_batches(anchors, at_once))

    def _in_batches(self, anchors: Sequence[TrainingSample], at_once: int) -> Iterator[BaseAnswer]:
        start = 0
        while start < len(anchors):
            few = anchors[start : start + at_once]
            try:
                answers = self._answer(few)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or len(few) == 1:
                    raise
                at_once = len(few) // 2
                empty_cache()
                continue
            yield from answers
            start += len(few)

    def _answer(self, anchors: Sequence[TrainingSample]) -> list[BaseAnswer]:
        device = self._model.device
        with (
            torch.no_grad(),
            torch.autocast(device.type, torch.bfloat16, enabled=self._in_bf16),
        ):
            texts = self._texts(anchors)
            told = [replace(one, answer=text) for one, text in zip(anchors, texts, strict=True)]
            rows = [self._encoder(sample) for sample in told]
            batch = collate(rows, self._encoder.pad_token)
            targets = batch.pop("labels")[:, 1:]
            positions = (targets != IGNORED).any(0).nonzero().flatten()
            features = {name: tensor.to(device) for name, tensor in batch.items()}
            outputs = self._model(**features, logits_to_keep=positions.to(device), use_cache=False)
            # On the device: the host would need gigabytes for all logits, and seconds for a row.
            is_told = (targets[:, positions] != IGNORED).to(device)
            kept = [
                [part.cpu() for part in _likeliest(logits[told].float())]
                for logits, told in zip(outputs.logits, is_told, strict=True)
            ]
        return [BaseAnswer(text, *parts) for text, parts in zip(texts, kept, strict=True)]

    def _texts(self, anchors: Sequence[TrainingSample]) -> list[str]:
        model = self._model.get_base_model() if self._has_adapter else self._model
        own = model.generation_config
        tokenizer = self._encoder.tokenizer
        ends = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
        ends = [*(ends if isinstance(ends, list) else [ends]), self._encoder.end_of_turn]
        settings = GenerationConfig(
            max_new_tokens=self._limit,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=self._encoder.pad_token,
        )
        inputs = self._encoder.prompts(anchors).to(model.device)
        # transformers would add the checkpoint's defaults, such as a repetition penalty.
        model.generation_config = GenerationConfig(eos_token_id=ends)
        try:
            written = model.generate(**inputs, generation_config=settings)
        finally:
            model.generation_config = own
        replies = written[:, inputs["input_ids"].shape[1] :]
        texts = tokenizer.batch_decode(replies, skip_special_tokens=True)
        return [text.strip() for text in texts]


def divergences(
    logits: torch.Tensor, targets: torch.Tensor, likely: torch.Tensor, logs: torch.Tensor
) -> torch.Tensor:
    """KL(base || student) of each anchor, summed over the tokens of its answer.

    `logits`: (anchors, positions, vocabulary). `targets`: (anchors, positions), IGNORED outside of
    answers. `likely`, `logs`: of BaseAnswer, padded, with a first dimension of anchors. Tokens that
    are not likely are one class. Returns (anchors,), at least 0.
    """
    is_told = targets != IGNORED
    place = (is_told.cumsum(1) - 1).clamp(min=0)[..., None]
    ids = likely.gather(1, place.expand(-1, -1, likely.shape[-1]))
    base = logs.gather(1, place.expand(-1, -1, logs.shape[-1]))[is_told]
    student = classes(logits[is_told].float(), ids[is_told])
    each = (base.exp() * (base - student)).sum(-1)
    row = is_told.nonzero()[:, 0]
    return each.new_zeros(len(logits)).index_add(0, row, each)


def classes(logits: torch.Tensor, likely: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of the `likely` tokens (rows, TOP), and of all others together.

    `logits`: (rows, vocabulary), in fp32. Returns (rows, TOP + 1).
    """
    whole = logits.logsumexp(-1, keepdim=True)
    others = logits.scatter(-1, likely, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([logits.gather(-1, likely), others], -1) - whole


def _likeliest(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    likely = logits.topk(TOP).indices
    return likely, classes(logits, likely)
