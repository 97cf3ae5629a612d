"""Any Hugging Face vision-language model with a chat template, in batches with left padding."""

from __future__ import annotations

import asyncio
import copy
import itertools
import traceback
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationConfig,
    LogitsProcessorList,
)

from services.core.errors import EngineFailed, InvalidInput, Unavailable
from services.engines import adapters, checkpoint, sharing, tensors
from services.engines.adapters import AdaptedModel
from services.engines.batching import CLOSE_S, MicroBatcher
from services.engines.chat import Chat
from services.engines.computation import Outcome
from services.engines.device_memory import (
    empty_cache,
    give_back,
    is_out_of_memory,
    logits_in_tokens,
    out_of_memory,
    tokens_that_fit,
)
from services.engines.model import Prompt, Reply, VisionLanguageModel
from services.engines.parts import Parts, at_each_layer
from services.engines.preparation import Preparation, PreparedBatch
from services.engines.sampling import PerRequestSampling
from services.engines.scoring import score
from services.engines.settings import EngineSettings
from services.engines.steps import Steps
from services.engines.token_budget import TokenBudget


class TransformersEngine:
    """One loaded checkpoint and its adapters."""

    def __init__(self, loaded: LoadedCheckpoint, folder: Path, settings: EngineSettings) -> None:
        model = loaded.model
        self._model = model
        self._folder = folder
        self._max_lora_rank = settings.max_lora_rank
        self._trust_remote_code = settings.trust_remote_code
        self._fingerprint = loaded.fingerprint
        self._shares_images = loaded.shares_images
        self._end_of_turn = loaded.end_of_turn
        self._adapters = itertools.count(1)
        self._tokenizer = loaded.tokenizer
        self._budget = TokenBudget(settings.batch_tokens or tokens_that_fit(model))
        logits = logits_in_tokens(model)
        window: int = model.config.get_text_config().max_position_embeddings
        on_gpu = model.device.type == "cuda"
        self._batcher = MicroBatcher(
            self._run,
            max_batch=settings.most_at_once(),
            max_waiting=settings.max_waiting,
            prepare=Preparation(loaded.chat, window, self._budget, pins=on_gpu, logits=logits),
            watchdog_s=settings.watchdog_s,
        )
        at_each_layer(model, self._batcher.beat)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    async def generate(self, prompt: Prompt) -> Reply:
        return await self.generate_with(prompt, "")

    async def generate_with(self, prompt: Prompt, adapter: str) -> Reply:
        """Answers by an adapter; "" is the model itself."""
        if prompt.pattern:
            raise InvalidInput(
                "the transformers engine has no guided decoding: leave it out, or use vllm",
                field="guided",
            )
        return await self._batcher.submit(prompt, adapter)

    async def death(self) -> str:
        return await self._batcher.death()

    async def reload(self, folder: Path) -> None:
        """Copies tensor by tensor, so that the device never holds two models."""
        self._fingerprint = await asyncio.to_thread(self._read_weights, folder)
        self._folder = folder

    def _read_weights(self, folder: Path) -> str:
        """Replaces the weights, and returns their fingerprint."""
        tensors.require_same_architecture(self._folder, folder)
        dtype = str(self._model.dtype).removeprefix("torch.")
        fresh, _ = _read(folder, "cpu", dtype, self._trust_remote_code)
        self._model.load_state_dict(fresh.state_dict())
        return checkpoint.fingerprint(folder)

    async def borrow(self, folder: Path) -> Sequence[str]:
        other, _ = await asyncio.to_thread(_read, folder, "cpu", "auto", self._trust_remote_code)
        self._parts = Parts(self._model, other)
        return self._parts.names

    async def exchange(self, parts: Collection[str]) -> None:
        await self._batcher.between_batches(lambda: self._parts.exchange(parts))

    async def with_adapter(self, folder: Path) -> VisionLanguageModel:
        fingerprint = await asyncio.to_thread(
            adapters.fitting, folder, self._folder, self._max_lora_rank, self.fingerprint
        )
        name = f"adapter-{next(self._adapters)}"
        try:
            # On the engine's thread no batch is under way while the layers are put in place.
            await self._batcher.between_batches(lambda: self._load_adapter(name, folder))
        except EngineFailed as error:
            raise InvalidInput(
                f"the adapter in {folder} can't be loaded: {error}", field="model"
            ) from error
        return AdaptedModel(self, name, fingerprint)

    def _load_adapter(self, name: str, folder: Path) -> None:
        try:
            self._model.load_adapter(str(folder), adapter_name=name)
        except BaseException:
            with suppress(ValueError):  # nothing of it may be there yet
                self._model.delete_adapter(name)
            raise

    async def drop_adapter(self, adapter: str) -> None:
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._batcher.between_batches(lambda: self._model.delete_adapter(adapter))

    async def close(self) -> None:
        await self._batcher.close()
        model, self._model = self._model, None
        await asyncio.to_thread(give_back, model)

    def _run(self, batch: PreparedBatch, adapter: str) -> Sequence[Outcome]:
        replies = iter(self._computed(batch, adapter) if batch.prompts else [])
        return [next(replies) if other is None else other for other in batch.others]

    def _computed(self, batch: PreparedBatch, adapter: str) -> list[Outcome]:
        """Computes a batch. Raises EngineFailed: memory ran out; the budget is then smaller."""
        try:
            replies = self._answer(batch, adapter)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            traceback.clear_frames(error.__traceback__)  # they hold the batch's tensors
            empty_cache()
        else:
            self._budget.computed()
            return replies
        if len(batch.prompts) > 1:
            self._budget.ran_out(batch.tokens)
        raise out_of_memory(batch.lengths[0])

    @torch.inference_mode()
    def _answer(self, batch: PreparedBatch, adapter: str) -> list[Outcome]:
        if adapter:
            self._model.enable_adapters()
            self._model.set_adapter(adapter)
        elif self._model._hf_peft_config_loaded:
            self._model.disable_adapters()
        inputs = batch.inputs.to(self._model.device, self._model.dtype, non_blocking=True)
        shared = (
            sharing.share_features(self._model, inputs, batch.images)
            if self._shares_images
            else dict(inputs)
        )
        if batch.prompts[0].given:
            return list(score(self._model, batch, shared))
        return self._generate(batch, shared)

    def _generate(self, batch: PreparedBatch, inputs: dict[str, Any]) -> list[Outcome]:
        prompts = batch.prompts
        limit = prompts[0].decoding.max_new_tokens
        tokenizer = self._tokenizer
        own = self._model.generation_config
        ends = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
        ends = [*(ends if isinstance(ends, list) else [ends]), self._end_of_turn]
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
        settings = GenerationConfig(
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=pad,
            return_dict_in_generate=True,
        )
        steps = Steps(prompts, batch.lengths, tokenizer, ends)
        sampling = PerRequestSampling([prompt.decoding for prompt in prompts])
        output = self._model.generate(
            **inputs,
            generation_config=settings,
            logits_processor=LogitsProcessorList([steps, sampling]),
        )
        return list(steps.replies(output.sequences))


def _read(folder: Path, device: str, dtype: str, trust_remote_code: bool) -> tuple[Any, Any]:
    try:
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=trust_remote_code)
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            trust_remote_code=trust_remote_code,
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise  # not the checkpoint's fault
    except Exception as error:
        raise InvalidInput(
            f"the checkpoint in {folder} can't be loaded: {error}", field="model"
        ) from error
    model, info = loaded
    tensors.require_whole(folder, info)
    # transformers would add the checkpoint's defaults of sampling, such as a repetition penalty.
    own = model.generation_config
    model.generation_config = GenerationConfig(
        eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
    )
    return model.to(device).eval(), processor


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    """A checkpoint in memory: all that takes long to make."""

    model: Any
    chat: Chat
    tokenizer: Any
    """A tokenizer for replies. None is for two threads at once: the chat's own reads prompts."""
    end_of_turn: int
    shares_images: bool
    fingerprint: str


def read_checkpoint(folder: Path, settings: EngineSettings) -> LoadedCheckpoint:
    """Raises InvalidInput: an unknown class; missing, foreign or misshapen tensors."""
    tensors.require_class(folder, "set ENGINE=vllm")
    tensors.require_trusted(folder, settings.trust_remote_code)
    device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = "float32" if device == "cpu" and settings.dtype == "auto" else settings.dtype
    if settings.threads:
        torch.set_num_threads(settings.threads)
    model, processor = _read(folder, device, dtype, settings.trust_remote_code)
    tokenizer = copy.deepcopy(processor.tokenizer)
    shares_images = sharing.can_share(model)
    if shares_images:
        processor.image_processor = sharing.DistinctImages(processor.image_processor)
    chat = Chat(processor)
    return LoadedCheckpoint(
        model=model,
        chat=chat,
        tokenizer=tokenizer,
        end_of_turn=chat.end_of_turn()[-1],
        shares_images=shares_images,
        fingerprint=checkpoint.fingerprint(folder),
    )


async def load(folder: Path, settings: EngineSettings) -> TransformersEngine:
    """Loads a checkpoint without blocking the event loop. Raises as `read_checkpoint`."""
    loaded = await asyncio.to_thread(read_checkpoint, folder, settings)
    return TransformersEngine(loaded, folder, settings)
