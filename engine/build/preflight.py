"""What can be refused before anything heavy is imported: the policy, known sizes, folders."""

from engine.common.errors import EngineError
from engine.common.files import expand, refuse_unwritable_folder
from engine.storage.run_lookup import started
from loaders.policy.policy import Policy, parse
from loaders.sources.base import DatasetInfo
from loaders.sources.open import dataset_info
from recipes.settings.load import Recipe


def resolution_of(recipe: Recipe) -> int:
    """Height and width of the data set's images in px."""
    return recipe.get("data.resolution", 32)


def dataset_info_of(recipe: Recipe) -> DatasetInfo | None:
    """Sizes of the recipe's data set, None for class folders."""
    data = recipe.section("data")
    shapes = {key: getattr(data, key) for key in ("classes", "train_count", "test_count") if hasattr(data, key)}
    return dataset_info(data.name, labels=recipe.get("data.labels", "fine"), resolution=resolution_of(recipe), **shapes)


def policy_of(recipe: Recipe) -> Policy:
    """The training policy, parsed for the data set's resolution."""
    side_px = resolution_of(recipe)
    return parse(recipe.section("augment").policy, side_px, side_px)


def evaluation_policy_of(recipe: Recipe) -> Policy:
    """The policy that resizes validation and test images to the output size of the training policy, if it differs."""
    side_px, policy = resolution_of(recipe), policy_of(recipe)
    return parse("none" if policy.output_px == side_px else f"resize(px={policy.output_px})", side_px, side_px)


def training_count(recipe: Recipe, count: int) -> int:
    """Images of `count` that train once the validation share is held out, rounded as the split rounds."""
    return count - round(count * recipe.section("data").validation)


def refuse_early(recipe: Recipe, data_needed: bool = True) -> None:
    """Raise for what is wrong without looking at data; with `data_needed` also where the data folder is missing. Class
    folders are always needed, to be counted."""
    policy_of(recipe)
    known, data = dataset_info_of(recipe), recipe.section("data")
    if known:
        refuse_large_batches(recipe, training_count(recipe, known.train))
    root, download = recipe.get("data.root"), recipe.get("data.download", False)
    if (data_needed or data.name == "folder") and root is not None and not download and not expand(root).is_dir():
        fetch = " or --data.download=true" if data.name != "folder" else ""
        raise EngineError(f"data.root={root} is not a folder: give the one that holds {data.name} with "
                          f"--data.root=DIR{fetch}")


def refuse_large_batches(recipe: Recipe, count: int) -> None:
    """EngineError where `count` training images do not fill a batch, or an update's batches."""
    data, train = recipe.section("data"), recipe.section("train")
    if train.batch > count:
        raise EngineError(f"train.batch={train.batch} is larger than the {count:,} training images of {data.name}: "
                          "make it smaller")
    if train.accumulate > -(-count // train.batch):
        raise EngineError(f"train.accumulate={train.accumulate} is more than the {-(-count // train.batch):,} "
                          f"batches of an epoch: make it smaller")


def refuse_folder(wanted: str) -> None:
    """EngineError, before any work, where `wanted` (or runs/) holds a run already or could not be written."""
    folder = expand(wanted or "runs").absolute()
    if started(folder):
        raise EngineError(f"run.folder={wanted} already holds a run: choose another, or resume it with --resume "
                          f"{wanted}")
    refuse_unwritable_folder(folder, "--run.folder")
