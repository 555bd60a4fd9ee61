"""Seeded mutations of bytes, and a hook in the interpreter that notes whatever a file might make its reader do."""

import random
import sys
from collections.abc import Callable

# Starting a process, making or removing things, reaching for the network.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "os.mkdir", "os.rmdir",
             "os.remove", "os.rename", "shutil.rmtree", "socket.connect", "ctypes.dlopen", "builtins.input")


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
