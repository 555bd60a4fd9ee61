"""Explore a data set before training: classes, channels, duplicate images, as plain values and pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.build.datasets import open_betons, open_data
from engine.cli.console import Screen
from engine.data_tools import duplicates
from engine.plots.dataset import MOST_CLASSES, MOST_PAIRS, draw_overview, draw_pairs, draw_samples, samples_a_class
from loaders.beton.cache import Beton, labels_of
from loaders.beton.images import read_images
from recipes.settings.load import Recipe

BYTES_AT_ONCE = 1 << 24
# Held-out split -> the key of its near duplicates in the training images; pairs of splits that should share no image.
NEAR = {"test": "near", "validation": "near_validation"}
PAIRS = (("test", "train"), ("validation", "train"), ("test", "validation"))


@dataclass(frozen=True)
class SplitScan:
    """The facts about a split: `labels` int64 (N,), `histogram` int64 (3, 256) of the pixels per channel, and each
    image's digest and thumbnail (see engine.data_tools.duplicates)."""

    beton: Beton
    labels: np.ndarray
    histogram: np.ndarray
    digests: list[bytes]
    thumbnails: np.ndarray


def scan(beton: Beton) -> SplitScan:
    """Read every image of a beton once."""
    histogram, digests, thumbnails = np.zeros((3, 256), np.int64), [], []
    step = max(1, BYTES_AT_ONCE // (beton.height * beton.width * 3))
    for start in range(0, beton.samples, step):
        images_nhwc = read_images(beton, np.arange(start, min(start + step, beton.samples)))
        histogram += [np.bincount(images_nhwc[..., channel].ravel(), minlength=256) for channel in range(3)]
        digests += duplicates.digests_of(images_nhwc)
        thumbnails.append(duplicates.thumbnails_of(images_nhwc))
    return SplitScan(beton, labels_of(beton), histogram, digests, np.concatenate(thumbnails))


def explore(recipe: Recipe, folder: Path, screen: Screen) -> dict:
    """Scan the recipe's data set; draw overview.png, samples.png and, if there are duplicates, copies.png.

    Returns plain values: dataset, class_names, splits (folder of class folders; images, size, counts, channels of
    each), normalised (mean and std of the training images after the recipe's normalisation), copies (exact duplicates,
    by position in the beton: within a split, test_in_train, validation_in_train, test_in_validation), near (near
    duplicates between test and train, None without a test split), near_validation (the same of validation images,
    where they are a split), pictures, command.
    """
    source, data = open_data(recipe), recipe.section("data")
    betons = open_betons(recipe, source, screen.writing, screen.say)
    scans = {split: scan(beton) for split, beton in betons.items()}
    exact = exact_duplicates(scans)
    near = {NEAR[split]: near_duplicates(scans, split) for split in NEAR if split == "test" or split in scans}
    pictures = [
        draw_overview(source.class_names, {split: beton.class_counts for split, beton in betons.items()},
                      scans["train"].histogram, (data.mean, data.std), f"recipe {recipe.name}'s data.mean and data.std",
                      folder / "overview.png", f"{source.name}: classes and channels"),
        draw_samples(source.class_names, samples_of(scans["train"], samples_a_class(len(source.class_names))),
                     folder / "samples.png", f"{source.name}: training images of each class")]
    # An old one of another data set would mislead.
    (folder / "copies.png").unlink(missing_ok=True)
    if pairs := pairs_to_draw(scans, exact, near):
        pictures.append(draw_pairs(*pairs, folder / "copies.png"))
    train, mean, std = betons["train"], np.array(data.mean), np.array(data.std)
    return {
        "dataset": source.name, "class_names": list(source.class_names),
        "splits": {split: {
            **({"folder": str(source.folders[split])} if split in source.folders else {}),
            "images": beton.samples, "height_px": beton.height, "width_px": beton.width,
            "file_bytes": beton.file_bytes, "sha256": beton.sha256,
            "class_counts": dict(zip(beton.class_names, beton.class_counts, strict=True)),
            "channel_mean": list(beton.channel_mean), "channel_std": list(beton.channel_std)}
            for split, beton in betons.items()},
        "normalised": {"recipe": recipe.name, "mean": ((train.channel_mean - mean) / std).tolist(),
                       "std": (train.channel_std / std).tolist()},
        "copies": exact, **near, "pictures": [str(path) for path in pictures],
        "command": recipe.command("engine.data").replace("engine.data", "engine.data explore", 1),
    }


def exact_duplicates(scans: dict[str, SplitScan]) -> dict:
    """Groups of equal images within each split, and pairs of equal images of two splits: (held out, trained on)."""
    found: dict = {"within": {}}
    for split, each in scans.items():
        groups = duplicates.groups_of(each.digests)
        found["within"][split] = {
            "groups": groups, "images": sum(map(len, groups)) - len(groups),
            "of_other_classes": sum(len(set(each.labels[group].tolist())) > 1 for group in groups)}
    for one, other in PAIRS:
        if one in scans and other in scans:
            pairs = duplicates.pairs_between(scans[one].digests, scans[other].digests)
            found[f"{one}_in_{other}"] = counted(scans[one], scans[other], pairs)
    return found


def near_duplicates(scans: dict[str, SplitScan], split: str) -> dict | None:
    """Pairs (held out, train, correlation) of each image of `split` whose most similar training image is a near, not an
    exact duplicate; the highest correlation first. None without the split."""
    if split not in scans:
        return None
    train, held = scans["train"], scans[split]
    step = duplicates.comparison_step(len(held.thumbnails), len(train.thumbnails))
    which, correlations = duplicates.nearest(held.thumbnails[::step], train.thumbnails)
    near = np.flatnonzero(correlations >= duplicates.NEAR)
    pairs = [(int(at) * step, int(which[at]), float(correlations[at])) for at in near[np.argsort(-correlations[near])]]
    return {"method": f"correlation of the images at {duplicates.THUMBNAIL_PX} x {duplicates.THUMBNAIL_PX} px is "
                      f"{duplicates.NEAR} or more", "compared": len(correlations),
            **counted(held, train, [pair for pair in pairs if held.digests[pair[0]] != train.digests[pair[1]]])}


def counted(one: SplitScan, other: SplitScan, pairs: list[tuple]) -> dict:
    """Pairs (of one, of the other, ...), how many there are, and how many have different labels."""
    return {"pairs": pairs, "images": len(pairs),
            "of_other_classes": sum(int(one.labels[a] != other.labels[b]) for a, b, *_ in pairs)}


def samples_of(split: SplitScan, count: int) -> list[np.ndarray]:
    """Up to `count` evenly spaced images of each class, uint8 (n, H, W, 3)."""
    by_class = np.split(np.argsort(split.labels, kind="stable"), np.cumsum(split.beton.class_counts)[:-1])
    return [read_images(split.beton, places[spread(len(places), count)]) for places in by_class[:MOST_CLASSES]]


def spread(length: int, count: int) -> np.ndarray:
    """Up to `count` different positions of 0 .. length - 1, evenly spaced from the first to the last."""
    return np.linspace(0, length - 1, min(length, count)).round().astype(int)


def pairs_to_draw(scans: dict[str, SplitScan], exact: dict,
                  near: dict[str, dict | None]) -> tuple[list, np.ndarray, str] | None:
    """Captions, uint8 (n, 2, H, W, 3) and title for draw_pairs; None without duplicates.

    Pairs between splits come first, then pairs within a split, then near ones, the most similar first. Of many pairs,
    it draws an even selection.
    """
    across = [((one, a), (other, b), "equal") for one, other in PAIRS
              for a, b in exact.get(f"{one}_in_{other}", {"pairs": []})["pairs"]]
    within = [((split, group[0]), (split, group[1]), "equal")
              for split, groups in exact["within"].items() for group in groups["groups"]]
    nearly = [((split, a), ("train", b), f"{correlation:.3f}") for split, name in NEAR.items() if near.get(name)
              for a, b, correlation in near[name]["pairs"]]
    found = across + within + nearly
    if not found:
        return None

    def details(split: str, position: int) -> tuple[str, str, np.ndarray]:
        labels, beton = scans[split].labels, scans[split].beton
        image_hwc = read_images(beton, np.array([position]))[0]
        return f"{split} {position:,}", beton.class_names[labels[position]], image_hwc

    shown = [(details(*one), details(*other), alike) for one, other, alike in
             (found[at] for at in spread(len(found), MOST_PAIRS))]
    captions = [(*one[:2], *other[:2], alike) for one, other, alike in shown]
    title = (f"Duplicate images: {len(across):,} between splits, {len(within):,} within a split, {len(nearly):,} "
             f"nearly in train; {len(shown)} shown")
    return captions, np.stack([[one[2], other[2]] for one, other, _ in shown]), title
