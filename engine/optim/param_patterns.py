"""Patterns that name parameters of a network, and what to say of one that names none."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn


def matches(pattern: str, name: str) -> bool:
    """Whether `pattern` is `name`, names a module above it, or matches all of it as a case-sensitive shell pattern."""
    return name == pattern or name.startswith(pattern + ".") or fnmatchcase(name, pattern)


def nothing_for(pattern: str, model: nn.Module) -> str:
    """Why no parameter of `model` that requires a gradient is `pattern`'s alone, and what to do."""
    found = [(name, p) for name, p in model.named_parameters() if matches(pattern, name)]
    if not found:
        modules = [name for name, _ in model.named_modules() if name]
        near = get_close_matches(pattern, modules, n=1, cutoff=0.5)
        parts = ", ".join(name for name, _ in model.named_children())
        hint = f"did you mean {near[0]}?" if near else f"its parts: {parts}"
        return f"pattern {pattern} matches no parameter of the network; {hint}"
    if not any(p.requires_grad for _, p in found):
        return f"pattern {pattern} matches only frozen parameters; unfreeze them or leave the pattern out"
    return f"pattern {pattern} is left without parameters: earlier patterns match all of its; put it before them"


def nothing_among(pattern: str, names: Sequence[str]) -> str:
    """That `pattern` matches none of the parameters `names`, and what is near it."""
    parts = [name.split(".") for name in names]
    modules = {".".join(path[:depth]) for path in parts for depth in range(1, len(path) + 1)}
    near = get_close_matches(pattern, sorted(modules), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"they lie in {', '.join(dict.fromkeys(path[0] for path in parts))}"
    return f"pattern {pattern} matches none of the parameters that train; {hint}"
