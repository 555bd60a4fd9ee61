"""What a training step costs a GPU in launches, copies and bytes: `python -m benchmarks.step_launches [--json FILE]`.

Needs no GPU: feed and step of each recipe run on fake CUDA tensors. Counted are a whole batch's augmentation and its
step in the recipe's last stage, once with forward and backward pass as a graph and all else launched one by one, and
once as one graph. A graph that draws random numbers needs two more launches, which fill in the generator's seed and
offset. Operations inside a graph are counted as the eager step has them, without the backward pass; compiled, they are
fewer.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.common.commands import names_in
from benchmarks.common.display import print_table
from benchmarks.common.fake_gpu import FakeRun, fake_gpu
from benchmarks.common.results import save_rows
from engine.cli.parser import Parser, run_command
from recipes.settings.load import Recipe, load, names


@dataclass(frozen=True)
class StepLaunches:
    """The host's launches and copies of a step whose graph holds the passes only (`passes_`), and of one that is a
    graph as a whole, with what that graph holds (`recorded_`). A copy moves a batch, a row of numbers, or a result."""

    name: str
    batch: int
    passes_graphs: int
    passes_launches: int
    passes_copies: int
    graphs: int
    launches: int
    copies: int
    recorded_launches: int
    recorded_bytes: int


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser("benchmarks.step_launches", __doc__, settings=False)
    parser.add_argument("--recipes", metavar="A,B", default=",".join(names()), help="recipes (all)")
    parser.add_argument("--json", metavar="FILE", help="write rows here; rows of other names stay")
    options, _ = parser.read(argv)
    rows = [row_of(load(name)) for name in names_in(options.recipes)]
    print_table(("step of", "batch", "passes in a graph: launches", "copies", "one graph: launches", "copies",
                 "in the graph", "MB"),
                [(row.name, f"{row.batch:,}", f"{row.passes_graphs} + {row.passes_launches}", f"{row.passes_copies}",
                  f"{row.graphs} + {row.launches}", f"{row.copies}", f"{row.recorded_launches}",
                  f"{row.recorded_bytes / 1e6:,.1f}") for row in rows])
    save_rows(options.json, map(asdict, rows), "benchmarks.step_launches", argv)
    return 0


def row_of(recipe: Recipe) -> StepLaunches:
    """The counts of a recipe's step."""
    with fake_gpu():
        passes, _, passes_graphs = FakeRun(recipe, whole=False).count_step()
        whole, recorded, graphs = FakeRun(recipe).count_step()
    return StepLaunches(recipe.name, recipe.section("train").batch, passes_graphs, *apart(passes), graphs,
                        *apart(whole), recorded.launches, recorded.bytes)


def apart(counts) -> tuple[int, int]:
    """(launches that calculate, copies)."""
    copies = counts.operations["aten::copy_"] + counts.operations["aten::_to_copy"]
    return counts.launches + counts.copies - copies, copies


if __name__ == "__main__":
    run_command(main)
