"""Reading a student's samples, written by the service's own code, and damaged for some tests."""

import json

import pytest

from services.core.errors import InvalidInput, NotFound
from services.engines.images import load_image, sha256
from services.orchestrator.production.samples import keep, kept, read_requests, require_samples
from services.orchestrator.run.run import open_run
from services.orchestrator.run.settings import new_settings
from services.student.production import RequestSample, Segments
from tests.pictures import numbered_png


def write_samples(folder, asked, max_bytes=2**30):
    """`asked`: (number of the image, question) in their order."""
    folder.mkdir(exist_ok=True)
    segments = Segments(folder, max_bytes)
    for number, question in asked:
        segments.add(RequestSample(load_image(numbered_png(number)), question, "red", "v1"))
    segments.close()
    return folder


def questions(folders):
    return {
        sha: [request.question for request in requests]
        for sha, requests in read_requests(folders).items()
    }


def name(number):
    return sha256(numbered_png(number))


def test_every_question_about_an_image_comes_once_whatever_folder_it_is_in(tmp_path):
    first = write_samples(
        tmp_path / "a",
        [(1, "what is it?"), (2, "what is it?"), (1, "What is it ?"), (1, "and this?")],
    )
    second = write_samples(tmp_path / "b", [(1, "what is it?"), (2, "how\nmany?")])
    assert questions([first, second]) == {
        name(1): ["what is it?", "and this?"],
        name(2): ["what is it?", "how\nmany?"],
    }


def test_lines_that_are_no_requests_are_passed_over(tmp_path):
    folder = write_samples(tmp_path / "samples", [(1, "what is it?")])
    segment = next(folder.glob("*/samples.jsonl"))
    whole = json.loads(segment.read_text())
    wrong = [{}, [], 7, {**whole, "image": "../../../etc/passwd"}, {**whole, "question": " "}]
    with segment.open("ab") as file:
        for line in wrong:
            file.write(json.dumps(line).encode() + b"\n")
        file.write(b"\xff\xfe\n\n" + json.dumps({**whole, "question": "cut off?"}).encode()[:-10])
    assert questions([folder]) == {name(1): ["what is it?"]}


def test_a_run_keeps_its_own_copy_of_an_image(tmp_path):
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "a.png").write_bytes(numbered_png(0))
    folder = write_samples(
        tmp_path / "samples", [(1, "what is it?"), (2, "what is it?"), (3, "what is it?")]
    )
    requests = read_requests([folder])
    images = {path.name: path for path in folder.glob("*/images/*")}
    images[name(2)].write_bytes(b"other bytes")
    images[name(3)].unlink()
    with open_run(tmp_path / "run", new_settings(str(tmp_path / "pool"), "vqa", "paper")) as run:
        assert keep(run, name(1), requests[name(1)])
        assert not keep(run, name(2), requests[name(2)])
        assert not keep(run, name(3), requests[name(3)])
        images[name(1)].unlink()
        assert keep(run, name(1), requests[name(1)])
        assert kept(run, name(1)).data == numbered_png(1)
        (run.folder / "production" / name(1)).write_bytes(b"changed")
        with pytest.raises(InvalidInput, match="changed"):
            kept(run, name(1))


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(NotFound, match="MPA_STUDENT_SAMPLES"):
        require_samples([tmp_path / "nowhere"])
