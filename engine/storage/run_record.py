"""What a run folder says of its run: settings, command, environment, history, summary; and what is missing."""

import json
from dataclasses import dataclass
from pathlib import Path

from engine.common.errors import EngineError
from engine.common.files import read_json
from engine.storage.history import read_history
from engine.storage.run_folder import without_folder
from engine.storage.run_lookup import REPEATS
from recipes.settings.load import as_text, read_file


@dataclass(frozen=True)
class Record:
    """A run, read from its folder.

    settings: "train.epochs" to its value as text. history: from `read_history`. summary and env: the JSON files, {}
    where they are absent. missing: a sentence for each thing that is not there.
    """

    folder: Path
    settings: dict[str, str]
    command: str
    env: dict
    history: list[dict]
    summary: dict
    missing: tuple[str, ...]

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return str(self.summary.get("recipe") or self.env.get("recipe") or "a recipe that is not recorded")

    @property
    def title(self) -> str:
        """The recipe, the data set and the seed."""
        dataset, seed = self.settings.get("data.name", "unknown data"), self.settings.get("train.seed", "?")
        return f"{self.recipe} on {dataset}, seed {seed}"


def read_record(folder: Path) -> Record:
    """Read a run folder, finished or not; EngineError for any other folder and for one of repeats."""
    if (folder / REPEATS).exists():
        raise EngineError(f"{folder} holds one run per seed: give one of its seed_ folders, or all of them to "
                          "--compare")
    if not (folder / "config.yaml").is_file():
        raise EngineError(f"{folder} is not a run folder, it has no config.yaml: give one that engine.train wrote")
    missing: list[str] = []
    settings = {path: shown(value) for path, value in read_file(str(folder / "config.yaml")).items()}
    summary, env = (read_values(folder / name, missing) for name in ("summary.json", "env.json"))
    if not (folder / "summary.json").exists():
        missing.append("The run has not finished: it is training, or was interrupted and can be resumed with "
                       f"`python -m engine.train --resume {folder}`.")
    history = read_history(folder / "metrics.csv", missing)
    if history and "epochs" in summary and summary["epochs"] != len(history):
        missing.append(f"summary.json is of {summary['epochs']} epochs, and {len(history)} are recorded: the run was "
                       "resumed, and summary.json describes its earlier end.")
    if not history:
        missing.append("No epoch has been recorded: there are no curves.")
    try:
        command = without_folder((folder / "command.txt").read_text("utf-8", "surrogateescape"))
    except (OSError, ValueError):
        command = ""
        missing.append("command.txt cannot be read: the command is not known.")
    return Record(folder, settings, command, env, history, summary, tuple(missing))


def shown(value: object) -> str:
    """A setting's value in one line."""
    listed = isinstance(value, list) and value and isinstance(value[0], dict)
    return json.dumps(value) if listed else as_text(value)


def read_values(path: Path, missing: list[str]) -> dict:
    """The object of a JSON file; {} where it is absent or damaged, which is added to `missing`."""
    if not path.exists():
        return {}
    try:
        return read_json(path, "")
    except EngineError:
        missing.append(f"{path.name} cannot be read.")
        return {}
