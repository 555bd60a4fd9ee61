"""The data settings of a recipe become a source and its betons. Imports neither torch nor FFCV."""

from collections.abc import Callable, Iterable

from engine.build.preflight import resolution_of
from engine.common.errors import EngineError
from engine.common.files import expand
from loaders.beton.cache import Beton, ensure
from loaders.common.files import sha256_of
from loaders.sources.base import Source
from loaders.sources.open import open_source
from recipes.settings.load import Recipe

OnProgress = Callable[[int, int], None] | None
OnWarning = Callable[[str], None] | None


def open_data(recipe: Recipe) -> Source:
    """The recipe's data set; its files are not decoded yet."""
    shapes = {"classes": "data.classes", "train_count": "data.train_count", "test_count": "data.test_count",
              "seed": "data.shapes_seed"}
    options = {key: recipe.get(path) for key, path in shapes.items() if recipe.get(path) is not None}
    return open_source(recipe.get("data.name"), root=expand(recipe.get("data.root", "")),
                       labels=recipe.get("data.labels", "fine"), download=recipe.get("data.download", False),
                       resolution=resolution_of(recipe), float_max=recipe.get("data.float_max"), **options)


def open_betons(recipe: Recipe, source: Source, on_progress: OnProgress = None,
                on_warning: OnWarning = None) -> dict[str, Beton]:
    """The beton of each split of the source; written where the cache has no valid one. on_warning also takes the
    source's notes."""
    for note in source.notes if on_warning else ():
        on_warning(note)
    cache = expand(recipe.section("data").cache)
    return {split: ensure(source, split, cache, on_progress=on_progress, on_warning=on_warning)
            for split in source.splits}


class Unchanged:
    """Notices when the betons are no longer the files that the run started with."""

    def __init__(self, betons: Iterable[Beton]):
        self.betons = list(betons)
        self.stats = self._stats()

    def refuse_others(self, way: str) -> None:
        """EngineError ending with `way` where one was changed or removed; a file is only read if its stat changed."""
        if self._stats() == self.stats:
            return
        self.stats = self._stats()
        for beton in self.betons:
            try:
                same = sha256_of(beton.path) == beton.sha256
            except OSError:
                same = False
            if not same:
                raise EngineError(f"{beton.path} was changed or removed while the run read it; {way}")

    def _stats(self) -> list[tuple[int, int, int]]:
        stats = [beton.path.stat() for beton in self.betons if beton.path.exists()]
        return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]
