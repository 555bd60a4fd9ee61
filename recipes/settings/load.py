"""A recipe's name, a file and the command line become one checked, frozen recipe; its dump; its command.

Precedence, lowest first: the schema's defaults, the recipe's values, the file (YAML or JSON), the command line.
"""

import difflib
import importlib
import json
import pkgutil
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import recipes
from recipes.settings.conflicts import conflict
from recipes.settings.schema import declare
from recipes.settings.setting import Setting

LARGEST_FILE_BYTES = 1_000_000
MOST_DIGITS = 400


class RecipeError(ValueError):
    """A recipe, file or setting that cannot be used: one line saying what came, what is allowed, what to do."""


@dataclass(frozen=True)
class Recipe:
    """One checked recipe.

    `values` maps every setting that applies ("train.epochs") to its value; `given` those that a file or the command
    line set. Sections read as attributes: `recipe.section("train").epochs`.
    """

    name: str
    doc: str
    values: Mapping[str, object]
    given: Mapping[str, object]

    def section(self, name: str) -> SimpleNamespace:
        """The section's settings as attributes; settings that do not apply are absent."""
        return SimpleNamespace(**{k.split(".", 1)[1]: v for k, v in self.values.items() if k.startswith(name + ".")})

    def get(self, path: str, otherwise=None):
        """The value at `path`, or `otherwise` where the setting does not apply."""
        return self.values.get(path, otherwise)

    @property
    def epochs(self) -> int:
        """Passes over the training set, over all stages."""
        stages = self.values["train.stages"]
        return sum(stage["epochs"] for stage in stages) if stages else self.values["train.epochs"]

    def nested(self) -> dict:
        """The values as {section: {name: value}} of plain types, as written to config.yaml."""
        tree: dict = {}
        for path, value in self.values.items():
            head, tail = path.split(".", 1)
            tree.setdefault(head, {})[tail] = as_plain(value)
        return tree

    def changed(self, changes: Mapping[str, object]) -> "Recipe":
        """The recipe with some of its settings changed, as if the command line had said so."""
        return replace(self, values=MappingProxyType({**self.values, **changes}),
                       given=MappingProxyType({**self.given, **changes}))

    def command(self, module: str = "engine.train") -> str:
        """The shell command that runs this recipe again."""
        words = ["python", "-m", module, "--recipe", self.name]
        words += [f"--{path}={as_text(value)}" for path, value in self.given.items()]
        return shlex.join(words)


def as_plain(value: object) -> object:
    """A value without tuples, as YAML and JSON hold it."""
    if isinstance(value, Mapping):
        return {key: as_plain(each) for key, each in value.items()}
    return [as_plain(each) for each in value] if isinstance(value, tuple) else value


def as_text(value: object) -> str:
    """A value as the command line takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{as_text(each)}" for key, each in value.items())
    if isinstance(value, tuple) and value and isinstance(value[0], Mapping):
        return json.dumps(as_plain(value))
    return ",".join(as_text(part) for part in value) if isinstance(value, list | tuple) else str(value)


def in_one_line(value: object) -> str:
    """What came, for a message: escaped where it would break the line, cut where it is long."""
    text = as_text(value).encode("unicode_escape").decode()
    return text if len(text) <= 80 else text[:77] + "..."


def names() -> list[str]:
    """The known recipes, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(recipes.__path__) if not module.ispkg)


def doc(name: str) -> str:
    """A recipe's docstring."""
    return importlib.import_module(f"recipes.{name}").__doc__.strip()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "; did you mean X?" with the nearest known name, or nothing where none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def load(name: str, file: str | None = None, settings: Mapping[str, object] = MappingProxyType({})) -> Recipe:
    """Check and freeze recipe `name`, changed by `file` and by `settings` ("train.epochs" -> value or its text).

    Raises RecipeError for an unknown recipe or key (with the nearest known one), a wrong type, a value out of range,
    or a setting that the chosen mode ignores.
    """
    if name not in names():
        known = names()
        raise RecipeError(f"recipe {in_one_line(name)} is unknown{did_you_mean(name, known) or ';'} known: "
                          f"{', '.join(known)}")
    module = importlib.import_module(f"recipes.{name}")
    from_file = read_file(file) if file else {}
    given = {**from_file, **settings}
    base = dict(module.values)
    values = _check(base, given)
    _refuse_conflicts(values, settings)
    return Recipe(name, module.__doc__.strip(), MappingProxyType(values),
                  MappingProxyType({path: values[path] for path in given}))


def restore(name: str, values: Mapping[str, object], changes: Mapping[str, object] = MappingProxyType({})) -> Recipe:
    """The recipe that a checkpoint or config.yaml holds, checked again as if it came from a user.

    What differs from the recipe of that name counts as given. `changes` come last, and must have an effect; what they
    leave without one is left out.
    """
    values = _check({}, dict(values))
    if changes:
        values = _check(values, dict(changes))
    _refuse_conflicts(values, changes)
    # What applies only because of another setting is given only where it is not its default.
    own = {".".join(path): param.default for path, param in declare().entries.items()}
    own |= load(name).values if name in names() else {}
    given = {path: value for path, value in values.items() if own[path] != value}
    return Recipe(name, "", MappingProxyType(values), MappingProxyType(given))


def read_file(path: str) -> dict[str, object]:
    """Settings in a YAML or JSON file, nested ({train: {epochs: 3}}) or flat ("train.epochs": 3), as flat paths."""
    import yaml

    source = Path(path)
    try:
        if source.stat().st_size > LARGEST_FILE_BYTES:
            raise RecipeError(f"config file {path} is larger than {LARGEST_FILE_BYTES:,} bytes: it is no recipe")
        text = source.read_text("utf-8")
    except OSError as error:
        raise RecipeError(f"config file {path} cannot be read ({error.strerror}): give a .yaml or .json file") from None
    except UnicodeDecodeError:
        raise RecipeError(f"config file {path} is not UTF-8 text: give a .yaml or .json file") from None
    try:
        tree = json.loads(text, object_pairs_hook=_once) if source.suffix == ".json" else _yaml(text)
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RecipeError(f"config file {path} is not valid {source.suffix.lstrip('.') or 'YAML'}: {reason}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise RecipeError(f"config file {path} holds a {type(tree).__name__}; it must map sections to settings")
    flat: dict[str, object] = {}
    for head, value in tree.items():
        inner = value if isinstance(value, dict) and "." not in str(head) else {None: value}
        for tail, leaf in inner.items():
            flat[str(head) if tail is None else f"{head}.{tail}"] = leaf
    return flat


def _once(pairs: list[tuple[object, object]]) -> dict:
    """A mapping's pairs as a dict; ValueError where a key stands twice."""
    found = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key} is given twice")
        found[key] = value
    return found


def _yaml(text: str) -> object:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML of plain values, each key once, no aliases: a few lines of them can stand for billions of values."""

        def compose_node(self, parent, index):
            if self.check_event(yaml.AliasEvent):
                raise ValueError(f"*{self.peek_event().anchor} is an alias, and settings are plain values")
            return super().compose_node(parent, index)

    def number(loader, node):
        if len(node.value) > MOST_DIGITS:
            raise ValueError(f"{node.value[:20]}... is too long for a number")
        return loader.construct_yaml_int(node)

    Loader.add_constructor("tag:yaml.org,2002:int", number)

    def mapping(loader, node):
        return _once([(loader.construct_object(key, deep=True), loader.construct_object(value, deep=True))
                      for key, value in node.value])

    Loader.add_constructor("tag:yaml.org,2002:map", mapping)
    return yaml.load(text, Loader)


def _refuse_conflicts(values: Mapping[str, object], given: Mapping[str, object]) -> None:
    problem = conflict(values, given)
    if problem:
        raise RecipeError(problem)


def _check(base: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    """Fill a fresh fastargs Config with `base` then `given`; return every setting that applies, in schema order."""
    config = declare()
    entries: dict[str, Setting] = {".".join(path): param for path, param in config.entries.items()}
    for path, value in {**base, **given}.items():
        if path not in entries:
            hint = did_you_mean(path, entries)
            raise RecipeError(f"{in_one_line(path)} is unknown{hint} (--help lists every setting)")
        try:
            config.content[tuple(path.split("."))] = entries[path].checker.check(value)
        except ValueError as error:
            raise RecipeError(f"{path}={in_one_line(value)} must be {error}") from None
    values = {}
    for path, param in entries.items():
        if not param.section.is_enabled(config):
            if path in given:
                raise RecipeError(f"{path}={in_one_line(given[path])} has no effect here: "
                                  f"it needs {param.section.condition}")
            continue
        value = config[path]
        if value is not None:
            values[path] = value
    return values
