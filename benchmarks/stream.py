"""Answers per second through the gRPC AnswerStream, against the engine alone.

    python -m benchmarks.stream --model bundled

vLLM against `LLM.generate` offline with the same engine settings; transformers against a plain
loop over `generate` at its best batch size. Every run asks about images that are new to both
sides: four questions about each, and one in a row of its own. Both engines look only once at an
image with several questions, a plain loop does not.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence

from benchmarks import arguments, clients
from benchmarks.arguments import TRUE_SHAPED, Arguments
from benchmarks.checkpoints import checkpoint
from benchmarks.folders import work_folder
from benchmarks.processes import Peer, peer, serving, side_by_side, threads_for
from benchmarks.questions import ask, decoding
from benchmarks.row import Pair, Question, Row
from benchmarks.stores import fill

SEVERAL, ONE = 4, 1
"""Number of questions about each image."""
QUESTIONS = {"bundled": 600, "150m": 96, "qwen2vl-2b": 256, "tiny": 8}
BATCH_SIZES = (16, 32, 64, 128)
PEERS = {"vllm": "vllm_offline", "transformers": "plain_loop"}
OTHERS = {
    "vllm": "LLM.generate offline",
    "transformers": "plain loop over generate, best batch size",
}


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    each = (ONE,) if model in TRUE_SHAPED else (SEVERAL, ONE)
    for engine, per_image in itertools.product(given.engines(PEERS), each):
        yield await measure_engine(model, engine, per_image, given)


async def measure_engine(model: str, engine: str, per_image: int, given: Arguments) -> Row:
    images = given.share(QUESTIONS[model]) // per_image
    threads = threads_for(model)
    folder = work_folder(f"stream-{engine}-{model}")
    weights = checkpoint(model)
    await asyncio.to_thread(fill, folder, [weights], model)
    question = Question(
        name=f"stream-{engine}-{model}" + ("" if per_image == SEVERAL else "-one"),
        what="answers/s through the gRPC stream"
        + ("" if per_image == SEVERAL else ", one question about each image"),
        other=OTHERS[engine],
        model=model,
        engine=engine,
        unit="answers/s",
        at_least=0.95,
    )
    async with (
        side_by_side(
            peer(PEERS[engine], folder, threads, str(weights), model),
            serving("student", folder, threads, engine=engine),
        ) as (other, service),
        clients.connect(service.address) as channel,
    ):
        batch = await best_batch_size(other, images, per_image) if engine == "transformers" else 0
        settings = {"batch_size": batch} if batch else {}
        pairs, agreements = [], []
        for number in range(given.runs + 1):
            first = 1000 + number * images
            asked = ask(first, images, per_image, model)
            seconds, answers = await clients.stream(channel, asked, decoding(model))
            reply = await other.ask(
                first_image=first, images=images, per_image=per_image, **settings
            )
            if number:  # the first one warms both sides up
                pairs.append(Pair(len(asked) / seconds, len(asked) / reply["seconds"]))
                agreements.append(agreement(answers, reply["answers"]))
    return question.row(
        pairs,
        questions_per_run=images * per_image,
        threads=threads,
        same_answers=round(min(agreements), 4),
        **({"their_batch_size": batch} if batch else {}),
    )


async def best_batch_size(other: Peer, images: int, per_image: int) -> int:
    """The fastest batch size of a plain loop, on as many questions as a run has, each size once."""
    await other.ask(first_image=0, images=8, per_image=per_image, batch_size=8)
    seconds = {}
    for size in BATCH_SIZES:
        reply = await other.ask(first_image=0, images=images, per_image=per_image, batch_size=size)
        seconds[size] = float(reply["seconds"])
    return min(seconds, key=seconds.__getitem__)


def agreement(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """Share of questions that both sides answer alike: they must have done the same work."""
    return sum(one == other for one, other in zip(ours, theirs, strict=True)) / len(ours)


if __name__ == "__main__":
    arguments.run([measure], __doc__)
