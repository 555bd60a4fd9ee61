"""All ways of training one recipe, made ready one after another and timed in turns."""

import itertools
import resource
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from dataclasses import asdict
from functools import partial

import torch

from benchmarks.common.step_check import Deviation
from benchmarks.common.timing import Samples, alternate
from benchmarks.throughput import peer_loops as peers
from benchmarks.throughput.epoch_rows import Measured, failed_row, make_rows, peak_row
from benchmarks.throughput.plain_step import task_of
from benchmarks.throughput.unit_timing import Contender, Stopwatch
from engine.build.run import Run, build
from engine.diagnostics.peaks import MATRIX_SIDE
from engine.models.flops import flops_per_image
from loaders.feeds.stream import usable_cores
from recipes.settings.load import Recipe

# Batches that the step alone goes round; FFCV's thread and the copy to the device hold one each beside those ahead.
HELD_BATCHES, IN_HANDS = 24, 2
PRODUCT = "matrix product"


class Field:
    """The contenders of one recipe; a context that closes them. Every way takes its first steps as it enters."""

    def __init__(self, recipe: Recipe, seconds: float):
        self.recipe, self.seconds = recipe, seconds
        self.contenders: dict[str, Contender] = {}
        self.kinds: dict[str, str] = {}
        self.runs: dict[str, Run] = {}
        self.failed: dict[str, str] = {}
        self.closing = ExitStack()

    def __enter__(self) -> "Field":
        with closing(build(self.recipe.changed({"train.step": "eager", "data.feed": "stream"}))) as run:
            self.task, self.device, self.precision = task_of(run), run.device, run.precision.name
        return self

    def __exit__(self, *failure) -> None:
        self.closing.close()
        self.contenders.clear()
        self.runs.clear()
        self.task = None

    def enter_ours(self, feed: str, mode: str, check: Deviation | None) -> None:
        """This engine with one feed and step mode."""
        def make() -> Contender:
            run = build(self.recipe.changed({"train.step": mode, "data.feed": feed}))
            self.closing.callback(run.close)
            self.runs.setdefault(mode, run)
            return ours(run, mode, check)

        self._enter(f"{feed}, {mode}", "ours", make)

    def enter_alone(self) -> None:
        """Each step mode on batches that lie on the device."""
        for mode, run in self.runs.items():
            self._enter(f"step alone, {mode}", "step", partial(alone, run, mode))

    def enter_peers(self) -> None:
        """The loops to compare with; a compiler that fails leaves the compiled one out."""
        self._enter("peer a: author's style", "a", partial(peers.author, self.task))
        self._enter("peer b: tuned", "b", partial(peers.tuned, self.task, compiled=False))
        way = "peer b: tuned, compiled"
        try:
            self._enter(way, "b", partial(peers.tuned, self.task, compiled=True))
        except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
            self.failed[way] = str(error).strip().splitlines()[0][:200]
        self._enter("peer c: FFCV's operations", "c", partial(peers.stock, self.task))

    def enter_product(self) -> None:
        """A large product of matrices in the run's precision: what the machine's arithmetic gives."""
        self._enter(PRODUCT, "peak", partial(product, self.device, self.task.dtype or torch.float32, self.precision))

    def time(self, label: str, repeats: int) -> list[dict]:
        """Time all in turns; a row each, named by `label`."""
        watch = Stopwatch()
        timed = alternate({way: partial(each.unit, watch) for way, each in self.contenders.items()}, 0.0, repeats,
                          watch.read)
        shared = {"device": self.device.type, "batch": self.recipe.section("train").batch}
        seconds = {way: each.image_seconds(timed[way]) for way, each in self.contenders.items()}
        facts = {way: {**each.facts, "threads": each.threads, "timed": each.timed}
                 for way, each in self.contenders.items()}
        flops = 2 * MATRIX_SIDE[self.device.type] ** 3
        peak = Samples(tuple(flops / value for value in seconds[PRODUCT].values))
        measured = {way: Measured(kind, seconds[way], facts[way]) for way, kind in self.kinds.items() if way != PRODUCT}
        rows = make_rows(label, measured, images=len(self.task.indices), peak=peak, shared=shared,
                         forward_flops=flops_per_image(self.task.model, self.task.policy.output_height))
        rows += [failed_row(label, way, "b", reason) for way, reason in self.failed.items()]
        return [*rows, peak_row(label, PRODUCT, peak, {"device": self.device.type, **facts[PRODUCT]})]

    def _enter(self, way: str, kind: str, make: Callable[[], Contender]) -> None:
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        others_bytes = torch.cuda.memory_allocated(self.device) if on_gpu else 0
        contender = make()
        self.closing.callback(contender.close)
        contender.prepare(self.seconds)
        # On a GPU its own; a process has one figure for all that it ever held.
        peak_bytes = (torch.cuda.max_memory_allocated(self.device) if on_gpu
                      else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        if kind not in ("step", "peak"):
            contender.facts |= {"memory_peak_mib": round((peak_bytes - others_bytes) / 2**20),
                                "first_step_s": round(contender.first_step_s, 3)}
        self.contenders[way], self.kinds[way] = contender, kind


def ours(run: Run, mode: str, check: Deviation | None) -> Contender:
    """A composed run, its feed and its step, as the training loop joins them."""
    run.loop.set_modes(run.loop.stage)
    step, feed, streams = run.step, run.feeds.train, run.feeds.kind == "stream"

    def train(batch, epoch: int, index: int) -> None:
        step(batch.images_bhwc, batch.labels, epoch, index)

    facts = {"feed": run.feeds.kind, "step": mode, "precision": run.precision.name,
             "workers": feed.stream.threads if streams else 0, "self_check": asdict(check) if check else None}
    return Contender(feed.epoch, train, batch=run.recipe.section("train").batch, images=feed.samples,
                     ahead=run.recipe.get("data.batches_ahead", 3) + IN_HANDS if streams else 0, device=run.device,
                     threads=torch.get_num_threads(), tunes=torch.backends.cudnn.benchmark, facts=facts)


def alone(run: Run, mode: str) -> Contender:
    """A run's step on whole batches that its feed gave before."""
    step, whole = run.step, max(1, run.feeds.train.samples // run.recipe.section("train").batch)
    with run.feeds.train.epoch(0) as batches:
        held = list(itertools.islice(batches, min(HELD_BATCHES, whole)))

    def train(batch, epoch: int, index: int) -> None:
        step(batch.images_bhwc, batch.labels, epoch, index % whole)

    return Contender(lambda epoch: nullcontext(itertools.cycle(held)), train, batch=len(held[0].labels), images=None,
                     ahead=0, device=run.device, threads=torch.get_num_threads(), tunes=torch.backends.cudnn.benchmark,
                     facts={"step": mode, "precision": run.precision.name})


def product(device: torch.device, dtype: torch.dtype, precision: str) -> Contender:
    """A square product again and again; a "batch" is one."""
    side = MATRIX_SIDE[device.type]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    into = torch.empty_like(left)
    return Contender(lambda epoch: nullcontext(itertools.repeat(None)),
                     lambda batch, epoch, index: torch.mm(left, right, out=into), batch=1, images=None, ahead=0,
                     device=device, threads=usable_cores(), tunes=False, facts={"precision": precision})
