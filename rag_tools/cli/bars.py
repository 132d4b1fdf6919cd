"""Progress bars for long work in a terminal. `show` prints results."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from rag_tools.cli.output import one_line
from rag_tools.closing import Closing

# The names of stages for a person, and the units that are counted; None shows a percentage.
_STAGES = {"scan": "looking at files", "index": "indexing"}
_UNITS = {
    "cluster": "centroids",
    "encode": "passages",
    "index": None,
    "scan": "files",
    "search": "queries",
}
_SECONDS_TO_JUDGE = 2.0
"""How long work must have gone on before its pace predicts the time left."""


class Bars(Closing):
    """A progress bar for each stage of some work, shown in a ``with`` block.

    The bar of a stage without a total disappears when the next stage begins; at the end, all bars
    disappear.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] | None = None) -> None:
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            _Amount(),
            _TimeLeft(),
            console=console,
            transient=True,
            get_time=clock,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def close(self) -> None:
        """Remove the bars from the terminal."""
        self.progress.stop()

    def advance(self, stage: str, done: int, total: int) -> None:
        """Update the bar of a stage; this is a `rag_tools.types.Progress`."""
        if stage not in self._tasks:
            for task in self.progress.tasks:
                self.progress.update(task.id, visible=task.total is not None)
            name = one_line(_STAGES.get(stage, stage))
            self._tasks[stage] = self.progress.add_task(name, total=None, stage=stage)
        self.progress.update(self._tasks[stage], completed=done, total=total or None)


class _Amount(ProgressColumn):
    """How much is done: a percentage where the units mean nothing to a person, else a number."""

    def render(self, task: Task) -> Text:
        """Return ``43 %``, ``113/400 queries``, or ``113 passages`` if the total isn't known."""
        unit = _UNITS.get(task.fields["stage"], "")
        if unit is None:
            return Text(f"{task.percentage:3.0f} %")
        total = "" if task.total is None else f"/{task.total:,.0f}"
        return Text(f"{task.completed:,.0f}{total} {unit}".rstrip())


class _TimeLeft(ProgressColumn):
    """The time left at the mean pace so far; at the pace of the last seconds it would jump."""

    max_refresh = 1.0

    def render(self, task: Task) -> Text:
        """Return ``0:01:20 left``, or nothing while it can't be estimated."""
        elapsed = task.elapsed or 0.0
        if not task.total or task.finished or elapsed < _SECONDS_TO_JUDGE or not task.completed:
            return Text("")
        left = elapsed * (task.total - task.completed) / task.completed
        return Text(f"{timedelta(seconds=round(left))} left", style="progress.remaining")
