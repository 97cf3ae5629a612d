from dataclasses import replace

from services.core.agreement import Agreement
from services.core.annotation import Rejection
from services.orchestrator.run.ledger.opinions import OpinionKind, add_opinion
from services.orchestrator.run.opinions import measured_noise
from tests.orchestrator.run.ledger.filled import ROW, fill


def test_a_label_that_a_later_round_wrote_again_counts_once(ledger):
    fill(ledger)
    ledger.reject(ROW, Rejection.LOW_AGREEMENT)
    ledger.add_annotation(replace(ROW, attempt=2, rejection="low_agreement"))
    label = ("aa", ROW.question, ROW.answer)
    add_opinion(ledger, label, 0, OpinionKind.SAMPLE, Agreement(1, 4))
    add_opinion(ledger, label, 0, OpinionKind.VOTE, Agreement(1, 1))
    found = measured_noise(ledger)
    assert found.agreement == {"1/4": 1}
    assert (found.noise.of, found.outvoted.of) == (1, 1)
