"""Anchors: the base answers them once, and the training stays near these answers."""

import json

import pytest

from services.core.errors import InvalidInput
from services.student.datasets import TrainingSample
from services.student.execution import Execution
from services.student.job import BASE_ANSWERS
from services.student.job_state import JobState, Phase
from tests.student.trainings import furthest, new_job, new_samples

IMAGE = "0" * 64


def test_lines_of_samples_are_as_before():
    sample = TrainingSample(IMAGE, "what is new?", "red", 2.0)
    assert json.loads(sample.line()).keys() == {"image_sha256", "question", "answer", "weight"}
    plain = TrainingSample(IMAGE, "what is new?", "red").line()
    written = f'{{"image_sha256": "{IMAGE}", "question": "what is new?", "answer": "red"}}\n'
    assert plain == written.encode()
    anchor = TrainingSample(IMAGE, "what is new?", "", anchor=True)
    assert TrainingSample(**json.loads(anchor.line())) == anchor


@pytest.mark.parametrize(("answer", "anchor"), [("red", True), ("", False)])
def test_an_anchor_has_no_answer_and_a_sample_has_one(answer, anchor):
    with pytest.raises(InvalidInput, match="empty"):
        TrainingSample(IMAGE, "what is new?", answer, anchor=anchor).line()


def test_anchors_alone_are_no_dataset(datasets):
    anchors = _with_anchors(datasets, count=2)[2:]
    with pytest.raises(InvalidInput, match="nothing but anchors"):
        datasets.add(anchors)


def test_the_divergence_is_of_the_likely_tokens_and_of_all_others():
    import torch

    from services.student.base_answers import TOP, classes, divergences
    from services.student.encoding import IGNORED

    torch.manual_seed(0)
    base, student = torch.randn(2, 3, 4, 100, dtype=torch.float64).mul(3).unbind()
    targets = torch.full((3, 4), 7)
    targets[0, :2] = targets[1, 1:] = targets[2] = IGNORED
    kept = torch.zeros(3, 2, TOP, dtype=torch.long), torch.zeros(3, 2, TOP + 1).double()
    expected = [0.0, 0.0, 0.0]
    for row, positions in enumerate(([2, 3], [0], [])):
        for place, position in enumerate(positions):
            ids = base[row, position].topk(TOP).indices
            kept[0][row, place] = ids
            kept[1][row, place] = classes(base[row, position][None], ids[None])[0]
            shares = [logits[row, position].softmax(-1) for logits in (base, student)]
            p, q = (torch.cat([share[ids], 1 - share[ids].sum()[None]]) for share in shares)
            expected[row] += (p * (p / q).log()).sum().item()
    found = divergences(student, targets, *kept)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)
    assert found[0] > 1 and found[2] == 0
    assert divergences(base, targets, *kept).tolist() == pytest.approx([0.0] * 3, abs=1e-5)


def _with_anchors(datasets, weight=2.0, count=8):
    """Anchors, as many as samples, about the same images."""
    samples = new_samples(datasets, count)
    anchors = [
        TrainingSample(one.image_sha256, f"how old is number {at}?", "", weight, anchor=True)
        for at, one in enumerate(samples)
    ]
    return [*samples, *anchors]


def _prepared(folder):
    from services.student.job import Job
    from services.student.trainer import prepare

    return prepare(folder, Job.read(folder))[0]


def _rows(trainer):
    return [trainer.train_dataset[at] for at in range(16)]


def _loss(trainer, rows):
    import torch

    from services.student.encoding import collate

    trainer.model.eval()
    with torch.no_grad():
        return trainer.compute_loss(trainer.model, collate(rows, 0)).item()


def _trained(folder):
    from safetensors.torch import load_file

    from services.student.training import learn

    learn(folder)
    return load_file(folder / "trained" / "model.safetensors")


@pytest.mark.slow
def test_an_anchor_costs_nothing_at_the_base_and_pulls_back(tiny_checkpoint, datasets, tmp_path):
    import torch

    from services.student.encoding import collate

    folder = new_job(tmp_path, datasets, tiny_checkpoint, _with_anchors(datasets))
    trainer = _prepared(folder)
    rows = _rows(trainer)
    assert _loss(trainer, rows[8:]) == pytest.approx(0.0, abs=1e-5)
    assert _loss(trainer, rows[:8]) > 0.1
    mixed = _loss(trainer, rows)
    labels = [int((row["labels"] != -100).sum()) for row in rows]
    alone = _loss(trainer, rows[:8]) * sum(labels[:8])
    assert mixed == pytest.approx(alone / sum(labels), rel=1e-4), "an anchor counts once"

    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    away = _loss(trainer, rows[8:])
    assert away > 1e-3
    lighter = [
        {**row, "anchors": row["anchors"] / 2} if "anchors" in row else row for row in rows[8:]
    ]
    assert _loss(trainer, lighter) == pytest.approx(away / 2, rel=1e-4)
    optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.01)
    trainer.compute_loss(trainer.model, collate(rows[8:], 0)).backward()
    optimizer.step()
    assert _loss(trainer, rows[8:]) < away


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["token", "sample"])
def test_however_it_is_computed_the_same_is_learned(tiny_checkpoint, datasets, tmp_path, loss):
    samples = _with_anchors(datasets, count=10)  # the last batch is a half

    def train(name, chosen=samples, **execution):
        job = new_job(
            tmp_path,
            datasets,
            tiny_checkpoint,
            chosen,
            name,
            execution=Execution(**execution),
            loss=loss,
        )
        return _trained(job)

    whole = train("whole")
    assert furthest(whole, train("parts", micro_batch=1, gradient_checkpointing=True)) < 2e-4
    assert furthest(whole, train("plain", samples[:10])) > 5e-4


@pytest.mark.slow
def test_stopped_and_resumed_it_reads_the_answers_of_the_base(tiny_checkpoint, datasets, tmp_path):
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_save = control.should_training_stop = state.global_step == 3

    samples = _with_anchors(datasets)
    whole, stopped = (
        new_job(tmp_path, datasets, tiny_checkpoint, samples, name, epochs=2)
        for name in ("whole", "stopped")
    )
    trainer = _prepared(stopped)
    trainer.add_callback(Stop())
    trainer.train()
    assert [path.name for path in (stopped / "checkpoints").iterdir()] == ["checkpoint-3"]
    kept = stopped / "base_answers.safetensors"
    written = kept.stat().st_mtime_ns
    assert furthest(_trained(whole), _trained(stopped)) == 0.0
    assert kept.stat().st_mtime_ns == written


@pytest.mark.slow
def test_several_processes_read_what_their_launcher_has_asked(tiny_checkpoint, datasets, tmp_path):
    from services.student.job import BASE_ANSWERS, Job
    from services.student.trainer import answer_anchors

    samples = _with_anchors(datasets)
    alone = new_job(tmp_path, datasets, tiny_checkpoint, samples, "alone")
    _prepared(alone)
    execution = Execution(processes=2, micro_batch=4)
    shared = new_job(tmp_path, datasets, tiny_checkpoint, samples, "shared", execution)
    answer_anchors(shared, Job.read(shared))
    plain = new_job(tmp_path, datasets, tiny_checkpoint, samples[:8], "plain", execution)
    answer_anchors(plain, Job.read(plain))
    assert not (plain / BASE_ANSWERS).exists()
    found, expected = (_answers(folder / BASE_ANSWERS) for folder in (shared, alone))
    assert found[0] == expected[0]
    assert furthest(found[1], expected[1]) < 1e-4


def _answers(file):
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in ("tokens", "logs")}
        return opened.get_tensor("texts").numpy().tobytes(), tensors


@pytest.mark.slow
def test_a_heavy_anchor_keeps_a_student_near_its_base(tiny_checkpoint, datasets, tmp_path):
    from services.student.training import learn

    away = []
    for weight in (0.001, 100.0):
        samples = _with_anchors(datasets, weight)
        folder = new_job(tmp_path, datasets, tiny_checkpoint, samples, f"{weight}", epochs=8)
        trainer = learn(folder)
        rows = _rows(trainer)[8:]
        away.append(_loss(trainer, [{**row, "anchors": row["anchors"] / weight} for row in rows]))
    assert away[1] < away[0] / 2


@pytest.mark.slow
def test_adapters_have_the_answers_of_their_base(tiny_checkpoint, datasets, tmp_path):
    folder = new_job(tmp_path, datasets, tiny_checkpoint, _with_anchors(datasets), lora_rank=4)
    trainer = _prepared(folder)
    assert _loss(trainer, _rows(trainer)[8:]) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("phase", ["done", "failed", "cancelled"])
def test_a_job_that_has_ended_keeps_no_answers(tmp_path, phase):
    """A repeated training is another job, and a store has hundreds of them."""
    (tmp_path / BASE_ANSWERS).touch()
    JobState(Phase.TRAINING).tidy(tmp_path)
    assert (tmp_path / BASE_ANSWERS).exists()
    JobState(Phase(phase)).tidy(tmp_path)
    assert not (tmp_path / BASE_ANSWERS).exists()
