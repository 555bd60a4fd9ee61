"""How many images per second each loader delivers, all timed in turns in one run.

    python -m benchmarks.loaders [--data.name=shapes|cifar100 --data.root=DIR] [--seconds S] [--json FILE]
    python -m benchmarks.loaders --op jitter --policy cnn4      # one operation of a policy against decoding alone
    python -m benchmarks.loaders --large                        # the ResNet-50 seed's pipeline at 224 px

Rows: {name, policy, threads, batch, images_per_second: {median, min, max, n}, ratio_to_ffcv_stock}; the ratio compares
with FFCV's own operations at equal threads, batch and output (uint8, or float32 if normalised).
"""

import sys
from pathlib import Path

import torch

from benchmarks.common.display import draw_rates, print_table
from benchmarks.common.readme import fill
from benchmarks.common.results import read_rows, save_rows
from benchmarks.common.timing import alternate
from benchmarks.throughput import peer_loaders as peers
from benchmarks.throughput.loader_table import summary
from engine.build.datasets import open_betons, open_data
from engine.build.devices import choose_device
from engine.cli.parser import Parser, run_command
from engine.common.errors import EngineError
from engine.plots.figure import new_figure, write_png
from loaders.feeds.stream import usable_cores
from loaders.policy.policy import parse
from recipes.settings import load

RESULTS = Path(__file__).parent / "results"
SHAPES = {"data.name": "shapes", "data.train_count": "50000"}
STOCK = {"uint8": "ffcv stock ops", "float32": "ffcv stock ops + normalise"}


def main(argv: list[str] | None = None) -> int:
    parser = Parser("benchmarks.loaders", __doc__)
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="time per peer and round (1)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds (5)")
    parser.add_argument("--threads", default="", metavar="A,B", help="loader threads (default: 1 and every core)")
    parser.add_argument("--batches", default="512,2000", metavar="A,B", help="batch sizes")
    parser.add_argument("--op", metavar="NAME", help="time this operation of --policy against decoding alone")
    parser.add_argument("--policy", default=peers.POLICY, metavar="TEXT", help="with --op: the policy that has it")
    parser.add_argument("--large", action="store_true", help="the ResNet-50 seed's policy at 224 px, batch 32")
    parser.add_argument("--json", metavar="FILE", help="write the rows, and a bar chart beside them")
    parser.add_argument("--render", action="store_true", help="only write the README's table from the rows")
    options, settings = parser.read(argv)
    if options.render:
        fill("loaders", summary(*(read_rows(RESULTS / name) for name in ("loaders.json", "loaders-224.json"))))
        return 0
    recipe = load.load("quickstart", settings=(SHAPES if "data.name" not in settings else {}) | settings)
    source = open_data(recipe)
    beton = open_betons(recipe, source)["train"]
    threads = [int(count) for count in options.threads.split(",") if count] or sorted({1, usable_cores()})
    batches = [32] if options.large else [int(size) for size in options.batches.split(",")]
    images_nhwc = None if options.op else source.read("train").images_nhwc
    time = time_operation if options.op else time_large if options.large else time_peers
    rows = [row for batch in batches for count in threads for row in time(beton, images_nhwc, batch, count, options)]
    show(rows)
    if options.json:
        save_rows(options.json, rows, "benchmarks.loaders", argv, device=choose_device("auto").type, merge=False)
        draw(rows, Path(options.json).with_suffix(".png"))
    return 0


def time_peers(beton, images_nhwc, batch: int, threads: int, options) -> list[dict]:
    """Every peer at one batch size and thread count; for one thread a DataLoader has 0 workers."""
    torch.set_num_threads(threads)
    workers = 0 if threads == 1 else threads
    outputs = {
        "memcpy": ("uint8", peers.memcpy(images_nhwc, batch)),
        "ffcv decode only": ("uint8", peers.ffcv_stock(beton, batch, threads, "decode")),
        STOCK["uint8"]: ("uint8", peers.ffcv_stock(beton, batch, threads, "augment")),
        STOCK["float32"]: ("float32", peers.ffcv_stock(beton, batch, threads, "normalise")),
        "cadence fused": ("uint8", peers.cadence_stream(beton, batch, threads, peers.POLICY)),
        "cadence fused + normalise": ("float32", peers.cadence_stream(beton, batch, threads, peers.POLICY, "float32")),
        "cadence resident": ("uint8", peers.cadence_resident(beton, batch, peers.POLICY, torch.uint8)),
        "cadence resident + normalise": ("float32", peers.cadence_resident(beton, batch, peers.POLICY, torch.float32)),
        "cadence kernel alone": ("uint8", peers.cadence_kernel(beton, batch, threads, peers.POLICY)),
        f"torchvision v2, {workers} workers": ("float32", peers.torchvision_loader(images_nhwc, batch, workers)),
    }
    if albumentations := peers.albumentations_loader(images_nhwc, batch, workers):
        outputs[f"albumentations, {workers} workers"] = ("float32", albumentations)
    return measure(outputs, peers.POLICY, batch, threads, options)


def time_large(beton, images_nhwc, batch: int, threads: int, options) -> list[dict]:
    """The ResNet-50 seed's policy at 224 px: its own pipeline and this project's."""
    outputs = {
        "the seed's own pipeline": ("float32", peers.seed_at_224(images_nhwc, batch, 0 if threads == 1 else threads)),
        "cadence fused + normalise": ("float32", peers.cadence_stream(beton, batch, threads, "resnet50", "float32",
                                                                      2_000)),
        "cadence fused": ("uint8", peers.cadence_stream(beton, batch, threads, "resnet50", images=2_000)),
    }
    return measure(outputs, "resnet50", batch, threads, options, to="the seed's own pipeline")


def time_operation(beton, _, batch: int, threads: int, options) -> list[dict]:
    """Decoding alone, and with the operation that --op names, as the policy writes it."""
    policy = parse(options.policy, beton.height, beton.width)
    text_of = {operation.name: operation.text for operation in reversed(policy.operations)}
    if options.op not in text_of:
        known = ", ".join(operation.name for operation in policy.operations)
        raise EngineError(f"--op={options.op} is not in the policy; it has {known}")
    text = text_of[options.op]
    outputs = {"decode": ("uint8", peers.cadence_kernel(beton, batch, threads, "none")),
               text: ("uint8", peers.cadence_kernel(beton, batch, threads, text))}
    return measure(outputs, text, batch, threads, options)


def measure(outputs: dict, policy: str, batch: int, threads: int, options, to: str | None = None) -> list[dict]:
    """Rows of the peers, timed in turns; `ratio_to_seed` compares with the peer `to`."""
    timed = alternate({name: call for name, (_, (_, call)) in outputs.items()}, options.seconds, options.repeats)
    rates = {name: timed[name].map(lambda pass_s, images=images: images / pass_s)
             for name, (_, (images, _)) in outputs.items()}
    rows = []
    for name, (dtype, _) in outputs.items():
        stock = rates.get(STOCK[dtype])
        rows.append({"name": f"{name}, {threads} threads, batch {batch}", "peer": name, "policy": policy,
                     "threads": threads, "batch": batch, "output": dtype, "images_per_second": rates[name].row(0),
                     "ratio_to_ffcv_stock": round(rates[name].median / stock.median, 2) if stock else None})
        if to:
            rows[-1]["ratio_to_seed"] = round(rates[name].median / rates[to].median, 2)
    return rows


def show(rows: list[dict]) -> None:
    lines = []
    for row in rows:
        rates, ratio = row["images_per_second"], row.get("ratio_to_seed") or row["ratio_to_ffcv_stock"]
        lines.append((row["peer"], row["output"], str(row["threads"]), str(row["batch"]),
                      *(f"{rates[key]:,.0f}" for key in ("median", "min", "max")), f"{ratio:.1f} x" if ratio else "-"))
    print_table(("peer", "output", "threads", "batch", "images/s", "min", "max", "ratio"), lines)


def draw(rows: list[dict], path: Path) -> None:
    figure = new_figure(9, 1.2 + 0.28 * len(rows))
    axes = figure.add_subplot()
    rates = [row["images_per_second"]["median"] for row in rows]
    draw_rates(axes, [row["name"] for row in rows], rates,
               ["#0072b2" if row["name"].startswith("cadence") else "#999999" for row in rows])
    axes.set(xscale="log", xlabel="images per second (32 x 32, log scale)", xlim=(min(rates) / 2, max(rates) * 4))
    write_png(figure, path)


if __name__ == "__main__":
    sys.exit(run_command(main))
