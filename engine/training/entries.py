"""What each entry of a checkpoint is: a right checksum does not make another program's content this one's."""

from dataclasses import fields

from torch import Tensor

from engine.training.history import COLUMNS
from engine.training.loop import Progress

TYPES = {"recipe": str, "values": dict, "resolution": int, "model": dict, "ema": dict | None,
         "lookahead": dict | None, "optimizer": dict, "scaler": dict, "updates": int, "updates_done": int,
         "progress": dict, "processes": list, "history": list, "data": dict}
PROGRESS = {field.name: type(getattr(Progress(), field.name)) for field in fields(Progress)}


def wrong_entry(content: dict) -> str | None:
    """The first entry of `content`, which has all of them, that is not what it should be; None where all are.

    Class names are for whoever needs some: weights alone are of use without.
    """
    for name, kind in TYPES.items():
        value = content[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            return name
    inner = {"model": are_tensors(content["model"]), "values": all_of(content["values"], str),
             "history": all(isinstance(row, dict) and set(row) == set(COLUMNS) for row in content["history"]),
             "ema": content["ema"] is None or are_tensors(content["ema"].get("model")),
             "progress": is_progress(content["progress"]),
             "processes": bool(content["processes"]) and all(map(is_process, content["processes"]))}
    return next((name for name, good in inner.items() if not good), None)


def all_of(items: list | dict, kind: type) -> bool:
    """Whether all items (of a dict: its keys) are of `kind`."""
    return all(isinstance(item, kind) for item in items)


def are_tensors(weights: object) -> bool:
    """Whether this is a state dict of nothing but tensors."""
    return isinstance(weights, dict) and all_of(weights, str) and all_of(list(weights.values()), Tensor)


def is_process(state: object) -> bool:
    """Whether this is what one process adds: its generators, and the three sums that it has counted."""
    return isinstance(state, dict) and set(state) == {"rng", "tally"} and isinstance(state["rng"], dict) \
        and isinstance(state["tally"], list) and len(state["tally"]) == 3 and all_of(state["tally"], float)


def is_progress(values: dict) -> bool:
    """Whether these are a Progress' fields; a whole number counts as any."""
    return set(values) == set(PROGRESS) and all(
        isinstance(value, (PROGRESS[name], int)) for name, value in values.items())
