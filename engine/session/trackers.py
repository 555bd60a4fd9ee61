"""Trackers, which receive the numbers of each epoch besides the run folder.

None can end a run: one that fails, at its start or later, causes one warning and is not used again. Each needs the
extra of its name, opens with a run folder, and gives two functions: log(values by tag, epochs done), and close().
"""

import contextlib
import importlib.util
import io
import os
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.common.errors import EngineError
from engine.common.files import write_atomic
from engine.common.text import one_line
from engine.storage.history import read_history

PROJECT = "cadence"
ID_FILE = "tracker_id.txt"
Opened = tuple[Callable[[dict[str, float], int], None], Callable[[], None]]


def open_tensorboard(folder: Path) -> Opened:
    """TensorBoard events in <run folder>/tensorboard. Those of epochs that are trained again are hidden."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(folder / "tensorboard", purge_step=len(read_history(folder / "metrics.csv", [])) + 1)

    def log(values: dict[str, float], epochs: int) -> None:
        for tag, value in values.items():
            writer.add_scalar(tag, value, epochs)

    return log, writer.close


def open_wandb(folder: Path) -> Opened:
    """Weights & Biases, in <run folder>/wandb; elsewhere only if WANDB_MODE says so (`wandb sync` uploads the folder).
    """
    import wandb

    mode = os.environ.get("WANDB_MODE", "offline")
    # Offline the earlier part of a resumed run cannot be looked up: the parts are joined when they are uploaded.
    run = wandb.init(project=os.environ.get("WANDB_PROJECT", PROJECT), id=run_id(folder), name=run_name(folder),
                     dir=str(folder), config=config_of(folder), mode=mode, resume="allow" if mode == "online" else None,
                     settings=wandb.Settings(silent=True, console="off"))
    return lambda values, epochs: run.log(values, step=epochs), run.finish


def open_trackio(folder: Path) -> Opened:
    """trackio, in its own folder (TRACKIO_DIR), where `trackio show` finds all runs."""
    import trackio

    def quietly(function: Callable, *words: object, **options: object) -> object:
        # It announces itself on standard output, among the run's own lines.
        with contextlib.redirect_stdout(io.StringIO()):
            return function(*words, **options)

    run = quietly(trackio.init, PROJECT, name=f"{run_name(folder)}-{run_id(folder)}", config=config_of(folder),
                  resume="allow", embed=False, auto_log_cpu=False, auto_log_gpu=False)
    # With the run's own finish() it would be finished, and announced, again when the process ends.
    return lambda values, epochs: run.log(values, step=epochs), lambda: quietly(trackio.finish)


# The name of each is that of its package.
KINDS: dict[str, Callable[[Path], Opened]] = {"tensorboard": open_tensorboard, "wandb": open_wandb,
                                              "trackio": open_trackio}


class Tracker:
    """A tracker that is not used again after its first failure, which `say` is told."""

    def __init__(self, name: str, folder: Path, say: Callable[[str], None]):
        self.name, self.say, self.failed = name, say, False
        self.log, self.end = self._try(KINDS[name], folder) or (None, None)

    def epoch(self, row: dict) -> None:
        """Log an epoch's plain values, None where nothing was measured."""
        self._try(self.log, scalars(row), row["epoch"] + 1)

    def close(self) -> None:
        """Write what is still in memory."""
        self._try(self.end)

    def _try(self, act: Callable, *words: object) -> object:
        if self.failed:
            return None
        try:
            return act(*words)
        except Exception as error:
            # Whatever another package raises: it must not end the run.
            self.failed = True
            self.say(f"warning: the tracker {self.name} failed and is left out from here on "
                     f"({one_line(error)[:200]}); the run folder has everything")
            return None


def open_trackers(to: Sequence[str], folder: Path, say: Callable[[str], None] | None = None) -> list[Tracker]:
    """The trackers that `log.to` names and that could be opened; "files" is the run folder itself and has none.

    `say` is told of a tracker that fails (default: standard error). Raises EngineError as `refuse_missing`.
    """
    refuse_missing(to)
    say = say or (lambda line: print(line, file=sys.stderr))
    opened = [Tracker(name, folder, say) for name in dict.fromkeys(to) if name != "files"]
    return [tracker for tracker in opened if not tracker.failed]


def refuse_missing(to: Sequence[str]) -> None:
    """EngineError, before any work, where the package of a tracker in `log.to` is not installed."""
    for name in to:
        if name != "files" and importlib.util.find_spec(name) is None:
            raise EngineError(f"log.to={name} needs the {name} package: pip install 'cadence-train[{name}]'")


def scalars(row: dict) -> dict[str, float]:
    """The values of an epoch that were measured, named loss/train, top1/validation and so on."""
    tagged = {}
    for name, value in row.items():
        if value is not None and name not in ("epoch", "is_best"):
            split, _, measure = name.partition("_")
            tagged[f"{measure}/{split}" if measure in ("loss", "top1", "top5", "ece") else name] = value
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
