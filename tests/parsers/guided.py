"""Coverage-guided fuzzing of one reader: python -m tests.parsers.guided NAME [OPTIONS].

The options are libFuzzer's: -runs=N, -max_total_time=SECONDS, and files of inputs to repeat. An
input that fails is kept as crash-HASH in the working folder. Without a name, it lists the readers.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["services", "PIL", "starlette", "python_multipart"]):
    from tests.parsers.files import FILES
    from tests.parsers.requests import REQUESTS

PARSERS = {**REQUESTS, **FILES}


def main(name, *options):
    parser = PARSERS[name]()
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(parser.seeds):
            Path(folder, str(number)).write_bytes(seed)
        inputs = [] if any(Path(option).is_file() for option in options) else [folder]
        atheris.Setup([sys.argv[0], "-timeout=60", *options, *inputs], parser.try_to_read)
        atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(*sys.argv[1:])
    print(*PARSERS, sep="\n")  # noqa: T201
