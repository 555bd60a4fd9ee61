"""Who may import whom: the flow is recipe, engine, loaders, and never back."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("recipes", "loaders", "engine", "benchmarks")
def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, relative ones made absolute."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - (node.level - 1)] if node.level else []
            base = ".".join([*parts, node.module] if node.module else parts)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def rooms_of(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)} & set(ROOMS)


@pytest.mark.parametrize("path", files("recipes") + files("loaders"), ids=str)
def test_recipes_and_loaders_import_no_other_room(path):
    assert rooms_of(path) <= {path.relative_to(ROOT).parts[0]}


@pytest.mark.parametrize("path", files("engine"), ids=str)
def test_the_engine_does_not_import_benchmarks(path):
    assert "benchmarks" not in rooms_of(path)


# A door is a command; everything under it is shared, so no door needs another.
DOORS = {path.stem for path in (ROOT / "engine").glob("*.py") if '__name__ == "__main__"' in path.read_text()}
# Only files directly in engine/ know recipes; what these compose is given explicit arguments.
READERS = {path.stem for path in (ROOT / "engine").glob("*.py") if "recipes" in rooms_of(path)}
LOWER = [path for path in files("engine") if path.parent != ROOT / "engine"]


def test_the_doors_and_the_readers_are_found():
    assert {"train", "evaluate", "data", "doctor", "lr_find", "reproduce"} <= DOORS
    assert {"train", "build", "feeds", "plan", "session"} <= READERS and not {"files", "errors", "gradcam"} & READERS


@pytest.mark.parametrize("path", LOWER, ids=str)
def test_below_the_composition_root_nothing_reads_a_recipe(path):
    assert "recipes" not in rooms_of(path)


@pytest.mark.parametrize("path", LOWER, ids=str)
def test_the_lower_rooms_of_the_engine_import_no_door_and_not_the_root(path):
    assert not imported(path) & {f"engine.{name}" for name in READERS | DOORS}


@pytest.mark.parametrize("door", sorted(DOORS))
def test_no_door_imports_another(door):
    assert not imported(ROOT / "engine" / f"{door}.py") & {f"engine.{other}" for other in DOORS - {door}}


@pytest.mark.parametrize("path", files("recipes"), ids=str)
def test_a_recipe_imports_at_most_one_sibling(path):
    siblings = {name.split(".")[1] for name in imported(path) if name.startswith("recipes.")}
    if path.stem not in ("load", "schema", "checkers", "conflicts", "setting", "__init__"):
        assert len(siblings) <= 1


def test_the_policy_language_needs_neither_numba_nor_torch_nor_ffcv():
    seen, todo = set(), ["loaders.policy", "loaders.sources"]
    while todo:
        name = todo.pop()
        path = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        if name in seen or not path.is_file():
            continue
        seen.add(name)
        names = top_level_imports(path)
        assert not {n.split(".")[0] for n in names} & {"torch", "torchvision", "numba", "ffcv"}, (name, names)
        todo += [n for n in names if n.startswith("loaders.")]
    assert "loaders.policy" in seen


def top_level_imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    copy = path.with_suffix(".py")
    package = ".".join(copy.relative_to(ROOT).parts[:-1])
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            base = f"{package}.{node.module}" if node.level and node.module else node.module or package
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found
