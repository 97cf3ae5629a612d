"""The layout that the paper's authors released: the output of their PA and PI scripts.

PA_<task>.json          every annotation; "ground_truth_*" are empty, since no label is read
PI_teacher_<task>.json  the teacher's answers ("predictions"), if it was asked
PI_student_<task>.json  the student's answers
PI_train_<task>.json    the training samples in LLaVA's form, with the bare question
images/                 the images; paths are relative to the folder
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from services.orchestrator.exports.json_list import JsonList
from services.orchestrator.exports.llava import conversation
from services.orchestrator.exports.pictures import Pictures
from services.orchestrator.exports.samples import ExportedSample, ExportedSamples


def write(samples: ExportedSamples, target: Path) -> int:
    """Write the files; the number of training samples is returned.

    Ids are whole numbers, as the authors' are. A sample has the same id in all four files.
    """
    target.mkdir()
    pictures = Pictures(samples, target)
    with ExitStack() as stack:
        annotations, teacher, student, training = (
            stack.enter_context(JsonList(target / f"{name}_{samples.run.settings.task}.json"))
            for name in ("PA", "PI_teacher", "PI_student", "PI_train")
        )
        for number, (sample, is_chosen) in enumerate(samples.every_trainable(), start=1):
            image = pictures.add(sample)
            annotations.add(_annotation(number, image, sample))
            if given := sample.entry.teacher:
                teacher.add(_prediction(number, image, sample, given.answer))
            if given := sample.entry.student:
                student.add(_prediction(number, image, sample, given.answer))
            if is_chosen:
                turns = conversation(sample.question, sample.answer)
                training.add({"id": number, "image": image, "conversations": turns})
    return training.count


def _annotation(number: int, image: str, sample: ExportedSample) -> dict[str, str | int]:
    return {
        "question_id": number,
        "image_path": image,
        "ground_truth_question": "",
        "ground_truth_answer": "",
        "predicted_question": sample.question,
        "predicted_answer": sample.answer,
    }


def _prediction(
    number: int, image: str, sample: ExportedSample, given: str
) -> dict[str, str | int]:
    return {
        "question_id": number,
        "image_path": image,
        "PA_question": sample.question,
        "PA_answer": sample.answer,
        "predictions": given,
    }
