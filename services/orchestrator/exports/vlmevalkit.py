"""VLMEvalKit's TSV, for a custom VQA data set: index, image (base64), question, answer, category (the cell).

An image's further questions name the index of its first instead of repeating it, as that toolkit has it.
"""

from __future__ import annotations

import base64
import csv
from pathlib import Path

from services.orchestrator.exports.samples import ExportedSamples

HEADINGS = ("index", "image", "question", "answer", "category", "held_out")


def write(samples: ExportedSamples, target: Path) -> int:
    count, first, image_sha256 = 0, 0, ""
    with target.open("w", newline="") as file:
        rows = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        rows.writerow(HEADINGS)
        for sample in samples.usable():
            is_first = sample.image_sha256 != image_sha256
            first, image_sha256 = (count if is_first else first), sample.image_sha256
            image = base64.b64encode(samples.image(sample)).decode() if is_first else str(first)
            cell, held_out = sample.entry.cell or "", int(sample.entry.image.held_out)
            rows.writerow((count, image, sample.question, sample.answer, cell, held_out))
            count += 1
    return count
