"""Packages that only an extra installs: whether one is there, and its import, which fails in one line."""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from engine.common.errors import EngineError
from engine.common.text import one_line


def is_installed(name: str) -> bool:
    """Whether a package can be found; a mere folder of that name, such as wandb's output, is none."""
    try:
        spec = find_spec(name)
    except ValueError:
        # Its module was made by hand.
        return name in sys.modules
    return spec is not None and spec.origin is not None


def refuse_missing(name: str, user: str, extra: str, package: str = "") -> None:
    """EngineError where `user` ("a sweep") needs a package that is not installed. package: its name at PyPI, if other.
    """
    if not is_installed(name):
        raise EngineError(f"{user} needs the {package or name} package: pip install 'cadence-train[{extra}]'")


def import_extra(module: str, user: str, extra: str, package: str = "") -> ModuleType:
    """`module`, imported; refused as by `refuse_missing`, or with the reason where it is there but cannot be imported.
    """
    name = module.partition(".")[0]
    refuse_missing(name, user, extra, package)
    try:
        return import_module(module)
    except (Exception, SystemExit) as error:
        # Whatever the package raises. pip install of what is installed adds what it lacks.
        absent = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] != name
        remedy = f"'cadence-train[{extra}]' adds it" if absent else f"--force-reinstall {package or name}"
        raise EngineError(f"{user} needs the {package or name} package, which is installed but cannot be imported "
                          f"({one_line(error)[:200]}): pip install {remedy}") from None
