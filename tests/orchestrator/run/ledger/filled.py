"""A ledger with one image, annotation, answer and record."""

from services.core.parity import Cell
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow, ImageRow, Ledger

ROW = AnnotationRow("aa", 0, 0, "as written", "what is it?", "red", "", 7, "teacher-a")


def fill(ledger: Ledger) -> None:
    ledger.add_image(ImageRow("a.png", "aa"))
    ledger.add_image(ImageRow("b.png", "aa", "duplicate"))
    ledger.add_annotation(ROW)
    ledger.add_answer(AnswerRow("aa", "what is it?", "student", "v1", "blue", "c0ffee", "identify"))
    ledger.add_record("aa", 0, Cell.GAP, "exact@1")
    ledger.set_step("aa", 2)
