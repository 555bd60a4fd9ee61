"""What an export came to: the content of its JSON file, and its tables."""

from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from engine.common.environment import hardware, versions
from engine.exporting.pipeline import Made
from engine.exporting.prune import KINDS
from engine.inference.sample_images import Samples
from engine.inference.trained import Trained


def summarise(trained: Trained, samples: Samples, top1: float, made: Mapping[str, Made], paths: Mapping[str, Path],
              pruned: Mapping[str, object] | None) -> dict:
    """Plain values: shares of 1, bytes, milliseconds; `top1` is the network's own on `samples`."""
    formats = {}
    for name, each in made.items():
        found = each.check
        formats[name] = {"file": str(paths[name]), "bytes": len(each.content), "max_difference": found.max_difference,
                         "agreement": found.agreement, "top1": found.top1}
        if each.latencies:
            formats[name]["latency_ms"] = {
                str(size): {program: {"median": taken.median_ms, "n": taken.count} for program, taken in row.items()}
                for size, row in each.latencies.items()}
    return {"checkpoint": str(trained.path), "recipe": trained.recipe.name,
            "dataset": trained.recipe.section("data").name, "split": samples.split, "images": len(samples.labels),
            "top1": top1, "weights_bytes": sum(t.nbytes for t in trained.model.state_dict().values()),
            "pruned": pruned, "formats": formats, "hardware": hardware(torch.device("cpu")), "versions": versions()}


def show(summary: Mapping[str, object]) -> None:
    """Print what `summarise` gave."""
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
    images = f"{summary['images']:,} images of the {summary['split']} split"
    if summary["split"] != "test":
        images += f", for {summary['dataset']} has no test split"
    console.print(f"{summary['checkpoint']}: top-1 {summary['top1']:.2%} on {images}")
    pruned = summary["pruned"]
    if pruned:
        epochs = pruned["epochs"]
        tuned = f", {pruned['top1']:.2%} after {epochs} epoch{'s' * (epochs > 1)} of fine-tuning" if epochs else ""
        console.print(f"pruned {pruned['share']:g} of the {KINDS[pruned['kind']]}: {pruned['zeros']:,} of "
                      f"{pruned['weights']:,} weights are 0; top-1 {pruned['top1_before']:.2%} before, "
                      f"{pruned['top1_at_once']:.2%} pruned{tuned}")
    files = [Path(told["file"]) for told in summary["formats"].values()]
    table = Table("file", "MB", "max difference", "same top-1", "top-1",
                  title=f"in {files[0].parent}, read back and compared", title_justify="left")
    speeds = Table("batch", "fp32 ms", "int8 ms", "fp32 / int8", "n",
                   title=f"by torch.compile, median of n; {summary['hardware']['processor']}, torch's threads: "
                   f"{summary['hardware']['torch_threads']}", title_justify="left")
    for file, told in zip(files, summary["formats"].values(), strict=True):
        table.add_row(file.name, f"{told['bytes'] / 1e6:.2f}", f"{told['max_difference']:.2g}",
                      f"{told['agreement']:.2%}", f"{told['top1']:.2%}")
        for size, row in told.get("latency_ms", {}).items():
            fp32, int8 = row["fp32"], row["int8"]
            speeds.add_row(size, f"{fp32['median']:.2f}", f"{int8['median']:.2f}",
                           f"{fp32['median'] / int8['median']:.2f}", str(int8["n"]))
    console.print(table)
    if speeds.row_count:
        console.print(speeds)
