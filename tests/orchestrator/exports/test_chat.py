"""Chat messages loaded by `datasets`, and a batch by TRL's collator with the bundled student."""

from pathlib import Path

from services.core.tasks import answer_prompt
from tests.orchestrator.exports.conftest import sha256

STUDENT = Path(__file__).resolve().parents[3] / "zoo" / "student"


def test_trl_learns_the_answers_alone(export, parity_set, tmp_path):
    from datasets import Image, List, load_dataset
    from transformers import AutoProcessor
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    data = load_dataset(str(export("chat")), split="train", cache_dir=str(tmp_path / "cache"))
    assert data.features["images"] == List(Image())
    raw = data.cast_column("images", List(Image(decode=False)))
    found = {
        (sha256(row["images"][0]["bytes"]), row["prompt"][0]["content"]): row["completion"][0][
            "content"
        ]
        for row in raw
    }
    assert found == {
        (digest, answer_prompt(question)): line["answer"]
        for (digest, question), line in parity_set.items()
    }
    # What SFTTrainer itself sets where a sample has a prompt.
    processor = AutoProcessor.from_pretrained(STUDENT)
    batch = DataCollatorForVisionLanguageModeling(processor, completion_only_loss=True)(
        [data[0], data[1]]
    )
    assert batch["pixel_values"].shape[0] > 0
    learned = [
        processor.tokenizer.decode(row[row >= 0], skip_special_tokens=True).strip()
        for row in batch["labels"]
    ]
    assert learned == [data[number]["completion"][0]["content"] for number in (0, 1)]
