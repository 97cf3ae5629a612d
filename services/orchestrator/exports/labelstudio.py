"""Label Studio: tasks.json, config.xml (the labelling configuration) and images/.

A task is a question. Its predictions are the annotation, and the answers of both models: what a
reviewer sees first is the annotation, to accept, correct or reject. Images are named as Label
Studio's local storage serves them, with the folder of the export as its document root.
"""

from __future__ import annotations

from pathlib import Path

from services.orchestrator.exports.json_list import JsonList
from services.orchestrator.exports.pictures import Pictures
from services.orchestrator.exports.samples import ExportedSample, ExportedSamples
from services.orchestrator.run.columns import Value

ROLES = ("student", "teacher")
LOCAL_FILES = "/data/local-files/?d="
ACCEPT, REJECT = "accept", "reject"
VERDICT, QUESTION, ANSWER = "verdict", "new_question", "new_answer"
"""Names of the controls, which reviewed_tasks.py reads."""
CONFIG = f"""\
<View>
  <Image name="image" value="$image" zoom="true"/>
  <Header value="$question"/>
  <Choices name="{VERDICT}" toName="image" choice="single" required="true" showInline="true">
    <Choice value="{ACCEPT}" hotkey="1"/>
    <Choice value="{REJECT}" hotkey="2"/>
  </Choices>
  <Header value="Answer (change it if it is wrong, then accept)"/>
  <TextArea name="{ANSWER}" toName="image" value="$answer" maxSubmissions="1" editable="true"/>
  <Header value="Question (change it if it is unclear, then accept)"/>
  <TextArea name="{QUESTION}" toName="image" value="$question" maxSubmissions="1" editable="true"/>
</View>
"""


def write(samples: ExportedSamples, target: Path) -> int:
    target.mkdir()
    (target / "config.xml").write_text(CONFIG)
    pictures = Pictures(samples, target)
    with JsonList(target / "tasks.json") as tasks:
        for sample in samples.usable():
            image = LOCAL_FILES + pictures.add(sample)
            values = samples.columns(sample.entry)
            data = {"image": image, "key": sample.key, **_known(values)}
            tasks.add({"data": data, "predictions": _predictions(sample, values)})
    return tasks.count


def _known(values: dict[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if value is not None}


def _predictions(sample: ExportedSample, values: dict[str, Value]) -> list[dict[str, object]]:
    """The annotation first: Label Studio shows a reviewer the predictions of one model."""
    given: list[tuple[str, Value, Value]] = [
        ("annotation", values["annotation_model"], sample.answer),
        *((role, values[f"{role}_version"], values[f"{role}_answer"]) for role in ROLES),
    ]
    return [
        {"model_version": f"{role} {version or ''}".strip(), "result": [_text(str(answer))]}
        for role, version, answer in given
        if answer is not None
    ]


def _text(answer: str) -> dict[str, object]:
    """A prediction of the control for the answer."""
    return {
        "from_name": ANSWER,
        "to_name": "image",
        "type": "textarea",
        "value": {"text": [answer]},
    }
