"""Weights of samples in the losses: weighted means over effective batches."""

from dataclasses import replace

import pytest

from services.core.presets import Hyperparameters
from services.student.execution import Execution
from tests.student.trainings import batch_of, furthest, new_job, new_samples

pytestmark = pytest.mark.slow
WEIGHTS = (1.0, 0.25, 3.0, 1.0, 2.0, 0.5)


def _trained(tmp_path, datasets, base, samples, name, **settings):
    from safetensors.torch import load_file

    from services.student.training import learn

    folder = new_job(tmp_path, datasets, base, samples, name, **settings)
    learn(folder)
    return load_file(folder / "trained" / "model.safetensors")


def _weighted(datasets, count):
    samples = new_samples(datasets, count)
    return [replace(one, weight=WEIGHTS[at % 6]) for at, one in enumerate(samples)]


def test_items_are_counted_by_weight():
    import torch

    from services.student.encoding import IGNORED
    from services.student.leveler import count_items

    labels = torch.tensor([[IGNORED, 5, 6], [IGNORED] * 3, [IGNORED, IGNORED, 7]])
    weights = torch.tensor([2.0, 4.0, 0.5])
    assert [count_items(labels, loss) for loss in ("token", "sample")] == [3, 2]
    assert [count_items(labels, loss, weights) for loss in ("token", "sample")] == [4.5, 2.5]


def test_without_weights_the_sum_is_the_librarys():
    """Bit for bit: trainings of earlier releases are repeated exactly."""
    import torch
    from torch.nn.functional import cross_entropy

    from services.student.encoding import IGNORED
    from services.student.leveler import summed_losses

    torch.manual_seed(0)
    logits = torch.randn(7, 11, 300)
    targets = torch.randint(0, 300, (7, 11)).masked_fill(torch.rand(7, 11) < 0.3, IGNORED)
    expected = cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    assert torch.equal(summed_losses(logits, targets, None), expected)
    assert summed_losses(logits, targets, torch.ones(7)).item() == pytest.approx(expected.item())


def test_a_batch_has_weights_only_if_a_sample_has(tiny_checkpoint, datasets):
    samples = new_samples(datasets, 3)
    assert "weights" not in batch_of(tiny_checkpoint, datasets, samples)
    batch = batch_of(
        tiny_checkpoint, datasets, [samples[0], replace(samples[1], weight=0.5), samples[2]]
    )
    assert batch["weights"].tolist() == [1.0, 0.5, 1.0]


@pytest.mark.parametrize("loss", ["token", "sample"])
def test_the_loss_is_a_weighted_mean(tiny_checkpoint, datasets, tmp_path, loss):
    from transformers import AutoModelForImageTextToText

    from services.student.batches import EffectiveBatches
    from services.student.encoding import IGNORED
    from services.student.leveler import Leveler
    from services.student.trainer import training_arguments

    model = AutoModelForImageTextToText.from_pretrained(tiny_checkpoint)
    samples = _weighted(datasets, 6)
    arguments = training_arguments(Hyperparameters(1e-3), Execution(), 6, tmp_path / "out")
    leveler = Leveler(loss=loss, batches=EffectiveBatches(6, 16, 16), model=model, args=arguments)

    def loss_of(*chosen):
        batch = batch_of(tiny_checkpoint, datasets, chosen)
        return leveler.compute_loss(model, batch).item(), (batch["labels"] != IGNORED).sum().item()

    alone = [loss_of(replace(sample, weight=1.0)) for sample in samples]
    counts = [tokens if loss == "token" else 1 for _, tokens in alone]
    items = [weight * count for weight, count in zip(WEIGHTS, counts, strict=True)]
    total = sum(item * each for item, (each, _) in zip(items, alone, strict=True))
    assert loss_of(*samples)[0] == pytest.approx(total / sum(items), rel=1e-5)


@pytest.mark.parametrize("loss", ["token", "sample"])
def test_however_a_weighted_batch_is_computed_the_same_is_learned(
    tiny_checkpoint, datasets, tmp_path, loss
):
    def train(name, samples, **execution):
        return _trained(
            tmp_path,
            datasets,
            tiny_checkpoint,
            samples,
            name,
            loss=loss,
            execution=Execution(**execution),
        )

    samples = _weighted(datasets, 12)  # the last batch is a half
    whole = train("whole", samples)
    assert furthest(whole, train("parts", samples, micro_batch=2)) < 2e-4
    assert furthest(whole, train("plain", new_samples(datasets, 12))) > 5e-4


def test_a_weight_of_2_is_a_sample_met_twice_in_a_step(tiny_checkpoint, datasets, tmp_path):
    first, *others = new_samples(datasets, 5)
    twice = [first, first, *others]
    weighted = [replace(first, weight=2.0), *others]
    found = [
        _trained(tmp_path, datasets, tiny_checkpoint, samples, name)
        for name, samples in (("twice", twice), ("weighted", weighted))
    ]
    assert furthest(*found) < 2e-4
