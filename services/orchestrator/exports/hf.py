"""A Hugging Face data set: README.md (its card), and data/*.parquet with images and provenance."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from services.orchestrator.exports.pictures import suffix
from services.orchestrator.exports.samples import ExportedSamples
from services.orchestrator.exports.tables import (
    IMAGE,
    IMAGE_FEATURE,
    SHARD_BYTES,
    ExportTables,
    provenance_fields,
    schema,
)

CARD = """\
---
pretty_name: {quoted}
task_categories:
- visual-question-answering
tags:
- synthetic
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.parquet
---

# {name}

{count:,} questions about {images:,} images. Nobody labelled them: a large model (the teacher) wrote
question and answer, and both models then answered the question blind. Agreement is not truth: some
of the answers are wrong.

| | |
| --- | --- |
| task | {task} |
| recipe | {recipe} |
| teacher | {teacher} |
| student | {student} |
| matcher | {matcher} |
| cells | {cells} |
| run | {run}, round {round} |

`image`, `question` and `answer` are the sample. `cell` is its place in the comparison (`gap`: the
teacher agreed with the answer, the student did not). `held_out` marks samples that judged the
student and must not be used for training. The other columns are the provenance of each sample.

The images are under their own licence, and the teacher's terms may bind its texts: check both
before you publish.
"""


def write(samples: ExportedSamples, target: Path) -> int:
    (target / "data").mkdir(parents=True)
    columns = schema({"image": IMAGE, **provenance_fields(samples)}, {"image": IMAGE_FEATURE})
    cells: Counter[str] = Counter()
    images = 0
    last = ""
    with ExportTables(
        columns, lambda number: target / "data" / f"train-{number:05}.parquet", SHARD_BYTES
    ) as rows:
        for sample in samples.usable():
            image = samples.image(sample)
            picture = {"bytes": image, "path": f"{sample.image_sha256}.{suffix(image)}"}
            rows.add({"image": picture, **samples.columns(sample.entry)}, len(image))
            cells[str(sample.entry.cell or "not identified")] += 1
            images += sample.image_sha256 != last
            last = sample.image_sha256
    (target / "README.md").write_text(_card(samples, rows.count, images, cells))
    return rows.count


def _card(samples: ExportedSamples, count: int, images: int, cells: Counter[str]) -> str:
    run = samples.run
    settings = samples.run.settings
    of_student = f", of the student {settings.student_matcher}" if settings.student_matcher else ""
    name = f"Model parity: {settings.task}, {run.folder.name}"
    return CARD.format(
        name=name,
        quoted=json.dumps(name),
        count=count,
        images=images,
        task=settings.task,
        recipe=settings.recipe.name,
        teacher=run.state.teacher() or "unknown",
        student=run.state.base.name if run.state.base else "not asked",
        matcher=settings.matcher + of_student,
        cells=", ".join(f"{cell} {number:,}" for cell, number in sorted(cells.items())),
        run=run.id,
        round=run.ledger.round,
    )
