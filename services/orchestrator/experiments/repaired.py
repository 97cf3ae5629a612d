"""Training records asked again after a training, for the training that repairs it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from services.files import write_atomically
from services.orchestrator.experiments.exam import answers_of
from services.orchestrator.run.ledger.opinions import Label
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import read_run
from services.orchestrator.scoring.respondents import RespondentChoice
from services.orchestrator.steps.repairing import cases_of, wrong_labels


async def ask_again(
    run_folder: Path,
    labels: Iterable[Label],
    asked: RespondentChoice,
    file: Path,
    progress: Progress,
) -> list[Label]:
    """The samples of a run that a trained student gets wrong, by the run's words and matcher.

    They are kept in `file`: nothing is asked twice.
    """
    if file.is_file():
        return [
            (image, question, answer) for image, question, answer in json.loads(file.read_text())
        ]
    with read_run(run_folder) as run:
        paths = {record.image_sha256: record.path for record in run.ledger.records()}
        cases = cases_of(labels, paths)
        found = await answers_of(run, cases, asked, "ask again", progress)
        wrong = wrong_labels(run, cases, found)
    write_atomically(file, json.dumps(wrong, ensure_ascii=False) + "\n")
    return wrong
