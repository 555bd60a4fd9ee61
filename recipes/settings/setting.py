"""One setting of a recipe, and the conditions under which a section of settings applies."""

from collections.abc import Callable

from fastargs import Param
from fastargs.config import Config


class Setting(Param):
    """A fastargs parameter with a unit ("" for a plain number or a name)."""

    def __init__(self, checker, default, desc: str, unit: str = ""):
        super().__init__(checker, desc=desc, default=default)
        self.unit = unit


class When:
    """A section's condition: `path` holds one of `names` or, without names, a value other than 0."""

    def __init__(self, path: str, *names: str):
        self.path, self.names = path, names

    def __call__(self, config: Config) -> bool:
        value = config[self.path]
        return value in self.names if self.names else bool(value)

    def __str__(self):
        return f"{self.path}={'|'.join(self.names)}" if self.names else f"{self.path} above 0"


class Unless:
    """A section's condition: none of `paths` is set (each is empty or 0)."""

    def __init__(self, *paths: str):
        self.paths = paths

    def __call__(self, config: Config) -> bool:
        return not any(config[path] for path in self.paths)

    def __str__(self):
        return f"no {' and no '.join(self.paths)}"


class Either:
    """A section's condition: one of several holds."""

    def __init__(self, *conditions: Callable):
        self.conditions = conditions

    def __call__(self, config: Config) -> bool:
        return any(condition(config) for condition in self.conditions)

    def __str__(self):
        return " or ".join(map(str, self.conditions))
