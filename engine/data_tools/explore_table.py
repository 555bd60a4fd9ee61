"""What was found about a data set, as tables on the screen."""

# Normalised channels further than this from mean 0 and deviation 1 are worth a line.
FAR = 0.1
FEW_CLASSES = 20


def tell(found: dict, screen) -> None:
    """Print what `engine.data_tools.explore.explore` returned: splits, classes, channels, images that come twice."""
    screen.table(found["dataset"], [("classes", names(found["class_names"])), *splits(found["splits"])])
    screen.table(f"data.mean and data.std of recipe {found['normalised']['recipe']}", normalised(found))
    screen.table("images that come twice", twice(found))
    screen.say("pictures: " + ", ".join(found["pictures"]))


def names(class_names: list[str]) -> str:
    """How many classes there are, and what they are called."""
    shown = class_names if len(class_names) <= FEW_CLASSES else [*class_names[:3], "...", class_names[-1]]
    return f"{len(class_names)}: {', '.join(shown)}"


def splits(found: dict[str, dict]) -> list[tuple[str, str]]:
    """Each split's size, class counts and channels."""
    rows = []
    for split, facts in found.items():
        rows += [(split, f"{facts['images']:,} images of {facts['height_px']} x {facts['width_px']} px, "
                         f"{facts['file_bytes'] / 1e6:,.1f} MB, {counts(facts['class_counts'])}"),
                 (f"{split}: red, green, blue", f"mean {figures(facts['channel_mean'])}; "
                                                f"deviation {figures(facts['channel_std'])}")]
    return rows


def counts(images: dict[str, int]) -> str:
    """How many images the classes have: one number, each, or the ends."""
    least, most = min(images, key=images.get), max(images, key=images.get)
    if images[least] == images[most]:
        return f"{images[most]:,} of each class"
    if len(images) <= FEW_CLASSES:
        return ", ".join(f"{count:,} {name}" for name, count in sorted(images.items(), key=lambda item: -item[1]))
    return f"from {images[least]:,} of a class ({least}) to {images[most]:,} ({most})"


def normalised(found: dict) -> list[tuple[str, str]]:
    """What the recipe's mean and std make of the training images and, where that is far off, the ones that fit."""
    made, train = found["normalised"], found["splits"]["train"]
    rows = [("training images, normalised", f"mean {figures(made['mean'], '+.3f')}; deviation "
                                            f"{figures(made['std'], '.3f')}")]
    if max(*map(abs, made["mean"]), *(abs(std - 1) for std in made["std"])) > FAR:
        rows.append(("for mean 0, deviation 1", f"--data.mean={figures(train['channel_mean'], comma=',')} "
                                                f"--data.std={figures(train['channel_std'], comma=',')}"))
    return rows


def figures(values: list[float], form: str = ".4f", comma: str = ", ") -> str:
    """Numbers in one line."""
    return comma.join(format(value, form) for value in values)


def twice(found: dict) -> list[tuple[str, str]]:
    """Where images come twice, and how many do."""
    rows = [(f"within {split}", f"{some['images']:,} equal an earlier one{but_other(some)}")
            for split, some in found["copies"]["within"].items()]
    near = found["near"]
    if near is None:
        return rows
    exact, images = found["copies"]["test_in_train"], found["splits"]["test"]["images"]
    of = "" if near["compared"] == images else f" of {near['compared']:,} compared"
    return [*rows, ("test images in train", f"{exact['images']:,} ({exact['images'] / images:.2%}){but_other(exact)}"),
            ("nearly in train", f"{near['images']:,} ({near['images'] / near['compared']:.2%}){of}{but_other(near)}"),
            ("what nearly means", near["method"])]


def but_other(some: dict) -> str:
    """How many copies have another label, where there are any."""
    return f", {some['of_other_classes']:,} with another label" if some["of_other_classes"] else ""
