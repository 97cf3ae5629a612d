"""The parity set, chosen from identified records of images that aren't held out."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.core.errors import NothingToAlign
from services.core.intervals import wilson
from services.core.parity import NOISE, Cell, Sample, select
from services.files import write_atomically
from services.orchestrator.run.ledger import POOL
from services.orchestrator.run.ledger.counts import gap_of_low_agreement
from services.orchestrator.run.ledger.opinions import Label
from services.orchestrator.run.run import PARITY_SET, Run
from services.orchestrator.steps.corrections import corrected_records

AT_PARITY_BELOW = 0.1
"""At parity: the gap's share of the teacher's knowledge is below this, at 95 % confidence."""


@dataclass(frozen=True, slots=True)
class ParitySample:
    """`path` is relative to the images' root."""

    path: str
    sample: Sample
    origin: str = POOL
    reviewed: str = ""
    """People's verdict on it; "" if the models' decide."""

    @property
    def label(self) -> Label:
        return self.sample.label


def chosen(
    run: Run, rehearsal_ratio: float | None, max_share_per_kind: float
) -> list[ParitySample]:
    """The selection from the present records, with people's verdicts if the run uses them."""
    records = [record for record in corrected_records(run) if not record.held_out]
    of_sample = {Sample(r.image_sha256, r.question, r.answer, r.cell): r for r in records}
    selected = select(list(of_sample), rehearsal_ratio, max_share_per_kind)
    return [
        ParitySample(record.path, sample, record.origin, record.reviewed)
        for sample, record in ((sample, of_sample[sample]) for sample in selected)
    ]


def write_parity_set(run: Run) -> list[ParitySample]:
    """Writes the file.

    Raises NothingToAlign if the gap is below the recipe's minimum, or below the rate at
    which rounds stop: the file is written even so.
    """
    recipe = run.settings.recipe
    parity_set = chosen(run, recipe.rehearsal_ratio, recipe.max_share_per_kind)
    write_atomically(run.folder / PARITY_SET, "".join(map(_line, parity_set)))
    run.state.parity_set = len(parity_set)
    gap = sum(parity.sample.cell is Cell.GAP for parity in parity_set)
    identified = corrected_records(run)
    if gap < max(1, recipe.minimum_gap):
        cells = [record.cell for record in identified if not record.held_out]
        images = len({record.image_sha256 for record in identified})
        why = _why_filtered(run, gap, cells) or _why_so_few(cells, images, recipe.minimum_gap)
        raise NothingToAlign(
            f"only {gap} samples that the teacher knows and the student does not "
            f"(training needs at least {recipe.minimum_gap}), nothing was trained: {why}"
        )
    rate = sum(record.cell is Cell.GAP for record in identified) / max(1, len(identified))
    if rate < (until_gap := run.state.until_gap):
        raise NothingToAlign(
            f"the gap is {rate:.1%} of the records, below the {until_gap:.1%} at which rounds stop"
        )
    return parity_set


def _why_filtered(run: Run, gap: int, cells: Sequence[Cell]) -> str:
    """Filter that made the gap too small; "" if it would be too small without filters."""
    found = cells.count(Cell.GAP)
    least = run.settings.recipe.minimum_gap
    if found > gap and found >= least:
        share = run.settings.recipe.max_share_per_kind
        return f"--max-share-per-kind {share} leaves no more of {found}"
    low = gap_of_low_agreement(run.ledger)
    is_cause = low and gap + low >= least
    return (
        f"--min-agreement rejected {low} others, whose samples contradict the annotation"
        if is_cause
        else ""
    )


def _why_so_few(cells: Sequence[Cell], images: int, minimum_gap: int) -> str:
    noise = sum(cell in NOISE for cell in cells)
    gap = cells.count(Cell.GAP)
    if not cells:
        return "not one annotation is usable"
    if noise > len(cells) / 2:
        return (
            f"the teacher contradicts {noise} of its {len(cells)} annotations when asked blind, "
            "so it can't teach this"
        )
    known = len(cells) - noise
    if wilson(gap, known).high < AT_PARITY_BELOW:
        return "the student is at parity with the teacher on these images"
    enough = f"about {math.ceil(images * minimum_gap / gap):,}" if gap else "more"
    return (
        f"{images:,} images are too few to call it parity "
        f"(the gap is {gap} of {known} questions, {gap / known:.0%}): align {enough} images"
    )


def _line(parity: ParitySample) -> str:
    sample = parity.sample
    fields = {
        "image": parity.path,
        "sha256": sample.image_sha256,
        "question": sample.question,
        "answer": sample.answer,
        "cell": str(sample.cell),
        "origin": parity.origin,
    }
    if parity.reviewed:
        fields["reviewed"] = parity.reviewed
    return json.dumps(fields, ensure_ascii=False) + "\n"
