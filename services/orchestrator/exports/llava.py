"""LLaVA: llava.json, a list of {"id", "image", "conversations"}, and images/.

LLaVA's `--image_folder` is the folder of the export.
"""

from __future__ import annotations

from pathlib import Path

from services.orchestrator.exports.json_list import JsonList
from services.orchestrator.exports.pictures import Pictures
from services.orchestrator.exports.samples import ExportedSamples


def write(samples: ExportedSamples, target: Path) -> int:
    target.mkdir()
    pictures = Pictures(samples, target)
    with JsonList(target / "llava.json") as items:
        for sample in samples.trainable():
            turns = conversation(samples.prompt(sample), sample.answer)
            items.add({"id": sample.key, "image": pictures.add(sample), "conversations": turns})
    return items.count


def conversation(prompt: str, answer: str) -> list[dict[str, str]]:
    """The two turns of a sample; the marker <image> is the place of the image."""
    return [{"from": "human", "value": f"<image>\n{prompt}"}, {"from": "gpt", "value": answer}]
