"""The authors' shape: both models in one process, three passes, `generate` in fixed batches.

The teacher annotates every image, the teacher answers every annotated question, the student
answers them all, in batches of 8 for the teacher and 4 for the student.
Arguments: TEACHER, STUDENT.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.plain_loop import PlainLoop
from benchmarks.processes import Handle, answer_requests
from benchmarks.questions import image_files
from services.core.annotation import Annotation, parse_annotation
from services.core.recipes import RECIPES
from services.core.tasks import TASKS, answer_prompt
from services.engines.images import load_image

TEACHER_BATCH, STUDENT_BATCH = 8, 4


def load(teacher_folder: Path, student_folder: Path) -> Handle:
    teacher, student = PlainLoop(teacher_folder), PlainLoop(student_folder)
    recipe, task = RECIPES["paper"], TASKS["vqa"]

    def in_batches(
        model: PlainLoop, size: int, prompts: list[str], images: list[Any], **settings: Any
    ) -> list[str]:
        replies: list[str] = []
        for start in range(0, len(prompts), size):
            replies += model.generate(
                prompts[start : start + size], images[start : start + size], **settings
            )
        return replies

    def run(request: dict[str, Any]) -> dict[str, Any]:
        files = image_files()[request["first_image"] : request["first_image"] + request["images"]]
        torch.manual_seed(request["first_image"])
        began = time.perf_counter()
        images = [load_image(file.read_bytes()).pixels for file in files]
        asking = recipe.annotation_decoding
        sampled = {
            "do_sample": True,
            "temperature": asking.temperature,
            "max_new_tokens": asking.max_new_tokens,
            "top_k": 0,
        }
        texts = in_batches(
            teacher,
            TEACHER_BATCH,
            [recipe.annotation_prompt(task)] * len(images),
            images,
            **sampled,
        )
        annotated_s = time.perf_counter() - began
        found = [
            (parse_annotation(text, task), image) for text, image in zip(texts, images, strict=True)
        ]
        asked = [
            (answer_prompt(one.question), image)
            for one, image in found
            if isinstance(one, Annotation)
        ]
        prompts, pixels = [prompt for prompt, _ in asked], [image for _, image in asked]
        greedy = {"do_sample": False, "max_new_tokens": recipe.answer_decoding.max_new_tokens}
        in_batches(teacher, TEACHER_BATCH, prompts, pixels, **greedy)
        in_batches(student, STUDENT_BATCH, prompts, pixels, **greedy)
        return {
            "seconds": time.perf_counter() - began,
            "annotated_s": annotated_s,
            "annotations": len(asked),
        }

    return run


if __name__ == "__main__":
    answer_requests(lambda: load(Path(sys.argv[1]), Path(sys.argv[2])))
