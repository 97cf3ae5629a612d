"""Any Hugging Face vision-language model with a chat template, batched: left padding, greedy unless asked otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
)

from services.core.decoding import Decoding
from services.core.errors import InvalidInput
from services.engines.batching import MicroBatcher, Outcome
from services.engines.chat import user_turn
from services.engines.checkpoint import fingerprint
from services.engines.model import Prompt, Reply


class PerRequestSampling(LogitsProcessor):
    """Samples each row by its own decoding settings, inside a greedy `generate`.

    Adding Gumbel noise to logits / temperature and taking the maximum draws from their softmax. The noise comes from the
    row's own seed, so a reply does not depend on what else is in its batch, and greedy rows stay greedy.
    """

    def __init__(self, decodings: Sequence[Decoding]) -> None:
        self._rows = [
            (row, decoding, torch.Generator().manual_seed(decoding.seed % 2**63))
            for row, decoding in enumerate(decodings)
            if decoding.temperature > 0
        ]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """`scores`: logits, shape (batch, vocabulary)."""
        for row, decoding, generator in self._rows:
            logits = scores[row].float() / decoding.temperature
            if decoding.top_p < 1.0:
                logits = _nucleus(logits, decoding.top_p)
            uniform = torch.rand(logits.shape, generator=generator).clamp_min_(1e-20).to(logits.device)
            scores[row] = (logits - torch.log(-torch.log(uniform))).to(scores.dtype)
        return scores


def _nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Leaves the smallest set of tokens whose probability reaches `top_p`, at least one."""
    ordered, order = logits.sort(descending=True)
    probabilities = ordered.softmax(-1)
    cut = probabilities.cumsum(-1) - probabilities >= top_p
    return logits.masked_fill(torch.zeros_like(cut).scatter(-1, order, cut), -torch.inf)


class TransformersEngine:
    """One loaded checkpoint."""

    def __init__(self, model: Any, processor: Any, identity: str, *, max_batch: int, max_waiting: int) -> None:
        self._model = model
        self._processor = processor
        self._fingerprint = identity
        text_config = model.config.get_text_config()
        self._window: int = text_config.max_position_embeddings
        self._batcher = MicroBatcher(self._run, max_batch=max_batch, max_waiting=max_waiting)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    async def generate(self, prompt: Prompt) -> Reply:
        return await self._batcher.submit(prompt)

    async def close(self) -> None:
        await self._batcher.close()
        self._model = None

    def _run(self, prompts: Sequence[Prompt]) -> Sequence[Outcome]:
        inputs = self._inputs(prompts)
        lengths = inputs["attention_mask"].sum(-1).tolist()
        room = [self._window - prompt.decoding.max_new_tokens for prompt in prompts]
        refused = {at for at, (length, limit) in enumerate(zip(lengths, room, strict=True)) if length > limit}
        if not refused:
            return self._generate(inputs, prompts, lengths)
        kept = [prompt for at, prompt in enumerate(prompts) if at not in refused]
        replies = iter(self._run(kept) if kept else [])
        return [self._too_long(lengths[at], prompt) if at in refused else next(replies) for at, prompt in enumerate(prompts)]

    def _too_long(self, length: int, prompt: Prompt) -> InvalidInput:
        return InvalidInput(
            f"image and question take {length} tokens and the reply up to {prompt.decoding.max_new_tokens}, but the model's "
            f"window is {self._window}: ask a shorter question or send a smaller image",
            field="question",
            reason="PROMPT_TOO_LONG",
        )

    def _inputs(self, prompts: Sequence[Prompt]) -> Any:
        texts = [
            self._processor.apply_chat_template(user_turn(prompt.text), add_generation_prompt=True, tokenize=False)
            for prompt in prompts
        ]
        images = [[prompt.image.pixels] for prompt in prompts]
        return self._processor(text=texts, images=images, padding=True, padding_side="left", return_tensors="pt")

    @torch.inference_mode()
    def _generate(self, inputs: Any, prompts: Sequence[Prompt], lengths: Sequence[int]) -> list[Outcome]:
        inputs = inputs.to(self._model.device, self._model.dtype)
        limit = prompts[0].decoding.max_new_tokens
        tokenizer = self._processor.tokenizer
        own = self._model.generation_config
        ends = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
        # The checkpoint's own sampling defaults (temperature .01, repetition penalty ...) must not leak in: only its tokens do.
        settings = GenerationConfig(max_new_tokens=limit, do_sample=False, eos_token_id=ends, pad_token_id=pad)
        sampling = LogitsProcessorList([PerRequestSampling([prompt.decoding for prompt in prompts])])
        output = self._model.generate(**inputs, generation_config=settings, logits_processor=sampling)
        written = output[:, inputs["input_ids"].shape[1] :]
        texts = tokenizer.batch_decode(written, skip_special_tokens=True)
        replies: list[Outcome] = []
        for text, row, prompt_tokens in zip(texts, written.tolist(), lengths, strict=True):
            end = next((at for at, token in enumerate(row) if token in ends), None)
            tokens = len(row) if end is None else end + 1
            replies.append(Reply(text.strip(), prompt_tokens, tokens, "length" if end is None else "stop"))
        return replies


def _load(folder: Path, device: str, dtype: str) -> tuple[Any, Any, str]:
    processor = AutoProcessor.from_pretrained(folder)
    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:
        raise InvalidInput(f"the checkpoint in {folder} can't be loaded: {error}", field="model") from error
    model, info = loaded
    faults = [f"{len(keys)} {what} ({sorted(map(str, keys))[0]} ...)" for what, keys in (
        ("tensors are missing", info["missing_keys"]),
        ("tensors have another shape", info["mismatched_keys"]),
        ("tensors belong to another architecture", info["unexpected_keys"]),
    ) if keys]  # fmt: skip
    if faults:
        raise InvalidInput(f"the checkpoint in {folder} does not fit its config.json: {'; '.join(faults)}", field="model")
    return model.to(device).eval(), processor, fingerprint(folder)


async def load(
    folder: Path, *, max_batch: int, max_waiting: int, device: str = "", dtype: str = "auto", threads: int = 0
) -> TransformersEngine:
    """Loads a checkpoint without holding up the event loop. Raises InvalidInput: missing, foreign or misshapen tensors."""
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu" and dtype == "auto":
        dtype = "float32"
    if threads:
        torch.set_num_threads(threads)
    model, processor, identity = await asyncio.to_thread(_load, folder, device, dtype)
    return TransformersEngine(model, processor, identity, max_batch=max_batch, max_waiting=max_waiting)
