"""Small trainings: samples, a batch of them, a job, and the distance of two sets of weights."""

from services.core.contract import Contract
from services.core.presets import Hyperparameters
from services.core.tasks import ANSWER_TEMPLATE
from services.student.datasets import TrainingSample
from services.student.execution import Execution
from services.student.job import Job
from tests.pictures import numbered_png


def new_samples(datasets, count):
    images = [datasets.add_image(numbered_png(number)) for number in range(8)]
    answers = ["red", "a yellow triangle", "no"]
    return [
        TrainingSample(images[n % 8], f"what is {'very ' * (n % 4)}new?", answers[n % 3])
        for n in range(count)
    ]


ONE_PROCESS = Execution()


def new_job(
    tmp_path, datasets, base, samples, name="job", execution=ONE_PROCESS, **hyperparameters
):
    folder = tmp_path / "jobs" / name
    settings = Hyperparameters(**{"learning_rate": 1e-3, "batch_size": 8, **hyperparameters})
    dataset = datasets.add(samples)
    Job(
        id=name,
        base_version="v1",
        base_folder=str(base),
        dataset=dataset,
        contract=Contract(),
        hyperparameters=settings,
        store=str(tmp_path),
        execution=execution,
    ).write(folder)
    return folder


def batch_of(checkpoint, datasets, samples):
    from transformers import AutoProcessor

    from services.student.encoding import EncodedSamples, Encoder, collate

    processor = AutoProcessor.from_pretrained(checkpoint)
    encoded = EncodedSamples(samples, Encoder(processor, datasets, ANSWER_TEMPLATE))
    return collate([encoded[at] for at in range(len(samples))], processor.tokenizer.pad_token_id)


def furthest(one, other):
    assert one.keys() == other.keys()
    return max((one[name].float() - other[name].float()).abs().max().item() for name in one)
