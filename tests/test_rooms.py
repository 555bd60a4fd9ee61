"""The map of the project: which folder may import which. Values flow recipe, engine, loaders, and never back."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the ground up: a folder imports those that its row names, and each of them stands above it in this table.
MAY_IMPORT = {
    "recipes": "",
    "recipes/settings": "recipes",

    "loaders/common": "",
    "loaders/policy": "loaders/common",
    "loaders/sources": "loaders/common",
    "loaders/beton": "loaders/common loaders/sources",
    "loaders/host": "loaders/common loaders/policy",
    "loaders/kernels": "loaders/common loaders/policy",
    "loaders/device": "loaders/common loaders/policy loaders/kernels",
    "loaders": "",
    "loaders/feeds": "loaders/common loaders/policy loaders/beton loaders/host loaders/device",

    "engine/common": "loaders/common",
    "engine/optim": "loaders/common engine/common",
    "engine/distributed": "engine/common",
    "engine/plots": "engine/common",
    "engine/kernels": "engine/common",
    "engine/training": "engine/common engine/optim engine/distributed",
    "engine/storage": "recipes/settings loaders/common engine/common engine/training",
    "engine/models": "loaders/common engine/common engine/kernels engine/storage",
    "engine/cli": "recipes/settings loaders/common engine/common engine/distributed engine/storage",
    # The composition root: below it only `storage` and `cli` know what a recipe is, to keep and to read one.
    "engine/build": "recipes/settings loaders/common loaders/policy loaders/sources loaders/beton loaders/kernels "
                    "loaders/feeds engine/common engine/optim engine/distributed engine/kernels engine/training "
                    "engine/storage engine/models",
    "engine/inference": "recipes/settings loaders/common loaders/sources loaders/beton loaders/device loaders/feeds "
                        "engine/common engine/training engine/storage engine/build",
    "engine/data_tools": "recipes/settings loaders/common loaders/policy loaders/beton loaders/host loaders/feeds "
                         "engine/common engine/plots engine/cli engine/build",
    "engine/diagnostics": "recipes/settings loaders/common loaders/policy loaders/beton loaders/host loaders/kernels "
                          "loaders/device loaders/feeds engine/common engine/plots engine/training engine/cli "
                          "engine/build",
    "engine/tuning": "recipes/settings loaders/common engine/common engine/optim engine/plots engine/training "
                     "engine/storage engine/cli engine/build",
    "engine/exporting": "recipes/settings engine/common engine/optim engine/training engine/storage engine/build "
                        "engine/inference",
    "engine/reporting": "recipes/settings loaders/common loaders/policy loaders/beton loaders/host engine/common "
                        "engine/plots engine/training engine/storage engine/build engine/inference",
    "engine/session": "recipes/settings loaders/common engine/common engine/distributed engine/kernels engine/training "
                      "engine/storage engine/cli engine/build engine/reporting",
    # The commands: parse, call, show.
    "engine": "recipes/settings engine/common engine/plots engine/storage engine/cli engine/build engine/inference "
              "engine/data_tools engine/diagnostics engine/tuning engine/exporting engine/reporting engine/session",

    "benchmarks/common": "recipes/settings loaders/feeds engine/common engine/optim engine/training engine/build",
    "benchmarks/modelling": "recipes/settings loaders/policy loaders/device loaders/feeds engine/common "
                            "engine/training engine/build benchmarks/common",
    "benchmarks/throughput": "recipes/settings loaders/common loaders/policy loaders/beton loaders/host loaders/feeds "
                             "engine/common engine/plots engine/training engine/models engine/build "
                             "engine/diagnostics benchmarks/common benchmarks/modelling",
    "benchmarks/drills": "recipes/settings loaders/common loaders/policy loaders/sources loaders/beton loaders/feeds "
                         "engine/common engine/training engine/storage engine/cli engine/inference engine/session "
                         "engine",
    "benchmarks/mutation": "engine/common",
    "benchmarks": "recipes/settings loaders/policy loaders/feeds engine/common engine/plots "
                  "engine/training engine/cli engine/build engine/data_tools benchmarks/common benchmarks/modelling "
                  "benchmarks/throughput benchmarks/drills benchmarks/mutation",
}
FILES = sorted(path for package in ("recipes", "loaders", "engine", "benchmarks") for path in
               (ROOT / package).rglob("*.py"))
COMMANDS = sorted(path for path in (ROOT / "engine").glob("*.py") if path.stem != "__init__")
FEW_FILES = 15


def folder_of(path: Path) -> str:
    return path.relative_to(ROOT).parent.as_posix()


def imported_files(path: Path, tree: ast.AST | None = None) -> set[Path]:
    """The project's files that a file imports, wherever in it; of `import a.b` and `from a import b` alike `a/b.py`."""
    names = set()
    for node in ast.walk(tree or ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are written out, not relative"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {file for name in names if (file := file_of(name.split(".")))}


def file_of(parts: list[str]) -> Path | None:
    """The file that holds what a dotted name names: a module, something in one, or a package."""
    for place in (ROOT.joinpath(*parts), ROOT.joinpath(*parts[:-1])):
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if place != ROOT and file.is_file():
                return file
    return None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_imports_only_what_the_map_lets_its_folder(path):
    own = folder_of(path)
    strange = {folder_of(file) for file in imported_files(path)} - {own, *MAY_IMPORT[own].split()}
    assert not strange, f"{own} may not import {', '.join(sorted(strange))}"


def test_the_map_has_a_row_for_each_folder_and_no_arrow_points_back():
    assert set(MAY_IMPORT) == {folder_of(path) for path in FILES}
    below = set()
    for folder, imports in MAY_IMPORT.items():
        assert set(imports.split()) <= below, f"{folder} imports what stands below it in the map"
        below.add(folder)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_the_map_names_no_arrow_that_nobody_needs(folder):
    used = {folder_of(file) for path in FILES if folder_of(path) == folder for file in imported_files(path)}
    assert set(MAY_IMPORT[folder].split()) <= used


def test_no_files_import_each_other_in_a_circle():
    imports = {path: imported_files(path) - {path} for path in FILES}
    while outside := [path for path, files in imports.items() if not files & imports.keys()
                      or not any(path in others for others in imports.values())]:
        imports = {path: files - {*outside} for path, files in imports.items() if path not in outside}
    assert not imports, f"a circle among {', '.join(sorted(path.relative_to(ROOT).as_posix() for path in imports))}"


@pytest.mark.parametrize("folder", sorted(set(MAY_IMPORT) - {"recipes"}))
def test_a_folder_has_few_files(folder):
    assert len([path for path in FILES if folder_of(path) == folder]) <= FEW_FILES


def test_the_engines_own_files_are_commands_and_none_needs_another():
    assert {"train", "evaluate", "data", "doctor", "lr_find", "reproduce"} <= {path.stem for path in COMMANDS}
    for path in COMMANDS:
        assert '__name__ == "__main__"' in path.read_text(), f"{path.name} is not a command"
        assert not imported_files(path) & set(COMMANDS), f"{path.name} imports another command"


@pytest.mark.parametrize("path", [path for path in FILES if folder_of(path) == "recipes"], ids=lambda path: path.stem)
def test_a_recipe_imports_at_most_one_sibling(path):
    assert len({file for file in imported_files(path) if file.stem != "__init__"}) <= 1


def test_the_policy_language_needs_neither_numba_nor_torch_nor_ffcv():
    seen, todo = set(), [ROOT / "loaders/policy/policy.py", ROOT / "loaders/sources/open.py"]
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        tree = ast.parse(path.read_text())
        # What a function imports, it needs when it is called.
        tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {node.module if isinstance(node, ast.ImportFrom) else alias.name
                 for node in tree.body for alias in node.names}
        assert not {name.split(".")[0] for name in names} & {"torch", "torchvision", "numba", "ffcv"}, (path, names)
        todo += imported_files(path, tree)
    assert ROOT / "loaders/common/counter_rng.py" in seen
