"""Find what bounds a run: measure its parts, the machine and the operations of its policy, and judge."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from engine.build.feeds import mean_rgb
from engine.build.run import Run, build
from engine.cli.console import Screen
from engine.common.files import make_folder, write_json
from engine.diagnostics.advice import Rates, RunFacts, Verdict, bound_of, judge, rate_text, share_text
from engine.diagnostics.peaks import Peaks, StepWork, best_rate, count_work, limit_of, measure_peaks, waiter
from engine.diagnostics.suggestions import Trial, show_trials, try_out
from engine.diagnostics.throughput import Transfer, Wait, hold_and_warm_up, issue_seconds, measure_rates
from engine.plots.roofline import draw_roofline
from engine.training.precision import resolve
from loaders.beton.cache import pointers_of
from loaders.common import counter_rng
from loaders.device.executor import DevicePolicy
from loaders.feeds.build import Feed
from loaders.feeds.resident import Resident, fits
from loaders.feeds.stream import Stream, usable_cores
from loaders.host.executor import PackedPolicy, augment
from loaders.kernels.plan import describe
from loaders.policy.policy import Policy, parse
from recipes.settings.load import Recipe

# The amount that each call augments when operations are compared.
COMPARED_PIXELS, FEWEST_IMAGES, MOST_IMAGES = 1 << 21, 16, 1024
# Measuring a peak of the machine for longer does not improve it.
LONGEST_PEAK_S = 1.0


@dataclass(frozen=True)
class Diagnosis:
    """A run's measurements and their verdict. work: a step's per image at `side_px`; peaks: the device's; issue_s: the
    host's seconds to issue a step, None if the host computes the step or waits in it."""

    rates: Rates
    facts: RunFacts
    verdict: Verdict
    work: StepWork
    peaks: Peaks
    side_px: int
    issue_s: float | None


def report_bottleneck(recipe: Recipe, seconds: float, folder: Path, json_file: str | None) -> None:
    """Write doctor.json and roofline.png into `folder`, doctor.json to `json_file` too, and show the diagnosis."""
    make_folder(folder)
    with Screen() as screen:
        report = measure(recipe, seconds, folder / "roofline.png", screen)
        for path in filter(None, (folder / "doctor.json", json_file)):
            write_json(Path(path), report)
        show(report, screen)


def measure(recipe: Recipe, seconds: float, picture: Path, screen: Screen) -> dict:
    """Measure each part of the recipe's run for about `seconds`, draw its roofline, and try what might help; the result
    as plain values.

    Keys: recipe, stage, stages (how many there are), device, kernels (lines), seconds, the fields of Diagnosis,
    as_it_is_images_s and trials (as `try_out` returns them; only those of `helpful` are suggested), step_flops_s
    (reached), picture, command.
    """
    about, found = measure_parts(recipe, seconds, screen)
    step_flops_s = found.rates.step * found.work.flops
    draw_roofline(found.peaks.flops_s, found.peaks.bytes_s,
                  {f"{recipe.name}'s step": (found.work.flops_per_byte, step_flops_s)}, picture,
                  f"Roofline of {recipe.name}, {found.facts.precision}, batches of {found.facts.batch:,}, "
                  f"{found.side_px} px")
    again_images_s, trials = try_out(recipe, found.verdict.advice, seconds, screen)
    return {"recipe": recipe.name, **about, "seconds": seconds, **asdict(found),
            "as_it_is_images_s": max(found.rates.together, again_images_s), "trials": [asdict(each) for each in trials],
            "step_flops_s": step_flops_s, "picture": str(picture),
            "command": f"{recipe.command('engine.doctor')} --seconds {seconds:g}"}


def measure_parts(recipe: Recipe, seconds: float, screen: Screen) -> tuple[dict, Diagnosis]:
    """(stage, stages, device and kernels, the diagnosis) of a recipe's run, of which nothing is left afterwards."""
    with closing(build(recipe, on_progress=screen.writing, on_warning=screen.say)) as run:
        stage, stages = run.loop.stage, len(run.loop.stages)
        screen.say(f"measuring {recipe.name} on {run.device}, {run.precision.name}, {run.feeds.kind} feed, "
                   f"{run.step.mode} step: about {seconds:g} s per part ...")
        if stages > 1:
            screen.say(f"only stage {stage.name}, the first of {stages}, is measured")
        kernels = kernels_of(run)
        for line in kernels:
            screen.say(f"augmentation on the device: {line}")
        about = {"stage": stage.name, "stages": stages, "device": str(run.device), "kernels": kernels}
        return about, diagnose(run, seconds)


def show(report: dict, screen: Screen) -> None:
    """Show the rates, verdict, trials and the roofline's path; `report` as `measure` returns it."""
    rates, reached, peak = report["rates"], report["step_flops_s"], report["peaks"]["flops_s"]
    precision = report["facts"]["precision"]
    names = {"feed alone": "feed", "transfer alone": "transfer", "step alone": "step", "all together": "together"}
    screen.table(f"what bounds {report['recipe']}", [
        *((name, "none" if rates[key] is None else f"{rate_text(rates[key])} images/s") for name, key in names.items()),
        ("the step's arithmetic", f"{reached / 1e9:,.1f} GFLOP/s, {share_text(reached / peak[precision])} of the "
                                  f"{peak[precision] / 1e9:,.1f} of a matrix product measured in {precision}")])
    screen.say(report["verdict"]["sentence"])
    show_trials([Trial(**each) for each in report["trials"]], report["as_it_is_images_s"], screen)
    screen.say(f"roofline: {report['picture']}")


def diagnose(run: Run, seconds: float) -> Diagnosis:
    """Measure each part of `run` for about `seconds`, in its first stage at its first epoch's image size, and find what
    bounds it and what might help. Changes its weights."""
    train, feed, step, precision = run.recipe.section("train"), run.feeds.train, run.step, run.precision
    wait = waiter(run.device)
    # The run's precision, fp32, and the one that `auto` chooses here.
    peaked = run.device, [precision.name, "fp32", resolve("auto", run.device)], min(LONGEST_PEAK_S, seconds / 6)
    side_px = step.size_of(0, 0) or policy_of(feed).output_px
    run.loop.set_modes(run.loop.stage)
    # It counts on a copy, so before there are gradients to copy.
    work = count_work(run.model, side_px, train.batch, precision.dtype.itemsize)
    # It measures twice, as other load on the machine may end in between.
    peaks = measure_peaks(*peaked)
    held = hold_and_warm_up(feed, step, wait, run.loop.open_epoch)
    rates = measure_rates(feed, step, held, seconds, transfer_of(run), wait, run.loop.open_epoch)
    issue_s = issue_share = None
    # fp16's scaler waits for the device in each step, so the time to issue one has no meaning.
    if run.device.type == "cuda" and precision.scaler is None:
        issue_s = issue_seconds(step, held[0], wait)
        issue_share = issue_s * rates.step / len(held[0].labels)
    peaks = peaks.or_better(measure_peaks(*peaked))
    gains = operation_gains(run, seconds, wait) if bound_of(rates) in ("feed", "shared") else {}
    limit, reached = limit_of(work, peaks, precision.name, rates.step, issue_share)
    could_be_resident = (run.device.type == "cuda" and run.feeds.kind == "stream"
                         and all(fits(beton, run.device) for beton in run.betons.values()))
    facts = RunFacts(
        device=run.device.type, feed=run.feeds.kind, resident_fits=could_be_resident, cores=usable_cores(),
        workers=feed.threads if isinstance(feed, Stream) else 0, threads=torch.get_num_threads(),
        samples=feed.samples, batch=train.batch, accumulate=train.accumulate, mode=step.mode,
        precision=precision.name, channels_last=train.channels_last, limit=limit, reached=reached,
        ceilings={name: flops_s / work.flops for name, flops_s in peaks.flops_s.items()},
        operations=operations_of(feed), gains=gains)
    return Diagnosis(rates, facts, judge(rates, facts), work, peaks, side_px, issue_s)


def policy_of(feed: Feed) -> Policy:
    """The augmentation policy of a feed."""
    return feed.policy if isinstance(feed, Stream) else feed.policy.policy


def operations_of(feed: Feed) -> tuple[str, ...]:
    """The operations of a feed's policy, in words."""
    return tuple(operation.text for operation in policy_of(feed).operations)


def kernels_of(run: Run) -> list[str]:
    """Lines on how the device augments; none if the host does."""
    resident = isinstance(run.feeds.train, Resident)
    return describe(policy_of(run.feeds.train), run.device.type) if resident else []


def transfer_of(run: Run) -> Transfer | None:
    """The copy of a batch to the device, from its pinned memory; None if nothing is copied."""
    if run.device.type == "cpu" or run.feeds.kind == "resident":
        return None
    return lambda batch: [tensor.to(run.device, non_blocking=True) for tensor in (batch.images_bhwc, batch.labels)]


def operation_gains(run: Run, seconds: float, wait: Wait) -> dict[str, float]:
    """Operation of the run's policy -> how many times faster augmentation is without it, measured for `seconds` in all,
    except for operations that change the images' size."""
    policy = policy_of(run.feeds.train)
    texts = operations_of(run.feeds.train)
    fitting = COMPARED_PIXELS // (policy.output_height * policy.output_width)
    count = min(max(fitting, FEWEST_IMAGES), MOST_IMAGES)
    indices = np.resize(run.feeds.train.indices, count)
    share_s = seconds / (len(texts) + 1)
    whole = best_rate(augmenter(run, policy, indices), count, share_s, wait)
    gains = {}
    for position, text in enumerate(texts):
        rest = parse(", ".join(texts[:position] + texts[position + 1:]), policy.height, policy.width)
        if (rest.output_height, rest.output_width) == (policy.output_height, policy.output_width):
            gains[text] = best_rate(augmenter(run, rest, indices), count, share_s, wait) / whole
    return gains


def augmenter(run: Run, policy: Policy, indices: np.ndarray) -> Callable[[], object]:
    """A call that augments the samples `indices` by `policy` on the feed's device; on the host with one thread."""
    feed, mean = run.feeds.train, mean_rgb(run.recipe)
    if isinstance(feed, Resident):
        on_device = DevicePolicy(policy, mean_rgb=mean, device=run.device)
        there, keys = torch.from_numpy(indices).to(run.device), feed.keys(0)
        return lambda: on_device(feed.images_nhwc, there, keys)
    beton, program = run.betons["train"], PackedPolicy(policy, mean)
    source, pointers = np.memmap(beton.path, np.uint8, mode="r"), pointers_of(beton)
    state = counter_rng.epoch_state(feed.seed, 0)
    images_bhwc = np.empty((len(indices), *program.out_shape), np.uint8)
    return lambda: augment(source, pointers, indices, program, state, images_bhwc)
