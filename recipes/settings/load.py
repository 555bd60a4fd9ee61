"""Loads a checked, frozen recipe from its name, a file and the command line.

Precedence, lowest first: the schema's defaults, the recipe's values, the file (YAML, JSON or TOML), the command line.
"""

import importlib
import pkgutil
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace

import recipes
from recipes.settings.check import LENGTH, check, refuse_conflicts
from recipes.settings.docstring import docstring
from recipes.settings.files import read_file
from recipes.settings.messages import RecipeError, as_plain, as_text, did_you_mean, in_one_line
from recipes.settings.schema import declare

NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True)
class Recipe:
    """One checked recipe.

    values: every setting that applies ("train.epochs") and its value. given: those set by a file or the command line.
    scaled: those that followed a train.epochs of the file or the command line, in proportion.
    """

    name: str
    values: Mapping[str, object]
    given: Mapping[str, object]
    scaled: tuple[str, ...] = ()

    def section(self, name: str) -> SimpleNamespace:
        """The section's settings that apply, as attributes: `recipe.section("train").epochs`."""
        return SimpleNamespace(**{k.split(".", 1)[1]: v for k, v in self.values.items() if k.startswith(name + ".")})

    def get(self, path: str, otherwise=None):
        """The value at `path`, or `otherwise` if the setting does not apply."""
        return self.values.get(path, otherwise)

    @property
    def epochs(self) -> float:
        """Passes over the training set, over all stages; not whole where the last one is not."""
        return self.values[LENGTH]

    def nested(self) -> dict:
        """The values as {section: {name: value}} of plain types, for config.yaml."""
        tree: dict = {}
        for path, value in self.values.items():
            head, tail = path.split(".", 1)
            tree.setdefault(head, {})[tail] = as_plain(value)
        return tree

    def changed(self, changes: Mapping[str, object]) -> "Recipe":
        """The recipe with settings changed as on the command line, without those that lose their effect; as `load`."""
        values, scaled = check(self.values, changes)
        refuse_conflicts(values, changes)
        return _frozen(self.name, values, {**self.given, **changes, **dict.fromkeys(scaled)}, scaled)

    def command(self, module: str = "engine.train") -> str:
        """The shell command that runs this recipe again."""
        words = ["python", "-m", module, "--recipe", self.name]
        words += [f"--{path}={as_text(value)}" for path, value in self.given.items()]
        return shlex.join(words)


def _frozen(name: str, values: Mapping[str, object], given: Iterable[str], scaled: tuple[str, ...] = ()) -> Recipe:
    given = {path: values[path] for path in given if path in values}
    return Recipe(name, MappingProxyType(values), MappingProxyType(given), scaled)


def names() -> list[str]:
    """The known recipes, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(recipes.__path__) if not module.ispkg)


def _values_of(name: str) -> Mapping[str, object]:
    return importlib.import_module(f"recipes.{name}").values


def doc(name: str) -> str:
    """A recipe's docstring."""
    return docstring(f"recipes.{name}").strip()


def load(name: str, file: str | None = None, settings: Mapping[str, object] = NOTHING) -> Recipe:
    """Check and freeze recipe `name`, changed by `file` and `settings` ("train.epochs" -> value or its text).

    Their train.epochs scales what is counted in epochs below them, as `recipes.settings.length.combined` says.

    Raises RecipeError for an unknown recipe or setting (with the nearest known one), a wrong type, a value out of
    range, and settings that have no effect or conflict.
    """
    known = names()
    if name not in known:
        raise RecipeError(f"recipe {in_one_line(name)} is unknown{did_you_mean(name, known) or ';'} known: "
                          f"{', '.join(known)}")
    in_file = read_file(file) if file else {}
    values, scaled = check(_values_of(name), in_file, settings)
    refuse_conflicts(values, settings)
    return _frozen(name, values, {**in_file, **settings}, scaled)


def restore(name: str, values: Mapping[str, object], changes: Mapping[str, object] = NOTHING) -> Recipe:
    """The recipe in a checkpoint or config.yaml, checked like a user's.

    Values that differ from the recipe of that name count as given. `changes` come last and must have an effect;
    settings that they make ineffective are dropped. A changed train.epochs is for a run that has begun: what is counted
    in epochs stays, and the last stage takes the difference.
    """
    patience = values.get("train.patience")
    if isinstance(patience, int) and patience > 0 and "eval.best_by" not in values:
        # Of a former version, in which patience looked at the loss and best.pt at top-1: patience decides the weights.
        values = {**values, "eval.best_by": "loss"}
    if (values.get("model.name"), values.get("model.activation")) == ("sprint", "relu"):
        # Networks of former versions, which have no such setting, pooled so.
        values = {"model.pool": "amax", **values}
    values, _ = check(check({}, values)[0], changes, started=True)
    refuse_conflicts(values, changes)
    own = _own_values(name, values)
    return _frozen(name, values, [path for path, value in values.items() if own[path] != value])


def _own_values(name: str, values: Mapping[str, object]) -> dict[str, object]:
    """What recipe `name` would have for each setting if only its length, and if need be its stages, were those of
    `values`; these two as the recipe has them. A setting that it does not name has its default."""
    own = {".".join(path): param.default for path, param in declare().entries.items()}
    if name not in names():
        return own
    own |= load(name).values
    for changed in ((LENGTH,), (LENGTH, "train.stages")):
        # The recipe may be as long only with other stages.
        with suppress(RecipeError):
            as_long, _ = check(_values_of(name), {path: values[path] for path in changed})
            if as_long["train.stages"] == values["train.stages"]:
                return own | as_long | {path: own[path] for path in changed}
    return own
