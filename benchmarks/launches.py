"""What a batch costs a GPU in launches and bytes: `python -m benchmarks.launches [--json FILE]`. Needs no GPU.

For each recipe, the resident feed makes one batch of its policy, with labels, on fake CUDA tensors: once as batched
torch, once by the kernels in Triton. A feed makes several small batches per call; here a call makes one.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.common.display import print_table
from benchmarks.common.results import save_rows
from benchmarks.modelling.augmentation import augmentation_counts
from engine.build.preflight import policy_of
from engine.cli.parser import Parser, run_command
from loaders.policy.policy import Policy, parse
from recipes.settings.load import load, names

# Not the policy of a recipe, but of much published work.
MORE = {"trivial_wide": ("trivial_wide(), crop(pad_px=4), flip()", 512)}


@dataclass(frozen=True)
class Augmentation:
    """A batch's launches and bytes as batched torch (`batched_`) and by kernels; least_bytes: read and written once."""

    name: str
    policy: str
    batch: int
    batched_launches: int
    batched_bytes: int
    launches: int
    bytes: int
    least_bytes: int


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser("benchmarks.launches", __doc__, settings=False)
    parser.add_argument("--json", metavar="FILE", help="write rows here; rows of other names stay")
    options, _ = parser.read(argv)
    rows = [row_of(name, policy, batch) for name, policy, batch in cases()]
    print_table(("augmentation of", "batch", "launches, batched torch", "by kernels", "MB, batched torch", "by kernels",
                 "x read and written once"),
                [(row.name, f"{row.batch:,}", f"{row.batched_launches}", f"{row.launches}",
                  f"{row.batched_bytes / 1e6:,.1f}", f"{row.bytes / 1e6:,.1f}", f"{row.bytes / row.least_bytes:.2f}")
                 for row in rows])
    save_rows(options.json, map(asdict, rows), "benchmarks.launches", argv)
    return 0


def cases() -> list[tuple[str, Policy, int]]:
    """(name, policy, batch) of each recipe, and of MORE."""
    recipes = [load(name) for name in names()]
    return [*((recipe.name, policy_of(recipe), recipe.section("train").batch) for recipe in recipes),
            *((name, parse(text), batch) for name, (text, batch) in MORE.items())]


def row_of(name: str, policy: Policy, batch: int) -> Augmentation:
    batched, ours = augmentation_counts(policy, batch, kernels=False), augmentation_counts(policy, batch)
    pixels = policy.height * policy.width + policy.output_height * policy.output_width
    return Augmentation(name, policy.text, batch, batched.launches, batched.bytes, ours.launches, ours.bytes,
                        3 * pixels * batch)


if __name__ == "__main__":
    run_command(main)
