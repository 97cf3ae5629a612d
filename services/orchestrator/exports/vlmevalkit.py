"""VLMEvalKit's TSV for a custom VQA data set: index, image, question, answer, category (the cell).

The first question of an image has the image (base64), further ones have the first one's index, as
VLMEvalKit reads it. `answers` repeats the answer ten times: VLMEvalKit's VQA accuracy leaves one
annotator out, so a single answer always scores 0.
"""

from __future__ import annotations

import base64
import csv
from pathlib import Path

from services.orchestrator.exports.samples import ExportedSamples

HEADINGS = ("index", "image", "question", "answer", "answers", "category", "held_out")
ANNOTATORS = 10


def write(samples: ExportedSamples, target: Path) -> int:
    count = first = 0
    image_sha256 = ""
    with target.open("w", newline="") as file:
        rows = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        rows.writerow(HEADINGS)
        for sample in samples.usable():
            if sample.image_sha256 == image_sha256:
                image = str(first)
            else:
                first, image_sha256 = count, sample.image_sha256
                image = base64.b64encode(samples.image(sample)).decode()
            cell = sample.entry.cell or ""
            held_out = int(sample.entry.image.held_out)
            answers = [sample.answer] * ANNOTATORS
            rows.writerow((count, image, sample.question, sample.answer, answers, cell, held_out))
            count += 1
    return count
