import asyncio
import base64
import hashlib
import io
import json
from dataclasses import dataclass, field

import pytest
from PIL import Image
from rich.console import Console

from protos.mpa.v1.versions_pb2 import Contract
from services.core.errors import Conflict, InvalidInput, NotFound, Unavailable, WrongState
from services.orchestrator.datasets.dataset import open_dataset
from services.orchestrator.endpoints.where import Where
from services.orchestrator.run.progress import Progress
from services.orchestrator.scoring.evaluation import evaluate, stored
from services.orchestrator.scoring.report import lines
from services.orchestrator.scoring.respondents import RespondentChoice
from tests.engines.provider import KEY, MODEL, providing
from tests.orchestrator.datasets import samples
from tests.orchestrator.scoring.planning import planned
from tests.orchestrator.scripted import ScriptedStudent, ScriptedTeacher, truth
from tests.orchestrator.scripted_service import serving
from tests.pictures import numbered_png
from tests.waiting import until


@dataclass
class SeeingStudent(ScriptedStudent):
    """It notes the sizes of the images that it is sent."""

    sizes: set = field(default_factory=set)

    async def begin(self, kind, image, context):
        if image.data:
            self.sizes.add(Image.open(io.BytesIO(image.data)).size)
        return await super().begin(kind, image, context)


def labelled(root, count=40):
    """Labelled questions; their answers are the truth of the scripted models (scripted.py)."""
    rows = []
    for number in range(count):
        data, question = numbered_png(number // 2), f"what color is thing {number}?"
        samples.write(root / f"{number // 2}.png", data)
        answer = truth(hashlib.sha256(data).hexdigest(), question)
        kind = "even" if number % 2 == 0 else "odd"
        rows.append(
            {
                "id": number,
                "image": f"{number // 2}.png",
                "question": question,
                "answers": [answer],
                "kind": kind,
            }
        )
    return samples.write(root / "labels.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


async def run(datasets, asked, folder, task="vqa", **options):
    with Progress(Console(file=io.StringIO())) as progress:
        return await evaluate(planned(datasets, task, **options), datasets, asked, folder, progress)


def student_at(address, version=""):
    return RespondentChoice(Where(student=address, patience_s=0.3), "student", version)


async def test_a_version_of_a_student_is_scored(tmp_path):
    dataset = open_dataset(labelled(tmp_path))
    student = ScriptedStudent(skills={"v1": 0.4, "v2": 0.9})
    async with serving(student) as address:
        evaluation, found = await run([dataset], student_at(address, "v2"), tmp_path / "out")
    assert evaluation.respondent == "student v2"
    assert (found.metric, found.questions, found.images, found.failed) == (
        "vqa_accuracy",
        40,
        20,
        0,
    )
    assert found.official == found.contains > 0.6
    assert found.interval.low <= found.official <= found.interval.high
    assert {name: part.questions for name, part in found.kinds.items()} == {"even": 20, "odd": 20}
    rows = [
        json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()
    ]
    assert [row["id"] for row in rows] == [str(number) for number in range(40)]
    assert found.official == sum(row["prediction"] == row["answers"][0] for row in rows) / 40
    kept = json.loads((tmp_path / "out/figures.json").read_text())
    assert kept["official"] == found.official
    assert kept["interval"] == {"low": found.interval.low, "high": found.interval.high}
    assert "student v2 on labels" in (tmp_path / "out/report.md").read_text()


async def test_each_image_is_sent_once_and_the_student_keeps_its_prompt(tmp_path):
    dataset, student = open_dataset(labelled(tmp_path)), ScriptedStudent()
    async with serving(student) as address:
        await run([dataset], student_at(address), tmp_path / "out", limit=10)
    assert student.calls["answer"] == 10
    assert set(student.keys.values()) == {1}


async def test_an_interrupted_evaluation_goes_on_where_it_was(tmp_path):
    dataset, student = open_dataset(labelled(tmp_path)), ScriptedStudent()
    student.trouble = lambda kind: Unavailable("gone") if student.calls["answer"] >= 15 else None
    async with serving(student) as address:
        with pytest.raises(Unavailable):
            await run([dataset], student_at(address), tmp_path / "out")
        before = student.calls["answer"]
        assert before >= 15
        with (tmp_path / "out/predictions.jsonl").open("a") as file:
            file.write('{"dataset": "labels", "id": "3')  # a kill in mid-line
        with pytest.raises(WrongState, match="isn't finished"):
            stored(tmp_path / "out")
        student.trouble = lambda _: None
        _, found = await run([dataset], student_at(address), tmp_path / "out")
        assert (found.questions, found.failed) == (40, 0)
        assert student.calls["answer"] == 40
        again = await run([dataset], student_at(address), tmp_path / "out")
    assert again[1] == found
    assert student.calls["answer"] == 40
    # Once done, not even the service is needed.
    assert (await run([dataset], student_at("127.0.0.1:1"), tmp_path / "out"))[1] == found


@pytest.mark.parametrize("is_early", [False, True])
async def test_an_evaluation_keeps_the_pixel_budget_that_it_began_with(tmp_path, is_early):
    """A release without pixel budgets began it, or the service's processor has changed since."""
    dataset = open_dataset(labelled(tmp_path))
    for path in tmp_path.rglob("*.png"):
        noise = Image.effect_noise((60, 50), int(path.stem) + 1).convert("RGB")
        noise.save(path, "PNG")
    student, stored = SeeingStudent(), tmp_path / "out" / "evaluation.json"
    sizes = {"patch_size": 14, "merge_size": 2}
    student.contracts["v1"] = Contract(pixel_budget=json.dumps({"max_pixels": 2000, **sizes}))
    async with serving(student) as address:
        await run([dataset], student_at(address), tmp_path / "out")
        assert student.sizes == {(28, 28)}
        assert json.loads(stored.read_text())["pixel_budget"] == {
            "max_pixels": 2000,
            "side_multiple": 28,
        }
        answers = tmp_path / "out" / "predictions.jsonl"
        answers.write_text("\n".join(answers.read_text().splitlines()[:20]) + "\n")
        if is_early:
            raw = json.loads(stored.read_text())
            del raw["pixel_budget"]
            stored.write_text(json.dumps(raw))
        student.contracts["v1"] = Contract(pixel_budget=json.dumps({"max_pixels": 1000, **sizes}))
        student.sizes.clear()
        await run([dataset], student_at(address), tmp_path / "out")
    assert student.sizes == ({(60, 50)} if is_early else {(28, 28)})


async def test_another_model_or_other_questions_never_get_mixed_in(tmp_path):
    dataset, teacher = open_dataset(labelled(tmp_path)), ScriptedTeacher()
    async with serving(teacher) as address:
        asked = RespondentChoice(Where(teacher=address, patience_s=0.3), "teacher")
        teacher.trouble = lambda _: Unavailable("gone") if teacher.calls["answer"] >= 5 else None
        with pytest.raises(Unavailable):
            await run([dataset], asked, tmp_path / "out")
        teacher.trouble, teacher.fingerprint = lambda _: None, "teacher-b"
        with pytest.raises(WrongState, match="another model"):
            await run([dataset], asked, tmp_path / "out")
        with pytest.raises(WrongState, match=r"another evaluation \(its limit\)"):
            await run([dataset], asked, tmp_path / "out", limit=3)
        (tmp_path / "labels.jsonl").write_text((tmp_path / "labels.jsonl").read_text() + "\n")
        with pytest.raises(WrongState, match=r"\(its sources\)"):
            await run([dataset], asked, tmp_path / "out")
        with pytest.raises(WrongState, match="no evaluation and not empty"):
            await run([dataset], asked, tmp_path)


async def test_one_command_works_in_a_folder_at_a_time(tmp_path):
    dataset = open_dataset(labelled(tmp_path))
    async with serving(ScriptedStudent(delay_s=0.02)) as address:
        first = asyncio.create_task(run([dataset], student_at(address), tmp_path / "out"))
        await until(lambda: (tmp_path / "out/predictions.jsonl").is_file())
        with pytest.raises(Conflict, match="at work in"):
            await run([dataset], student_at(address), tmp_path / "out")
        assert (await first)[1].questions == 40


async def test_a_question_that_fails_counts_as_wrong_and_is_asked_again(tmp_path):
    dataset = open_dataset(labelled(tmp_path, 4))
    student = ScriptedStudent(skills={"v1": 1.0})
    (tmp_path / "1.png").write_bytes(b"no image")
    async with serving(student) as address:
        _, found = await run([dataset], student_at(address), tmp_path / "out")
        assert (found.questions, found.failed, found.official) == (4, 2, 0.5)
        (tmp_path / "1.png").write_bytes(numbered_png(1))
        _, found = await run([dataset], student_at(address), tmp_path / "out")
    assert (found.failed, found.official) == (0, 1.0)


async def test_an_endpoint_of_chat_completions_is_scored(tmp_path, monkeypatch):
    dataset = open_dataset(samples.icdar(tmp_path))
    async with providing() as provider:
        monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        evaluation, found = await run(
            [dataset], RespondentChoice(Where(), model=MODEL), tmp_path / "out", "ocr"
        )
    assert evaluation.respondent == MODEL
    assert (found.metric, found.questions, found.official) == ("word_recognition", 2, 0.0)
    assert set(found.beside) == {"exact_match", "ignore_case_match"}
    assert evaluation.by
    assert (found.prompt_tokens, found.completion_tokens, found.cost_usd > 0) == (2000, 20, True)
    assert "2,000 tokens in and 20 out, $" in "\n".join(lines(evaluation, found))


async def test_images_inside_a_file_are_asked_about(tmp_path):
    dataset, student = open_dataset(samples.vlmevalkit(tmp_path)), ScriptedStudent()
    async with serving(student) as address:
        _, found = await run([dataset], student_at(address), tmp_path / "out")
    assert (found.questions, found.failed, student.calls["answer"]) == (2, 0, 2)
    assert found.images == 1


async def test_images_inside_a_file_are_told_apart_so_that_the_interval_is_one(tmp_path):
    rows = ["index\timage\tquestion\tanswer"]
    for number in range(20):
        data, question = numbered_png(number), "what color is it?"
        image = base64.b64encode(data).decode()
        answer = truth(hashlib.sha256(data).hexdigest(), question)
        rows.append(f"{number}\t{image}\t{question}\t{answer}")
    dataset = open_dataset(samples.write(tmp_path / "Mine.tsv", "\n".join(rows) + "\n"))
    async with serving(ScriptedStudent(skills={"v1": 0.5})) as address:
        _, found = await run([dataset], student_at(address), tmp_path / "out")
    assert found.images == 20
    assert found.interval.low < found.official < found.interval.high


async def test_several_files_are_one_evaluation_by_split(tmp_path):
    datasets = [open_dataset(path) for path in samples.chartqa(tmp_path)]
    async with serving(ScriptedStudent()) as address:
        evaluation, found = await run(datasets, student_at(address), tmp_path / "out", "chartqa")
    assert found.metric == "relaxed_accuracy"
    assert {name: part.questions for name, part in found.splits.items()} == {
        "human": 2,
        "augmented": 1,
    }
    assert "| human" in "\n".join(lines(evaluation, found))


def test_what_is_wrong_with_a_set_is_told_before_anything_runs(tmp_path):
    three = open_dataset(samples.textvqa(tmp_path / "three", answers=["yes"] * 3))
    with pytest.raises(InvalidInput, match="3 answers where 10"):
        planned([three], "textvqa")
    assert planned([three], "textvqa", force=True)
    nan = open_dataset(samples.textvqa(tmp_path / "nan", answers=[float("nan")]))
    with pytest.raises(InvalidInput, match="NaN"):
        planned([nan], "textvqa", force=True)
    twice = open_dataset(samples.textvqa(tmp_path / "twice", question_id=34602))
    with pytest.raises(InvalidInput, match="more than once"):
        planned([twice], "textvqa", force=True)
    with pytest.raises(InvalidInput, match="two data sets are named"):
        planned([open_dataset(samples.textvqa(tmp_path / name)) for name in "ab"], "textvqa")


@pytest.mark.parametrize(
    ("task", "metric", "complaint"),
    [
        ("vqa", "cider", "does not score vqa"),
        ("captioning", "vqa_accuracy", "does not score captioning"),
        ("vqa", "yes_no_accuracy", "more than yes and no"),
        ("vqa", "meteor", "no metric 'meteor'"),
    ],
)
def test_a_metric_of_another_task_is_refused(tmp_path, task, metric, complaint):
    with pytest.raises(InvalidInput, match=complaint):
        planned([open_dataset(samples.jsonl(tmp_path))], task, metric=metric)


async def test_a_set_that_leaks_is_refused_or_marked(tmp_path):
    dataset = open_dataset(samples.jsonl(tmp_path / "eval"))
    samples.write(tmp_path / "pool/x.png", numbered_png(1))
    with pytest.raises(InvalidInput) as caught:
        planned([dataset], pool=str(tmp_path / "pool"))
    assert caught.value.reason == "EVALUATION_SET_LEAKS"
    async with serving(ScriptedStudent()) as address:
        evaluation, found = await run(
            [dataset],
            student_at(address),
            tmp_path / "out",
            pool=str(tmp_path / "pool"),
            force=True,
        )
    assert evaluation.leaked == 1
    assert "LEAKED: 1" in "\n".join(lines(evaluation, found))


def test_an_evaluation_that_is_not_there(tmp_path):
    with pytest.raises(NotFound, match="no evaluation"):
        stored(tmp_path)
