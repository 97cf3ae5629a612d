"""The targets `demo` and `demo-vllm` of the Makefile, cut short."""

import json

from tests.e2e.processes import make
from zoo import easy_vqa


def demonstrate(target, folder, limit, every):
    """The summary of the run in `folder`, and everything that was printed.

    `limit`: images that are used; `every`: one in `every` test questions is asked.
    """
    data = folder / "data"
    easy_vqa.export(data)
    questions = (data / "test.jsonl").read_text().splitlines(keepends=True)[::every]
    (data / "some.jsonl").write_text("".join(questions))
    done = make(target, DATA=data, EVAL=data / "some.jsonl", RUN=folder / "run", LIMIT=limit)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-6000:]
    return json.loads((folder / "run" / "summary.json").read_text()), printed
