"""Loads a checked, frozen recipe from its name, a file and the command line.

Precedence, lowest first: the schema's defaults, the recipe's values, the file (YAML or JSON), the command line.
"""

import importlib
import pkgutil
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace

import recipes
from recipes.settings.check import check, refuse_conflicts, stage_epochs
from recipes.settings.files import read_file
from recipes.settings.messages import RecipeError, as_plain, as_text, did_you_mean, in_one_line
from recipes.settings.schema import declare

NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True)
class Recipe:
    """One checked recipe.

    values: every setting that applies ("train.epochs") and its value. given: those set by a file or the command line.
    """

    name: str
    values: Mapping[str, object]
    given: Mapping[str, object]

    def section(self, name: str) -> SimpleNamespace:
        """The section's settings that apply, as attributes: `recipe.section("train").epochs`."""
        return SimpleNamespace(**{k.split(".", 1)[1]: v for k, v in self.values.items() if k.startswith(name + ".")})

    def get(self, path: str, otherwise=None):
        """The value at `path`, or `otherwise` if the setting does not apply."""
        return self.values.get(path, otherwise)

    @property
    def epochs(self) -> int:
        """Passes over the training set, over all stages."""
        return sum(stage_epochs(self.values))

    def nested(self) -> dict:
        """The values as {section: {name: value}} of plain types, for config.yaml."""
        tree: dict = {}
        for path, value in self.values.items():
            head, tail = path.split(".", 1)
            tree.setdefault(head, {})[tail] = as_plain(value)
        return tree

    def changed(self, changes: Mapping[str, object]) -> "Recipe":
        """The recipe with settings changed as on the command line, without those that lose their effect; as `load`."""
        values = check(self.values, changes)
        refuse_conflicts(values, changes)
        return _frozen(self.name, values, {**self.given, **changes})

    def command(self, module: str = "engine.train") -> str:
        """The shell command that runs this recipe again."""
        words = ["python", "-m", module, "--recipe", self.name]
        words += [f"--{path}={as_text(value)}" for path, value in self.given.items()]
        return shlex.join(words)


def _frozen(name: str, values: Mapping[str, object], given: Iterable[str]) -> Recipe:
    return Recipe(name, MappingProxyType(values), MappingProxyType({path: values[path] for path in given
                                                                    if path in values}))


def names() -> list[str]:
    """The known recipes, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(recipes.__path__) if not module.ispkg)


def doc(name: str) -> str:
    """A recipe's docstring."""
    return importlib.import_module(f"recipes.{name}").__doc__.strip()


def load(name: str, file: str | None = None, settings: Mapping[str, object] = NOTHING) -> Recipe:
    """Check and freeze recipe `name`, changed by `file` and `settings` ("train.epochs" -> value or its text).

    Raises RecipeError for an unknown recipe or setting (with the nearest known one), a wrong type, a value out of
    range, and settings that have no effect or conflict.
    """
    known = names()
    if name not in known:
        raise RecipeError(f"recipe {in_one_line(name)} is unknown{did_you_mean(name, known) or ';'} known: "
                          f"{', '.join(known)}")
    given = {**(read_file(file) if file else {}), **settings}
    values = check(importlib.import_module(f"recipes.{name}").values, given)
    refuse_conflicts(values, settings)
    return _frozen(name, values, given)


def restore(name: str, values: Mapping[str, object], changes: Mapping[str, object] = NOTHING) -> Recipe:
    """The recipe in a checkpoint or config.yaml, checked like a user's.

    Values that differ from the recipe of that name count as given. `changes` come last and must have an effect;
    settings that they make ineffective are dropped.
    """
    patience = values.get("train.patience")
    if isinstance(patience, int) and patience > 0 and "eval.best_by" not in values:
        # Of a former version, in which patience looked at the loss and best.pt at top-1: patience decides the weights.
        values = {**values, "eval.best_by": "loss"}
    values = check(check({}, values), changes)
    refuse_conflicts(values, changes)
    # A setting that the recipe does not name is given if it is not its default.
    own = {".".join(path): param.default for path, param in declare().entries.items()}
    own |= load(name).values if name in names() else {}
    return _frozen(name, values, [path for path, value in values.items() if own[path] != value])
