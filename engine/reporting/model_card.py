"""The model card of a run: README.md on the Hub, from the run folder alone, without what the run does not have."""

import html
import re
import shlex
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from engine.build.preflight import dataset_info_of, policy_of, training_count
from engine.common.text import percent
from recipes.settings.load import Recipe, as_text, doc, names

# Name, id on the Hub if it has one, and description.
DATA = {"cifar10": ("CIFAR-10", "uoft-cs/cifar10", "photographs of ten kinds of animals and vehicles, 32 x 32 px"),
        "cifar100": ("CIFAR-100", "uoft-cs/cifar100", "photographs of a hundred kinds of things, 32 x 32 px"),
        "shapes": ("Cadence's procedural shapes", None, "coloured shapes drawn by a program, for trying things out"),
        "folder": ("the author's own images", None, "images in class folders")}
MIXES = {"cutmix": "CutMix", "mixup": "MixUp", "both": "CutMix or MixUp"}
SHOWN = ("augment", "mix", "model", "train", "optim", "average", "schedule")
OTHER_FILES = {"config.json": "classes, sizes, normalisation and the whole recipe",
               "metrics.jsonl": "the results of each epoch",
               "report.html": "the run's report, one page for a browser", "overview.png": "its curves"}
# Settings that only concern the machine that trained.
PRIVATE = ("run.folder", "data.cache", "run.report", "log.to")


def model_card(repo_id: str, recipe: Recipe, class_names: Sequence[str], side_px: int, summary: dict, env: dict,
               files: Sequence[str], licence: str | None = None) -> str:
    """The card: Markdown below YAML. summary, env: the run's; files: the names of the files beside the card. Raises
    KeyError, TypeError or jinja2's UndefinedError if `summary` or `env` is incomplete."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    data_set, hardware, info = recipe.section("data").name, summary["hardware"], dataset_info_of(recipe)
    title, hub_id, about_data = DATA[data_set]
    metrics = [EvalResult(task_type="image-classification", dataset_type=hub_id or data_set, dataset_name=title,
                          dataset_split="test", metric_type="accuracy", metric_name=f"test {name} accuracy",
                          metric_value=summary[key])
               for name, key in (("top-1", "test_top1"), ("top-5", "test_top5")) if summary[key] is not None]
    head = ModelCardData(library_name="cadence", pipeline_tag="image-classification", license=licence,
                         datasets=[hub_id] if hub_id else None, metrics=["accuracy"] if metrics else None,
                         tags=["cadence", "image-classification", data_set],
                         model_name=repo_id if metrics else None, eval_results=metrics or None)
    results = [("test", summary["test_top1"], summary["test_top5"], summary["test_loss"]),
               ("validation", summary["val_top1"], None, None),
               ("training, augmented", summary["train_top1"], None, None)]
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"text": text, "code": code, "cell": cell, "percent": percent, "one_line": one_line}
    template = resources.files("engine.reporting").joinpath("model_card.md.jinja").read_text("utf-8")
    return str(ModelCard(environment.from_string(template).render(
        head=head.to_yaml(), repo_id=repo_id, class_names=class_names, side_px=side_px, summary=summary, env=env,
        files=files, others=OTHER_FILES, values=recipe.values, results=results, title=title, hub_id=hub_id,
        about_data=about_data, dataset_info=info, trained_count=training_count(recipe, info.train) if info else None,
        policy=policy_of(recipe), mixes=MIXES,
        weights=Path(recipe.section("model").weights or "").name, command=public_command(summary["command"]),
        recipe_name=recipe.name,
        recipe_about=f": {doc(recipe.name).splitlines()[0]}" if recipe.name in names() else "",
        machine=hardware.get("gpu") or f"{hardware['processor']}, {hardware['cores']} cores",
        versions=", ".join(f"{name} {version}" for name, version in summary["versions"].items()),
        settings={path: value for path, value in recipe.values.items()
                  if path.split(".")[0] in SHOWN and path != "model.weights"})))


def public_command(command: str) -> str:
    """A run's command without the machine's folders."""
    words = []
    for word in shlex.split(command):
        name = word.removeprefix("--").partition("=")[0]
        if name == "data.root":
            words.append("--data.root=DIR")
        elif name == "model.weights":
            words.append(f"--{name}={Path(word.partition('=')[2]).name}")
        elif name not in PRIVATE:
            words.append(word)
    return shlex.join(words)


def one_line(value: object) -> str:
    """The value as text, with all white space as single spaces."""
    return " ".join(str(value).split())


def text(value: object) -> str:
    """A value that may come from a user, for prose: one line, with HTML and markup escaped."""
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", html.escape(one_line(value), quote=False))


def code(value: object) -> str:
    """The same as a code span, in which only backticks are special."""
    return "`" + one_line(value).replace("`", "'") + "`"


def cell(value: object) -> str:
    """A setting's value in a table."""
    shown = as_text(value)
    return code(shown).replace("|", r"\|") if shown else "(empty)"
