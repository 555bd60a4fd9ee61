"""Measure a run or checkpoint on its test set: `python -m engine.evaluate RUN_OR_CHECKPOINT [--data.root=DIR]`.

Class folders that have val/ and no test/ are measured on their validation images.
"""

import math
import sys
from pathlib import Path

from engine.cli.parser import Parser, run_command

# The settings and sections that affect an evaluation.
USED = ("data.", "eval.batch", "eval.tta", "train.device", "train.precision")


def main(argv: list[str] | None = None) -> int:
    """Parse, load, evaluate, show."""
    parser = Parser("engine.evaluate", __doc__)
    parser.add_argument("checkpoint", metavar="RUN_OR_CHECKPOINT",
                        help="a run folder (its last.pt), a .pt file or a folder made by engine.share")
    parser.add_argument("--best", action="store_true", help="the run's best.pt instead of its last.pt")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON")
    parser.add_argument("--out", metavar="DIR", help="folder for confusion*.csv and .png (default: the run's)")
    options, settings = parser.read(argv)
    if refused := [path for path in settings if not path.startswith(USED)]:
        parser.error(f"--{refused[0]} has no effect on an evaluation: only data.*, eval.batch, eval.tta, "
                     "train.device and train.precision do")

    from rich.console import Console
    from rich.table import Table

    from engine.common.files import make_folder, write_json
    from engine.common.text import percent
    from engine.inference.evaluate_checkpoint import evaluate_trained, file_stem
    from engine.inference.trained import open_trained
    from engine.plots.bars import worst_first
    from engine.plots.confusion import write_confusion
    from engine.storage.shared_folder import is_shared

    trained = open_trained(options.checkpoint, "best" if options.best else "last", device="cpu")
    recipe, split, result, data_sha256 = evaluate_trained(trained, settings)
    shared, names = is_shared(Path(options.checkpoint)), trained.class_names
    path = Path(options.checkpoint) if shared else trained.path
    written = "only with --out=DIR"
    if options.out or not shared:
        csv_file, picture = write_confusion(result.confusion, names,
                                            make_folder(Path(options.out) if options.out else trained.run_folder),
                                            file_stem(trained, recipe, split, data_sha256))
        written = f"{csv_file}, {picture.name}"
    summary = {"checkpoint": str(path), "recipe": recipe.name, "dataset": recipe.get("data.name"),
               "data_sha256": data_sha256, "split": split, "images": result.count, f"{split}_loss": result.loss,
               f"{split}_top1": result.top1, f"{split}_top5": result.top5, "ece": result.ece,
               "per_class": dict(zip(names, result.per_class.tolist(), strict=True))}
    table = Table(title=f"{path} on {summary['dataset']}'s {split} set", show_header=False, title_justify="left")
    table.add_column()
    # The end of a path says whose the files are.
    table.add_column(overflow="fold")
    for name, value in (("images", f"{result.count:,}"), ("loss", f"{result.loss:.4f}"),
                        ("top-1", f"{result.top1:.2%}"), ("top-5", f"{result.top5:.2%}"),
                        ("calibration error", f"{result.ece:.2%}"), ("confusion", written)):
        table.add_row(name, value)
    per_class = Table("class", "top-1", title="worst classes first", title_justify="left")
    for label in worst_first(result.per_class):
        share = float(result.per_class[label])
        per_class.add_row(names[label], percent(None if math.isnan(share) else share, "no images"))
    # Rich must not read names of classes and folders as markup.
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(per_class)
    console.print(table)
    if options.json:
        write_json(Path(options.json), summary)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
