"""Progress on standard error: bars on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column

from services.orchestrator.run.journal import Journal, StageProgress

LINE_EVERY_S = 5.0


class Meter:
    """Progress of one stage, with a remark such as the cells so far.

    `total` is None if it isn't known.
    """

    def __init__(
        self, name: str, unit: str, total: int | None, draw: Callable[[Meter], None]
    ) -> None:
        self.name = name
        self.unit = unit
        self.total = total
        self.done = self.counted = 0
        self.remark = ""
        self.began = self.drawn_at = time.monotonic()
        self._draw = draw

    def advance(self, remark: str | None = None, *, by: int = 1, counts: bool = True) -> None:
        """`counts` is False for work done earlier, which doesn't show the rate."""
        self.done += by
        self.counted += by if counts else 0
        self.show(remark)

    def set_done(self, done: int, remark: str | None = None) -> None:
        self.advance(remark, by=done - self.done)

    def show(self, remark: str | None = None) -> None:
        self.remark = self.remark if remark is None else remark
        self._draw(self)

    @property
    def per_s(self) -> float:
        return self.counted / max(time.monotonic() - self.began, 1e-6)

    @property
    def left_s(self) -> float | None:
        """Seconds left; None if they can't be estimated."""
        if self.total is None or not self.counted or self.total < self.done:
            return None
        return (self.total - self.done) / self.per_s

    def progress(self, *, is_over: bool = False) -> StageProgress:
        return StageProgress(
            self.name,
            self.unit,
            self.done,
            self.total,
            self.per_s,
            self.left_s,
            self.remark,
            is_over,
        )

    def line(self) -> str:
        of_all = "" if self.total is None else f"/{self.total:,}"
        parts = [f"{self.name}: {self.done:,}{of_all} {self.unit}"]
        if self.counted:
            parts.append(f"{self.per_s:.1f}/s")
        if self.left_s:
            parts.append(f"{_clock(self.left_s)} left")
        return ", ".join(parts) + (f"  {self.remark}" if self.remark else "")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Progress:
    def __init__(self, console: Console, journal: Journal | None = None) -> None:
        """`journal`: keeps the stages for people who look on."""
        self.console = console
        self._journal = journal
        self._bars = Bars(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            # The one that gives way on a narrow terminal.
            TextColumn(
                "[dim]{task.fields[remark]}",
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def note(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, unit: str, total: int | None) -> Iterator[Meter]:
        with self._shown(name, unit, total) as meter:
            self._note(meter)
            try:
                yield meter
            finally:
                self._note(meter, is_over=True)

    def _note(self, meter: Meter, *, is_over: bool = False) -> None:
        if self._journal is not None:
            self._journal.note(meter.progress(is_over=is_over))

    @contextmanager
    def _shown(self, name: str, unit: str, total: int | None) -> Iterator[Meter]:
        if not self.console.is_terminal:
            meter = Meter(name, unit, total, self._draw_line)
            try:
                yield meter
            finally:
                self.note(meter.line())
            return
        bar = self._bars.add_task(name, total=total, rate="", remark="")

        def draw(meter: Meter) -> None:
            rate = f"{meter.per_s:.1f}/s" if meter.counted else ""
            self._bars.update(
                bar, completed=meter.done, total=meter.total, rate=rate, remark=meter.remark
            )
            self._note(meter)

        yield Meter(name, unit, total, draw)

    def _draw_line(self, meter: Meter) -> None:
        self._note(meter)
        if time.monotonic() - meter.drawn_at >= LINE_EVERY_S:
            meter.drawn_at = time.monotonic()
            self.note(meter.line())

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stops the bars while the terminal asks a question."""
        self._bars.stop()
        try:
            yield
        finally:
            self._bars.start()
