"""The model card of a run: README.md on the Hub, written from the run folder alone.

What a run does not have (a validation set, a licence) is left out, never filled with a phrase.
"""

import html
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.build.preflight import dataset_info_of, policy_of, training_count
from engine.common.text import percent
from recipes.settings.load import Recipe, as_text, doc, names

# Name, identity on the Hub where it has one, and what it is.
DATA = {"cifar10": ("CIFAR-10", "uoft-cs/cifar10", "photographs of ten kinds of animals and vehicles, 32 x 32 px"),
        "cifar100": ("CIFAR-100", "uoft-cs/cifar100", "photographs of a hundred kinds of things, 32 x 32 px"),
        "shapes": ("Cadence's procedural shapes", None, "coloured shapes drawn by a program, for trying things out"),
        "folder": ("the author's own images", None, "images in class folders")}
MIXES = {"cutmix": "CutMix", "mixup": "MixUp", "both": "CutMix or MixUp"}
SHOWN = ("augment", "mix", "model", "train", "optim", "average", "schedule")
# What the settings and the command say only of the machine that trained.
PRIVATE = ("run.folder", "data.cache", "run.report", "log.to")


@dataclass(frozen=True)
class CardSource:
    """What a card is written from. summary and env: the run's own; files: the names of those beside the card."""

    repo_id: str
    recipe: Recipe
    class_names: Sequence[str]
    side_px: int
    summary: dict
    env: dict
    files: Sequence[str]
    licence: str | None = None


def model_card(source: CardSource) -> str:
    """The card: Markdown below YAML; KeyError or TypeError where `summary` or `env` is incomplete."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    data_set, summary = source.recipe.section("data").name, source.summary
    title, hub_id, _ = DATA[data_set]
    results = [EvalResult(task_type="image-classification", dataset_type=hub_id or data_set, dataset_name=title,
                          dataset_split="test", metric_type="accuracy", metric_name=f"test {name} accuracy",
                          metric_value=summary[key])
               for name, key in (("top-1", "test_top1"), ("top-5", "test_top5")) if summary[key] is not None]
    head = ModelCardData(library_name="cadence", pipeline_tag="image-classification", license=source.licence,
                         datasets=[hub_id] if hub_id else None, metrics=["accuracy"] if results else None,
                         tags=["cadence", "image-classification", data_set],
                         model_name=source.repo_id if results else None, eval_results=results or None)
    parts = (opening(source), results_part(source), data_part(source), training_part(source), loading_part(source),
             limits_part(source))
    return str(ModelCard(f"---\n{head.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"))


def opening(source: CardSource) -> str:
    """What it is, in a paragraph."""
    summary = source.summary
    title = DATA[source.recipe.section("data").name][0]
    weights = source.recipe.section("model").weights
    start = f"from the weights {code(Path(weights).name)}" if weights else "from random weights"
    return (f"# {text(source.repo_id.split('/')[-1])}\n\nAn image classifier: {code(summary['model'])} with "
            f"{summary['parameters']:,} parameters, trained {start} on {title}. It takes RGB images of "
            f"{source.side_px} x {source.side_px} px and predicts one of {len(source.class_names)} classes.")


def results_part(source: CardSource) -> str:
    """What it reached, and how that was measured."""
    summary = source.summary
    rows = [("test", summary["test_top1"], summary["test_top5"], summary["test_loss"]),
            ("validation", summary["val_top1"], None, None), ("training, augmented", summary["train_top1"], None, None)]
    table = ["| images | top-1 | top-5 | loss |", "|---|---|---|---|"]
    table += [f"| {name} | {percent(top1)} | {percent(top5, '')} | {'' if loss is None else f'{loss:.4f}'} |"
              for name, top1, top5, loss in rows if top1 is not None]
    average = " exponential average of the" if source.recipe.section("average").ema else ""
    told = (f"After {summary['epochs']} epochs, of the{average} weights of the last one; one run, seed "
            f"{summary['seed']}: how much results vary between seeds was not measured.")
    picture = "\n\n![loss, accuracy, learning rate and gap over the epochs](overview.png)"
    stopped = f" Stopped early: {text(summary['stopped'])}." if summary["stopped"] else ""
    return (f"## Results\n\n{lines(table)}\n\n{told}{stopped}{looked_at(source)}"
            f"{picture if 'overview.png' in source.files else ''}")


def looked_at(source: CardSource) -> str:
    """How the test set was used while training, as a sentence; nothing where it was not."""
    values = source.recipe.values
    if values["data.validation"] > 0 or values["eval.watch"] == "none" or source.summary["test_top1"] is None:
        return ""
    if values["eval.select"] == "test" or values["train.stop_at"]:
        return " The test set decided when training was good enough: read its results as an upper bound."
    return " The test set was measured after each epoch and decided nothing."


def data_part(source: CardSource) -> str:
    """Which images, how many, and what was done to them."""
    recipe, data = source.recipe, source.recipe.section("data")
    title, hub_id, what = DATA[data.name]
    known = dataset_info_of(recipe)
    link = f"[{title}](https://huggingface.co/datasets/{hub_id})" if hub_id else title
    said = [f"{link[0].upper()}{link[1:]}: {what}."]
    if known:
        count = training_count(recipe, known.train)
        held = f", {known.train - count:,} more held out for validation" if count < known.train else ""
        said.append(f"{count:,} images were trained on{held}; {known.test:,} are the test set.")
    elif data.validation:
        said.append(f"{percent(data.validation)} of the training images were held out for validation.")
    policy = policy_of(recipe)
    said.append(f"Each training image was changed by {code(policy.text)}." if policy.operations
                else "The training images were not augmented.")
    mix = recipe.section("mix")
    if mix.p:
        said.append(f"{mix.p:.0%} of the batches were mixed by {MIXES[mix.kind]}.")
    sums = [f"- {split} images' beton, SHA-256: `{digest}`" for split, digest in source.env.get("data", {}).items()]
    listed = ", ".join(text(name) for name in source.class_names)
    return (f"## Data\n\n{' '.join(said)}\n\n{lines(sums)}\n\n<details><summary>The {len(source.class_names)} classes, "
            f"in the order of the outputs</summary>\n\n{listed}\n\n</details>")


def training_part(source: CardSource) -> str:
    """The recipe, the command, the settings, the hardware."""
    recipe, summary, hardware = source.recipe, source.summary, source.summary["hardware"]
    about = f": {doc(recipe.name).splitlines()[0]}" if recipe.name in names() else ""
    place = hardware.get("gpu") or f"{hardware['processor']}, {hardware['cores']} cores"
    settings = [f"| `{path}` | {cell(value)} |" for path, value in recipe.values.items()
                if path.split(".")[0] in SHOWN and path != "model.weights"]
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    return (f"## Training\n\nRecipe {code(recipe.name)}{about}\n\n```console\n{public_command(summary['command'])}\n"
            f"```\n\n{summary['train_seconds'] / 60:,.1f} minutes of training on {text(place)} in "
            f"{summary['precision']} arithmetic ({summary['images_per_second']:,.0f} images per second), Cadence at "
            f"commit {code(summary['commit'])}, {text(versions)}.\n\n<details><summary>Every setting of the "
            f"training</summary>\n\n| setting | value |\n|---|---|\n{lines(settings)}\n\n</details>")


def loading_part(source: CardSource) -> str:
    """How to use it."""
    rest = {"config.json": "classes, sizes, normalisation and the whole recipe",
            "metrics.jsonl": "the results of each epoch",
            "report.html": "the run's report, one page for a browser", "overview.png": "its curves"}
    listed = [f"- `{name}`: {what}" for name, what in rest.items() if name in source.files]
    return f"""## Use

```console
pip install 'cadence-train[share]'
```

```python
import torch
from huggingface_hub import snapshot_download
from engine.share import load_shared

trained = load_shared(snapshot_download("{source.repo_id}"))
images = torch.zeros(1, {source.side_px}, {source.side_px}, 3, dtype=torch.uint8)  # RGB, 0 to 255
probabilities = trained.probabilities(images)
print(trained.class_names[probabilities[0].argmax()])
```

Nothing in the folder is a pickle, so loading it runs no code of this repository:

- `model.safetensors`: the weights
{lines(listed)}"""


def limits_part(source: CardSource) -> str:
    """What it cannot do, as far as the run tells."""
    said = [f"It knows {len(source.class_names)} classes and predicts one of them whatever the image shows.",
            f"It sees {source.side_px} x {source.side_px} px: larger images are scaled down first.",
            "It was measured on images of the kind it was trained on, and on no others."]
    if source.summary["test_top1"] is not None:
        said.append(f"On its test set {percent(1 - source.summary['test_top1'])} of its predictions are wrong.")
    else:
        said.append("Its data set has no test images: how good it is on new ones is not known.")
    return "## Limits\n\n" + lines(f"- {sentence}" for sentence in said)


def public_command(command: str) -> str:
    """A run's command without what it says of the machine: its folders, and where its data are."""
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


def text(value: object) -> str:
    """A value that may have come from a user, in prose: one line, shown as it is, neither HTML nor markup."""
    escaped = html.escape(" ".join(str(value).split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", escaped)


def code(value: object) -> str:
    """The same as a code span, where only backticks are special."""
    return "`" + " ".join(str(value).split()).replace("`", "'") + "`"


def cell(value: object) -> str:
    """A setting's value in a table."""
    shown = as_text(value)
    return code(shown).replace("|", r"\|") if shown else "(empty)"


def lines(rows: Iterable[str]) -> str:
    """One row a line."""
    return "\n".join(rows)
