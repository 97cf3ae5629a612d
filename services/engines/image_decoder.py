"""Callers' images are decoded in a few separate processes, one image at a time in each.

A thread can't be stopped, and the event loop must not wait. An image that takes too long or too
much memory, or crashes the decoder, only ends a process that serves nobody; the next image gets a
new one. Processes are started when first needed, by vfork() (see programs.py of the student), and
end with this process.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import select
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from PIL import Image

from services.core.errors import InvalidImage, Unavailable
from services.engines.image_headers import is_cheap
from services.engines.image_worker import PIXELS_BYTES, REQUEST, RESPONSE
from services.engines.images import FORMATS, LoadedImage, check_bytes, load_image, sha256

ROOT = Path(__file__).resolve().parents[2]
CPU_S = 10
"""Seconds of CPU time for one image: 50 megapixels in a progressive JPEG take one or two."""
TIMEOUT_S = 60.0
"""Seconds of wall time, for a process that does not even use up its CPU_S."""
PROCESSES = min(4, os.cpu_count() or 1)
_PIPE_BYTES = 2**20
_HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Huge pages: a photo of 12 megapixels took 68 ms, 30 of them for 20,000 page faults."""


class ImageDecoder:
    """At most `processes` threads, each with a process for its files; other images wait."""

    def __init__(
        self, processes: int = PROCESSES, *, cpu_s: int = CPU_S, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._cpu_s = cpu_s
        self.timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(processes, "image-decoder")
        self._own = threading.local()
        self.pids: set[int] = set()

    def load(self, data: bytes, *, takes_tiff: bool = False) -> LoadedImage:
        """Loads a file and waits for it in this thread. Raises as `submit`."""
        if is_cheap(data):
            return load_image(data, FORMATS)
        return self.submit(data, takes_tiff=takes_tiff).result()

    def submit(self, data: bytes, *, takes_tiff: bool = False) -> Future[LoadedImage]:
        """Loads like `load_image`. Also raises IMAGE_TOO_EXPENSIVE: the image ended its process."""
        return self._threads.submit(self._load, data, takes_tiff)

    def _load(self, data: bytes, takes_tiff: bool) -> LoadedImage:
        check_bytes(data)
        process = self._process()
        try:
            pixels = process.decode(data, takes_tiff, time.monotonic() + self.timeout_s)
        except (OSError, TimeoutError) as error:
            why = self._end(process)
            raise InvalidImage(
                f"the image can't be decoded: {why}", reason="IMAGE_TOO_EXPENSIVE"
            ) from error
        return LoadedImage(sha256(data), pixels, data)

    def _process(self) -> _Process:
        """Process of this thread."""
        process: _Process | None = getattr(self._own, "process", None)
        if process is not None and process.has_ended:
            self._end(process)
            process = None
        if process is None:
            process = self._own.process = _Process(self._cpu_s)
            self.pids.add(process.pid)
        return process

    def _end(self, process: _Process) -> str:
        self._own.process = None
        self.pids.discard(process.pid)
        return process.end()


class _Process:
    """A running image_worker.py: a pipe each way, and a file in memory that returns pixels."""

    def __init__(self, cpu_s: int) -> None:
        self._cpu_s = cpu_s
        # Sealed: a process that an image has taken over could cut the file off while it is read.
        descriptor = os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, PIXELS_BYTES)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
            self._pixels = mmap.mmap(descriptor, PIXELS_BYTES, prot=mmap.PROT_READ)
            arguments = map(str, (os.getpid(), descriptor, cpu_s))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.engines.image_worker", *arguments],
                bufsize=0,
                cwd=ROOT,
                env={**_HUGE_PAGES, **os.environ},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(descriptor,),
            )
        except OSError as error:
            raise Unavailable(
                f"no process can be started to decode an image ({error.strerror}): try again later"
            ) from error
        finally:
            os.close(descriptor)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        for pipe in (self._input, self._output):
            os.set_blocking(pipe, False)
            with suppress(OSError):  # a user may have used up the pages for pipes
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def decode(self, data: bytes, takes_tiff: bool, deadline: float) -> Image.Image:
        """Decodes a file. Raises InvalidImage; OSError or TimeoutError: the process is unusable."""
        self._write(REQUEST.pack(len(data), takes_tiff), deadline)
        self._write(data, deadline)
        width, height, start = RESPONSE.unpack(self._read(RESPONSE.size, deadline))
        if width:
            return self._take(width, height, start)
        message, reason = json.loads(self._read(height, deadline))
        raise InvalidImage(message, reason=reason)

    def _write(self, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            _wait(self._input, select.POLLOUT, deadline)
            rest = rest[os.write(self._input, rest) :]

    def _read(self, size: int, deadline: float) -> bytearray:
        read = bytearray(size)
        rest = memoryview(read)
        while rest:
            _wait(self._output, select.POLLIN, deadline)
            count = os.readv(self._output, [rest])
            if not count:
                raise BrokenPipeError("it ended")
            rest = rest[count:]
        return read

    def _take(self, width: int, height: int, start: int) -> Image.Image:
        size = width * height * 3
        if start + size > len(self._pixels):
            raise BrokenPipeError("it returned a wrong size")
        with memoryview(self._pixels) as file, file[start : start + size] as pixels:
            return Image.frombytes("RGB", (width, height), pixels)

    def end(self) -> str:
        """Kills the process if it still runs. Returns the reason why it is unusable."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._process.kill()
        code = self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._pixels):
            assert file is not None
            file.close()
        if code == -signal.SIGXCPU:
            return f"it takes more than {self._cpu_s} s of CPU time"
        if code < 0:
            return f"its process was ended by signal {-code}"
        return f"its process ended ({code})"


def _wait(pipe: int, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(pipe, event)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
        raise TimeoutError


DECODER = ImageDecoder()
