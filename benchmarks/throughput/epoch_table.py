"""Rows of the epochs benchmark for people: a table on the screen, the README's section, a picture."""

import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

WAYS = {"peer a: author's style": "a: the author's style of loop", "peer b: tuned": "b: a well-tuned plain loop",
        "peer b: tuned, compiled": "b: the same with torch.compile",
        "peer c: FFCV's operations": "c: FFCV's own operations, tuned loop"}
KINDS = ("ours", "step", "a", "b", "c")
COLOURS = {"ours": "#0072b2", "step": "#56b4e9"}
PEER_COLOUR = "#999999"
TITLE_LETTERS = 66
HEAD = ("recipe", "way of training", "images/s", "epochs/s", "× a", "× b", "× c", "data cost", "of the matrix rate")


def by_label(rows: Iterable[dict]) -> dict[str, list[dict]]:
    """Rows of one recipe together, in the order in which the recipes first come."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["label"], []).append(row)
    return groups


def title(row: Mapping) -> str:
    """What a row timed, in the words of a reader."""
    if row["kind"] == "ours":
        return f"Cadence, {row['way']}"
    return WAYS.get(row["way"], f"the {row['way']}")


def cells(row: Mapping) -> list[str]:
    """The figures of a row as text, "" where it has none."""
    def median(key: str, form: str) -> str:
        return form.format(row[key]["median"]) if row[key] else ""

    return [median("images_per_second", "{:,.0f}"), median("epochs_per_second", "{:.3g}"),
            *(median(f"ratio_{kind}", "{:.2f}") for kind in "abc"), median("data_cost", "{:.1%}"),
            median("share_of_peak", "{:.0%}")]


def timed_rows(rows: Iterable[dict]) -> list[dict]:
    """The rows of training that have figures, kind by kind: merged files hold them as they came."""
    return sorted((row for row in rows if row["images_per_second"]), key=lambda row: KINDS.index(row["kind"]))


def show(rows: list[dict]) -> None:
    """Print the rows of one recipe."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEAD[1:], "first step s", title=rows[0]["label"], title_justify="left")
    for row in timed_rows(rows):
        first = row["first_step_s"]
        table.add_row(title(row), *cells(row), "" if first is None else f"{first:.2f}")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    console.print(table)
    for row in rows:
        if row["failed"]:
            console.print(f"{title(row)}: not timed: {row['failed']}", markup=False)
        if row["left_out"]:
            console.print(f"{title(row)} leaves out {row['left_out']}", markup=False)
        if row["kind"] == "peak":
            console.print(f"{row['way']}: {row['peak_tflops']['median']:.3g} TFLOP/s {row['precision']}", markup=False)


def summary(rows: list[dict]) -> str:
    """The README's section: a table over all recipes, in bold this engine's way that is the fastest in its rounds
    beside peer a, and what it was timed on."""
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    notes = []
    for label, group in by_label(rows).items():
        timed = timed_rows(group)
        best = max((row for row in timed if row["kind"] == "ours"), key=speed, default=None)
        for row in timed:
            mark = "**" if row is best else ""
            lines.append(f"| `{label}` | {mark}{title(row)}{mark} | {' | '.join(cells(row))} |")
        lines += [f"| `{label}` | {title(row)} | not timed: {row['failed']} |" + " |" * (len(HEAD) - 3)
                  for row in group if row["failed"]]
        notes.append(note(label, group))
    return "\n".join([*lines, "", *notes]) + "\n"


def speed(row: dict) -> tuple[float, float]:
    """The median ratio to peer a, which a change of the machine's pace between rounds does not show in; images/s."""
    ratio = row["ratio_a"]
    return ratio["median"] if ratio else 0.0, row["images_per_second"]["median"]


def note(label: str, group: list[dict]) -> str:
    """Where one recipe's rows come from, and which of its operations the peers do without."""
    machine = group[0]["environment"]["hardware"]
    said = f"`{label}` on {machine.get('gpu') or machine['processor']}, {machine['cores']} cores"
    timed = timed_rows(group)
    if timed:
        own = next(row for row in timed if row["kind"] == "ours")
        said += f", {own['precision']}, batch {own['batch']}, {own['images_per_second']['n']} rounds in turns"
    peak = next((row for row in group if row["kind"] == "peak"), None)
    if peak:
        said += f"; a large matrix product there: {peak['peak_tflops']['median']:.3g} TFLOP/s"
    left_out = [f"{row['way'].partition(':')[0].removeprefix('peer ')} without {row['left_out']}" for row in timed
                if row["left_out"]]
    return f"{said}{'; ' + ', '.join(dict.fromkeys(left_out)) if left_out else ''}."


def draw(rows: list[dict], path: Path) -> None:
    """A panel a recipe, a bar a way of training, images a second."""
    from engine.plots.figure import dress, new_figure, write_png

    groups = {label: timed for label, group in by_label(rows).items() if (timed := timed_rows(group))}
    if not groups:
        return
    heights = [0.8 + 0.3 * len(group) for group in groups.values()]
    figure = new_figure(9, 0.4 + sum(heights))
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (label, group) in zip(panels, groups.items(), strict=True):
        rates = [row["images_per_second"]["median"] for row in reversed(group)]
        dress(axes, textwrap.fill(label, TITLE_LETTERS), "images a second", "")
        bars = axes.barh([title(row) for row in reversed(group)], rates,
                         color=[COLOURS.get(row["kind"], PEER_COLOUR) for row in reversed(group)])
        axes.bar_label(bars, labels=[f"{rate:,.0f}" for rate in rates], padding=3, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(False, axis="y")
        axes.set_xlim(0, 1.15 * max(rates))
    write_png(figure, path)
