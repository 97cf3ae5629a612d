"""TRL's SFTTrainer on a data set of the student's store.

Arguments: a JSON request, and the file for the trainer's metrics.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Features, Image, List, Value
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig, SFTTrainer

from services.core.tasks import answer_prompt
from services.student.datasets import DatasetStore


def samples(store: DatasetStore, name: str) -> Dataset:
    """Prompt and completion, as SFTTrainer takes vision data; only the completion is learned."""
    rows = [
        {
            "images": [str(store.image_path(sample.image_sha256))],
            "prompt": [{"role": "user", "content": answer_prompt(sample.question)}],
            "completion": [{"role": "assistant", "content": sample.answer}],
        }
        for sample in store.samples(name)
    ]
    message = {"role": Value("string"), "content": Value("string")}
    return Dataset.from_list(
        rows,
        Features({"images": List(Image()), "prompt": List(message), "completion": List(message)}),
    )


def main(request: dict[str, Any], output: Path) -> None:
    base = Path(request["base"])
    own: dict[str, Any] = {"gradient_checkpointing": False} if request["plain"] else {}
    settings = SFTConfig(
        output_dir=request["output"],
        per_device_train_batch_size=request["micro_batch"],
        gradient_accumulation_steps=request["batch"] // request["micro_batch"],
        num_train_epochs=request["epochs"],
        learning_rate=1e-5,
        bf16=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        **own,
    )
    trainer = SFTTrainer(
        model=AutoModelForImageTextToText.from_pretrained(base, dtype="float32"),
        args=settings,
        train_dataset=samples(DatasetStore(Path(request["store"])), request["dataset"]),
        processing_class=AutoProcessor.from_pretrained(base),
    )
    output.write_text(json.dumps(trainer.train().metrics))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
