import pytest

from services.core.errors import WrongState
from services.orchestrator.run.ledger import Ledger
from services.orchestrator.run.state import Outcome, Pilot, State, Swap, TrainingPace, Version


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger(tmp_path / "ledger.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def state(ledger):
    return State(ledger)


def fill(state: State) -> None:
    state.id, state.settings = "5f0c", "{}"
    state.rounds = 3
    state.until_gap = 0.05
    state.production = ("/requests",)
    state.ignored = "2 .txt"
    state.leaked_into_training = 4
    state.worked_s = 1.25
    state.pilot = Pilot(("a.png", "b.png"), 200)
    state.training_pace = TrainingPace(8, 2, "v2", 0.5)
    state.set_teacher(0, "teacher-a")
    state.set_teacher(1, "teacher-b")
    state.add_seconds("level", 1.5)
    state.add_seconds("level", 2.0)
    state.set_leaks_state("/eval.jsonl", "read")
    fill_round(state)


def fill_round(state: State) -> None:
    state.focus = {"how many": 3}
    state.annotated = state.answered = state.identified = True
    state.labelled = "/eval.jsonl"
    state.mixed = "two students"
    state.parity_set = 0
    state.training_confirmed = state.training_begun = True
    state.losses = ((1, 2.5), (3, 1.25))
    state.outcome = Outcome.PROMOTED
    state.reason = "it is better"
    state.base = Version("v1", "w1", "p1")
    state.candidate = Version("v2", "w2")
    state.swap = Swap(10, 1, "timed out")


OF_THE_RUN = {
    "id": "5f0c",
    "settings": "{}",
    "rounds": "3",
    "until_gap": "0.05",
    "production": '["/requests"]',
    "ignored": "2 .txt",
    "leaks_used": "4",
    "worked_s": "1.2",
    "pilot.pool": "200",
    "pilot.keys": '["a.png", "b.png"]',
    "pilot.training": '{"batch_size": 8, "epochs": 2, "version": "v2", "step_s": 0.5}',
    "teacher": "teacher-a",
    "teacher.2": "teacher-b",
    "seconds.level": "3.500",
    "leaks./eval.jsonl": "read",
}
OF_A_ROUND = {
    "focus": '{"how many": 3}',
    "done.annotate": "yes",
    "done.answer": "yes",
    "done.identify": "yes",
    "done.labelled": "/eval.jsonl",
    "version.mixed": "two students",
    "parity_set": "0",
    "training.confirmed": "yes",
    "training.begun": "yes",
    "training.losses": "[[1, 2.5], [3, 1.25]]",
    "outcome": "promoted",
    "reason": "it is better",
    "version.before": "v1",
    "version.before.weights": "w1",
    "version.before.processor": "p1",
    "version.after": "v2",
    "version.after.weights": "w2",
    "swap.requests": "10",
    "swap.failed": "1",
    "swap.first_failure": "timed out",
}
"""Keys and texts of every ledger ever written: they never change."""


def test_ledgers_keep_their_keys(ledger, state):
    fill(state)
    ledger.begin_round(2)
    fill_round(state)
    later = {f"round.2.{key}": text for key, text in OF_A_ROUND.items()}
    found = ledger.metas()
    del found["schema"]
    assert found == {**OF_THE_RUN, **OF_A_ROUND, **later, "round": "2"}


def test_what_is_set_is_read(state):
    fill(state)
    assert (state.id, state.settings, state.rounds, state.until_gap) == ("5f0c", "{}", 3, 0.05)
    assert (state.production, state.ignored, state.worked_s) == (("/requests",), "2 .txt", 1.2)
    assert state.leaked_into_training == 4
    assert state.pilot == Pilot(("a.png", "b.png"), 200)
    assert state.training_pace == TrainingPace(8, 2, "v2", 0.5)
    assert (state.teachers, state.teacher(1)) == (["teacher-a", "teacher-b"], "teacher-b")
    assert state.seconds == {"level": 3.5}
    assert state.leaks_state("/eval.jsonl") == "read"
    assert state.focus == {"how many": 3}
    assert state.annotated and state.answered and state.identified
    assert (state.labelled, state.mixed, state.parity_set) == ("/eval.jsonl", "two students", 0)
    assert state.training_confirmed and state.training_begun
    assert state.losses == ((1, 2.5), (3, 1.25))
    assert (state.outcome, state.reason) == (Outcome.PROMOTED, "it is better")
    assert state.base == state.the_base == Version("v1", "w1", "p1")
    assert state.candidate == state.the_candidate == Version("v2", "w2")
    assert state.swap == Swap(10, 1, "timed out")


def test_a_run_that_has_not_begun_knows_nothing(state):
    assert (state.id, state.rounds, state.until_gap, state.worked_s) == ("", 1, 0.0, 0.0)
    assert (state.production, state.focus, state.seconds, state.teachers) == ((), {}, {}, [])
    assert not (state.annotated or state.answered or state.identified)
    assert (state.parity_set, state.evaluation, state.outcome, state.pilot) == (None,) * 4
    assert (state.base, state.candidate, state.swap) == (None, None, Swap())
    with pytest.raises(WrongState, match="no candidate yet"):
        _ = state.the_candidate
    with pytest.raises(WrongState, match="not asked its student"):
        _ = state.the_base


def test_each_round_has_a_state_of_its_own(ledger, state):
    fill(state)
    ledger.begin_round(2)
    assert (state.outcome, state.candidate, state.identified, state.parity_set) == (
        None,
        None,
        False,
        None,
    )
    assert (state.teacher(), state.rounds) == ("teacher-a", 3)
    state.outcome = Outcome.NOT_PROMOTED
    assert (state.round, state.of_round(1).outcome) == (2, Outcome.PROMOTED)
    state.outcome = None
    assert state.outcome is None


def test_a_wrong_name_is_an_error(state):
    with pytest.raises(AttributeError):
        _ = state.identifed
    with pytest.raises(AttributeError):
        state.identifed = True
