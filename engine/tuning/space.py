"""The search space of a sweep: a file of settings, each with a range or choices, checked with the schema."""

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from engine.common.errors import EngineError
from recipes.settings.checkers import Number, Truth, Whole
from recipes.settings.load import Recipe, as_text, in_one_line, read_file
from recipes.settings.messages import meant_setting
from recipes.settings.schema import declare

RANGE, CHOICES = ("low", "high", "log", "step"), ("choices",)
# All trials must be measured in the same way, and must not differ by chance alone.
FIXED = ("run.", "data.", "eval.", "checkpoint.", "log.", "train.seed", "train.repeats", "train.device",
         "train.threads", "train.deterministic", "train.on_nan")
DIGITS = 4


# A sweep's database holds the repr of its space, and with it the names of these classes and fields: keep them.
@dataclass(frozen=True)
class Span:
    """A range of numbers with its ends, sampled evenly, in steps or (`log`) evenly over the logarithm."""

    path: str
    low: float
    high: float
    log: bool
    step: float | None
    whole: bool

    def suggest(self, trial) -> int | float:
        """The sampler's value, rounded to four significant digits for readability."""
        if self.whole:
            return trial.suggest_int(self.path, self.low, self.high, step=self.step or 1, log=self.log)
        value = trial.suggest_float(self.path, self.low, self.high, step=self.step, log=self.log)
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def as_sampled(self, value: object) -> int | float | None:
        """`value` as the sampler records it; None if it could not have been sampled."""
        if not isinstance(value, int | float) or not self.low <= value <= self.high:
            return None
        return value if not self.step or is_multiple(value - self.low, self.step) else None

    @property
    def scale(self) -> str:
        """The scale of its axis in a plot."""
        return "log" if self.log else "even"


@dataclass(frozen=True)
class Choices:
    """A few values, as the command line spells them."""

    path: str
    values: tuple[str, ...]
    scale = "choices"

    def suggest(self, trial) -> str:
        return trial.suggest_categorical(self.path, self.values)

    def as_sampled(self, value: object) -> str | None:
        text = as_text(value)
        return text if text in self.values else None


Space = tuple[Span | Choices, ...]


class Conditions:
    """Decides which settings apply, given the values of others."""

    def __init__(self):
        self.config = declare()
        self.entries = {".".join(path): param for path, param in self.config.entries.items()}

    def apply(self, path: str, values: Mapping[str, object]) -> bool:
        """Whether the setting `path` applies beside `values` (setting -> value or its text)."""
        self.config.content = {tuple(name.split(".")): self.entries[name].checker.check(value)
                               for name, value in values.items()}
        return self.entries[path].section.is_enabled(self.config)

    def decided_by(self, path: str) -> set[str]:
        """The settings that decide whether `path` applies: those in its condition and, in turn, in theirs."""
        named = set(re.findall(r"\w+\.\w+", str(self.entries[path].section.condition)))
        return named.union(*map(self.decided_by, named))


def read_space(file: str, recipe: Recipe) -> Space:
    """The space in a YAML, JSON or TOML file, in the schema's order.

    A setting maps to {low, high}, optionally with log: true or step, or to {choices: [...]}. Raises EngineError for a
    setting that is unknown, fixed in sweeps, or without effect in `recipe` under every choice, and for a range or
    choice that the setting does not allow.
    """
    found, conditions = read_file(file), Conditions()
    if not found:
        raise EngineError(f"{file} names no setting: give at least one, as schedule.lr: {{low: 0.01, high: 1, "
                          "log: true}")
    for path in found:
        if path not in conditions.entries:
            meant = meant_setting(path, conditions.entries)
            raise EngineError(f"{file}: {in_one_line(path)} is unknown{meant} (--help lists every setting)")
        if path.startswith(FIXED):
            raise EngineError(f"{file}: {path} cannot be searched, as all trials must be measured alike: set it for "
                              f"all of them with --{path}=VALUE, or leave it out")
    space = tuple(read_setting(f"{file}: {path}", path, found[path], param.checker)
                  for path, param in conditions.entries.items() if path in found)
    refuse_without_effect(file, space, recipe, conditions)
    return space


def read_setting(name: str, path: str, entry: object, checker) -> Span | Choices:
    """One setting's range or choices; error messages call it `name`."""
    if not isinstance(entry, Mapping) or not entry:
        raise EngineError(f"{name}={in_one_line(entry)} must be {{low, high}}, optionally with log or step, or "
                          "{choices: [...]}")
    if odd := [key for key in entry if key not in (CHOICES if "choices" in entry else RANGE)]:
        raise EngineError(f"{name}: {in_one_line(odd[0])} is unknown here: a range has {', '.join(RANGE)}; a choice "
                          "only choices")
    if "choices" in entry:
        return read_choices(name, path, entry["choices"], checker)
    if not isinstance(checker, Number | Whole):
        raise EngineError(f"{name} is not a number ({checker.help()}): give {{choices: [...]}}")
    if lacks := [key for key in ("low", "high") if key not in entry]:
        raise EngineError(f"{name} lacks {lacks[0]}: give both ends")
    low, high = (checked(f"{name}.{key}", entry[key], checker) for key in ("low", "high"))
    # As their checker returns them: whole epochs stay whole, though epochs may be fractions.
    whole = isinstance(low, int) and isinstance(high, int)
    log = checked(f"{name}.log", entry.get("log", False), Truth())
    step = checked(f"{name}.step", entry["step"], Whole(1) if whole else Number(0, above=True)) \
        if "step" in entry else None
    if not low < high:
        raise EngineError(f"{name}: low={low:g} must be below high={high:g}")
    if log and step:
        raise EngineError(f"{name} has both log and step: leave one of them out")
    if log and low <= 0:
        raise EngineError(f"{name}: low={low:g} must be above 0 with log")
    if step and not is_multiple(high - low, step):
        raise EngineError(f"{name}: step={step:g} does not lead from low={low:g} to high={high:g}")
    return Span(path, low, high, log, step, whole)


def read_choices(name: str, path: str, values: object, checker) -> Choices:
    """One setting's choices."""
    if not isinstance(values, list) or len(values) < 2:
        raise EngineError(f"{name}.choices={in_one_line(values)} must be a list of two values or more")
    texts = tuple(as_text(checked(f"{name}.choices", value, checker)) for value in values)
    if len(set(texts)) != len(texts):
        raise EngineError(f"{name}.choices: a value is given twice")
    return Choices(path, texts)


def checked(name: str, value: object, checker) -> object:
    """`value` as its checker returns it; EngineError if it is not allowed."""
    try:
        return checker.check(value)
    except ValueError as error:
        raise EngineError(f"{name}={in_one_line(value)} must be {error}") from None


def is_multiple(length: float, step: float) -> bool:
    """Whether `length` is a whole number of steps, up to rounding."""
    return math.isclose(length / step, round(length / step), rel_tol=1e-9, abs_tol=1e-9)


def refuse_without_effect(file: str, space: Space, recipe: Recipe, conditions: Conditions) -> None:
    """EngineError for a setting that applies under no values of the searched settings that decide whether it does."""
    for one in space:
        ends = {each.path: each.values if isinstance(each, Choices) else (each.low, each.high) for each in space
                if each.path in conditions.decided_by(one.path)}
        if not any(conditions.apply(one.path, {**recipe.values, **dict(zip(ends, values, strict=True))})
                   for values in itertools.product(*ends.values())):
            needed = conditions.entries[one.path].section.condition
            raise EngineError(f"{file}: {one.path} never has an effect here: it needs {needed}")


def choose(trial, space: Space, recipe: Recipe) -> dict[str, object]:
    """A trial's settings from its sampler: those in `space` that apply given the ones chosen before."""
    conditions, chosen = Conditions(), {}
    for one in space:
        if conditions.apply(one.path, {**recipe.values, **chosen}):
            chosen[one.path] = one.suggest(trial)
    return chosen


def own_values(space: Space, recipe: Recipe) -> dict[str, object]:
    """The recipe's values of the settings in `space` that apply to it."""
    return {one.path: recipe.values[one.path] for one in space if one.path in recipe.values}


def sampled_values(space: Space, recipe: Recipe) -> dict[Span | Choices, object]:
    """The recipe's values that could have been sampled, as the sampler records them."""
    found = {one: one.as_sampled(recipe.values[one.path]) for one in space if one.path in recipe.values}
    return {one: value for one, value in found.items() if value is not None}
