"""A run's length: where train.epochs changes it, what is counted in epochs follows in proportion."""

import math
from collections.abc import Iterable, Mapping, Sequence

from recipes.settings.messages import RecipeError
from recipes.settings.moments import in_epochs

Stages = Sequence[Mapping[str, object]]


def combined(layers: Iterable[Mapping[str, object]], epochs: float,
             started: bool = False) -> tuple[dict[str, object], tuple[str, ...]]:
    """The settings of all layers, later ones over earlier ones, with train.epochs; and those that were scaled.

    layers: checked values; the first is a whole recipe, of `epochs` epochs if it names no other number. A layer's
    train.epochs scales what earlier layers count in epochs of their own train.epochs or stages: IN_PROPORTION. What
    stands beside it, in a layer without a length, or below new stages counts as it is. started: the run has begun, so
    all of that stays and the last stage takes the difference. Raises RecipeError where the stages cannot have that many
    epochs.
    """
    values: dict[str, object] = {}
    meant_for: dict[str, float | None] = {}
    layers = list(layers)
    for number, layer in enumerate(layers):
        if number and any("train.stages" in later for later in layers[number + 1:]):
            # They are replaced, and with them their length.
            layer = {path: value for path, value in layer.items() if path != "train.stages"}
        in_stages = sum(stage["epochs"] for stage in layer.get("train.stages", ()))
        own = layer.get("train.epochs", in_stages)
        if in_stages not in (0, own):
            raise RecipeError(f"train.epochs={own} is not the {in_stages} epochs of the train.stages beside it: leave "
                              "one of them out")
        epochs = own or epochs
        if in_stages:
            # New stages are no other length of the former ones.
            meant_for = dict.fromkeys(meant_for)
        values |= layer
        meant_for |= {path: epochs if own or not number else None for path in IN_PROPORTION if path in layer}
    ways = IN_PLACE if started else IN_PROPORTION
    moved = {path: ways[path](values[path], meant, epochs) for path, meant in meant_for.items()
             if path in ways and meant not in (None, epochs) and values[path]}
    scaled = tuple(path for path, value in moved.items() if value != values[path])
    return {**values, **moved, "train.epochs": epochs}, scaled


def apportioned(weights: Sequence[int], total: int) -> list[int]:
    """`total` in whole parts in proportion to `weights`, each at least 1, by largest remainder; earlier ones win ties.

    total: at least the number of weights.
    """
    parts, rest, left = {}, dict(enumerate(weights)), total
    while small := [place for place, weight in rest.items() if weight * left < sum(rest.values())]:
        parts |= dict.fromkeys(small, 1)
        rest = {place: weight for place, weight in rest.items() if place not in small}
        left -= len(small)
    whole = sum(rest.values())
    parts |= {place: weight * left // whole for place, weight in rest.items()}
    by_remainder = sorted(rest, key=lambda place: -(rest[place] * left % whole))
    for place in by_remainder[:total - sum(parts.values())]:
        parts[place] += 1
    return [parts[place] for place in range(len(weights))]


def _scaled(epoch: int, meant: float, epochs: float) -> int:
    """The nearest epoch in a run of `epochs` to `epoch` in one of `meant`; halves go up."""
    return int((2 * epoch * epochs + meant) // (2 * meant))


def _stages(stages: Stages, meant: int, epochs: float) -> Stages:
    _refuse_part(epochs)
    if epochs < len(stages):
        raise RecipeError(f"train.epochs={epochs} is less than one epoch for each of the {len(stages)} stages "
                          f"({', '.join(stage['name'] for stage in stages)}): give {len(stages)} or more, or other "
                          "train.stages")
    parts = apportioned([stage["epochs"] for stage in stages], epochs)
    return tuple({**stage, "epochs": part} for stage, part in zip(stages, parts, strict=True))


def _refuse_part(epochs: float) -> None:
    if not isinstance(epochs, int):
        raise RecipeError(f"train.epochs={epochs} must be whole: the stages of a run are")


def _last_stage(stages: Stages, meant: int, epochs: float) -> Stages:
    _refuse_part(epochs)
    before = meant - stages[-1]["epochs"]
    if epochs <= before:
        raise RecipeError(f"train.epochs={epochs} must be above {before}, where the last stage begins: what a run that "
                          "has begun trains before stays as it was")
    return (*stages[:-1], {**stages[-1], "epochs": epochs - before})


def _sizes(sizes: Mapping[int | str, int], meant: float, epochs: float) -> dict[int | str, int]:
    """The last epoch has the last size, however short the run; shares stay, they follow by themselves."""
    def moved(moment: int | str) -> int | str:
        if isinstance(moment, str) or moment >= meant:
            return moment
        return min(_scaled(moment, meant, epochs), math.ceil(epochs) - 1)

    return {moved(moment): px for moment, px in sorted(sizes.items(), key=lambda size: in_epochs(size[0], meant))}


def _kept(moment: int | str, meant: float, epochs: float) -> int | str:
    """The same moment of the run, which may be past: a share becomes one of the new length."""
    if not isinstance(moment, str):
        return moment
    if (share := float(moment[:-1]) * meant / epochs) >= 100:
        raise RecipeError(f"train.epochs={epochs} ends before {moment} of the {meant} epochs that this run began with, "
                          "where a size or a rate changes: ask for more")
    return f"{share:.10g}%"


def _kept_sizes(sizes: Mapping[int | str, int], meant: float, epochs: float) -> dict[int | str, int]:
    return {_kept(moment, meant, epochs): px for moment, px in sizes.items()}


def _kept_ends(ends: Mapping[str, int | str], meant: float, epochs: float) -> dict[str, int | str]:
    return {pattern: _kept(moment, meant, epochs) for pattern, moment in ends.items()}


def _milestones(milestones: Sequence[int], meant: float, epochs: float) -> tuple[int, ...]:
    """Those that fall together are one, and those at the end of the run are none."""
    moved = (max(1, _scaled(epoch, meant, epochs)) for epoch in milestones)
    return tuple(dict.fromkeys(epoch for epoch in moved if epoch < epochs))


def _warmup(warmup_epochs: float, meant: float, epochs: float) -> float:
    return warmup_epochs * epochs / meant


def _ends(ends: Mapping[str, int | str], meant: float, epochs: float) -> dict[str, int | str]:
    """As shares of the run, which need not be whole epochs."""
    return {pattern: moment if isinstance(moment, str) or moment >= meant else f"{100 * moment / meant:.10g}%"
            for pattern, moment in ends.items()}


# What is counted in epochs of the whole run. A wait, such as train.patience or checkpoint.every, stays.
IN_PROPORTION = {"train.stages": _stages, "train.sizes": _sizes, "schedule.milestones": _milestones,
                 "schedule.warmup_epochs": _warmup, "schedule.ends": _ends}
# The same for a run that has begun: what was stays as it was.
IN_PLACE = {"train.stages": _last_stage, "train.sizes": _kept_sizes, "schedule.ends": _kept_ends}
