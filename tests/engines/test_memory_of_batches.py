"""Batches of the transformers engine and the memory of its device."""

import asyncio
import gc
import re
import subprocess
import sys

import pytest

from services.core.decoding import Decoding
from services.core.errors import EngineFailed
from services.engines.images import load_image
from services.engines.model import Prompt
from services.engines.settings import EngineSettings
from tests.pictures import png

pytestmark = pytest.mark.slow
QUESTION = "what color is the shape?"


def _prompts(count, question=QUESTION):
    return [
        Prompt(
            load_image(png(size=(56 + 28 * (number % 3), 56))),
            question + " really?" * (number % 5),
            Decoding(max_new_tokens=6),
        )
        for number in range(count)
    ]


class Device:
    """A model whose forward has memory for `tokens` tokens; it notes the sizes that were tried."""

    def __init__(self, tokens):
        self.tokens = tokens
        self.refused = []
        self.computed = []

    def __call__(self, module, positional, named):
        import torch

        embedded = named["input_ids"] if named.get("input_ids") is not None else positional[0]
        if embedded.numel() > self.tokens:
            self.refused.append(embedded.numel())
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        if embedded.shape[1] > 1:
            self.computed.append(tuple(embedded.shape))


def _engine(folder, device=None, **settings):
    from services.engines import transformers

    given = EngineSettings(device="cpu", **settings)
    loaded = transformers.read_checkpoint(folder, given)
    if device is not None:
        loaded.model.register_forward_pre_hook(device, with_kwargs=True)
    return transformers.TransformersEngine(loaded, folder, given)


@pytest.mark.parametrize(
    "text",
    [
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory",
        "CUDA error: out of memory\nCUDA kernel errors might be reported asynchronously",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "NCCL error: unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'",
        "std::bad_alloc",
        "can't start new thread",
        "could not create a primitive",
    ],
)
def test_libraries_have_many_words_for_no_memory(text):
    from services.engines.device_memory import is_out_of_memory

    assert is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))
    of_another_kind = "could not create a primitive descriptor for a matmul primitive"
    assert not is_out_of_memory(RuntimeError(of_another_kind))


async def _texts(engine, prompts):
    return [
        reply.text
        for reply in await asyncio.gather(*(engine.generate(prompt) for prompt in prompts))
    ]


async def test_without_memory_batches_become_smaller_and_all_are_answered(tiny_checkpoint):
    prompts = _prompts(64)
    engine = _engine(tiny_checkpoint)
    expected = await _texts(engine, prompts)
    await engine.close()
    device = Device(tokens=1000)
    engine = _engine(tiny_checkpoint, device)
    assert await _texts(engine, prompts) == expected
    assert device.refused
    tried = len(device.refused)
    assert await _texts(engine, prompts) == expected
    assert len(device.refused) - tried <= 1, "later batches fit from the beginning"
    await engine.close()


async def test_a_prompt_that_takes_too_much_alone_fails_alone(tiny_checkpoint):
    device = Device(tokens=200)
    engine = _engine(tiny_checkpoint, device)
    (large,) = _prompts(1, question="what is that? " * 60)
    small = _prompts(15)
    outcomes = await asyncio.gather(
        *(engine.generate(prompt) for prompt in [large, *small]), return_exceptions=True
    )
    assert isinstance(outcomes[0], EngineFailed)
    assert outcomes[0].reason == "OUT_OF_MEMORY"
    assert re.search(r"this request of \d{3} tokens", str(outcomes[0]))
    assert not [outcome for outcome in outcomes[1:] if isinstance(outcome, Exception)]
    await engine.close()


@pytest.mark.parametrize("tokens", [300, 2000])
async def test_batches_are_filled_by_tokens(tiny_checkpoint, tokens):
    prompts = _prompts(64)
    device = Device(tokens=10**9)
    engine = _engine(tiny_checkpoint, device, batch_tokens=tokens)
    replies = await asyncio.gather(*(engine.generate(prompt) for prompt in prompts))
    for rows, length in device.computed:
        assert rows == 1 or rows * (length + 6) <= tokens
    assert sum(rows for rows, _ in device.computed) == 64
    alone = await engine.generate(prompts[7])
    assert replies[7].text == alone.text
    await engine.close()


async def test_a_closed_engine_holds_no_memory_before_garbage_is_collected(tiny_checkpoint):
    gc.disable()
    try:
        from services.engines import transformers

        settings = EngineSettings(device="cpu")
        loaded = transformers.read_checkpoint(tiny_checkpoint, settings)
        engine = transformers.TransformersEngine(loaded, tiny_checkpoint, settings)
        await engine.close()
        tensors = [*loaded.model.parameters(), *loaded.model.buffers()]
        assert {tensor.device.type for tensor in tensors} == {"meta"}
    finally:
        gc.enable()


LIMITED = """
import asyncio, resource, sys
from pathlib import Path
from services.engines.loading import load_model
from services.engines.settings import EngineSettings
from tests.engines.test_memory_of_batches import long_prompts

async def main():
    engine = await load_model(Path(sys.argv[1]), EngineSettings(device="cpu", threads=1))
    prompts = long_prompts()
    await engine.generate(prompts[0])  # warms up libraries
    used = int(next(
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmData")
    )) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + 96 * 2**20, used + 96 * 2**20))
    replies = await asyncio.gather(*(engine.generate(prompt) for prompt in prompts))
    print("answered", len(replies))
    await engine.close()

asyncio.run(main())
"""


def long_prompts():
    return _prompts(24, question="what is that? " * 200)


def test_a_machine_without_memory_answers_all_in_smaller_batches(tiny_checkpoint):
    """The kernel refuses memory to a real process, and the allocator of torch raises its error."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tiny_checkpoint)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "answered 24" in done.stdout, done.stderr[-2000:]
    assert "memory ran out in a batch of" in done.stderr
