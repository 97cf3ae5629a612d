"""ShareGPT for LLaMA-Factory: sharegpt.json, dataset_info.json (the data set "mpa") and images/."""

from __future__ import annotations

import json
from pathlib import Path

from services.orchestrator.exports.json_list import JsonList
from services.orchestrator.exports.llava import conversation
from services.orchestrator.exports.pictures import Pictures
from services.orchestrator.exports.samples import ExportedSamples

INFO = {
    "mpa": {
        "file_name": "sharegpt.json",
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "images": "images"},
    }
}


def write(samples: ExportedSamples, target: Path) -> int:
    target.mkdir()
    pictures = Pictures(samples, target)
    with JsonList(target / "sharegpt.json") as items:
        for sample in samples.trainable():
            turns = conversation(samples.prompt(sample), sample.answer)
            items.add({"conversations": turns, "images": [pictures.add(sample)]})
    (target / "dataset_info.json").write_text(json.dumps(INFO, indent=2) + "\n")
    return items.count
