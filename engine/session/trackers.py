"""Trackers, which receive the numbers of each epoch besides the run folder.

None can end a run: one that fails, at its start or later, causes one warning and is not used again.
"""

import contextlib
import importlib
import importlib.util
import io
import os
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Protocol

from engine.common.errors import EngineError
from engine.common.files import write_atomic

PROJECT = "cadence"
ID_FILE = "tracker_id.txt"


class Tracker(Protocol):
    """The interface of a tracker; `row` holds one epoch's plain values, None where nothing was measured."""

    def epoch(self, row: dict) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """TensorBoard events in <run folder>/tensorboard; needs the extra `tensorboard`."""

    def __init__(self, folder: Path):
        self.writer = module("torch.utils.tensorboard", "tensorboard").SummaryWriter(folder / "tensorboard")

    def epoch(self, row: dict) -> None:
        """One scalar per column; x is the number of epochs done."""
        for tag, value in scalars(row).items():
            self.writer.add_scalar(tag, value, row["epoch"] + 1)

    def close(self) -> None:
        """Write what is still in memory."""
        self.writer.close()


class WandB:
    """Weights & Biases, in <run folder>/wandb and, unless WANDB_MODE says so, nowhere else; needs the extra `wandb`.

    `wandb sync` uploads such a folder. A resumed run keeps its identity.
    """

    def __init__(self, folder: Path):
        wandb = module("wandb", "wandb")
        mode = os.environ.get("WANDB_MODE", "offline")
        quiet = wandb.Settings(silent=True, console="off")
        # Offline the earlier part cannot be looked up: the parts are joined when they are uploaded.
        self.run = wandb.init(project=os.environ.get("WANDB_PROJECT", PROJECT), id=run_id(folder),
                              name=run_name(folder), dir=str(folder), config=config_of(folder), mode=mode,
                              resume="allow" if mode == "online" else None, settings=quiet)

    def epoch(self, row: dict) -> None:
        """One value per column; the step is the number of epochs done."""
        self.run.log(scalars(row), step=row["epoch"] + 1)

    def close(self) -> None:
        """Wait until everything is written."""
        self.run.finish()


class Trackio:
    """trackio, in its own folder (TRACKIO_DIR), where `trackio show` finds all runs; needs the extra `trackio`."""

    def __init__(self, folder: Path):
        trackio = module("trackio", "trackio")
        # With the run's own finish() it would be finished, and announced, again when the process ends.
        self.finish = trackio.finish
        # It announces itself on standard output, among the run's own lines.
        with contextlib.redirect_stdout(io.StringIO()):
            self.run = trackio.init(PROJECT, name=f"{run_name(folder)}-{run_id(folder)}", config=config_of(folder),
                                    resume="allow", embed=False, auto_log_cpu=False, auto_log_gpu=False)

    def epoch(self, row: dict) -> None:
        """One value per column; the step is the number of epochs done."""
        self.run.log(scalars(row), step=row["epoch"] + 1)

    def close(self) -> None:
        """Wait until everything is written."""
        with contextlib.redirect_stdout(io.StringIO()):
            self.finish()


# The name of each is that of its package.
KINDS: dict[str, Callable[[Path], Tracker]] = {"tensorboard": TensorBoard, "wandb": WandB, "trackio": Trackio}


class Guarded:
    """A tracker that is not used again after its first failure, which `say` is told."""

    def __init__(self, name: str, tracker: Tracker, say: Callable[[str], None]):
        self.name, self.tracker, self.say, self.failed = name, tracker, say, False

    def epoch(self, row: dict) -> None:
        """Hand an epoch on."""
        self._try(lambda: self.tracker.epoch(row))

    def close(self) -> None:
        """Close it."""
        self._try(self.tracker.close)

    def _try(self, act: Callable[[], None]) -> None:
        if self.failed:
            return
        try:
            act()
        except Exception as error:
            # Whatever another package raises: it must not end the run.
            self.failed = True
            self.say(warning(self.name, error))


def open_trackers(to: Sequence[str], folder: Path, say: Callable[[str], None] | None = None) -> list[Tracker]:
    """The trackers that `log.to` names; "files" is the run folder itself and has none.

    `say` is told of a tracker that fails (default: standard error). Raises EngineError as `refuse_missing`.
    """
    refuse_missing(to)
    say = say or (lambda line: print(line, file=sys.stderr))
    opened = []
    for name in dict.fromkeys(to):
        if name == "files":
            continue
        try:
            opened.append(Guarded(name, KINDS[name](folder), say))
        except Exception as error:
            say(warning(name, error))
    return opened


def refuse_missing(to: Sequence[str]) -> None:
    """EngineError, before any work, where the package of a tracker in `log.to` is not installed."""
    for name in to:
        if name != "files" and importlib.util.find_spec(name) is None:
            raise EngineError(f"log.to={name} needs the {name} package: pip install 'cadence-train[{name}]'")


def warning(name: str, error: Exception) -> str:
    """The one line about a tracker that failed."""
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"warning: the tracker {name} failed and is left out from here on ({reason}); the run folder has everything"


def module(name: str, package: str) -> ModuleType:
    """Import a tracker's module; EngineError with the extra to install where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise EngineError(f"log.to={package} needs the {package} package: "
                          f"pip install 'cadence-train[{package}]'") from None


def scalars(row: dict) -> dict[str, float]:
    """The values of an epoch that were measured, named loss/train, top1/validation and so on."""
    tagged = {}
    for name, value in row.items():
        if value is not None and name not in ("epoch", "is_best"):
            split, _, measure = name.partition("_")
            tagged[f"{measure}/{split}" if measure in ("loss", "top1") else name] = value
    return tagged


def run_id(folder: Path) -> str:
    """The identity of a run at its trackers: drawn once and kept in the run folder, so it survives a resume."""
    file = folder / ID_FILE
    if not file.exists():
        write_atomic(file, f"{uuid.uuid4().hex[:12]}\n".encode())
    return file.read_text("utf-8").strip()


def run_name(folder: Path) -> str:
    """The last two parts of the folder's path, usually recipe and time."""
    return "-".join(folder.resolve().parts[-2:]).strip("/")


def config_of(folder: Path) -> dict:
    """The run's settings, from its config.yaml."""
    import yaml

    return yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
