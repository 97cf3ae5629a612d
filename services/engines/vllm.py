"""vLLM (`AsyncLLM`): continuous batching, prefix and image caches, adapters, guided decoding.

The model itself runs in processes of vLLM's own. An image is known by its SHA-256
(`multi_modal_uuids`): at the second question about it, its pixels are processed, its embedding is
encoded and its prefix is in the KV cache.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vllm.exceptions import VLLMClientError
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.sampling_params import SamplingParams
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from services import tracing
from services.core.errors import InvalidInput, Unavailable
from services.core.provenance import FinishReason
from services.engines import adapters, checkpoint, tensors, vllm_processes
from services.engines.adapters import AdaptedModel
from services.engines.batching import CLOSE_S, died, full
from services.engines.chat import Chat
from services.engines.control import unreadable
from services.engines.gpus import require_gpus
from services.engines.images import refused_by_processor
from services.engines.model import Prompt, Reply, VisionLanguageModel
from services.engines.settings import EngineSettings
from services.engines.vllm_arguments import sampling, start_arguments
from services.engines.vllm_ranks import Ranks
from services.engines.vllm_replies import (
    Edit,
    image_input,
    refused,
    rendered,
    score,
    tell,
    too_long,
    written_reply,
)
from services.engines.vllm_stats import SchedulerFigures
from services.engines.worker import failure_of

_log = logging.getLogger(__name__)
_HEARTBEAT_S = 0.5
_RELOAD_S = 600.0
_PROCESS_ENDED = "vLLM's engine process has died, its log says why"


class VllmEngine:
    """One checkpoint in one vLLM engine."""

    def __init__(
        self,
        engine: AsyncLLM,
        chat: Chat,
        folder: Path,
        settings: EngineSettings,
        fingerprint: str,
    ) -> None:
        self._engine = engine
        self._chat = chat
        self._end_of_turn = chat.end_of_turn()[-1]
        self._folder = folder
        self._settings = settings
        self._fingerprint = fingerprint
        self._window: int = engine.model_config.max_model_len
        self._numbers = itertools.count(1)
        self._closed = False
        self._death: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ranks = Ranks(
            settings.data_parallel,
            settings.watchdog_s,
            lambda canary: self._enter(canary, None),
            self._die,
        )
        self._pulse = asyncio.create_task(self._feel_pulse())

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def unfinished(self) -> int:
        """Number of requests in the engine, computed or waiting."""
        return int(self._engine.get_num_unfinished_requests())

    @property
    def copies(self) -> int:
        """Number of copies of the weights (data parallelism)."""
        return self._ranks.count

    async def generate(self, prompt: Prompt) -> Reply:
        return await self.generate_with(prompt, None)

    async def generate_with(self, prompt: Prompt, adapter: LoRARequest | None) -> Reply:
        """Answers by an adapter; None is the model itself."""
        if self._death.done():
            raise died(self._death.result())
        if self._closed:
            raise Unavailable("this model is being unloaded: ask again")
        if len(self._ranks.asking) >= self._settings.max_waiting:
            raise full(len(self._ranks.asking))
        try:
            with tracing.inner("engine"):
                return await self._enter(prompt, adapter)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            if self._death.done():
                raise died(self._death.result()) from None
            raise Unavailable("this model was unloaded before it could answer: ask again") from None

    def _enter(self, prompt: Prompt, adapter: LoRARequest | None) -> asyncio.Task[Reply]:
        return self._ranks.start(prompt, lambda entered: self._ask(entered, adapter))

    async def _ask(self, prompt: Prompt, adapter: LoRARequest | None) -> Reply:
        reply = await (self._score if prompt.given else self._write)(prompt, adapter)
        self._ranks.replied(prompt)
        return reply

    async def _score(self, prompt: Prompt, adapter: LoRARequest | None) -> Reply:
        ids = self._chat.tokenize(prompt.text, prompt.system).ids
        return await score(
            lambda asked, parameters, edit: self._output(asked, parameters, prompt, adapter, edit),
            prompt,
            self._input(prompt),
            self._chat.tail(ids),
        )

    async def _write(self, prompt: Prompt, adapter: LoRARequest | None) -> Reply:
        parameters = sampling(prompt, self._end_of_turn)
        final = await self._output(self._input(prompt), parameters, prompt, adapter)
        reply = written_reply(final, prompt.alternatives)
        limit = prompt.decoding.max_new_tokens
        if reply.finish_reason is FinishReason.LENGTH and reply.completion_tokens < limit:
            raise too_long(
                f"image and question take {reply.prompt_tokens} tokens and the reply up to {limit},"
                " but",
                self._window,
            )
        return reply

    async def _output(
        self,
        asked: Mapping[str, Any],
        parameters: SamplingParams,
        prompt: Prompt,
        adapter: LoRARequest | None,
        edit: Edit | None = None,
    ) -> RequestOutput:
        number = vllm_processes.request_id(prompt.rank or 0, next(self._numbers))
        try:
            # A cancelled caller cancels this generator, which aborts the request in the engine.
            async for output in self._engine.generate(
                await rendered(self._engine, asked, edit) if edit else asked,
                parameters,
                number,
                lora_request=adapter,
                data_parallel_rank=prompt.rank,
                trace_headers=tracing.headers(),
            ):
                final = output
                tell(prompt, output)
        except EngineDeadError as error:
            raise died(_PROCESS_ENDED) from error
        except (VLLMClientError, ValueError) as error:
            raise refused(error, self._window) from error
        except Exception as error:
            if (refusal := error.__cause__) and "Failed to apply" in str(refusal):
                raise refused_by_processor(refusal.__cause__ or refusal) from error
            _log.exception("a request failed")
            raise failure_of(error) from error
        return final

    def _input(self, prompt: Prompt) -> Mapping[str, Any]:
        """Token ids, in which vLLM finds the image's place by its token: it reads no caller's text.

        If the tokenizer has no such token, vLLM looks for the place in the text; then only
        ordinary text is accepted.
        """
        tokenized = self._chat.tokenize(prompt.text, prompt.system)
        if len(tokenized.ids) >= self._window:
            alone = f"the question alone takes {len(tokenized.ids)} tokens, but"
            raise too_long(alone, self._window)
        if not tokenized.frame.has_placeholder and not tokenized.rendered:
            raise unreadable()
        if tokenized.frame.has_placeholder:
            return {"prompt_token_ids": tokenized.ids, **image_input(prompt)}
        return {"prompt": tokenized.rendered, **image_input(prompt)}

    async def reload(self, folder: Path) -> None:
        """Pauses, reads the weights, clears every cache, continues.

        vLLM has been seen to keep part of the old weights.
        """
        fingerprint = await asyncio.to_thread(self._require_replaceable_by, folder)
        self._ranks.rest()
        try:
            async with asyncio.timeout(_RELOAD_S):
                await self._engine.pause_generation(mode="wait", clear_cache=True)
                await self._engine.collective_rpc(
                    "reload_weights", kwargs={"weights_path": str(folder)}
                )
                await self._engine.reset_mm_cache()
                await self._engine.reset_encoder_cache()
                await self._engine.reset_prefix_cache()
                await self._engine.resume_generation()
        except Exception as error:
            raise InvalidInput(
                f"the weights in {folder} can't be read into this engine: {error!r}", field="model"
            ) from error
        self._folder = folder
        self._fingerprint = fingerprint

    def _require_replaceable_by(self, folder: Path) -> str:
        """Fingerprint of weights that fit. Raises InvalidInput: they don't."""
        tensors.require_same_architecture(self._folder, folder)
        tensors.check_tensors(folder)
        return checkpoint.fingerprint(folder)

    async def with_adapter(self, folder: Path) -> VisionLanguageModel:
        fingerprint = await asyncio.to_thread(
            adapters.fitting, folder, self._folder, self._settings.max_lora_rank, self.fingerprint
        )
        request = LoRARequest(str(folder), next(self._numbers), str(folder))
        try:
            await self._engine.add_lora(request)
        except Exception as error:
            raise InvalidInput(
                f"the adapter in {folder} can't be loaded: {error}", field="model"
            ) from error
        return AdaptedModel(self, request, fingerprint)

    async def drop_adapter(self, adapter: LoRARequest) -> None:
        with suppress(EngineDeadError, TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._engine.remove_lora(adapter.lora_int_id)

    async def death(self) -> str:
        return await asyncio.shield(self._death)

    def _die(self, reason: str) -> None:
        if not self._death.done() and not self._closed:
            self._death.set_result(reason)
            self._ranks.end()

    async def _feel_pulse(self) -> None:
        """Polls vLLM, which has no event for its death, nor for a step that it has made."""
        while not self._closed and not self._death.done():
            if self._engine.errored:
                self._die(_PROCESS_ENDED)
            self._ranks.beat(vllm_processes.tokens_written(self._engine))
            await asyncio.sleep(_HEARTBEAT_S)

    async def close(self) -> None:
        """Ends within twice CLOSE_S, even if vLLM hangs: its remaining processes are killed."""
        self._closed = True
        if self._ranks.asking and not self._death.done():
            await asyncio.wait(self._ranks.asking, timeout=CLOSE_S)
        self._ranks.end()
        self._pulse.cancel()
        await vllm_processes.end(self._engine, CLOSE_S)


async def load(folder: Path, settings: EngineSettings) -> VllmEngine:
    """Starts an engine and waits until it is ready (15 s or more).

    Raises InvalidInput: a checkpoint that vLLM can't load, or whose code isn't trusted.
    """
    await asyncio.to_thread(require_gpus, settings)
    chat = await asyncio.to_thread(Chat.of, folder, settings.trust_remote_code)
    await asyncio.to_thread(tensors.check_tensors, folder)
    fingerprint = await asyncio.to_thread(checkpoint.fingerprint, folder)
    try:
        engine = await asyncio.to_thread(
            AsyncLLM.from_engine_args,
            start_arguments(folder, settings),
            usage_context=UsageContext.OPENAI_API_SERVER,
            stat_loggers=[SchedulerFigures],
        )
        vllm_processes.tie(engine)
    except Exception as error:
        raise InvalidInput(
            f"vLLM can't load {folder}: {error} (see the log above; "
            "out of memory: lower MEMORY_SHARE, MAX_MODEL_LEN or BATCH_TOKENS)",
            field="model",
            reason="MODEL_NOT_LOADED",
        ) from error
    return VllmEngine(engine, chat, folder, settings, fingerprint)
