"""Admission to engines of several kinds, on a simulated clock."""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from services.core.errors import InvalidInput, Overloaded
from services.environment import Environment
from services.rpc.load_shedding import FEW, FIRST, LoadSettings, LoadShedder

PATIENCE_S = 10.0
BATCH_S = 3.2


@dataclass
class Timeline:
    """Events in the order of their times."""

    now: float = 0.0
    events: list = field(default_factory=list)
    order: itertools.count = field(default_factory=itertools.count)

    def at(self, when, act):
        heapq.heappush(self.events, (when, next(self.order), act))

    def run(self, end=float("inf")):
        while self.events and self.events[0][0] <= end:
            self.now, _, act = heapq.heappop(self.events)
            act()


@dataclass
class BatchEngine:
    """Computes batches of up to `most` waiting requests in `seconds_for` their number."""

    timeline: Timeline
    most: int
    seconds_for: Callable[[int], float]
    waiting: list = field(default_factory=list)
    is_busy: bool = False

    def submit(self, request):
        self.waiting.append(request)
        self.timeline.at(self.timeline.now, self.begin)

    def begin(self):
        self.waiting = [request for request in self.waiting if not request.is_over]
        if self.waiting and not self.is_busy:
            batch, self.waiting, self.is_busy = (
                self.waiting[: self.most],
                self.waiting[self.most :],
                True,
            )
            self.timeline.at(
                self.timeline.now + self.seconds_for(len(batch)), lambda: self.end(batch)
            )

    def end(self, batch):
        self.is_busy = False
        for request in batch:
            request.end("answered")
        self.begin()


@dataclass
class Caller:
    """Sends one request and waits `patience_s` for the answer."""

    shedder: LoadShedder
    engine: BatchEngine
    outcomes: Counter
    patience_s: float | None = PATIENCE_S
    is_over: bool = True

    def ask(self):
        self.room = self.shedder.admit(self.patience_s)
        try:
            self.room.__enter__()
        except Overloaded:
            self.outcomes["refused"] += 1
            return
        self.is_over = False
        self.engine.submit(self)
        if self.patience_s is not None:
            timeline = self.engine.timeline
            timeline.at(timeline.now + self.patience_s, lambda: self.end("late"))

    def end(self, outcome):
        if self.is_over:
            return
        self.is_over = True
        self.outcomes[outcome] += 1
        if outcome == "answered":
            self.room.__exit__(None, None, None)
        else:
            given_up = TimeoutError()
            self.room.__exit__(TimeoutError, given_up, None)


ENGINES = {
    "one by one": (1, lambda number: 0.05 * number),
    "in batches that take as long full or not": (16, lambda number: 0.8),
    "in large batches": (64, lambda number: BATCH_S),
    "in batches that take as long as they are large": (64, lambda number: 0.05 * number),
}
CAPACITY = 20.0


def callers(timeline, shedder, engine, per_second, begin, end, patience_s=PATIENCE_S):
    outcomes = Counter()
    for number in range(int((end - begin) * per_second)):
        caller = Caller(shedder, engine, outcomes, patience_s)
        timeline.at(begin + number / per_second, caller.ask)
    return outcomes


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("quiet_s", [0.0, 60.0])
def test_a_storm_is_answered_at_capacity_and_leaves_nothing_behind(kind, quiet_s):
    timeline = Timeline()
    shedder, engine = LoadShedder(clock=lambda: timeline.now), BatchEngine(timeline, *ENGINES[kind])
    before = callers(timeline, shedder, engine, CAPACITY / 10, 0.0, quiet_s)
    storm = callers(timeline, shedder, engine, 10 * CAPACITY, quiet_s, quiet_s + 90)
    timeline.run(quiet_s + 30)
    settled = storm["answered"]
    timeline.run(quiet_s + 90)
    assert storm["answered"] - settled >= 0.8 * CAPACITY * 60
    after = callers(timeline, shedder, engine, CAPACITY / 2, quiet_s + 90 + BATCH_S, quiet_s + 120)
    timeline.run()
    assert set(after) == {"answered"}
    assert before["refused"] <= 0.1 * before["answered"]
    assert shedder.in_flight == 0


@pytest.mark.parametrize("kind", ENGINES)
def test_callers_without_a_deadline_are_admitted_up_to_the_longest_wait(kind):
    timeline = Timeline()
    shedder, engine = LoadShedder(clock=lambda: timeline.now), BatchEngine(timeline, *ENGINES[kind])
    storm = callers(timeline, shedder, engine, 10 * CAPACITY, 0.0, 120.0, patience_s=None)
    timeline.run(120.0)
    assert 0.5 * 30.0 * CAPACITY <= shedder.in_flight <= 1.25 * 30.0 * CAPACITY
    timeline.run()
    assert storm["late"] == 0


@pytest.mark.parametrize("batch_s", [2.3, 8.0])
def test_a_fresh_service_refuses_nobody_after_the_first_answer_of_a_batch(batch_s):
    timeline = Timeline()
    shedder = LoadShedder(clock=lambda: timeline.now)
    engine = BatchEngine(timeline, 64, lambda number: batch_s)
    outcomes = Counter()
    for turn in range(5):  # of 32 callers, each of whom asks again as soon as it has its answer
        for number in range(32):
            caller = Caller(shedder, engine, outcomes, None)
            timeline.at(turn * batch_s + 1e-6 * (turn + 1) * number, caller.ask)
    timeline.run()
    assert outcomes == {"answered": 5 * 32}


def test_an_engine_that_was_hardly_busy_is_given_a_burst():
    timeline = Timeline()
    shedder, engine = (
        LoadShedder(clock=lambda: timeline.now),
        BatchEngine(timeline, 64, lambda number: 2.0),
    )
    outcomes = callers(timeline, shedder, engine, 0.2, 0.0, 60.0)
    for _ in range(64):
        timeline.at(70.0, Caller(shedder, engine, outcomes).ask)
    timeline.run()
    assert set(outcomes) == {"answered"}


def test_an_engine_whose_replies_take_half_a_minute_is_kept_busy():
    timeline = Timeline()
    shedder = LoadShedder(clock=lambda: timeline.now)
    engine = BatchEngine(timeline, 64, lambda number: 28.0 + 0.05 * number)
    outcomes = callers(timeline, shedder, engine, 1.0, 0.0, 600.0, patience_s=None)
    timeline.run()
    assert outcomes["answered"] >= 0.9 * 600


@pytest.mark.parametrize("kind", ENGINES)
def test_a_first_request_that_waits_for_a_warm_up_is_forgotten(kind):
    timeline = Timeline()
    most, seconds_for = ENGINES[kind]
    shedder = LoadShedder(clock=lambda: timeline.now)
    engine = BatchEngine(
        timeline, most, lambda number: 60.0 if timeline.now == 0.0 else seconds_for(number)
    )
    callers(timeline, shedder, engine, 1.0, 0.0, 1.0, patience_s=None)
    storm = callers(timeline, shedder, engine, 10 * CAPACITY, 60.0, 180.0)
    timeline.run(120.0)
    settled = storm["answered"]
    timeline.run(180.0)
    assert storm["answered"] - settled >= 0.8 * CAPACITY * 60


def test_a_burst_before_anything_was_answered_is_bounded():
    shedder, outcomes = LoadShedder(), Counter()
    engine = BatchEngine(Timeline(), 1, lambda number: 1.0)
    for _ in range(2 * FIRST):
        Caller(shedder, engine, outcomes).ask()
    assert shedder.in_flight == FIRST
    assert outcomes["refused"] == FIRST


def test_requests_that_fail_give_their_room_back_and_do_not_count_as_answers():
    timeline = Timeline()
    shedder, engine = (
        LoadShedder(clock=lambda: timeline.now),
        BatchEngine(timeline, 1, lambda number: 1.0),
    )
    outcomes = callers(timeline, shedder, engine, 0.5, 0.0, 20.0)
    timeline.run()
    for _ in range(1000):
        with pytest.raises(InvalidInput), shedder.admit():
            raise InvalidInput("no image")
    assert shedder.in_flight == 0
    for _ in range(20):
        Caller(shedder, engine, outcomes).ask()
    timeline.run(timeline.now + 5)
    with pytest.raises(Overloaded):
        shedder.require_room(5.0)


def test_a_refusal_says_how_long_to_wait_and_what_for():
    timeline = Timeline()
    shedder, engine = (
        LoadShedder(clock=lambda: timeline.now),
        BatchEngine(timeline, 1, lambda number: 1.0),
    )
    callers(timeline, shedder, engine, 1.0, 0.0, 30.0, patience_s=None)
    callers(timeline, shedder, engine, 4.0, 30.0, 40.0, patience_s=None)
    timeline.run(45.0)
    with pytest.raises(Overloaded, match=r"too late for a caller that waits 10\.0 s") as refusal:
        shedder.require_room(10.0)
    assert 1.0 < refusal.value.retry_after_s <= 30.0
    shedder.require_room(None)


def test_few_requests_are_always_admitted_and_the_count_is_bounded():
    shedder = LoadShedder(LoadSettings(most=FEW))
    rooms = [shedder.admit(0.001) for _ in range(FEW)]
    for room in rooms:
        room.__enter__()
    with pytest.raises(
        Overloaded, match=f"{FEW} requests are under way, the most this service accepts"
    ):
        shedder.require_room()


def test_settings_name_the_variable_that_is_wrong():
    for name, value in (
        ("MAX_IN_FLIGHT", "0"),
        ("LONGEST_WAIT_S", "-1"),
        ("LONGEST_WAIT_S", "nan"),
    ):
        with pytest.raises(InvalidInput, match=f"MPA_STUDENT_{name}"):
            LoadSettings.from_environment(
                Environment("MPA_STUDENT_", {f"MPA_STUDENT_{name}": value})
            )
