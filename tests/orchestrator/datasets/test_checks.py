import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from services.core.errors import InvalidInput
from services.orchestrator.cli.main import app
from services.orchestrator.datasets.checks import Problem, check, pool_images
from services.orchestrator.datasets.dataset import open_dataset
from tests.orchestrator.datasets import samples
from tests.pictures import numbered_png


def findings(path, task="", pool=None):
    return check(open_dataset(path), task, pool)


def test_a_sound_set_has_no_faults(tmp_path):
    found = findings(samples.textvqa(tmp_path), "textvqa")
    assert (found.records, len(found.images), dict(found.splits), dict(found.faults)) == (
        2,
        2,
        {"val": 2},
        {},
    )
    found.require_sound("it")


@pytest.mark.parametrize(
    ("changes", "problem", "detail"),
    [
        (
            {"answers": ["yes"] * 3},
            Problem.ANSWERS,
            "question 34603 has 3 answers where 10 are expected",
        ),
        ({"question_id": 34602}, Problem.DUPLICATE, "id 34602 appears more than once"),
        ({"image_id": "0a9"}, Problem.IMAGE, "no image 0a9.jpg of question 34603"),
        ({"answers": [float("nan")] * 10}, Problem.SHAPE, '"answers[0]" is NaN'),
    ],
)
def test_faults_are_found_and_told(tmp_path, changes, problem, detail):
    found = findings(samples.textvqa(tmp_path, **changes), "textvqa")
    assert dict(found.faults) == {problem: 1}
    assert detail in found.examples[problem][0]
    with pytest.raises(InvalidInput, match="can't be used"):
        found.require_sound("it")
    found.require_sound("it", besides=[problem])


def test_all_faults_are_found_at_once(tmp_path):
    rows = [
        "[1]",
        '{"image": "0.png"}',
        '{"image": "9.png", "question": "q?", "answers": ["a"]}',
    ] * 3
    found = findings(samples.write(tmp_path / "labels.jsonl", "\n".join(rows)))
    # A missing image is one fault, however many questions are about it.
    assert found.faults == {Problem.SHAPE: 6, Problem.IMAGE: 1}
    assert len(found.examples[Problem.SHAPE]) == 5


def test_a_metric_of_yes_and_no_wants_them_as_answers(tmp_path):
    found = findings(samples.jsonl(tmp_path), "pathvqa")
    assert found.faults == {Problem.METRIC: 2}
    assert "'red', not by yes or no" in found.examples[Problem.METRIC][0]


def test_an_empty_set_is_a_fault(tmp_path):
    assert findings(samples.write(tmp_path / "labels.jsonl", "\n")).faults == {Problem.EMPTY: 1}


def test_leaks_are_found_by_content_whatever_the_name(tmp_path):
    path = samples.jsonl(tmp_path / "eval", 3)
    samples.write(tmp_path / "pool/other_name.png", numbered_png(1))
    samples.write(tmp_path / "pool/unseen.png", numbered_png(50))
    found = findings(path, pool=pool_images(str(tmp_path / "pool")))
    assert found.leaked == {"1.png"}
    assert "in the pool: the same bytes as other_name.png" in found.examples[Problem.LEAK][0]
    with pytest.raises(InvalidInput) as caught:
        found.require_sound("it")
    assert caught.value.reason == "EVALUATION_SET_LEAKS"


def test_an_image_that_was_saved_anew_leaks_too(tmp_path):
    path = samples.jsonl(tmp_path / "eval", 1)
    pixels = Image.effect_mandelbrot((64, 64), (-2, -1.5, 1, 1.5), 40).convert("RGB")
    pixels.save(tmp_path / "eval/0.png")
    (tmp_path / "pool").mkdir()
    pixels.save(tmp_path / "pool/again.jpg", quality=90)
    (tmp_path / "pool/broken.png").write_bytes(b"no image")
    found = findings(path, pool=pool_images(str(tmp_path / "pool")))
    assert "looks like again.jpg" in found.examples[Problem.LEAK][0]


def test_images_inside_a_file_leak_too(tmp_path):
    samples.write(tmp_path / "pool/a.png", numbered_png(1))
    assert findings(
        samples.vlmevalkit(tmp_path), pool=pool_images(str(tmp_path / "pool"))
    ).faults == {Problem.LEAK: 1}


def run(*arguments):
    return CliRunner().invoke(app, ["datasets", "check", *map(str, arguments)])


def test_the_command_shows_what_is_there(tmp_path):
    human, augmented = samples.chartqa(tmp_path)
    done = run(human, augmented)
    assert done.exit_code == 0, done.output
    assert "2 questions about 1 images" in done.output
    assert done.output.count("nothing is wrong with it") == 2


def test_the_command_fails_with_what_is_wrong(tmp_path):
    path = samples.okvqa(tmp_path, answers=3)
    done = run(path)
    assert done.exit_code == 1
    assert "number of answers: 1" in done.output
    assert "question 2971475 has 3 answers where 10 are expected" in done.output
    assert "error: 1 faults" in done.output


def test_the_command_finds_leaks(tmp_path):
    path = samples.jsonl(tmp_path / "eval")
    done = run(path, "--pool", tmp_path / "eval")
    assert done.exit_code == 1
    assert "image is in the pool: 2" in done.output
    assert run(path, "--pool", tmp_path / "nowhere").exit_code == 1
    assert json.loads(path.read_text().splitlines()[0])["image"] == "0.png"
