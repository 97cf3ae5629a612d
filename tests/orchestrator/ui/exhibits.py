"""A finished run for the explorer, written row by row, and the explorer that serves it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn

from services.core.agreement import Agreement
from services.core.evaluation import GuardResult, Judgement, compare, should_promote
from services.core.noninferiority import ScorePair, compare_pairs
from services.core.parity import Cell
from services.core.questions import question_kind
from services.engines.images import sha256
from services.orchestrator.run.evaluation import RunEvaluation
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow, ImageRow, Ledger
from services.orchestrator.run.ledger.losses import keep_losses
from services.orchestrator.run.ledger.opinions import Label, OpinionKind, add_opinion
from services.orchestrator.run.settings import new_settings
from services.orchestrator.run.state import Outcome, State, Version
from services.orchestrator.ui.application import explorer
from tests.pictures import numbered_png
from tests.waiting import until_true

IMAGES = 60
KINDS = ("what color is", "how many are in", "is there", "where is")
TEACHER = "t" * 64


def make_run(
    folder: Path,
    pool: Path,
    images: int = IMAGES,
    encoded: Callable[[int], bytes] = numbered_png,
) -> Path:
    """Two questions about each image; every tenth annotation is rejected, one image refused.

    `encoded`: the file of each image, by number.
    """
    pool.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True)
    ledger = Ledger(folder / "ledger.sqlite")
    state = State(ledger)
    state.id = folder.name
    state.settings = new_settings(str(pool), "vqa", "paper").to_json()
    state.base, state.candidate = Version("v1"), Version("v2")
    state.set_teacher(0, TEACHER)
    judged: list[Judgement] = []
    learned: dict[Label, list[float]] = {}
    with ledger.at_once():
        for number in range(images):
            learned |= _add(ledger, pool, number, encoded(number), judged)
        keep_losses(ledger, learned)
        ledger.add_image(ImageRow("broken.png", "", "IMAGE_UNREADABLE", "no image at all"))
        comparison = compare(judged)
        decision = should_promote(comparison)
        kept = compare_pairs([ScorePair(str(n), "guard", 1.0, 1.0) for n in range(100)], 0.05)
        guards = (GuardResult("/guards/<other>.jsonl", kept, 1),)
        state.evaluation = RunEvaluation(comparison, decision, guards=guards)
        state.outcome, state.reason = Outcome.NOT_PROMOTED, decision.reason
        state.add_seconds("annotate", 2.0)
    ledger.close()
    return folder


def _add(
    ledger: Ledger, pool: Path, number: int, data: bytes, judged: list[Judgement]
) -> dict[Label, list[float]]:
    """Losses of the image's training samples, by epoch."""
    learned: dict[Label, list[float]] = {}
    (pool / f"{number:03}.png").write_bytes(data)
    image = sha256(data)
    is_held_out = number % 3 == 0
    ledger.add_image(ImageRow(f"{number:03}.png", image, held_out=is_held_out, step=2))
    for place in range(2):
        serial = 2 * number + place
        question = f"{KINDS[serial % len(KINDS)]} the thing {serial}?"
        reason = "no_question" if serial % 10 == 9 else ""
        ledger.add_annotation(
            AnnotationRow(image, place, 0, "reply", question, "red", reason, 1, TEACHER)
        )
        if reason:
            continue
        given = "red" if serial % 2 else "blue"
        ledger.add_answer(
            AnswerRow(
                image, question, "student", "v1", given, "c", "identify", logprob=sure(serial)
            )
        )
        ledger.add_answer(AnswerRow(image, question, "teacher", TEACHER, "red", "c", "identify"))
        ledger.add_record(image, place, tuple(Cell)[serial % len(Cell)], "exact@1", "exact@1")
        if not is_held_out:
            learned[image, question, "red"] = [loss(serial) + 0.25, loss(serial) - 0.25]
        if serial % 4 == 0:
            sampled = Agreement(serial % 5 % 4, 3)
            add_opinion(ledger, (image, question, "red"), 0, OpinionKind.SAMPLE, sampled)
        if is_held_out:
            ledger.add_answer(
                AnswerRow(image, question, "student", "v2", "red", "c", "evaluate", logprob=-0.1)
            )
            before, after = float(serial % 2), float(serial % 4 > 1)
            kind = question_kind(question)
            ledger.add_score("held_out", image, question, "before", "v1", kind, before)
            ledger.add_score("held_out", image, question, "after", "v2", kind, after)
            judged.append(Judgement(kind, before, after))
    return learned


def sure(serial: int) -> float | None:
    """Log-probability of the answer to a question; every seventh has none, some are equal."""
    return -0.05 * (serial % 11) if serial % 7 else None


def loss(serial: int) -> float:
    """Mean loss of a question's sample: some are equal."""
    return 0.25 + serial % 9


@contextmanager
def serving(
    root: Path, host: str = "127.0.0.1", *, is_loopback: bool = True
) -> Iterator[httpx.Client]:
    """The explorer over `root` on a real port of 127.0.0.1, told `host`, and a client of it."""
    app = explorer(root, host, is_loopback=is_loopback)
    config = uvicorn.Config(app, port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until_true(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def until_counted(client: httpx.Client, run: str) -> dict:
    """The overview of a run, when everything in its ledger is counted."""
    found = {}

    def is_counted():
        found.update(client.get(f"/runs/{run}/overview.json").json())
        return found["renewed"]["is_complete"]

    until_true(is_counted)
    return found
