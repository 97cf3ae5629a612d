"""Every architecture the whole way: annotate, answer, train, save, load, swap, roll back."""

import asyncio
import re

import pytest

from protos.mpa.v1 import versions_pb2
from services.core.contract import Contract
from services.core.decoding import Decoding
from services.core.presets import Hyperparameters
from services.core.provenance import FinishReason
from services.core.tasks import ANSWER_TEMPLATE, TASKS, answer_prompt
from services.engines.loading import load_model
from services.engines.model import (
    Prompt,
)
from services.engines.rendering import renderer
from services.engines.settings import EngineSettings
from services.student import canaries
from tests.serving import serving_student
from tests.student.trained import (
    NAMES,
    answers_as,
    promote,
    questions,
    reads_control_tokens_as_text,
    settings_of,
)

pytestmark = pytest.mark.slow


def test_every_architecture_is_tried():
    from tests.architectures import ARCHITECTURES

    assert set(NAMES) == set(ARCHITECTURES)


async def test_it_annotates_and_answers(trained):
    model = await load_model(trained.base, EngineSettings(threads=1))
    short = Decoding(max_new_tokens=8)
    texts = [
        TASKS["vqa"].annotation_prompt,
        *map(answer_prompt, ("what color is it?", "is it a circle?")),
    ]
    prompts = [
        Prompt(question.image, text, short) for question in questions()[:5] for text in texts
    ]
    replies = await asyncio.gather(*(model.generate(prompt) for prompt in prompts))
    alone = [await model.generate(prompt) for prompt in prompts]
    await model.close()
    assert [reply.text for reply in replies] == [reply.text for reply in alone]
    assert len({reply.text for reply in replies}) > len(texts), "what is seen makes a difference"
    assert {reply.finish_reason for reply in replies} <= {FinishReason.STOP, FinishReason.LENGTH}


def test_only_the_answer_and_the_end_of_turn_are_learned(trained):
    from transformers import AutoProcessor

    from services.engines.chat import conversation
    from services.student.encoding import IGNORED, Encoder, collate

    processor = AutoProcessor.from_pretrained(trained.base)
    encoder = Encoder(processor, trained.datasets, ANSWER_TEMPLATE)
    rows = [encoder(sample) for sample in trained.samples[:6]]
    batch = collate(rows, processor.tokenizer.pad_token_id)
    render = renderer(trained.base)
    for row, sample, question in zip(batch["labels"], trained.samples, questions(), strict=False):
        learned = row[row != IGNORED].tolist()
        answer = [{"type": "text", "text": sample.answer}]
        turns = [*conversation("?"), {"role": "assistant", "content": answer}]
        written = processor.apply_chat_template(turns).rpartition("?")[2]
        ids = processor.tokenizer(written)["input_ids"]
        starts = range(len(ids) - len(learned) + 2)
        assert any(ids[at : at + len(learned) - 1] == learned[:-1] for at in starts), written
        assert (
            processor.tokenizer.decode(learned).lstrip()
            == sample.answer + trained.architecture.end_of_turn
        )
        served = render(canaries.prompt_for(question.image, question.text, Contract()))
        assert (row != IGNORED).nonzero()[0] == served.tokens, (
            "the answer follows the prompt as it is served"
        )


def test_a_sample_counts_the_same_alone_and_in_a_batch(trained):
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from services.student.encoding import IGNORED, Encoder, collate

    processor = AutoProcessor.from_pretrained(trained.base)
    encoder = Encoder(processor, trained.datasets, ANSWER_TEMPLATE)
    rows = [encoder(sample) for sample in trained.samples[:6]]
    model = AutoModelForImageTextToText.from_pretrained(trained.base, dtype=torch.float32).eval()

    def losses(batch):
        targets = batch.pop("labels")[:, 1:]
        logits = model(**batch).logits[:, :-1]
        return torch.nn.functional.cross_entropy(
            logits.mT, targets, ignore_index=IGNORED, reduction="none"
        ).sum(-1)

    with torch.inference_mode():
        together = losses(collate(rows, processor.tokenizer.pad_token_id))
        alone = torch.cat([losses(dict(row)) for row in rows])
    assert torch.allclose(together, alone, rtol=1e-3)


def test_tower_connector_and_language_model_are_trained(trained):
    import torch
    from safetensors.torch import load_file

    before, after = (
        load_file(folder / "model.safetensors") for folder in (trained.base, trained.output)
    )
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    for part in (
        trained.architecture.vision,
        trained.architecture.connector,
        trained.architecture.language,
    ):
        assert any(part in name for name in moved), part
    unused = re.compile(trained.architecture.unused or "$")
    assert {name for name in before.keys() - moved if not unused.search(name)} == set()


def test_what_is_saved_is_what_was_in_memory(trained, tmp_path):
    import torch

    from services.student.checkpoints import read_student, save

    model, dtype = read_student(trained.base, Hyperparameters(1e-3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    save(model, dtype, trained.base, tmp_path / "saved")
    again, _ = read_student(tmp_path / "saved", Hyperparameters(1e-3))
    other = again.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in model.state_dict().items())


async def test_it_goes_live_and_back(trained, tmp_path):
    async with serving_student(
        settings_of(trained, tmp_path, ENGINE="transformers", THREADS=1, SWAP="two_slots")
    ) as peer:
        await answers_as(peer, "v1", trained.base)
        await reads_control_tokens_as_text(peer, trained)
        await promote(peer, trained)
        await answers_as(peer, "v2", trained.output)
        await peer.versions.RollbackVersion(versions_pb2.RollbackVersionRequest())
        await answers_as(peer, "v1", trained.base)
