"""Scripted computations for a MicroBatcher."""

import asyncio
import threading

from services.core.decoding import Decoding
from services.engines.images import load_image
from services.engines.model import Prompt, Reply
from tests.pictures import png
from tests.waiting import until

IMAGE = load_image(png())


def asking(text="x", tokens=8):
    return Prompt(IMAGE, text, Decoding(max_new_tokens=tokens))


def answers(prompts):
    return [Reply(prompt.text.upper(), 1, 1) for prompt in prompts]


class Script:
    """Prepares and computes batches, and notes those that got through.

    `at`: by stage and text, a function to call for a batch with that text. `running` is set when
    a batch is computed, which waits until `go` is set.
    """

    def __init__(self, **at):
        self.at = at
        self.prepared, self.computed = [], []
        self.go, self.running = threading.Event(), threading.Event()
        self.go.set()

    def _do(self, stage, prompts):
        for prompt in prompts:
            if prompt.text in self.at.get(stage, {}):
                self.at[stage][prompt.text]()

    def prepare(self, prompts):
        self._do("prepare", prompts)
        self.prepared.append([prompt.text for prompt in prompts])
        return prompts

    def run(self, prompts, adapter):
        self._do("run", prompts)
        self.computed.append([prompt.text for prompt in prompts])
        self.running.set()
        assert self.go.wait(30)
        return answers(prompts)


def raising(error):
    def act():
        raise error

    return act


async def held_up(batcher, script):
    """A request that is computed until `script.go` is set."""
    script.go.clear()
    first = asyncio.create_task(batcher.submit(asking("first")))
    await until(script.running.is_set)
    return first


async def ask_all(batcher, texts):
    """Texts of the replies, or errors."""
    outcomes = await asyncio.gather(
        *(batcher.submit(asking(text)) for text in texts), return_exceptions=True
    )
    return [outcome.text if isinstance(outcome, Reply) else outcome for outcome in outcomes]
