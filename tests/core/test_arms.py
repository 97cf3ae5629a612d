import random
from collections import Counter

import pytest

from services.core.arm_parts import in_words, tuned, without_epochs
from services.core.arms import SampleSource, choose, epochs_of, parse_arm
from services.core.errors import InvalidInput
from services.core.parity import Cell, Sample, select
from services.core.regimen import draw

CELLS = [Cell.GAP] * 20 + [Cell.UNASKED] * 50 + [Cell.NOISE_BOTH_WRONG] * 10
SAMPLES = [Sample(f"{at:064x}", f"q{at}?", "a", of) for at, of in enumerate(CELLS)]


@pytest.mark.parametrize(
    ("name", "source", "ratio", "count", "is_lora", "share"),
    [
        ("zero-shot", SampleSource.NOTHING, 0.0, 0, False, 1.0),
        ("teacher", SampleSource.NOTHING, 0.0, 0, False, 1.0),
        ("paper", SampleSource.GAP, 0.0, 0, False, 1.0),
        ("paper@0.25", SampleSource.GAP, 0.0, 0, False, 0.25),
        ("rehearsal", SampleSource.GAP, 1.0, 0, False, 1.0),
        ("rehearsal-0.5@.1", SampleSource.GAP, 0.5, 0, False, 0.1),
        ("without-pi", SampleSource.ANNOTATIONS, 0.0, 0, False, 1.0),
        ("without-pi-step-matched", SampleSource.STEP_MATCHED, 0.0, 0, False, 1.0),
        ("without-pi-step-matched-filtered", SampleSource.STEP_MATCHED, None, 0, False, 1.0),
        ("random", SampleSource.RANDOM, 0.0, 0, False, 1.0),
        ("random-rehearsal-2", SampleSource.RANDOM, 2.0, 0, False, 1.0),
        ("labels", SampleSource.LABELS, 0.0, 0, False, 1.0),
        ("labels-100", SampleSource.LABELS, 0.0, 100, False, 1.0),
        ("labels-lora", SampleSource.LABELS, 0.0, 0, True, 1.0),
        ("labels-100-lora", SampleSource.LABELS, 0.0, 100, True, 1.0),
        ("filtered", SampleSource.GAP, None, 0, False, 1.0),
        ("filtered+emphasis-2+epochs-4@0.5", SampleSource.GAP, None, 0, False, 0.5),
    ],
)
def test_names_of_arms(name, source, ratio, count, is_lora, share):
    arm = parse_arm(name)
    assert (
        arm.name,
        arm.source,
        arm.regimen.rehearsal_ratio,
        arm.count,
        arm.is_lora,
        arm.share,
    ) == (
        name,
        source,
        ratio,
        count,
        is_lora,
        share,
    )


@pytest.mark.parametrize(
    "name",
    [
        "",
        "mpa",
        "paper-1",
        "labels-0",
        "labels--lora",
        "zero-shot@0.5",
        "paper@1.5",
        "paper@0.0",
        "rehearsal-x",
        "filtered-2",
        "zero-shot+epochs-2",
    ],
)
def test_an_unknown_arm_is_refused_with_the_list_of_arms(name):
    with pytest.raises(InvalidInput, match=r"no arm .*without-pi-step-matched|above 0"):
        parse_arm(name)


@pytest.mark.parametrize(
    ("name", "count", "epochs"),
    [
        ("paper", 20, 2),
        ("paper@0.25", 5, 2),
        ("rehearsal-0.5", 30, 2),
        ("without-pi", 80, 2),
        ("without-pi-step-matched", 40, 1),
        ("random", 20, 2),
        ("random-rehearsal-0.5", 30, 2),
        ("random@0.5", 10, 2),
        ("filtered", 70, 2),
        ("filtered+epochs-8", 70, 8),
        ("filtered+emphasis-2", 140, 1),
        ("filtered+emphasis-2+epochs-3@0.5", 105, 1),
        ("without-pi-step-matched+epochs-3", 60, 1),
        ("without-pi-step-matched-filtered", 140, 1),
        ("without-pi-step-matched-filtered+epochs-3", 210, 1),
    ],
)
def test_how_much_each_arm_trains_on(name, count, epochs):
    arm = parse_arm(name)
    assert len(choose(arm, SAMPLES, 0, epochs=2)) == count
    assert epochs_of(arm, 2) == epochs


def test_parts_of_a_name_say_what_is_trained():
    arm = parse_arm("filtered+weight-3+narrow-gate-up+epochs-4")
    assert (arm.regimen.gap_weight, arm.regimen.trainable, arm.regimen.tower_rate) == (
        3.0,
        "gate-up",
        None,
    )
    assert parse_arm("paper+narrow").regimen.trainable == "attention"
    assert parse_arm("labels-100+tower-0").regimen.tower_rate == 0.0
    assert arm.untuned == "filtered+weight-3+narrow-gate-up", "they are no settings"
    plain = parse_arm("paper")
    assert (plain.regimen.gap_weight, plain.regimen.trainable, plain.regimen.tower_rate) == (
        1.0,
        "",
        None,
    )


def test_parts_of_a_name_are_settings():
    arm = parse_arm("filtered+emphasis-2.5+epochs-4+rate-1e-3+decay-0.1")
    assert (arm.regimen.emphasis, arm.regimen.settings) == (2.5, (4, 0.001, 0.1))
    assert arm.untuned == "filtered+emphasis-2.5"
    assert parse_arm("paper+rate-5e-05@0.5").untuned == "paper@0.5"
    assert without_epochs(arm.name) == "filtered+emphasis-2.5+rate-1e-3+decay-0.1"
    assert in_words(arm.name) == "epochs 4, rate 1e-3, decay 0.1"
    assert in_words("paper@0.5") == "the preset's settings"
    assert parse_arm("paper").regimen.settings == (0, None, None)


@pytest.mark.parametrize(
    "name", ["paper@0.5", "filtered+emphasis-2", "paper+narrow", "labels-100-lora"]
)
def test_a_name_with_settings_is_read_as_it_was_written(name):
    arm = parse_arm(tuned(name, {"epochs": 16, "rate": 0.00005, "decay": 0.0}))
    assert (arm.regimen.settings, arm.untuned) == ((16, 0.00005, 0.0), name)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("filtered+epochs-4+emphasis-2", "in this order"),
        ("filtered+epochs-4+epochs-8", "in this order"),
        ("filtered+consensus", r"write \+emphasis-R"),
        ("filtered+", r"write \+emphasis-R"),
        ("filtered+epochs-0", "epochs '0': give a whole number from 1 to 1,000"),
        ("filtered+epochs-1.5", "give a whole number"),
        ("filtered+epochs-1001", "from 1 to 1,000"),
        ("filtered+rate-0", "a number from 0 to 1"),
        ("filtered+rate-1", "a number from 0 to 1"),
        ("filtered+rate-nan", "a number from 0 to 1"),
        ("filtered+decay--1", "a number from 0 to 1"),
        ("filtered+emphasis-0.5", "1 or more"),
        ("filtered+repair-3", "give 1 or 2"),
        ("filtered+repair", "give 1 or 2"),
        ("without-pi+repair-1", "nothing is known to break"),
        ("paper+emphasis-2", "nothing to emphasize"),
        ("paper+weight-2", "nothing to emphasize"),
        ("filtered+weight-0", "from 0.001 to 1,000"),
        ("filtered+narrow-attention", "narrow 'attention': give gate-up, or nothing"),
        ("filtered+tower-1.5", "tower '1.5': give a number from 0 to 1"),
        ("filtered+narrow+tower-0", "two ways: give one of -lora"),
        ("labels-lora+narrow", "two ways: give one of -lora"),
        ("without-pi+emphasis-2", "nothing to emphasize"),
    ],
)
def test_a_wrong_part_is_named(name, complaint):
    with pytest.raises(InvalidInput, match=complaint):
        parse_arm(name)


def test_filtered_is_all_but_what_the_teacher_contradicts():
    filtered = choose(parse_arm("filtered"), SAMPLES, 0, 1)
    assert filtered == choose(parse_arm("rehearsal-100"), SAMPLES, 0, 1), "its name of old"
    assert set(filtered) == set(SAMPLES[:70])
    assert choose(parse_arm("filtered"), SAMPLES[20:], 0, 1) == select(SAMPLES[20:], None)


def test_the_gap_is_the_same_for_every_seed_and_a_draw_is_not():
    paper, matched = parse_arm("paper"), parse_arm("random")
    assert choose(paper, SAMPLES, 0, 1) == choose(paper, SAMPLES, 1, 1) == select(SAMPLES)
    assert set(choose(matched, SAMPLES, 0, 1)) != set(choose(matched, SAMPLES, 1, 1))
    assert Cell.UNASKED in {sample.cell for sample in choose(matched, SAMPLES, 0, 1)}


def test_a_draw_does_not_depend_on_the_order_of_arrival_and_grows_by_adding():
    shuffled = random.Random(1).sample(SAMPLES, len(SAMPLES))
    for name in (
        "random",
        "without-pi",
        "without-pi-step-matched",
        "paper@0.5",
        "filtered+emphasis-2",
    ):
        assert choose(parse_arm(name), shuffled, 3, 1) == choose(parse_arm(name), SAMPLES, 3, 1)
    curve = [set(choose(parse_arm(f"paper@{share}"), SAMPLES, 3, 1)) for share in (0.1, 0.5, 0.9)]
    assert curve[0] < curve[1] < curve[2]


def test_a_step_matched_arm_meets_samples_again_only_where_there_are_no_more():
    met = Counter(choose(parse_arm("without-pi-step-matched"), SAMPLES, 0, epochs=3))
    assert set(met.values()) == {1}
    like_filtered = parse_arm("without-pi-step-matched-filtered+epochs-4")
    met = Counter(choose(like_filtered, SAMPLES, 0, epochs=2))
    assert (set(met), set(met.values())) == (set(SAMPLES), {3, 4}), "all, and each as often"
    few = [*SAMPLES[:20], SAMPLES[30]]
    met = Counter(choose(parse_arm("without-pi-step-matched"), few, 0, epochs=3))
    assert (met.total(), set(met.values())) == (60, {2, 3})


def test_nothing_is_drawn_from_nothing():
    assert choose(parse_arm("without-pi-step-matched"), [], 0, 1) == []
    assert draw([], str, 5, 0) == []
