"""Patterns of parameter names, and the error for one that matches nothing."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from loaders.common.text import did_you_mean


def matches(pattern: str, name: str) -> bool:
    """Whether `pattern` is `name`, a module above it, or a case-sensitive shell pattern that matches all of it."""
    return name == pattern or name.startswith(pattern + ".") or fnmatchcase(name, pattern)


def nothing_for(pattern: str, model: nn.Module) -> str:
    """Why `pattern` has no parameters of `model` that require a gradient, and the remedy."""
    found = [p for name, p in model.named_parameters() if matches(pattern, name)]
    if not found:
        hint = did_you_mean(pattern, [name for name, _ in model.named_modules() if name])
        hint = hint or f"its parts: {', '.join(name for name, _ in model.named_children())}"
        return f"pattern {pattern} matches no parameter of the network; {hint}"
    if not any(p.requires_grad for p in found):
        return f"pattern {pattern} matches only frozen parameters; unfreeze them or leave the pattern out"
    return f"pattern {pattern} is left without parameters: earlier patterns match all of them; put it before those"


def nothing_among(pattern: str, names: Sequence[str]) -> str:
    """The error that `pattern` matches none of the parameters `names`, with the nearest module."""
    paths = [name.split(".") for name in names]
    modules = {".".join(path[:depth]) for path in paths for depth in range(1, len(path) + 1)}
    hint = did_you_mean(pattern, sorted(modules))
    hint = hint or f"they lie in {', '.join(dict.fromkeys(path[0] for path in paths))}"
    return f"pattern {pattern} matches none of the parameters that train; {hint}"
