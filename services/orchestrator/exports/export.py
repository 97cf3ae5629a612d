"""One export: the samples that were asked for, in one format, at one place."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from services.core.errors import InvalidInput
from services.files import written_whole
from services.orchestrator.exports import ExportFormat
from services.orchestrator.exports.samples import ExportedSamples
from services.orchestrator.run.ledger.search import Filter, count_found
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run


def export(run: Run, chosen: Filter, form: ExportFormat, output: Path, progress: Progress) -> int:
    """How many records were written. A file or a folder as the format has it, there at the end or not at all.

    Raises MpaError: it exists, nothing was chosen, an image has gone, the disk is full.
    """
    with written_whole(output) as target, progress.stage("export", "records", 0) as meter:
        samples = ExportedSamples(run, chosen, meter)
        meter.total = count_found(run.ledger, chosen)
        written: int = import_module(f"services.orchestrator.exports.{form}").write(samples, target)
        if not written:
            raise InvalidInput(
                f"nothing of the run in {run.folder} is to be exported that way: name other cells, or give --all"
            )
    return written
