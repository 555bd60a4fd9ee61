"""Shows rows of the epochs benchmark: a table on the screen, the README's section, a picture."""

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.common.display import console, draw_rates, print_table
from benchmarks.common.results import device_name
from engine.plots.figure import dress, new_figure, write_png

WAYS = {"peer a: author's style": "a: the author's style of loop", "peer b: tuned": "b: a well-tuned plain loop",
        "peer b: tuned, compiled": "b: the same with torch.compile",
        "peer c: FFCV's operations": "c: FFCV's own operations, tuned loop"}
KINDS = ("ours", "ended", "step", "a", "b", "c")
COLOURS = {"ours": "#0072b2", "ended": "#0072b2", "step": "#56b4e9"}
PEER_COLOUR = "#999999"
TITLE_LETTERS = 66
HEAD = ("recipe", "way of training", "images/s", "epochs/s", "× a", "× b", "× c", "data cost", "of the matrix rate")
# The columns after the first two: a row's key, and how its median is shown.
FIGURES = (("images_per_second", "{:,.0f}"), ("epochs_per_second", "{:.3g}"), ("ratio_a", "{:.2f}"),
           ("ratio_b", "{:.2f}"), ("ratio_c", "{:.2f}"), ("data_cost", "{:.1%}"), ("share_of_peak", "{:.0%}"))


def by_label(rows: Iterable[dict]) -> dict[str, list[dict]]:
    """The rows of each recipe, in the order of their first rows."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["label"], []).append(row)
    return groups


def title(row: Mapping) -> str:
    """A row's way of training, in words."""
    return f"Cadence, {row['way']}" if row["kind"] in ("ours", "ended") else WAYS.get(row["way"], f"the {row['way']}")


def cells(row: Mapping) -> list[str]:
    return [form.format(row[key]["median"]) if row[key] else "" for key, form in FIGURES]


def timed_rows(rows: Iterable[dict]) -> list[dict]:
    """The rows of training that have figures, by kind; merged files hold them in any order."""
    return sorted((row for row in rows if row["images_per_second"]), key=lambda row: KINDS.index(row["kind"]))


def show(rows: list[dict]) -> None:
    lines = [(title(row), *cells(row), "" if row["first_step_s"] is None else f"{row['first_step_s']:.2f}")
             for row in timed_rows(rows)]
    print_table((*HEAD[1:], "first step s"), lines, title=rows[0]["label"])
    screen = console()
    for row in rows:
        if row["failed"]:
            screen.print(f"{title(row)}: not timed: {row['failed']}", markup=False)
        if row["left_out"]:
            screen.print(f"{title(row)} leaves out {row['left_out']}", markup=False)
        if row["kind"] == "peak":
            screen.print(f"{row['way']}: {row['peak_tflops']['median']:.3g} TFLOP/s {row['precision']}", markup=False)


def summary(rows: list[dict]) -> str:
    """The README's section: a table of all recipes, our fastest way in bold, and the machines."""
    lines, notes = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"], []
    for label, group in by_label(rows).items():
        timed = timed_rows(group)
        # By the ratio to peer a, which does not depend on the machine's speed in a round.
        best = max((row for row in timed if row["kind"] == "ours"), default=None, key=lambda row: (
            row["ratio_a"]["median"] if row["ratio_a"] else 0.0, row["images_per_second"]["median"]))
        for row in timed:
            mark = "**" if row is best else ""
            lines.append(f"| `{label}` | {mark}{title(row)}{mark} | {' | '.join(cells(row))} |")
        lines += [f"| `{label}` | {title(row)} | not timed: {row['failed']} |" + " |" * (len(HEAD) - 3)
                  for row in group if row["failed"]]
        notes.append(note(label, group))
    return "\n".join([*lines, "", *notes]) + "\n"


def note(label: str, group: list[dict]) -> str:
    """The machine and settings of one recipe's rows, and the operations that peers leave out."""
    machine, timed = group[0]["environment"]["hardware"], timed_rows(group)
    text = f"`{label}` on {device_name(machine)}, {machine['cores']} cores"
    if timed:
        own = next(row for row in timed if row["kind"] == "ours")
        text += f", {own['precision']}, batch {own['batch']}, {own['images_per_second']['n']} rounds in turns"
    if peak := next((row for row in group if row["kind"] == "peak"), None):
        text += f"; a large matrix product there: {peak['peak_tflops']['median']:.3g} TFLOP/s"
    left_out = [f"{row['way'].partition(':')[0].removeprefix('peer ')} without {row['left_out']}" for row in timed
                if row["left_out"]]
    return f"{text}{'; ' + ', '.join(dict.fromkeys(left_out)) if left_out else ''}."


def draw(rows: list[dict], path: Path) -> None:
    """A panel per recipe, a bar per way of training, images per second; no file if there are no figures."""
    groups = {label: timed for label, group in by_label(rows).items() if (timed := timed_rows(group))}
    if not groups:
        return
    heights = [0.8 + 0.3 * len(group) for group in groups.values()]
    figure = new_figure(9, 0.4 + sum(heights))
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (label, group) in zip(panels, groups.items(), strict=True):
        rates = [row["images_per_second"]["median"] for row in group]
        dress(axes, textwrap.fill(label, TITLE_LETTERS), "images per second", "")
        draw_rates(axes, [title(row) for row in group], rates,
                   [COLOURS.get(row["kind"], PEER_COLOUR) for row in group])
        axes.grid(False, axis="y")
        axes.set_xlim(0, 1.15 * max(rates))
    write_png(figure, path)
