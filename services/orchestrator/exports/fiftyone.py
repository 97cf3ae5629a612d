"""FiftyOne: metadata.json, samples.json and images/, which `fiftyone.Dataset.from_dir` reads.

A sample is a question: an image with several questions is several samples of one file. It is
FiftyOne's plain form (a metadata.json without "version"), whose fields FiftyOne infers: the other
form is a dump of its database.
"""

from __future__ import annotations

import json
from pathlib import Path

from services.orchestrator.exports.json_list import JsonList
from services.orchestrator.exports.pictures import Pictures
from services.orchestrator.exports.samples import ExportedSample, ExportedSamples

HELD_OUT = "held_out"
"""Tag of samples whose image judges the student."""
_LABELS = {"annotation": "answer", "student": "student_answer", "teacher": "teacher_answer"}
"""Fields with an answer as a classification, and the columns that they are taken from."""


def write(samples: ExportedSamples, target: Path) -> int:
    target.mkdir()
    run = samples.run
    info = {"run": run.id, "task": run.settings.task, "recipe": run.settings.recipe.name}
    metadata = {"name": run.folder.name, "media_type": "image", "info": info}
    (target / "metadata.json").write_text(json.dumps(metadata, ensure_ascii=False))
    pictures = Pictures(samples, target)
    with JsonList(target / "samples.json", under="samples") as items:
        for sample in samples.usable():
            items.add({"filepath": pictures.add(sample), **_fields(samples, sample)})
    return items.count


def _fields(samples: ExportedSamples, sample: ExportedSample) -> dict[str, object]:
    """Everything that is known, without empty fields: FiftyOne can't infer their type."""
    values = samples.columns(sample.entry)
    known = {name: value for name, value in values.items() if value is not None}
    labels = {name: _label(known[of]) for name, of in _LABELS.items() if of in known}
    tags = [str(sample.entry.cell)] if sample.entry.cell else []
    if sample.entry.image.held_out:
        tags.append(HELD_OUT)
    return {**known, **labels, "key": sample.key, "tags": tags}


def _label(text: object) -> dict[str, object]:
    return {"_cls": "Classification", "label": text}
