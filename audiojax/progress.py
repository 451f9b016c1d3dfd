"""The bar on standard error of work that counts what it does: how much is done, how fast, how long it still takes."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


def counting_bar(unit: str, shown: bool = True) -> Progress:
    """A bar whose tasks count in `unit`: "Clotho ━━━ 120/5929 clips 41.3/s 0:02:20"."""
    columns = (TextColumn("{task.description:10}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit), _Rate(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True, quiet=not shown), disable=not shown)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")
