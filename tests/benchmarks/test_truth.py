"""Annotations against the truth of pictures that can be drawn again."""

from benchmarks.minivqa.truth import Quality, measure
from services.core.parity import Cell
from services.orchestrator.run.ledger import Record
from zoo.minivqa.families import FAMILIES
from zoo.minivqa.parts import Part


def test_annotations_are_held_against_the_truth():
    family = FAMILIES["charts"]

    def record(number, question, answer, cell):
        return Record(f"{number:05}.png", "0" * 64, question, answer, cell, False)

    records = []
    for number in range(4):
        fact = family.draw(Part.POOL, 0, number).facts[0]
        records.append(
            record(number, fact.wordings.seen[0], fact.answer, Cell.GAP if number else Cell.UNASKED)
        )
        records.append(
            record(
                number, fact.wordings.seen[1].capitalize(), "no such thing", Cell.NOISE_BOTH_WRONG
            )
        )
    records.append(record(0, "who drew this?", "me", Cell.KNOWN))
    before, after, noise = measure(records, family, 0)
    assert before == Quality(annotations=9, answerable=8, correct=4)
    assert after == Quality(annotations=3, answerable=3, correct=3)
    assert noise == Quality(annotations=4, answerable=4, correct=0)
    assert str(after) == "3 annotations, 100.0% answerable, 100.0% correct"
