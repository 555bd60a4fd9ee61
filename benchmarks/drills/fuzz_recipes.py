"""Fuzz of recipes: odd names, types and values in YAML, JSON and on the command line."""

import json
import random
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from unittest.mock import patch

from benchmarks.drills.damage import mutated
from benchmarks.drills.table import Checks
from engine import train
from engine.session import launch
from recipes.settings import load

# Audit events that start a process, make or remove files, or use the network.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "os.mkdir", "os.rmdir",
             "os.remove", "os.rename", "shutil.rmtree", "socket.connect", "ctypes.dlopen", "builtins.input")
# Values that have broken readers of settings before.
ODD = [None, True, False, 0, -1, 1, 2**63, -(2**70), 10**400, 0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), "",
       " ", "nan", "1e999", "true", "0x10", "1_000", "٣", "\x00", "a\nb", "é" * 50, "{}", "[]", "x" * 5000,
       "$(touch /nowhere/x)", "__import__('os').system('true')", "{0.__class__}", "%s%n", "../../etc/passwd", [], {},
       [[]], [1, 2, 3], [0.5, 0.5, 0.5], {"a": 1}, {1: 2}, [{"name": "a", "epochs": 1, "lrs": {"*": 1}}], [None],
       {"": {}}]
YAML_EVIL = ["!!python/object/apply:os.system ['true']", "!!python/name:os.system", "&a [*a, *a]", "!!binary gA==",
             "!!set {a, b}", "? {a: b}\n: c", "<<: {train.epochs: 3}", "%YAML 9.9\n---\na: b", "2001-01-01: 1",
             "[" * 2000,
             "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(12)),
             "train:\n  epochs: 3\ntrain:\n  epochs: 4", "- a\n- b", "train: 3", "\t", "a: b: c", "---\n---\n"]
POLICIES = ["crop(pad_px=2)", "flip(), flip()", "maybe(flip(), p=2)", "one_of()", "crop(pad_px=10**10)", "(" * 500,
            "flip(p=__import__('os'))", "lambda: 0", "rotate(degrees=(1,2,3))", "crop(pad_px=True)", "ü()", "f" * 5000,
            "maybe(" * 60 + "flip()" + ")" * 60, "resize(px=99999)", "flip()," * 200, "crop(pad_px=-1)",
            "crop(pad_px=1e400)"]


def odd_settings(name: str, dice: random.Random) -> dict[str, object]:
    """A few settings of the recipe `name`, some with odd values or odd names."""
    base = load.load(name)
    found: dict[str, object] = {}
    for _ in range(dice.randint(1, 4)):
        path = dice.choice(list(base.values))
        value = dice.choice(ODD) if dice.random() < 0.4 else load.as_plain(base.values[path])
        if path == "augment.policy" and dice.random() < 0.7:
            value = dice.choice(POLICIES)
        if dice.random() < 0.1:
            path = mutated(path.encode(), dice).decode("utf-8", "replace")
        found[path] = value
    return found


def recipes(checks: Checks, place: Path, count: int) -> None:
    """mutated recipes (YAML, JSON, command line)."""
    dice = random.Random(0)

    def once(number: int) -> None:
        name = dice.choice(["quickstart"] * 4 + ["baseline", "resnet50", "pocket10"])
        settings = odd_settings(name, dice)
        if dice.random() < 0.05:
            name = mutated(name.encode(), dice).decode("latin-1")
        words = ["--recipe", name, f"--run.folder={place / 'run'}"]
        if number % 3 == 0:
            words += [f"--{path}={value}" if dice.random() < 0.9 else f"--{path}" for path, value in settings.items()]
        else:
            # Half are mutated as text, half are well-formed but odd.
            text = json.dumps(settings, indent=1).encode()
            text = mutated(text, dice) if number % 2 else text
            text = dice.choice(YAML_EVIL).encode() if dice.random() < 0.15 else text
            file = place / f"file.{'json' if number % 3 == 1 else 'yaml'}"
            file.write_bytes(text)
            words += ["--config-file", str(file)]
        # The command, up to the start of its work.
        with patch.object(launch, "start", lambda recipe, process_group=None: 0):
            checks.bears(lambda: train.main(words) in (0, None))

    check_all(checks, [partial(once, number) for number in range(count)], place / "run")


def check_all(checks: Checks, calls: Iterable[Callable[[], None]], trap: Path | None = None) -> None:
    """Make the calls; none may cause a FORBIDDEN event or make `trap`."""
    events = audited(lambda: [call() for call in calls])
    checks.survives(lambda: not events and not (trap and trap.exists()))
    if events:
        checks.lost.append(f"a file caused {events[:5]}")


def audited(run: Callable[[], object]) -> list[str]:
    """The FORBIDDEN events of `run()`."""
    events: list[str] = []
    # An audit hook cannot be removed.
    active = True
    sys.addaudithook(lambda event, arguments: events.append(event) if active and event in FORBIDDEN else None)
    try:
        run()
    finally:
        active = False
    return events
