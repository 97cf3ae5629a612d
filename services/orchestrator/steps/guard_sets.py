"""Guard sets (--guard): ability outside the task that a training must not cost.

Both versions are asked; the candidate is promoted only if it keeps what the live version can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from services.core.evaluation import GuardResult
from services.core.noninferiority import ScorePair, compare_pairs
from services.orchestrator.images.source import Source
from services.orchestrator.run.evaluation import GuardSets, RunEvaluation
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.orchestrator.steps.labelled import labelled_images, read_labelled
from services.orchestrator.steps.questioning import Case, Respond, sit
from services.orchestrator.steps.scorekeeping import keep_scores, official, share_metric


def set_guards(run: Run, paths: Sequence[Path], tolerance: float | None) -> None:
    """Keeps the sets in the run. A command that names none leaves those of an earlier one.

    `tolerance`: 0 to 1; None leaves it, too. Raises NotFound, or InvalidInput that names a wrong
    record.
    """
    known = run.state.guards
    named = tuple(dict.fromkeys(str(path.absolute()) for path in paths))
    for path in named:
        share_metric(run, Path(path))
        read_labelled(Path(path))
    chosen = GuardSets(named or known.paths, known.tolerance if tolerance is None else tolerance)
    if chosen != known:
        run.state.guards = chosen


def are_checked(run: Run, evaluation: RunEvaluation) -> bool:
    """Whether the evaluation has the results of every guard set, by the present tolerance."""
    guards = run.state.guards
    checked = {guard.path: guard.found.margin for guard in evaluation.guards}
    return checked == dict.fromkeys(guards.paths, guards.tolerance)


def guard_cases(run: Run) -> list[tuple[Source, list[Case], str]]:
    """Images, questions and name of each set."""
    paths = [Path(path) for path in run.state.guards.paths]
    return [(labelled_images(path), read_labelled(path), f"guard {path.stem}") for path in paths]


async def check_guards(
    run: Run, versions: Mapping[str, Respond], progress: Progress, at_once: int
) -> tuple[GuardResult, ...]:
    """Asks both versions, "before" and "after", every question of every set."""
    results = []
    guards = run.state.guards
    sources = guard_cases(run)
    for path, (source, cases, name) in zip(guards.paths, sources, strict=True):
        exam = await sit(run.reading(source), cases, versions, progress, name, at_once)
        roles = {
            "before": ("before", run.state.the_base.name),
            "after": ("after", run.state.the_candidate.name),
        }
        scored = keep_scores(run, path, exam, official(share_metric(run, Path(path))), roles)
        matches = run.settings.the_student_matcher.matches
        pairs = [
            ScorePair(
                image=sat.image_sha256,
                kind=sat.case.kind,
                new=scored["after"][number],
                old=scored["before"][number],
                is_alike=matches(sat.answers["after"], sat.answers["before"]),
            )
            for number, sat in enumerate(exam.sat)
        ]
        results.append(GuardResult(path, compare_pairs(pairs, guards.tolerance), exam.skipped))
    return tuple(results)
