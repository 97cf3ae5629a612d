"""Late answers: a provider's batch accepts a question and answers it another time."""

import io
from dataclasses import dataclass, field

import pytest
from PIL import Image
from rich.console import Console

from services.core.decoding import GREEDY
from services.core.errors import Pending
from services.core.pixels import UNLIMITED, PixelBudget
from services.core.provenance import FinishReason
from services.orchestrator.datasets.dataset import open_dataset
from services.orchestrator.run.progress import Progress
from services.orchestrator.scoring.asking import Asking
from services.orchestrator.scoring.predictions import Kept
from services.orchestrator.scoring.respondents import Said
from tests.orchestrator.datasets import samples


@dataclass
class Provider:
    """A provider that accepts odd questions at first, and has their answers the second time."""

    name: str = "provider"
    pixel_budget: PixelBudget = UNLIMITED
    in_flight: int = 64
    asked: list = field(default_factory=list)
    sizes: set = field(default_factory=set)

    async def answer(self, picture, question, template, decoding):
        self.asked.append(question)
        self.sizes.add(Image.open(io.BytesIO(picture.data)).size)
        if self.asked.count(question) == 1 and question[-2] in "13579":
            raise Pending("in a batch")
        return Said("red", "model", FinishReason.STOP)


async def ask(provider, dataset, path):
    kept = Kept(path)
    try:
        with Progress(Console(file=io.StringIO())) as progress:
            budget = provider.pixel_budget
            asking = Asking(provider, "{question}", GREEDY, budget, kept, lambda _: None)
            await asking.ask([dataset], 10, 0, progress)
    finally:
        kept.close()


async def test_what_waits_in_a_batch_is_fetched_by_the_same_command_later(tmp_path):
    dataset, provider, path = (
        open_dataset(samples.jsonl(tmp_path, 10)),
        Provider(),
        tmp_path / "predictions.jsonl",
    )
    with pytest.raises(Pending, match="5 questions have to wait"):
        await ask(provider, dataset, path)
    assert len(provider.asked) == 10  # one that waits stops no other
    assert len(path.read_text().splitlines()) == 5
    await ask(provider, dataset, path)
    assert len(provider.asked) == 15
    assert len(path.read_text().splitlines()) == 10


async def test_images_are_sent_within_the_budget_of_the_model_that_answers(tmp_path):
    dataset = open_dataset(samples.jsonl(tmp_path, 10))
    for path in tmp_path.glob("*.png"):
        Image.new("RGB", (400, 300)).save(path, "PNG")
    provider = Provider(pixel_budget=PixelBudget(10_000))
    with pytest.raises(Pending):
        await ask(provider, dataset, tmp_path / "predictions.jsonl")
    assert provider.sizes == {(115, 86)}
