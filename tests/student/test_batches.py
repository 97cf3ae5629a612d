"""Effective batches of a training: their size, and the order of their samples."""

import pytest

from services.core.errors import InvalidInput
from services.core.presets import Hyperparameters
from services.core.tasks import ANSWER_TEMPLATE
from services.student.execution import Execution
from tests.student.trainings import new_samples

pytestmark = pytest.mark.slow


def test_batches_of_like_length_have_less_padding_and_every_sample_once(datasets):
    from services.student.batches import EffectiveBatches

    lengths = [10 + 7 * (n % 23) for n in range(400)]
    grouped = EffectiveBatches(400, 8, 8, seed=1, lengths=lengths).draw()
    random_order = EffectiveBatches(400, 8, 8, seed=1).draw()

    def padding(batches):
        return sum(
            max(lengths[at] for at in batch) * len(batch) - sum(lengths[at] for at in batch)
            for batch in batches
        )

    assert sorted(at for batch in grouped for at in batch) == list(range(400))
    assert padding(grouped) < 0.2 * padding(random_order)


def test_what_can_not_be_divided_is_refused():
    assert Execution(processes=2, micro_batch=2).divide(16) == (2, 4)
    with pytest.raises(InvalidInput, match="16"):
        Execution(processes=3).divide(16)


def test_each_epoch_has_its_own_order_which_the_seed_decides():
    from services.student.batches import EffectiveBatches

    def order(seed, epoch):
        batches = EffectiveBatches(40, 8, 4, seed=seed)
        batches.epoch = epoch
        return list(batches)

    drawn = {(seed, epoch): order(seed, epoch) for seed in (0, 1) for epoch in (0, 1, 2)}
    for key, batches in drawn.items():
        assert order(*key) == batches
        assert sorted(at for batch in batches for at in batch) == list(range(40))
        assert batches != [list(range(start, start + 4)) for start in range(0, 40, 4)]
    assert len({str(batches) for batches in drawn.values()}) == len(drawn)


def test_a_sample_that_is_met_again_is_encoded_once(tiny_checkpoint, datasets):
    from transformers import AutoProcessor

    from services.student.encoding import EncodedSamples, Encoder

    first, second = new_samples(datasets, 2)
    encoder = Encoder(AutoProcessor.from_pretrained(tiny_checkpoint), datasets, ANSWER_TEMPLATE)
    rows = EncodedSamples([first, second, first, first], encoder)
    encoded = [rows[at]["input_ids"] for at in range(4)]
    assert encoded[0] is encoded[2] is encoded[3]
    assert len(rows[1]["labels"]) == 1
    assert encoded[1] is not encoded[0]


def test_rows_of_other_jobs_make_room(tiny_checkpoint, datasets):
    from transformers import AutoProcessor

    from services.student.encoding import Encoder

    processor = AutoProcessor.from_pretrained(tiny_checkpoint)
    first, second, third = new_samples(datasets, 3)
    usual = Encoder(processor, datasets, ANSWER_TEMPLATE)
    size = sum(tensor.nbytes for tensor in usual(second).values())
    encoder = Encoder(processor, datasets, ANSWER_TEMPLATE, cache_bytes=int(2.5 * size))
    kept = [encoder(first), encoder(second)]
    assert encoder(third) is not encoder(third), "no room"
    encoder.forget_others([second, third])
    assert encoder(second) is kept[1]
    assert encoder(third) is encoder(third)
    assert encoder(first) is not kept[0]


def test_the_trainer_draws_another_order_in_each_epoch(tiny_checkpoint, datasets, tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from services.student.batches import EffectiveBatches
    from services.student.encoding import EncodedSamples, Encoder, collate
    from services.student.leveler import Leveler
    from services.student.trainer import training_arguments

    samples = new_samples(datasets, 12)
    seen = []
    processor = AutoProcessor.from_pretrained(tiny_checkpoint)

    class Watched(EncodedSamples):
        def __getitem__(self, index):
            seen.append(index)
            return super().__getitem__(index)

    arguments = training_arguments(
        Hyperparameters(1e-3, batch_size=4, epochs=3), Execution(), 12, tmp_path / "out"
    )
    leveler = Leveler(
        loss="token",
        batches=EffectiveBatches(12, 4, 4),
        model=AutoModelForImageTextToText.from_pretrained(tiny_checkpoint),
        args=arguments,
        train_dataset=Watched(samples, Encoder(processor, datasets, ANSWER_TEMPLATE)),
        data_collator=lambda rows: collate(rows, processor.tokenizer.pad_token_id),
    )
    leveler.train()
    epochs = [seen[start : start + 12] for start in range(0, 36, 12)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({str(epoch) for epoch in epochs}) == 3
