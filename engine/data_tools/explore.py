"""What a data set is, before a network sees it: classes, channels, images that come twice; as values and pictures."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.build.datasets import open_betons, open_data
from engine.data_tools import duplicates
from engine.plots import dataset as views
from loaders.beton.cache import Beton, labels_of
from loaders.beton.images import read_images
from recipes.settings.load import Recipe

BYTES_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Look:
    """What one pass over a split's images leaves: `labels` int64 (N,), `histogram` int64 (3, 256) of the pixels of
    each channel, and of each image its digest and small copy (see engine.data_tools.duplicates)."""

    beton: Beton
    labels: np.ndarray
    histogram: np.ndarray
    digests: list[bytes]
    small: np.ndarray


def in_pieces(beton: Beton) -> Iterator[np.ndarray]:
    """All images of a beton in order, uint8 (n, H, W, 3), about 16 MB at a time."""
    step = max(1, BYTES_AT_ONCE // (beton.height * beton.width * 3))
    for start in range(0, beton.samples, step):
        yield read_images(beton, np.arange(start, min(start + step, beton.samples)))


def look_at(beton: Beton) -> Look:
    """Read every image of a beton once."""
    histogram, digests, small = np.zeros((3, 256), np.int64), [], []
    for images_nhwc in in_pieces(beton):
        histogram += [np.bincount(images_nhwc[..., channel].ravel(), minlength=256) for channel in range(3)]
        digests += duplicates.digests_of(images_nhwc)
        small.append(duplicates.small_of(images_nhwc))
    return Look(beton, labels_of(beton), histogram, digests, np.concatenate(small))


def explore(recipe: Recipe, folder: Path, screen) -> dict:
    """Look at the recipe's data set, draw overview.png, samples.png and, where images come twice, copies.png.

    Returns plain values: dataset, class_names, splits (images, size, counts, channels of each), normalised (what the
    recipe's mean and std make of the training images), copies (exact; positions are those in the beton), near (nearly
    the same images of train and test, None without a test split), pictures, command.
    """
    source = open_data(recipe)
    looks = {split: look_at(beton)
             for split, beton in open_betons(recipe, source, screen.writing, screen.say).items()}
    data = recipe.section("data")
    exact, near = copies_of(looks), near_of(looks)
    mean, std = (np.array(values) for values in (data.mean, data.std))
    train = looks["train"].beton
    settings = f"recipe {recipe.name}'s data.mean and data.std"
    histograms = {split: look.histogram for split, look in looks.items()}
    counts = {split: look.beton.class_counts for split, look in looks.items()}
    pictures = [views.draw_overview(source.class_names, counts, histograms["train"], (data.mean, data.std), settings,
                                    folder / "overview.png", f"{source.name}: classes and channels"),
                views.draw_samples(source.class_names, samples_of(looks["train"], views.samples_a_class(
                    len(source.class_names))), folder / "samples.png", f"{source.name}: training images of each class")]
    # One of an earlier look at other data would be taken for this one's.
    (folder / "copies.png").unlink(missing_ok=True)
    if pairs := pairs_of(looks, exact, near, views.MOST_PAIRS):
        pictures.append(views.draw_pairs(*pairs, folder / "copies.png"))
    return {
        "dataset": source.name, "class_names": list(source.class_names),
        "splits": {split: facts_of(look.beton) for split, look in looks.items()},
        "normalised": {"recipe": recipe.name, "mean": ((train.channel_mean - mean) / std).tolist(),
                       "std": (train.channel_std / std).tolist()},
        "copies": exact, "near": near, "pictures": [str(path) for path in pictures],
        "command": recipe.command("engine.data").replace("engine.data", "engine.data explore", 1),
    }


def facts_of(beton: Beton) -> dict:
    """A split's sizes, class counts and channel statistics, as its manifest has them."""
    return {"images": beton.samples, "height_px": beton.height, "width_px": beton.width,
            "file_bytes": beton.file_bytes, "sha256": beton.sha256,
            "class_counts": dict(zip(beton.class_names, beton.class_counts, strict=True)),
            "channel_mean": list(beton.channel_mean), "channel_std": list(beton.channel_std)}


def copies_of(looks: dict[str, Look]) -> dict:
    """Exact copies: within each split the groups of equal images; test images that are in train, as (test, train)."""
    found: dict = {"within": {}}
    for split, look in looks.items():
        groups = duplicates.groups_of(look.digests)
        found["within"][split] = {
            "groups": groups, "images": sum(map(len, groups)) - len(groups),
            "of_other_classes": sum(len(set(look.labels[group].tolist())) > 1 for group in groups)}
    if "test" in looks:
        pairs = duplicates.found_again(looks["test"].digests, looks["train"].digests)
        found["test_in_train"] = {"pairs": pairs, "images": len(pairs),
                                  "of_other_classes": other_classes(looks, pairs)}
    return found


def near_of(looks: dict[str, Look]) -> dict | None:
    """Test images with a training image that is nearly theirs but not equal: pairs of (test, train, correlation), the
    most alike first."""
    if "test" not in looks:
        return None
    train, test = looks["train"], looks["test"]
    step = duplicates.every(len(test.small), len(train.small))
    which, correlations = duplicates.nearest(test.small[::step], train.small)
    near = np.flatnonzero(correlations >= duplicates.NEAR)
    pairs = [(int(at) * step, int(which[at]), float(correlations[at])) for at in near[np.argsort(-correlations[near])]]
    pairs = [pair for pair in pairs if test.digests[pair[0]] != train.digests[pair[1]]]
    return {"method": f"correlation of the images at {duplicates.SMALL_PX} x {duplicates.SMALL_PX} px is "
                      f"{duplicates.NEAR} or more",
            "compared": len(correlations), "pairs": pairs, "images": len(pairs),
            "of_other_classes": other_classes(looks, [pair[:2] for pair in pairs])}


def other_classes(looks: dict[str, Look], pairs: list[tuple[int, int]]) -> int:
    """How many pairs (test, train) are of different classes."""
    return sum(int(looks["test"].labels[test] != looks["train"].labels[train]) for test, train in pairs)


def samples_of(look: Look, count: int) -> list[np.ndarray]:
    """Up to `count` images of each class, uint8 (n, H, W, 3), evenly from the first to the last."""
    order = np.argsort(look.labels, kind="stable")
    ends = np.cumsum(look.beton.class_counts)
    places = [order[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return [read_images(look.beton, place[spread(len(place), count)]) for place in places[:views.MOST_CLASSES]]


def spread(length: int, count: int) -> np.ndarray:
    """Up to `count` different positions of 0 .. length - 1, evenly from the first to the last."""
    return np.linspace(0, length - 1, min(length, count)).round().astype(int)


def pairs_of(looks: dict[str, Look], exact: dict, near: dict | None, count: int) -> tuple[list, np.ndarray, str] | None:
    """What views.draw_pairs takes: captions, uint8 (n, 2, H, W, 3), title; None where no image comes twice.

    Up to `count` pairs, exact copies first, then from the most to the least alike.
    """
    across, nearly = (exact["test_in_train"]["pairs"], near["pairs"]) if near else ([], [])
    across = [("test", test, "train", train, "equal") for test, train in across]
    nearly = [("test", test, "train", train, f"{alike:.3f}") for test, train, alike in nearly]
    within = [(split, group[0], split, group[1], "equal")
              for split, groups in exact["within"].items() for group in groups["groups"]]
    found = across + within + nearly
    if not found:
        return None
    shown = [found[at] for at in spread(len(found), count)]

    def image(split: str, position: int) -> np.ndarray:
        return read_images(looks[split].beton, np.array([position]))[0]

    def name(split: str, position: int) -> str:
        return looks[split].beton.class_names[looks[split].labels[position]]

    captions = [(f"{one} {first:,}", name(one, first), f"{other} {second:,}", name(other, second), alike)
                for one, first, other, second, alike in shown]
    images = np.stack([[image(one, first), image(other, second)] for one, first, other, second, _ in shown])
    return captions, images, (f"Images that come twice: {len(across):,} of test in train, {len(within):,} within a "
                                f"split, {len(nearly):,} of test nearly in train; {len(shown)} shown")
