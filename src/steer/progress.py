"""Progress on standard error: a bar in a terminal, plain lines elsewhere, so that standard output stays clean."""

import sys
import time
from types import TracebackType
from typing import Self


class Progress:
    """A named stage with a known number of steps.

    with Progress("generate", 200) as progress:
        progress.advance(8, "round 1")
    """

    PLAIN_EVERY = 5.0  # seconds between plain lines

    def __init__(self, name: str, total: float, shown: bool = True) -> None:
        self.name, self.total, self.shown, self.done = name, total, shown, 0.0
        self._shown = self._started = time.monotonic()
        self._bar = None
        if shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description:<10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task(name, total=total, note="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def advance(self, steps: float, note: str = "") -> None:
        self.done = min(self.total, self.done + steps)
        if self._bar:
            self._bar.update(self._task, completed=self.done, note=note)
        elif self.shown and (time.monotonic() - self._shown >= self.PLAIN_EVERY or self.done >= self.total):
            self._shown = time.monotonic()
            seconds = self._shown - self._started
            say(f"{self.name}: {self.done:g} of {self.total:g}, {seconds:.0f} s{', ' + note if note else ''}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()


def say(line: str) -> None:
    """One plain line on standard error."""
    print(line, file=sys.stderr, flush=True)
