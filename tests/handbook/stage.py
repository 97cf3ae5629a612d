"""A folder in which the commands of a document run: images, runs, labelled files and services."""

import itertools
import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from handbook.sources import ROOT
from services.core.parity import Cell
from services.core.reviews import checked_review
from services.orchestrator.run.ledger.review_book import writing_reviews
from services.orchestrator.run.run import read_run
from tests.e2e.processes import serving
from tests.orchestrator.exports.test_labelstudio import reviewed
from tests.orchestrator.ui.exhibits import make_run
from tests.pictures import numbered_png
from tests.serving import fake_checkpoint

IMAGES = 150
SERVED = re.compile(r"--local|--student|HOST:PORT|align ")
"""Commands that ask services."""
AT = "2026-12-01T12:00:00Z"
OPTIONAL = re.compile(r"\[(-[^\]]*)\]")


@dataclass
class Stage:
    """`words`: what stands for each placeholder. Each "#" in it is another number each time."""

    folder: Path
    words: dict[str, str]
    numbers: itertools.count = field(default_factory=itertools.count)

    def filled(self, text):
        """The commands with optional parts and without placeholders."""
        names = "|".join(map(re.escape, sorted(self.words, key=len, reverse=True)))
        words = re.compile(rf"(?<![\w./-])(?:{names})(?![\w-])")
        return words.sub(
            lambda found: self.words[found[0]].replace("#", str(next(self.numbers))),
            OPTIONAL.sub(r"\1", text),
        )

    def run(self, text):
        """Standard output. Fails the test if a command fails."""
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "MPA_CACHE": str(self.folder / "cache.sqlite"),
        }
        done = subprocess.run(
            ["bash", "-euc", text], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def correct_one(self, run):
        """A person's correction of a gap record that isn't held out."""
        with read_run(self.folder / run) as opened:
            record = next(
                one for one in opened.ledger.records() if one.cell is Cell.GAP and not one.held_out
            )
            shelf = opened.ledger.shelf(record.image_sha256)
        label = (record.image_sha256, record.question, record.answer)
        with writing_reviews(self.folder / run) as book:
            book.add(shelf, label, checked_review("Ada", "correct", "a dog"))

    def export_reviewed(self, run):
        """Label Studio's export, EXPORT.json, of a project in which one record was accepted."""
        self.run(f"mpa-orch runs export {run} --format labelstudio --output tasks")
        first = json.loads((self.folder / "tasks" / "tasks.json").read_text())[0]
        by = {"completed_by": {"id": 1, "email": "ada@example.org"}, "updated_at": AT}
        (self.folder / "EXPORT.json").write_text(json.dumps([reviewed(first, "accept", **by)]))


@contextmanager
def staged(folder, text, teacher):
    """A stage for the commands in `text`. `teacher()`: address of a teacher, if they need one."""
    pool = folder / "pool"
    pool.mkdir()
    for number in range(IMAGES):
        (pool / f"{number:03}.png").write_bytes(numbered_png(number))
    for name in ("labels", "charts", "signs"):
        lines = [
            {"image": f"pool/{number:03}.png", "question": f"what is {name}?", "answers": ["red"]}
            for number in range(20)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = {
        **dict.fromkeys(("PHOTOS", "IMAGES", "photos/"), "pool"),
        "RUN": "runs/demo",
        "compare A B": "compare runs/demo runs/first",
        "delete RUN": "delete runs/first --yes",
        "DIR": "written-#",
        "experiments/mini/recipes.tar.xz": str(ROOT / "experiments/mini/recipes.tar.xz"),
    }
    with ExitStack() as leaving:
        stage = Stage(folder, words)
        if SERVED.search(text):
            student = leaving.enter_context(role("student", folder, store=folder / "store"))
            both = f"--teacher {teacher()} --student {student}"
            words |= {
                "HOST:PORT": student,
                "gpu1:50051": teacher(),
                "gpu2:50052": student,
                "--local": both,
                "level runs/demo --local": f"level runs/demo --student {student}",
                "...": f"{both} --run runs/a-# --yes",
                "align ... --budget": f"align pool --task vqa {both} --run runs/a-# --yes "
                "--usd-per-hour 4 --budget",
                "align ...": f"align pool --task vqa {both} --run runs/a-# --yes",
            }
            if re.search(r"runs/demo|RUN|v2|rollback", text):
                stage.run(f"mpa-orch align pool --task vqa --run runs/demo --yes {both}")
        for name in ("demo", "first"):
            run = folder / "runs" / name
            if not run.exists() and f"--run runs/{name}" not in text:
                make_run(run, folder / f"pool of {name}")
                stage.correct_one(f"runs/{name}")
        if "EXPORT.json" in text:
            stage.export_reviewed("runs/demo")
        yield stage


@contextmanager
def role(name, folder, **settings):
    """Address of a service with the fake engine."""
    model = fake_checkpoint(folder / name, skill=0.95 if name == "teacher" else 0.5)
    with serving(name, folder, model=model, **settings) as service:
        yield service.address
