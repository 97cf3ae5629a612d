"""Builds the benchmark, or a contact sheet to look at.

python -m zoo.minivqa build runs/minivqa [--pool 1500] [--labels 400] [--test 400] [--draws 1600]
                                         [--anchors 60] [--seed 0]
python -m zoo.minivqa sheet sheet.png [--part test]

DEST/FAMILY/pool/*.png      unlabeled images
DEST/FAMILY/labels.jsonl    people's answers about some: {"image", "question", "answers", "kind"}
DEST/FAMILY/test/*.png      and test.jsonl, likewise; harder/, dev/ and final/, too
DEST/FAMILY/anchors.txt     questions of the other families, as they were asked in training
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

from PIL import Image, ImageDraw
from rich.progress import track

from zoo.minivqa.families import FAMILIES, Family
from zoo.minivqa.parts import Part
from zoo.minivqa.picture import SIDE

COLUMNS = 10
CAPTION = 26


def build(
    destination: Path, pool: int, labels: int, test: int, draws: int, anchors: int, seed: int
) -> None:
    """Draws `pool` images per family, and at least `labels` and `test` questions.

    `draws`: least number of questions in `dev` and in `final`. `anchors`: questions of each family
    for the anchors of the others; equal ones are written once. The labels are about the first
    images of the pool. Existing files are not drawn again. Ends the program if two parts of a
    family share a picture.
    """
    for family in FAMILIES.values():
        folder = destination / family.name
        for number in track(range(pool), f"{family.name}: pool"):
            _save(family, Part.POOL, seed, number, folder)
        _write_questions(family, Part.POOL, labels, seed, folder, "labels")
        for part in (Part.TEST, Part.HARDER):
            _write_questions(family, part, test, seed, folder, part)
        for part in (Part.DEV, Part.FINAL):
            _write_questions(family, part, draws, seed, folder, part)
        require_disjoint(folder)
    _write_anchors(destination, anchors, seed)


def _write_anchors(destination: Path, count: int, seed: int) -> None:
    """Writes questions for the anchors of each family, one a line: those of all others."""
    if all((destination / name / "anchors.txt").is_file() for name in FAMILIES):
        return
    asked = {name: _asked_in_training(family, count, seed) for name, family in FAMILIES.items()}
    for name in FAMILIES:
        others = [text for other, texts in asked.items() if other != name for text in texts]
        (destination / name / "anchors.txt").write_text("\n".join(others) + "\n", encoding="utf-8")


def _asked_in_training(family: Family, count: int, seed: int) -> list[str]:
    """One question of each of some training pictures, each wording once."""
    found: dict[str, None] = {}
    for number in range(count):
        questions = family.draw(Part.TRAINING, seed, number).questions
        found[questions[number % len(questions)].text] = None
    return list(found)


def require_disjoint(folder: Path) -> None:
    """Ends the program if a picture of one part of a family is in another part, too."""
    known: dict[str, Path] = {}
    for part in Part:
        pictures = {
            hashlib.sha256(path.read_bytes()).hexdigest(): path
            for path in (folder / part).glob("*.png")
        }
        for digest in pictures.keys() & known.keys():
            raise SystemExit(
                f"{pictures[digest]} is the same picture as {known[digest]}: "
                "build the benchmark with another --seed"
            )
        known |= pictures


def _save(family: Family, part: Part, seed: int, number: int, folder: Path) -> Path:
    path = folder / part / f"{number:05}.png"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".partial")
        family.draw(part, seed, number).image.save(unfinished, "PNG")
        unfinished.rename(path)
    return path


def _write_questions(
    family: Family, part: Part, count: int, seed: int, folder: Path, name: str
) -> None:
    """Writes one line per question; an image may have several."""
    lines: list[str] = []
    number = 0
    while len(lines) < count:
        path = _save(family, part, seed, number, folder)
        for question in family.draw(part, seed, number).questions:
            row = {
                "image": path.relative_to(folder).as_posix(),
                "question": question.text,
                "answers": list(question.references),
                "kind": question.kind,
            }
            lines.append(json.dumps(row, ensure_ascii=False) + "\n")
        number += 1
    (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def sheet(path: Path, part: Part, seed: int) -> None:
    """Twenty pictures of each family with a question and its answer below."""
    rows = 2 * len(FAMILIES)
    canvas = Image.new("RGB", (COLUMNS * (SIDE + 8), rows * (SIDE + CAPTION)), "white")
    pen = ImageDraw.Draw(canvas)
    for row, family in enumerate(family for family in FAMILIES.values() for _ in range(2)):
        for column in range(COLUMNS):
            picture = family.draw(part, seed, (row % 2) * COLUMNS + column)
            question = picture.questions[column % len(picture.questions)]
            left, top = column * (SIDE + 8), row * (SIDE + CAPTION)
            canvas.paste(picture.image, (left, top))
            pen.text((left, top + SIDE + 1), question.text[:24], fill="black", font_size=9)
            pen.text((left, top + SIDE + 12), question.answer, fill="blue", font_size=10)
    canvas.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build")
    building.add_argument("destination", type=Path)
    building.add_argument(
        "--pool", type=int, default=1500, help="number of unlabeled images per family"
    )
    building.add_argument(
        "--labels",
        type=int,
        default=400,
        help="least number of questions per family that people answered",
    )
    building.add_argument(
        "--test", type=int, default=400, help="least number of test questions per family"
    )
    building.add_argument(
        "--draws",
        type=int,
        default=1600,
        help="least number of questions per family in dev, and in final",
    )
    building.add_argument(
        "--anchors",
        type=int,
        default=60,
        help="number of questions per family for the anchors of other families",
    )
    looking = commands.add_parser("sheet")
    looking.add_argument("path", type=Path)
    looking.add_argument("--part", type=Part, choices=list(Part), default=Part.TEST)
    for command in (building, looking):
        command.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.command == "build":
        build(
            given.destination,
            given.pool,
            given.labels,
            given.test,
            given.draws,
            given.anchors,
            given.seed,
        )
    else:
        sheet(given.path, given.part, given.seed)


if __name__ == "__main__":
    main()
