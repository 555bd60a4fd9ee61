"""Explore a data set, write the result, and show it in tables."""

from pathlib import Path

from engine.cli.console import Screen
from engine.common.files import make_folder, write_json
from engine.common.text import percent
from engine.data_tools.explore import NEAR, PAIRS, explore
from recipes.settings.load import Recipe

# Normalised channels further than this from mean 0 or deviation 1 need other settings.
FAR = 0.1
FEW_CLASSES = 20


def report(recipe: Recipe, folder: Path, json_file: str | None) -> None:
    """Explore the recipe's data set with pictures in `folder`, write `json_file`, show tables."""
    make_folder(folder)
    with Screen() as screen:
        found = explore(recipe, folder, screen)
        if json_file:
            write_json(Path(json_file), found)
        show(found, screen)


def show(found: dict, screen: Screen) -> None:
    """Print what `explore` returned: splits, classes, channels, duplicates."""
    names = found["class_names"]
    shown = names if len(names) <= FEW_CLASSES else [*names[:3], "...", names[-1]]
    screen.table(found["dataset"], [("classes", f"{len(names)}: {', '.join(shown)}"), *split_rows(found["splits"])])
    screen.table(f"data.mean and data.std of recipe {found['normalised']['recipe']}", normalised_rows(found))
    screen.table("duplicate images", duplicate_rows(found))
    screen.say("pictures: " + ", ".join(found["pictures"]))


def split_rows(splits: dict[str, dict]) -> list[tuple[str, str]]:
    """Each split's size, class counts and channels."""
    rows = []
    for name, split in splits.items():
        place = f"{split['folder']}: " if "folder" in split else ""
        rows += [(name, f"{place}{split['images']:,} images of {split['height_px']} x {split['width_px']} px, "
                        f"{split['file_bytes'] / 1e6:,.1f} MB, {counts_text(split['class_counts'])}"),
                 (f"{name}: red, green, blue", f"mean {numbers(split['channel_mean'])}; "
                                               f"deviation {numbers(split['channel_std'])}")]
    return rows


def counts_text(counts: dict[str, int]) -> str:
    """Images per class: one number if all are equal, a list of few classes, the extremes of many."""
    least, most = min(counts, key=counts.get), max(counts, key=counts.get)
    if counts[least] == counts[most]:
        return f"{counts[most]:,} of each class"
    if len(counts) <= FEW_CLASSES:
        return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))
    return f"from {counts[least]:,} of a class ({least}) to {counts[most]:,} ({most})"


def normalised_rows(found: dict) -> list[tuple[str, str]]:
    """Mean and deviation of the normalised training images and, if they are far off, the settings that fit."""
    made, train = found["normalised"], found["splits"]["train"]
    rows = [("training images, normalised", f"mean {numbers(made['mean'], '+.3f')}; deviation "
                                            f"{numbers(made['std'], '.3f')}")]
    if max(*map(abs, made["mean"]), *(abs(std - 1) for std in made["std"])) > FAR:
        rows.append(("for mean 0, deviation 1", f"--data.mean={numbers(train['channel_mean'], comma=',')} "
                                                f"--data.std={numbers(train['channel_std'], comma=',')}"))
    return rows


def numbers(values: list[float], form: str = ".4f", comma: str = ", ") -> str:
    """Numbers in one line."""
    return comma.join(format(value, form) for value in values)


def duplicate_rows(found: dict) -> list[tuple[str, str]]:
    """How many duplicates there are within and between the splits."""
    def other_labels(counts: dict) -> str:
        return f", {counts['of_other_classes']:,} with another label" if counts["of_other_classes"] else ""

    rows = [(f"within {split}", f"{counts['images']:,} equal an earlier one{other_labels(counts)}")
            for split, counts in found["copies"]["within"].items()]
    splits, copies = found["splits"], found["copies"]
    for one, other in PAIRS:
        if exact := copies.get(f"{one}_in_{other}"):
            share = percent(exact["images"] / splits[one]["images"])
            rows.append((f"{one} images in {other}", f"{exact['images']:,} ({share}){other_labels(exact)}"))
        if other == "train" and (near := found.get(NEAR[one])):
            of = "" if near["compared"] == splits[one]["images"] else f" of {near['compared']:,} compared"
            rows.append((f"{one} nearly in train" if "validation" in splits else "nearly in train",
                         f"{near['images']:,} ({percent(near['images'] / near['compared'])}){of}{other_labels(near)}"))
    methods = {near["method"] for name in NEAR.values() if (near := found.get(name))}
    return rows + [("what nearly means", method) for method in methods]
