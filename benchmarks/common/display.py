"""Shows rows: on the screen, as text, as bars."""

import statistics
import sys
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table

from engine.common.text import mean_text


def console() -> Console:
    """A console as wide as the terminal, or 150 columns where there is none."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 150)


def print_table(head: Iterable[str], rows: Iterable[Iterable[str]], title: str | None = None) -> None:
    table = Table(*head, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def draw_rates(axes: Axes, names: Sequence[str], rates: Sequence[float], colours: Sequence[str]) -> None:
    """A labelled horizontal bar per rate, the first at the top."""
    bars = axes.barh(names[::-1], rates[::-1], color=colours[::-1])
    axes.bar_label(bars, labels=[f"{rate:,.0f}" for rate in rates[::-1]], padding=3, fontsize=8)
    axes.tick_params(labelsize=8)


def spread(shares: Sequence[float]) -> str:
    """Mean and, for two or more values, standard deviation of shares of 1, in percent."""
    values = [100 * share for share in shares]
    if len(values) == 1:
        return f"{values[0]:.2f} %"
    return f"{mean_text(statistics.mean(values), statistics.stdev(values))} %"
