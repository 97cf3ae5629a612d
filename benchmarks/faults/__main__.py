"""Promises broken after faults: kill -9, SIGSTOP, full disk, clock jump, network cut.

    python -m benchmarks.faults [--from N] [--to N] [--only N ...]

An owner and a follower of a store run as real processes, with the fake engine. A client uploads
data sets, trains, promotes and swaps, and remembers every reply. A second one asks all the time.
A fault strikes each operation at 10 random moments, and after each of the 200 everything that was
ever acknowledged is checked. Outcomes are kept in build/bench/faults.jsonl: a later command
replaces those of its own cases, and the row is written once all 200 are there. It needs Linux, a C
compiler, and the right to mount (root, or user namespaces).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.faults.case import Case, Outcome, cases, in_shares, measure_extent, tried
from benchmarks.faults.clock import require_compiler
from benchmarks.faults.deployment import deployed
from benchmarks.faults.disk import isolate
from benchmarks.folders import BUILD
from benchmarks.results import keep
from benchmarks.row import Question
from services.student.plan import SwapWay

IMPOSSIBLE = 3
"""Exit code on a machine that lets no faults happen."""
OUTCOMES = BUILD / "faults.jsonl"


async def run(chosen: Sequence[Case], seed: int, folder: Path, outcomes: Path | None) -> int:
    """Try all cases; the number of violations."""
    count = 0
    for in_place, share in in_shares(list(chosen)):
        way = SwapWay.IN_PLACE if in_place else SwapWay.TWO_SLOTS
        async with deployed(folder / way.name.lower(), way) as on:
            extents = {}
            for case in share:
                if case.operation not in extents:
                    extents[case.operation] = await measure_extent(on, case.operation)
                outcome = await tried(on, case, extents[case.operation], seed)
                _show(case, outcome)
                count += len(outcome.violations)
                if outcomes is not None:
                    _keep(outcome, outcomes)
    return count


def _show(case: Case, outcome: Outcome) -> None:
    hit = "" if outcome.hit else ", after its end"
    print(
        f"{case.number:3} {case.operation} {case.fault} ({outcome.how}{hit}) "
        f"{outcome.seconds:.1f} s: {len(outcome.violations)} violations",
        flush=True,
    )
    for violation in outcome.violations:
        print(f"      {violation}", flush=True)


def _read(outcomes: Path) -> dict[int, Outcome]:
    lines = outcomes.read_text().splitlines() if outcomes.is_file() else []
    found = [Outcome(**json.loads(line)) for line in lines]
    return {each.number: each for each in found}


def _keep(outcome: Outcome, outcomes: Path) -> None:
    outcomes.parent.mkdir(parents=True, exist_ok=True)
    with outcomes.open("a") as file:
        file.write(json.dumps(asdict(outcome)) + "\n")


def _keep_row(outcomes: Path) -> None:
    """Write the row if all cases have an outcome."""
    found = _read(outcomes)
    if not all(case.number in found for case in cases()):
        print(f"{len(found)} of {len(cases())} cases have been tried: no row is written yet")
        return
    question = Question(
        name="faults",
        what="promises broken after kill -9, SIGSTOP, full disk, clock jump or network cut at "
        f"{len(cases())} random moments of train, swap, upload, promote",
        other="-",
        model="scripted",
        engine="fake",
        unit="violations",
        at_most=0.0,
    )
    row = question.counted(
        sum(len(each.violations) for each in found.values()),
        runs=len(found),
        during=sum(each.hit for each in found.values()),
    )
    keep(row)
    print(f"{row.name}: {row.ours:g} {row.unit} in {row.runs} cases, {row.conditions}")


def main() -> None:
    try:
        isolate("benchmarks.faults")
        require_compiler()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        sys.exit(IMPOSSIBLE)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    everything = cases()
    parser.add_argument("--from", type=int, default=0, dest="first", help="first case")
    parser.add_argument("--to", type=int, default=len(everything), help="case after the last")
    parser.add_argument("--only", type=int, nargs="+", help="some cases, of which no row is made")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the moments")
    given = parser.parse_args()
    chosen = everything[given.first : given.to]
    if given.only:
        chosen = [everything[number] for number in given.only]
    is_whole = not given.only and given.seed == 0
    with tempfile.TemporaryDirectory(prefix="mpa-faults-") as folder:
        outcomes = OUTCOMES if is_whole else None
        count = asyncio.run(run(chosen, given.seed, Path(folder), outcomes))
    if is_whole:
        _keep_row(OUTCOMES)
    sys.exit(f"{count} violations" if count else 0)


if __name__ == "__main__":
    main()
