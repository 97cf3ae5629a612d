"""One export: the chosen records, in one format, in one file or folder."""

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
    """Write the records to a file or folder, as a whole or not at all; their number is returned.

    Raises MpaError if it exists, nothing was chosen, an image is missing, or the disk is full.
    """
    with written_whole(output) as target, progress.stage("export", "records", 0) as meter:
        samples = ExportedSamples(run, chosen, meter)
        meter.total = count_found(run.ledger, chosen)
        written: int = import_module(f"services.orchestrator.exports.{form}").write(samples, target)
        if not written:
            raise InvalidInput(
                f"nothing of the run in {run.folder} can be exported that way: "
                "name other cells, or give --all"
            )
    return written
