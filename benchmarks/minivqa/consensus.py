"""Purity of labels that a vote of the teacher's answers puts in the place of annotations.

Run: python -m benchmarks.minivqa.consensus RUN FAMILY [--samples 4] [--seed N]

RUN is a run over a family's pool, such as OUT/runs/minivqa/minivqa-teacher/FAMILY of an experiment.
The records whose annotation the teacher contradicts are taken, and the families' teacher is sampled
about each. Its blind answer and each sample have one vote, and the annotation half a vote: it was
written with its question, and may be about what is easy to ask. The truth is known (see truth.py).
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.folders import ROOT
from benchmarks.minivqa.truth import Quality
from services.core import metrics
from services.core.parity import NOISE
from services.core.tasks import answer_prompt
from services.engines.images import load_image
from services.engines.loading import load_model
from services.engines.model import Prompt, VisionLanguageModel
from services.engines.settings import EngineSettings
from services.orchestrator.run.ledger import Record
from services.orchestrator.run.run import Run, read_run
from zoo.minivqa.families import FAMILIES, Family
from zoo.minivqa.parts import Part

TEACHER = ROOT / "zoo" / "families" / "teacher"
ANNOTATION_WEIGHT = 0.5
LEAST_SHARE = 0.6
"""Least share of all votes for a label; below, the record is undecided and dropped."""


@dataclass(frozen=True, slots=True)
class Consensus:
    """The answer with most votes. `share`: its share of them, 0 to 1."""

    label: str
    share: float

    @property
    def is_decided(self) -> bool:
        return self.share >= LEAST_SHARE


def vote(annotation: str, answers: Sequence[str], matches: Callable[[str, str], bool]) -> Consensus:
    """The consensus of an annotation and the teacher's answers to its question.

    `matches`: the run's matcher, answer and reference. Of equal shares the first answer wins, and
    the annotation only if nothing has more votes.
    """
    weights: dict[str, float] = {}
    for answer, weight in (*((each, 1.0) for each in answers), (annotation, ANNOTATION_WEIGHT)):
        known = next((label for label in weights if matches(answer, label)), answer)
        weights[known] = weights.get(known, 0.0) + weight
    label = max(weights, key=weights.__getitem__)
    return Consensus(label, weights[label] / sum(weights.values()))


class Purity:
    """Whether labels of one family's pool are true."""

    def __init__(self, family: Family, seed: int) -> None:
        self._family = family
        self._seed = seed
        self._score = getattr(metrics, family.metric)

    def of(self, record: Record, label: str) -> Quality:
        picture = self._family.draw(Part.POOL, self._seed, int(Path(record.path).stem))
        fact = picture.find_fact(record.question)
        is_correct = fact is not None and self._score(label, fact.references) >= 0.5
        return Quality(1, int(fact is not None), int(is_correct))


async def measure(run: Run, family: Family, seed: int, samples: int) -> dict[str, Quality]:
    """Quality of the labels of contradicted records, by the way to choose them."""
    records = [record for record in run.ledger.records() if record.cell in NOISE]
    model = await load_model(TEACHER, EngineSettings())
    try:
        heard = await asyncio.gather(*(_answers(run, model, each, samples) for each in records))
    finally:
        await model.close()
    purity = Purity(family, seed)
    matches = run.settings.the_matcher.matches
    names = ("annotation", "blind answer", "vote, decided", "vote for the annotation", "undecided")
    found = dict.fromkeys(names, Quality())
    for record, (blind, *sampled) in zip(records, heard, strict=True):
        consensus = vote(record.answer, (blind, *sampled), matches)
        found["annotation"] += purity.of(record, record.answer)
        found["blind answer"] += purity.of(record, blind)
        if not consensus.is_decided:
            found["undecided"] += purity.of(record, consensus.label)
        elif matches(consensus.label, record.answer):
            found["vote for the annotation"] += purity.of(record, record.answer)
        else:
            found["vote, decided"] += purity.of(record, consensus.label)
    return found


async def _answers(
    run: Run, model: VisionLanguageModel, record: Record, samples: int
) -> Sequence[str]:
    """The teacher's blind answer, and sampled ones."""
    settings = run.settings
    picture = await asyncio.to_thread(run.find_images().read, record.path)
    image = load_image(picture)
    text = answer_prompt(record.question, settings.recipe.answer_template)
    decodings = [
        settings.recipe.answer_decoding,
        *(
            settings.sample_decoding(record.image_sha256, record.question, number)
            for number in range(samples)
        ),
    ]
    prompts = [Prompt(image, text, decoding) for decoding in decodings]
    return [reply.text for reply in await asyncio.gather(*map(model.generate, prompts))]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("family", choices=tuple(FAMILIES))
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="the benchmark's own seed")
    given = parser.parse_args()
    with read_run(given.run) as run:
        family = FAMILIES[given.family]
        found = asyncio.run(measure(run, family, given.seed, given.samples))
    for way, quality in found.items():
        print(f"{way:24} {quality}")


if __name__ == "__main__":
    main()
