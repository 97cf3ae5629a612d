"""Guard sets (--guard): ability outside the task that a training must not cost.

Both versions are asked; the candidate is promoted only if it keeps what the live version can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from services.core.evaluation import GuardResult
from services.core.noninferiority import ScorePair, compare_pairs
from services.engines.images import sha256
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
    paths_now = named or known.paths
    chosen = GuardSets(
        paths_now,
        known.tolerance if tolerance is None else tolerance,
        _contents(paths_now, known),
    )
    if chosen != known:
        run.state.guards = chosen


def are_checked(run: Run, evaluation: RunEvaluation) -> bool:
    """Whether the evaluation has the results of every guard set, by the present tolerance.

    A file whose content has changed since counts as another set. Results of releases that kept no
    content count by their path.
    """
    guards = run.state.guards
    checked = {guard.path: guard.found.margin for guard in evaluation.guards}
    if checked != dict.fromkeys(guards.paths, guards.tolerance):
        return False
    now = dict(zip(guards.paths, guards.contents, strict=False))
    return all(
        not guard.sha256 or guard.sha256 == now.get(guard.path, guard.sha256)
        for guard in evaluation.guards
    )


def _contents(paths: Sequence[str], known: GuardSets) -> tuple[str, ...]:
    """sha256 of each file; of one that is gone, what is known of it."""
    before = dict(zip(known.paths, known.contents, strict=False))
    return tuple(
        sha256(Path(path).read_bytes()) if Path(path).is_file() else before.get(path, "")
        for path in paths
    )


def guard_cases(run: Run) -> list[tuple[Source, list[Case], str]]:
    """Images, questions and name of each set."""
    paths = [Path(path) for path in run.state.guards.paths]
    return [(labelled_images(path), read_labelled(path), f"guard {path.stem}") for path in paths]


async def check_guards(
    run: Run, versions: Mapping[str, Respond], progress: Progress, at_once: int
) -> tuple[GuardResult, ...]:
    """Asks both versions, "before" and "after", every question of every set."""
    results = []
    set_guards(run, (), None)  # the contents that are asked now
    guards = run.state.guards
    sources = guard_cases(run)
    for path, content, (source, cases, name) in zip(
        guards.paths, guards.contents, sources, strict=True
    ):
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
        found = compare_pairs(pairs, guards.tolerance)
        results.append(GuardResult(path, found, exam.skipped, content))
    return tuple(results)
