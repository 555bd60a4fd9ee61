"""Fuzz of recipes: odd names, types and values in YAML, JSON and on the command line; and how bytes are mutated."""

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.drills.table import Tries

# Starting a process, making or removing things, reaching for the network.
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
    """A few settings of recipe `name`, some with odd values or odd names."""
    from recipes.settings import load

    base = load.load(name)
    found: dict[str, object] = {}
    for _ in range(dice.randint(1, 4)):
        path = dice.choice(list(base.values))
        value = dice.choice(ODD) if dice.random() < 0.4 else load.as_plain(base.values[path])
        if path == "augment.policy" and dice.random() < 0.7:
            value = dice.choice(POLICIES)
        if dice.random() < 0.1:
            path = mutate(path.encode(), dice).decode("utf-8", "replace")
        found[path] = value
    return found


def recipes(tries: Tries, place: Path, count: int) -> None:
    """mutated recipes (YAML, JSON, command line)."""
    from engine import train

    dice = random.Random(0)

    def once(number: int) -> None:
        name = dice.choice(["quickstart"] * 4 + ["baseline", "resnet50", "pocket10"])
        settings = odd_settings(name, dice)
        if dice.random() < 0.05:
            name = mutate(name.encode(), dice).decode("latin-1")
        words = ["--recipe", name, f"--run.folder={place / 'run'}"]
        if number % 3 == 0:
            words += [f"--{path}={value}" if dice.random() < 0.9 else f"--{path}" for path, value in settings.items()]
        else:
            # Half are cut and mixed as text, half are well-formed but odd.
            text = json.dumps(settings, indent=1).encode()
            if number % 2:
                text = mutate(text, dice)
            if dice.random() < 0.15:
                text = dice.choice(YAML_EVIL).encode()
            file = place / f"file.{'json' if number % 3 == 1 else 'yaml'}"
            file.write_bytes(text)
            words += ["--config-file", str(file)]
        # As the command does it, up to where the work begins.
        tries.bears(lambda: checked(train.main, words))

    seen = watched(lambda: [once(number) for number in range(count)])
    tries.survives(lambda: not seen and not (place / "run").exists())
    if seen:
        tries.lost.append(f"it did {seen[:5]}")


class Began(Exception):
    """The command got past its checks."""


def checked(main: Callable, words: list[str]) -> None:
    """Run a door's main up to the beginning of its work."""
    from engine.session import launch

    def start(recipe, process_group=None):
        raise Began

    launch.start = start
    try:
        main(words)
    except Began:
        pass


def watched(run: Callable[[], None]) -> list[str]:
    """The forbidden events of `run()`."""
    seen: list[str] = []
    on = [True]
    sys.addaudithook(lambda event, arguments: seen.append(event) if on[0] and event in FORBIDDEN else None)
    try:
        run()
    finally:
        on[0] = False
    return seen


def mutate(content: bytes, dice: random.Random) -> bytes:
    """A few bytes changed, taken out, doubled or put in; sometimes the end cut off."""
    broken = bytearray(content)
    for _ in range(dice.randint(1, 3)):
        at, many = dice.randrange(len(broken) + 1), dice.choice([1, 1, 1, 2, 8])
        kind = dice.choice([0, 0, 0, 1, 2, 3])
        if kind == 0:
            for place in range(at, min(at + many, len(broken))):
                broken[place] = dice.randrange(256)
        elif kind == 1 and len(broken) > many:
            del broken[at:at + many]
        elif kind == 2:
            broken[at:at] = broken[at:at + many]
        else:
            broken[at:at] = dice.randbytes(many)
    return bytes(broken[:dice.randrange(len(broken) + 1)] if dice.random() < 0.15 else broken)
