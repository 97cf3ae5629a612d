"""Reads the parity set of a run: the training samples of the student, and their number by cell.

python examples/read_parity_set.py runs/demo
"""

import json
import sys
from collections import Counter
from pathlib import Path


def read(run: Path) -> None:
    lines = (run / "parity_set.jsonl").read_text(encoding="utf-8").splitlines()
    samples = [json.loads(line) for line in lines]
    for sample in samples:
        print(f"{sample['image']}: {sample['question']} {sample['answer']}")
    for cell, count in Counter(sample["cell"] for sample in samples).items():
        print(f"{count} samples of cell {cell!r}")


if __name__ == "__main__":
    read(Path(sys.argv[1]))
