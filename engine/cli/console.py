"""A run's output: a progress bar on a terminal, plain lines in a pipe; both end with the same table."""

import sys
import time
from collections import deque
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from engine.cli.lossy_stream import lossy

if TYPE_CHECKING:
    import torch

REFRESH_S = 0.25
# The bar's rate is that of so much training before it.
WINDOW_S = 5.0


class Pace:
    """Images per second over the last WINDOW_S seconds of training, on the run's own clock: evaluations between epochs
    do not count, nor does what came before the first reading."""

    def __init__(self):
        self.progress, self.readings = None, deque()

    def read(self, progress, images_per_epoch: int, batch: int) -> float | None:
        """The rate at a loop's `progress`; None at the first reading of a run, and where a rollback or a sweep's next
        trial has put another in its place."""
        if progress is not self.progress:
            self.progress, self.readings = progress, deque()
        images = progress.epoch * images_per_epoch + min(progress.step * batch, images_per_epoch)
        train_s = progress.train_seconds + progress.epoch_seconds
        self.readings.append((images, train_s))
        while len(self.readings) > 2 and self.readings[1][1] <= train_s - WINDOW_S:
            self.readings.popleft()
        images_before, before_s = self.readings[0]
        return (images - images_before) / (train_s - before_s) if train_s > before_s else None


class LossGauge:
    """The running mean loss; on a GPU the latest value that has arrived, so nothing waits for the device."""

    def __init__(self):
        self.shown, self.copy, self.event = float("nan"), None, None

    def read(self, tally: "torch.Tensor") -> float:
        """The mean loss of (summed loss, correct, count); on a GPU it may be one refresh old."""
        on_gpu = tally.device.type == "cuda"
        if not on_gpu or (self.event is not None and self.event.query()):
            loss, _, count = (self.copy if on_gpu else tally).tolist()
            self.shown, self.event = loss / max(count, 1), None
        if on_gpu and self.event is None:
            import torch

            self.copy = tally.to("cpu", non_blocking=True)
            self.event = torch.cuda.Event()
            self.event.record()
        return self.shown


class Screen:
    """Lines and bars of one run, on `stream` (standard output); a quiet one shows nothing.

    A run does not end because nobody listens: see LossyStream, whose `lost` is the screen's.
    """

    def __init__(self, stream=None, quiet: bool = False):
        self.stream = stream = lossy(stream or sys.stdout)
        tty = stream.isatty() and not quiet
        self.console = Console(file=stream, highlight=False, soft_wrap=not tty, width=None if tty else 120,
                               quiet=quiet, markup=False, emoji=False)
        self.bars = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                             TextColumn("{task.fields[detail]}"), TimeRemainingColumn(), console=self.console,
                             transient=True) if tty else None
        self.gauge, self.pace, self.refreshed = LossGauge(), Pace(), 0.0

    @property
    def lost(self) -> str:
        """Why nothing is shown any more; empty while output arrives."""
        return self.stream.lost

    def __enter__(self):
        if self.bars:
            self.bars.start()
        return self

    def __exit__(self, *_):
        if self.bars:
            self.bars.stop()

    def say(self, line: str) -> None:
        self.console.print(line)

    def writing(self, done: int, total: int) -> None:
        """Progress in writing a beton, in images."""
        self._bar(f"writing beton ({total:,} images)", done, total, "")

    def starts(self, loop) -> None:
        """Show where a training loop begins: its first step may take long."""
        self._training(loop, "")

    def step(self, loop) -> None:
        """Advance the bar to where a training loop is; cheap enough to call after each step."""
        now = time.perf_counter()
        if self.bars is None or now - self.refreshed < REFRESH_S:
            return
        self.refreshed = now
        rate = self.pace.read(loop.progress, loop.feed.samples, loop.feed.batch)
        self._training(loop, f"loss {self.gauge.read(loop.step.tally):.4f}" +
                       ("" if rate is None else f"  {rate:,.0f} images/s"))

    def _training(self, loop, detail: str) -> None:
        progress = loop.progress
        self._bar(f"epoch {progress.epoch + 1}/{loop.epochs}", progress.step, loop.steps_in(progress.epoch), detail)

    def _bar(self, title: str, done: int, total: int, detail: str) -> None:
        if self.bars is None:
            return
        # Another trial of a sweep begins anew under the same title.
        if [task.description for task in self.bars.tasks if task.completed <= done] != [title]:
            for task in self.bars.task_ids:
                self.bars.remove_task(task)
            self.bars.add_task(title, total=total, completed=done, detail=detail)
        self.bars.update(self.bars.task_ids[0], completed=done, detail=detail)

    def epoch_row(self, record, epochs: int, watched: str, wall_s: float | None = None) -> None:
        parts = [f"epoch {record.epoch + 1:>3}/{epochs}", f"lr {record.lr:.6f}", f"loss {record.train_loss:.4f}",
                 f"top-1 {record.train_top1:7.2%}"]
        if record.watched_top1 is not None:
            parts.append(f"{watched} loss {record.watched_loss:.4f} top-1 {record.watched_top1:7.2%}")
        parts.append(f"{record.images_per_s:,.0f} images/s {record.train_s:.1f} s"
                     + (f" (wall {wall_s:.1f} s)" if wall_s is not None else ""))
        self.say("  ".join(parts) + ("  best" if record.is_best else ""))

    def table(self, title: str, rows: list[tuple[str, str]]) -> None:
        table = Table(title=title, show_header=False, title_justify="left")
        for row in rows:
            table.add_row(*row)
        self.console.print(table)
