"""A process that decodes images: `python -m services.engines.image_worker PARENT PIXELS CPU_S`.

Standard input has files, each behind its REQUEST: its bytes, and whether TIFF is allowed. Standard
output has a RESPONSE for each: width, height, and the start of the RGB bytes in the file whose
descriptor is PIXELS; or 0, the size of the JSON list that follows (message, reason), and 0. The
process ends with its input or its parent. The kernel ends it if an image takes too much memory or
CPU time.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
import threading
import time
import warnings
from contextlib import suppress
from io import FileIO
from pathlib import Path

from services.core.errors import InvalidImage
from services.engines.images import ALL_FORMATS, FORMATS, HALVED_ABOVE, decode

REQUEST = struct.Struct("<I?")
RESPONSE = struct.Struct("<III")
PIXELS_BYTES = HALVED_ABOVE * 3 + 64
"""The largest image, as PPM."""
MEMORY_BYTES = 2**30


def main(parent: int, descriptor: int, cpu_s: int) -> None:
    _bind_to(parent)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    pixels = os.fdopen(descriptor, "wb", buffering=0)
    while request := source.read(REQUEST.size):
        size, takes_tiff = REQUEST.unpack(request)
        _allow_cpu(cpu_s)
        try:
            sink.write(_decode(source.read(size), takes_tiff, pixels))
        except InvalidImage as error:
            sink.write(_refusal(str(error), error.reason))
        except MemoryError:
            limit = f"{MEMORY_BYTES >> 20:,} MiB of memory"
            message = f"decoding the image takes more than {limit}: scale it down"
            sink.write(_refusal(message, "IMAGE_TOO_EXPENSIVE"))
        sink.flush()


def _decode(data: bytes, takes_tiff: bool, pixels: FileIO) -> bytes:
    image = decode(data, ALL_FORMATS if takes_tiff else FORMATS)
    pixels.seek(0)
    image.save(pixels, "PPM")  # four times as fast as `tobytes`; its header is short
    return RESPONSE.pack(*image.size, pixels.tell() - image.width * image.height * 3)


def _refusal(message: str, reason: str) -> bytes:
    body = json.dumps([message, reason]).encode()
    return RESPONSE.pack(0, len(body), 0) + body


def _bind_to(parent: int) -> None:
    warnings.simplefilter("ignore")  # a damaged file would write the service's log
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _allow_cpu(seconds: int) -> None:
    """Sets the limit for the next image alone; beyond it, the kernel ends this process."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(spent.ru_utime + spent.ru_stime) + 1 + seconds)


def _limit(kind: int, value: int) -> None:
    """Sets a limit, at most the service's own."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
