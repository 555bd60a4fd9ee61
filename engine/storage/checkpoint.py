"""Checkpoints: the whole state of a run in one file, which is read whole or refused.

The format is torch's zip with a 40-byte tail: MAGIC and the SHA-256 of everything before it. torch.load reads the file
with or without the tail, but does not notice flipped bits itself. A checkpoint holds tensors and plain values only and
is read with weights_only, so a hostile file runs no code.
"""

import hashlib
import io
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor, nn

from engine.common.errors import EngineError
from engine.common.files import write_atomic
from engine.storage.former_versions import up_to_date
from engine.storage.history import COLUMNS
from engine.storage.run_lookup import why_missing
from engine.training.loop import Progress

MAGIC = b"CADENCE1"
TAIL_BYTES = len(MAGIC) + 32
# What a checkpoint holds, by name; class names are checked by those who need them.
TYPES = {"recipe": str, "values": dict, "class_names": object, "resolution": int, "model": dict, "ema": dict | None,
         "lookahead": dict | None, "optimizer": dict, "scaler": dict, "updates": int, "updates_done": int,
         "progress": dict, "processes": list, "history": list, "data": dict}
PROGRESS = {field.name: type(getattr(Progress(), field.name)) for field in fields(Progress)}


def rng_state() -> dict[str, object]:
    """The state of the generators that dropout and the like use; data and mixing draw from counters and have none."""
    # Only of this process's own GPU: asking another one would allocate memory there.
    cuda = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_rng_state(state: dict[str, object]) -> None:
    """Restore what `rng_state` returned."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"][0])


def save(path: Path, content: dict, keep_previous: bool = False) -> None:
    """Write a checkpoint; `content` has exactly the keys of TYPES. `keep_previous` keeps what it replaces beside it.

    EngineError where it cannot be written; existing checkpoints are untouched then.
    """
    write(path, serialise(content), keep_previous)


def write(path: Path, content_bytes: bytes, keep_previous: bool = False) -> None:
    """Write what `serialise` returned; as `save`."""
    write_atomic(path, content_bytes, previous_of(path) if keep_previous else None)


def serialise(content: dict) -> bytes:
    """The bytes of a checkpoint's file, with its checksum."""
    if set(content) != set(TYPES):
        raise KeyError(f"a checkpoint holds {sorted(TYPES)}, not {sorted(content)}")
    buffer = io.BytesIO()
    torch.save(content, buffer)
    body = buffer.getbuffer()
    return b"".join([body, MAGIC, hashlib.sha256(body).digest()])


def previous_of(path: Path) -> Path:
    """The path at which the checkpoint before `path` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def load_newest(folder: Path, say: Callable[[str], None]) -> dict | None:
    """The content of the last checkpoint of the run in `folder`, or of the previous one where that is damaged.

    None where the run has none. `say` is told of a damaged one, which is replaced by the previous one, so that the
    next save does not keep it as the previous one. EngineError if none is intact. The caller holds the folder's lock.
    """
    last, problem = folder / "checkpoints" / "last.pt", None
    for path in (last, previous_of(last)):
        if not path.exists():
            continue
        try:
            content = load(path)
        except EngineError as error:
            problem = problem or error
            continue
        if problem:
            say(f"warning: {problem}; continuing from {path.name}")
            with suppress(EngineError):
                write_atomic(last, path.read_bytes())
        return content
    if problem:
        raise problem
    return None


def load(path: Path) -> dict:
    """Read and check a checkpoint; tensors on the CPU.

    Raises EngineError where the file is missing, damaged, not Cadence's, or holds anything but tensors and values.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EngineError(f"checkpoint {path} cannot be read ({error.strerror}): give a run folder or a .pt "
                          "file") from None
    body, tail = data[:-TAIL_BYTES], data[-TAIL_BYTES:]
    if not tail.startswith(MAGIC):
        raise EngineError(f"checkpoint {path} is cut short or was not written by Cadence: give one of its .pt files")
    if hashlib.sha256(body).digest() != tail[len(MAGIC):]:
        raise EngineError(f"checkpoint {path} is damaged (its checksum differs): use another of the run's checkpoints")
    try:
        content = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file can raise any exception
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = named.group(1) if named else type(error).__name__
        raise EngineError(f"checkpoint {path} is refused, it holds more than tensors and values: {what}") from None
    if not isinstance(content, dict) or set(content) != set(TYPES):
        raise EngineError(f"checkpoint {path} is not a Cadence checkpoint: its entries are not the expected ones")
    content = up_to_date(content)
    wrong = wrong_entry(content)
    if wrong:
        raise EngineError(f"checkpoint {path} is refused: its entry {wrong} is not what Cadence writes there")
    return content


def load_weights(model: nn.Module, weights: dict, path: Path) -> None:
    """Copy weights into `model`; EngineError naming what differs where they are another model's."""
    have = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    came = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if have != came:
        name = next(n for n in [*have, *came] if have.get(n) != came.get(n))
        raise EngineError(f"checkpoint {path} is of another model: {name} is {came.get(name, 'absent')} there and "
                          f"{have.get(name, 'absent')} here")
    model.load_state_dict(weights)


def measured_weights(content: dict) -> dict:
    """The weights that a checkpoint's run is judged by: the exponential average's where there is one."""
    return content["ema"]["model"] if content["ema"] else content["model"]


def find(run_or_file: str, which: str = "last") -> Path:
    """The checkpoint file meant by a run folder (its `last.pt`, or `best.pt`) or by a path to a .pt file."""
    path = Path(run_or_file)
    if not path.exists():
        raise EngineError(f"{run_or_file} does not exist: give a run folder or a .pt file")
    if path.is_file():
        refuse_best(run_or_file, which)
        return path
    file = path / "checkpoints" / f"{which}.pt"
    if not file.is_file():
        raise EngineError(f"{run_or_file} has no checkpoints/{which}.pt{why_missing(path, which)}")
    return file


def refuse_best(run_or_file: str, which: str) -> None:
    """EngineError where a checkpoint other than the last one is asked of what holds a single network."""
    if which != "last":
        raise EngineError(f"{run_or_file} holds one network, and --{which} chooses among those of a run folder: leave "
                          "it out")


def wrong_entry(content: dict) -> str | None:
    """The first entry of `content`, which has all of them, that is not of its kind; None where all are."""
    for name, kind in TYPES.items():
        if not isinstance(content[name], kind) or isinstance(content[name], bool):
            return name
    inner = {"model": are_tensors(content["model"]), "values": all_of(content["values"], str),
             "history": all(isinstance(row, dict) and set(row) == set(COLUMNS) for row in content["history"]),
             "ema": content["ema"] is None or are_tensors(content["ema"].get("model")),
             "progress": set(content["progress"]) == set(PROGRESS) and all(
                 isinstance(value, (PROGRESS[name], int)) for name, value in content["progress"].items()),
             "processes": bool(content["processes"]) and all(map(is_process, content["processes"]))}
    return next((name for name, good in inner.items() if not good), None)


def all_of(items: list | dict, kind: type) -> bool:
    """Whether all items (of a dict: its keys) are of `kind`."""
    return all(isinstance(item, kind) for item in items)


def are_tensors(weights: object) -> bool:
    """Whether this is a state dict of nothing but tensors."""
    return isinstance(weights, dict) and all_of(weights, str) and all_of(list(weights.values()), Tensor)


def is_process(state: object) -> bool:
    """Whether this is one process's part: its generators and the three sums of its tally."""
    return isinstance(state, dict) and set(state) == {"rng", "tally"} and isinstance(state["rng"], dict) \
        and isinstance(state["tally"], list) and len(state["tally"]) == 3 and all_of(state["tally"], float)
