"""Damage to a run that is killed again and again: calls made twice, records lost or duplicated.

    python -m benchmarks.resume

Real `mpa-orch align` processes are killed (SIGKILL) at random moments between the first call and
the last. The services count. A call was made twice if its result was in the ledger at a kill and a
service finished it again later. Calls under way at a kill may be repeated. The records are
compared with those of an undisturbed run.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.counting import CountingServices, Key, counting_services
from benchmarks.folders import work_folder
from benchmarks.images import draw
from benchmarks.row import Question, Row
from services.orchestrator.run.ledger import FAILED, Ledger

IMAGES, KILLS = 600, 20
DELAY_S = 0.02
"""Time of a call, long enough that there always are some under way."""
LATE_S = 0.05
"""Largest delay of a kill after the call that it follows."""


@dataclass(frozen=True, slots=True)
class Damage:
    """`kills` of a process at work, and what they did."""

    kills: int
    calls: int
    repeated: int
    lost: int
    duplicated: int


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    if model == "bundled":
        damage = await kill_and_resume(
            work_folder("resume"), given.share(IMAGES), max(2, given.share(KILLS)), seed=0
        )
        question = Question(
            name="resume",
            what="finished calls repeated, records lost or there twice, "
            f"after SIGKILL at {damage.kills} random moments",
            other="-",
            model="scripted",
            engine="fake",
            unit="in all",
            at_most=0.0,
        )
        yield question.counted(
            damage.repeated + damage.lost + damage.duplicated,
            runs=damage.kills,
            **{name: getattr(damage, name) for name in ("calls", "repeated", "lost", "duplicated")},
        )


async def kill_and_resume(folder: Path, images: int, kills: int, seed: int) -> Damage:
    draw(folder / "images", images)
    async with counting_services(folder / "of-calm", DELAY_S) as calm:
        await _align(folder, "calm", calm)
    chance = random.Random(seed)
    moments = sorted(chance.sample(range(1, calm.finished.total()), kills))
    async with counting_services(folder / "of-killed", DELAY_S) as services:
        finished = services.finished
        known = Counter[Key]()
        hits = 0
        for moment in moments:
            late_s = chance.uniform(0, LATE_S)
            hits += await _align(folder, "killed", services, kill_at=moment, late_s=late_s)
            committed = _committed(folder / "killed")
            assert all(finished[key] for key in committed), "the ledger has a call that none made"
            known |= Counter({key: finished[key] for key in committed})
        await _align(folder, "killed", services)
    repeated = sum(finished[key] - count for key, count in known.items())
    expected, found = (Counter(_records(folder / name)) for name in ("calm", "killed"))
    twice = sum((found - Counter(set(found))).values())
    return Damage(
        kills=hits,
        calls=finished.total(),
        repeated=repeated,
        lost=(expected - found).total(),
        duplicated=twice + (found - expected).total(),
    )


async def _align(
    folder: Path, run: str, services: CountingServices, kill_at: int = 0, late_s: float = 0.0
) -> bool:
    """True if the process was killed, `late_s` after call `kill_at`.

    Raises RuntimeError: it failed by itself.
    """
    images = str(folder / "images")
    kept = str(folder / run)
    command = [sys.executable, "-m", "services.orchestrator.cli.main", "align", images]
    command += ["--task", "vqa", "--recipe", "paper", "--run", kept, "--yes", "--no-cache"]
    command += ["--teacher", services.teacher, "--student", services.student]
    with (folder / f"{run}.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    ended = asyncio.create_task(process.wait())
    # It waits for a count or for the end of the process, so it asks.
    while services.finished.total() < kill_at and not ended.done():  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    if kill_at:
        await asyncio.sleep(late_s)
    is_killed = bool(kill_at) and not ended.done()
    if is_killed:
        process.kill()
    code = await ended
    if code and not is_killed:
        raise RuntimeError(f"mpa-orch ended with code {code}: see {folder / run}.log")
    return is_killed


def _committed(run: Path) -> list[Key]:
    """Keys of the calls whose result is in the ledger, as the services count them."""
    if not (run / "ledger.sqlite").is_file():
        return []
    with closing(Ledger(run / "ledger.sqlite", read_only=True)) as ledger:
        annotated = ledger.read(
            "SELECT 'teacher', 'annotate', image_sha256, seed, rejection FROM annotations"
        )
        found: list[Key] = [
            tuple(map(str, key)) for *key, rejection in annotated if rejection not in FAILED
        ]
        answered = ledger.read(
            "SELECT role, 'answer', image_sha256, question, version FROM answers"
        )
        return found + [tuple(key[:4] if key[0] == "teacher" else key) for key in answered]


def _records(run: Path) -> list[Key]:
    with closing(Ledger(run / "ledger.sqlite", read_only=True)) as ledger:
        return [
            (record.path, record.question, record.answer, record.cell)
            for record in ledger.records()
        ]


if __name__ == "__main__":
    arguments.run([measure], __doc__)
