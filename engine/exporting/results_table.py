"""The results of an export as tables."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engine.exporting.prune import KINDS


def show(summary: Mapping[str, object]) -> None:
    """Print the summary that `pipeline.export` returned."""
    # Rich must not read names of folders as markup.
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    images = f"{summary['images']:,} images of the {summary['split']} split"
    if summary["split"] != "test":
        images += f" ({summary['dataset']} has no test split)"
    console.print(f"{summary['checkpoint']}: top-1 {summary['top1']:.2%} on {images}")
    if pruned := summary["pruned"]:
        epochs = pruned["epochs"]
        tuned = f", {pruned['top1']:.2%} after {epochs} epoch{'s' * (epochs > 1)} of fine-tuning" if epochs else ""
        console.print(f"pruned {pruned['share']:g} of the {KINDS[pruned['kind']]}: {pruned['zeros']:,} of "
                      f"{pruned['weights']:,} weights are 0; top-1 {pruned['top1_before']:.2%} before, "
                      f"{pruned['top1_at_once']:.2%} pruned{tuned}")
    files = [Path(row["file"]) for row in summary["formats"].values()]
    table = Table("file", "MB", "max difference", "same top-1", "top-1",
                  title=f"in {files[0].parent}, read back and compared", title_justify="left")
    speeds = Table("batch", "fp32 ms", "int8 ms", "fp32 / int8", "n",
                   title=f"with torch.compile, median of n; {summary['hardware']['processor']}, torch threads: "
                   f"{summary['hardware']['torch_threads']}", title_justify="left")
    for file, row in zip(files, summary["formats"].values(), strict=True):
        table.add_row(file.name, f"{row['bytes'] / 1e6:.2f}", f"{row['max_difference']:.2g}",
                      f"{row['agreement']:.2%}", f"{row['top1']:.2%}")
        for size, latency_ms in row.get("latency_ms", {}).items():
            fp32, int8 = latency_ms["fp32"], latency_ms["int8"]
            speeds.add_row(size, f"{fp32['median']:.2f}", f"{int8['median']:.2f}",
                           f"{fp32['median'] / int8['median']:.2f}", str(int8["n"]))
    console.print(table)
    if speeds.row_count:
        console.print(speeds)
