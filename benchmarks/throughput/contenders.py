"""All ways of training one recipe, prepared one by one and timed in turns."""

import itertools
import resource
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, closing, nullcontext
from dataclasses import asdict

import torch

from benchmarks.common.step_check import Deviation
from benchmarks.common.timing import Timings, in_turns
from benchmarks.throughput import peer_loops
from benchmarks.throughput.epoch_rows import Measurement, failed_row, make_rows, peak_row
from benchmarks.throughput.plain_step import TrainingSetup, setup_of
from benchmarks.throughput.unit_timing import Contender
from engine.build.run import Run, build
from engine.diagnostics.peaks import MATRIX_SIDE
from engine.models.flops import flops_per_image
from loaders.feeds.stream import usable_cores
from recipes.settings.load import Recipe

# Batches that the step alone cycles through; batches that FFCV's thread and the copy to the device hold.
HELD_BATCHES, IN_HANDS = 24, 2
PRODUCT = "matrix product"


def time_ways(recipe: Recipe, feeds: Iterable[str], checks: Mapping[str, Deviation | None], peers: Collection[str],
              seconds: float, repeats: int, label: str) -> list[dict]:
    """A row for each feed with each step mode of `checks`, each of `peers` (of a, b, c) and a matrix product, in turns.

    Where parts of the network end before the run there is another row for each step mode, of the steps after that.
    """
    with closing(build(recipe.changed({"train.step": "eager", "train.norms": "torch", "data.feed": "stream"}))) as run:
        setup, precision = setup_of(run), run.precision.name
    del run
    with ExitStack() as opened:
        contenders, failed = prepare_all(recipe, setup, precision, feeds, checks, peers, seconds, opened)
        unit_s: dict[str, list[float]] = {way: [] for way in contenders}
        for each in contenders.values():
            each.unit()
            each.unit()
        for way in in_turns(contenders, repeats):
            unit_s[way].append(contenders[way].unit())
    measured = {way: Measurement(each.kind, each.image_seconds(Timings(tuple(unit_s[way]))),
                                 {**each.facts, "threads": each.threads, "timed": each.timed})
                for way, each in contenders.items()}
    device, product = setup.device.type, measured.pop(PRODUCT)
    peak = product.image_s.map(lambda product_s: 2 * MATRIX_SIDE[device] ** 3 / product_s)
    rows = make_rows(label, measured, images=len(setup.indices), peak=peak,
                     shared={"device": device, "batch": recipe.section("train").batch},
                     forward_flops=flops_per_image(setup.model, setup.policy.output_height))
    rows += [failed_row(label, way, "b", reason) for way, reason in failed.items()]
    return [*rows, peak_row(label, PRODUCT, peak, {"device": device, **product.facts})]


def prepare_all(recipe: Recipe, setup: TrainingSetup, precision: str, feeds: Iterable[str],
                checks: Mapping[str, Deviation | None], peers: Collection[str], seconds: float,
                opened: ExitStack) -> tuple[dict[str, Contender], dict[str, str]]:
    """({way: its contender after its first steps}, {way that did not compile: why}); `opened` closes them."""
    contenders: dict[str, Contender] = {}
    failed: dict[str, str] = {}
    runs: dict[str, Run] = {}

    def built(feed: str, mode: str) -> Run:
        return opened.enter_context(closing(build(recipe.changed({"train.step": mode, "data.feed": feed}))))

    def ours(feed: str, mode: str) -> Contender:
        run = built(feed, mode)
        runs.setdefault(mode, run)
        return whole_run(run, mode, checks[mode])

    def ended(feed: str, mode: str) -> Contender:
        run = built(feed, mode)
        run.step.updates = max(part.total_steps for part in run.step.parts.values())
        return whole_run(run, mode, checks[mode], "ended")

    def add(way: str, make: Callable[..., Contender], *arguments: object) -> None:
        on_gpu, device = setup.device.type == "cuda", setup.device
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        others_bytes = torch.cuda.memory_allocated(device) if on_gpu else 0
        contender = make(*arguments)
        opened.callback(contender.close)
        contender.prepare(seconds)
        # Per contender on a GPU; on a CPU the process only knows its peak so far.
        peak_bytes = (torch.cuda.max_memory_allocated(device) if on_gpu
                      else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        if contender.kind not in ("step", "peak"):
            contender.facts |= {"memory_peak_mib": round((peak_bytes - others_bytes) / 2**20),
                                "first_step_s": round(contender.first_step_s, 3)}
        contenders[way] = contender

    for feed, mode in itertools.product(feeds, checks):
        add(f"{feed}, {mode}", ours, feed, mode)
    for mode, run in runs.items():
        if run.step.parts:
            add(f"{run.feeds.kind}, {mode}, after {' and '.join(run.step.parts)} ended", ended, run.feeds.kind, mode)
    for mode, run in runs.items():
        add(f"step alone, {mode}", step_alone, run, mode)
    if "a" in peers:
        add("peer a: author's style", peer_loops.author, setup)
    if "b" in peers:
        add("peer b: tuned", peer_loops.tuned, setup, False)
        way = "peer b: tuned, compiled"
        try:
            add(way, peer_loops.tuned, setup, True)
        except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
            failed[way] = str(error).strip().splitlines()[0][:200]
    if "c" in peers:
        add("peer c: FFCV's operations", peer_loops.stock, setup)
    add(PRODUCT, matrix_product, setup.device, setup.dtype or torch.float32, precision)
    return contenders, failed


def whole_run(run: Run, mode: str, check: Deviation | None, kind: str = "ours") -> Contender:
    """A run's feed and step, connected as in the training loop."""
    run.loop.set_modes(run.loop.stage)
    step, feed, streams = run.step, run.feeds.train, run.feeds.kind == "stream"
    facts = {"feed": run.feeds.kind, "step": mode, "precision": run.precision.name,
             "workers": feed.threads if streams else 0, "self_check": asdict(check) if check else None}
    return Contender(kind, run.loop.open_epoch,
                     lambda batch, epoch, index: step(batch.images_bhwc, batch.labels, epoch, index),
                     batch=run.recipe.section("train").batch, images=feed.samples,
                     ahead=run.recipe.get("data.batches_ahead", 3) + IN_HANDS if streams else 0, device=run.device,
                     threads=torch.get_num_threads(), tunes=torch.backends.cudnn.benchmark, facts=facts)


def step_alone(run: Run, mode: str) -> Contender:
    """A run's step on whole batches that its feed made before."""
    step, whole = run.step, max(1, run.feeds.train.samples // run.recipe.section("train").batch)
    with run.feeds.train.epoch(0) as batches:
        held = list(itertools.islice(batches, min(HELD_BATCHES, whole)))
    return Contender("step", lambda epoch: nullcontext(itertools.cycle(held)),
                     lambda batch, epoch, index: step(batch.images_bhwc, batch.labels, epoch, index % whole),
                     batch=len(held[0].labels), images=None, ahead=0, device=run.device,
                     threads=torch.get_num_threads(), tunes=torch.backends.cudnn.benchmark,
                     facts={"step": mode, "precision": run.precision.name})


def matrix_product(device: torch.device, dtype: torch.dtype, precision: str) -> Contender:
    """A square matrix product, repeated; each counts as a batch of one."""
    side = MATRIX_SIDE[device.type]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(left)
    return Contender("peak", lambda epoch: nullcontext(itertools.repeat(None)),
                     lambda batch, epoch, index: torch.mm(left, right, out=product), batch=1, images=None, ahead=0,
                     device=device, threads=usable_cores(), tunes=False, facts={"precision": precision})
