"""Measure a model of the pair on easy-VQA's test split, with the prompts of the platform.

Run: python -m zoo.measure FOLDER [--questions N] [--annotations]

Answers are greedy. Annotations are sampled at temperature 1 and compared with the image.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from services.core.tasks import TASKS, answer_prompt
from zoo.easy_vqa import (
    deduce_contents,
    pool_image_paths,
    test_image_paths,
    test_questions,
    train_questions,
)
from zoo.shapes import find_answer, find_skill

_BATCH = 128


class Model:
    """A folder of the pair behind the ordinary processor and `generate`, padded on the left."""

    def __init__(self, folder: Path) -> None:
        self._processor = AutoProcessor.from_pretrained(folder, padding_side="left")
        self._model = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=torch.float32
        ).eval()

    def reply(self, images: list[Path], prompts: list[str], **decoding: Any) -> list[str]:
        """One reply per image and prompt, greedy unless options of `generate` are given."""
        replies: list[str] = []
        for start in range(0, len(prompts), _BATCH):
            part = slice(start, start + _BATCH)
            replies += self._reply_batch(images[part], prompts[part], **decoding)
        return replies

    @torch.inference_mode()
    def _reply_batch(self, images: list[Path], prompts: list[str], **decoding: Any) -> list[str]:
        messages = [
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}]
            for prompt in prompts
        ]
        texts = self._processor.apply_chat_template(messages, add_generation_prompt=True)
        pictures = [Image.open(path).convert("RGB") for path in images]
        inputs = self._processor(text=texts, images=pictures, padding=True, return_tensors="pt")
        tokens = self._model.generate(**inputs, **decoding)[:, inputs.input_ids.shape[1] :]
        return list(self._processor.batch_decode(tokens, skip_special_tokens=True))


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """Numbers of right answers and of questions, by skill."""

    right: Counter[str]
    asked: Counter[str]

    @property
    def accuracy(self) -> float:
        return self.right.total() / self.asked.total()

    def __str__(self) -> str:
        skills = (
            f"{skill} {self.right[skill] / n:.1%} of {n}" for skill, n in sorted(self.asked.items())
        )
        return f"answers {self.accuracy:.2%} of {self.asked.total()}: {', '.join(skills)}"


def score_answers(model: Model, count: int | None = None) -> AnswerScore:
    """Score greedy answers to the first `count` test questions, by default all: equal or wrong."""
    questions = test_questions()[:count]
    paths = test_image_paths()
    replies = model.reply(
        [paths[question.image_id] for question in questions],
        [answer_prompt(question.text) for question in questions],
    )
    asked = Counter(str(find_skill(question.text)) for question in questions)
    right = Counter(
        str(find_skill(question.text))
        for question, reply in zip(questions, replies, strict=True)
        if reply == question.answer
    )
    return AnswerScore(right, asked)


@dataclass(frozen=True, slots=True)
class AnnotationScore:
    """Numbers of annotations: asked for, parsed, right about their image, and by skill."""

    asked: int
    parsed: int
    right: int
    skills: Counter[str]
    distinct_questions: int

    def __str__(self) -> str:
        skills = ", ".join(
            f"{skill} {n / self.parsed:.0%}" for skill, n in sorted(self.skills.items())
        )
        return (
            f"annotations {self.asked}: parsed {self.parsed / self.asked:.1%}, "
            f"right {self.right / self.asked:.1%}, "
            f"{self.distinct_questions} distinct questions: {skills}"
        )


def score_annotations(
    model: Model, paths: dict[int, Path], contents: dict[int, tuple[str, str]]
) -> AnnotationScore:
    """Score one annotation, sampled at temperature 1, of every image with known contents."""
    ids = [image_id for image_id in paths if image_id in contents]
    replies = model.reply(
        [paths[i] for i in ids],
        [TASKS["vqa"].annotation_prompt] * len(ids),
        do_sample=True,
        temperature=1.0,
        top_k=0,
    )
    found = [
        (i, re.fullmatch(r"Question: (.+\?)\nAnswer: (.+)", reply))
        for i, reply in zip(ids, replies, strict=True)
    ]
    parsed = [(i, match[1], match[2]) for i, match in found if match]
    right = sum(find_answer(question, *contents[i]) == answer for i, question, answer in parsed)
    skills = Counter(find_skill(question) or "other" for _, question, _ in parsed)
    return AnnotationScore(
        len(ids), len(parsed), right, skills, len({question for _, question, _ in parsed})
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure one of the pair on easy-VQA.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, help="only the first N test questions")
    parser.add_argument(
        "--annotations", action="store_true", help="also sample annotations (teacher only)"
    )
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = Model(arguments.folder)
    print(score_answers(model, arguments.questions))
    if arguments.annotations:
        for split, paths, questions in (
            ("test", test_image_paths(), test_questions()),
            ("pool", pool_image_paths(), train_questions()),
        ):
            print(split, score_annotations(model, paths, deduce_contents(questions)))


if __name__ == "__main__":
    main()
