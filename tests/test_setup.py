"""The distribution holds every package of the repository, by name."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_package_is_named():
    call = next(node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup")
    named = ast.literal_eval(next(word.value for word in call.keywords if word.arg == "packages"))
    rooms = ("benchmarks", "engine", "loaders", "recipes")
    found = [file.parent.relative_to(ROOT) for room in rooms for file in (ROOT / room).rglob("__init__.py")]
    assert sorted(named) == sorted(".".join(folder.parts) for folder in found)
