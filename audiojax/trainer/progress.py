"""What a person sees while a run trains: a bar with the step rate, clips/s, the share of time spent waiting for input, and TFLOP/s."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Meter:
    """Counts steps, waiting time and arithmetic between two readings."""

    def __init__(self, batch_size: int, flops: float) -> None:
        self.batch_size = batch_size
        self.flops = flops  # of one step on all devices
        self.last = dict.fromkeys(("steps_per_second", "clips_per_second", "input_wait_share", "tflops"), 0.0)
        self.reset()

    def reset(self) -> None:
        """Starts a new interval."""
        self.start, self.steps, self.waited = time.perf_counter(), 0, 0.0

    def count(self, waited: float) -> None:
        """One more step, `waited` seconds of which went into getting its batch."""
        self.steps += 1
        self.waited += waited

    def rates(self) -> dict[str, float]:
        """Rates of the interval so far, of the one before if it is empty; `input_wait_share` in [0, 1]."""
        if not self.steps:
            return self.last
        seconds = max(time.perf_counter() - self.start, 1e-9)
        rate = self.steps / seconds
        self.last = {
            "steps_per_second": rate,
            "clips_per_second": rate * self.batch_size,
            "input_wait_share": min(1.0, self.waited / seconds),
            "tflops": rate * self.flops / 1e12,
        }
        return self.last


class Bar:
    """A progress bar on a terminal; on a pipe, one line a report. A context manager."""

    def __init__(self, phase: str, steps: int, done: int, console: Console, active: bool) -> None:
        self.console = console
        self.active = active
        self.phase, self.steps = phase, steps
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.progress = Progress(*columns, console=console, refresh_per_second=2, disable=not (active and console.is_terminal))
        self.task = self.progress.add_task(phase, total=steps, completed=done, note="")

    def __enter__(self) -> "Bar":
        self.progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.progress.stop()

    def advance(self, step: int) -> None:
        """Moves the bar to `step`."""
        self.progress.update(self.task, completed=step)

    def report(self, step: int, loss: float, rates: dict[str, float]) -> None:
        """Shows the loss and the rates."""
        tflops = rates["tflops"]
        power = f" · {tflops:.3g} TFLOP/s" if tflops else ""
        note = (
            f"loss {loss:.4g} · {rates['steps_per_second']:.3g} steps/s · {rates['clips_per_second']:.0f} clips/s"
            f" · input wait {rates['input_wait_share']:.0%}{power}"
        )
        self.progress.update(self.task, note=note)
        if self.active and not self.console.is_terminal:
            self.console.print(f"{self.phase} {step}/{self.steps}: {note}", highlight=False, markup=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """One line above the bar."""
        if self.active:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)
