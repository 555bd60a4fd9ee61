"""Runs engine.train as several processes that communicate by gloo, forked from one that has imported everything: a run
takes the time that it computes, not that of starting. Without torchrun, but with the environment that it sets.

    python peers.py JOBS.json      [{"ranks": 2, "words": ["--recipe", ...], "measure": FILE or null,
                                    "poison": [epoch, step, rank, weight] or null}, ...]

With `measure` nothing is trained: the initial network is evaluated and the result written to FILE. With `poison` a
weight is this large for that batch, in that process.
"""

import json
import os
import signal
import sys
from functools import partial

from tests.engine.poison import poisoned


def keep_store() -> tuple[int, int]:
    """(process, port) of a store like torchrun's, in a process of its own: nothing may be forked beside its threads."""
    reading, writing = os.pipe()
    store_process = os.fork()
    if store_process == 0:
        from torch.distributed import TCPStore

        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        os.write(writing, str(store.port).encode())
        signal.pause()
    port = int(os.read(reading, 16))
    os.close(reading)
    os.close(writing)
    return store_process, port


def fork(ranks: int, act) -> list[int]:
    """Call `act()` in `ranks` child processes; returns their exit statuses."""
    (store_process, port), children = keep_store(), []
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            if ranks > 1:
                os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK=str(rank),
                                  LOCAL_WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
                                  TORCHELASTIC_USE_AGENT_STORE="True")
            status = 70
            try:
                act()
            except SystemExit as leaving:
                status = leaving.code
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        children.append(child)
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    os.kill(store_process, signal.SIGKILL)
    os.waitpid(store_process, 0)
    return statuses


def train(words: list[str], poison: list | None) -> None:
    from engine.cli import parser
    from engine.train import main
    from engine.training.step import TrainStep

    if poison:
        TrainStep.__call__, _ = poisoned(*poison)
    parser.run_command(partial(main, words))


def measure(words: list[str], file: str) -> None:
    from engine.build.run import build
    from engine.cli.parser import Parser
    from engine.session import launch
    from recipes.settings.load import load

    options, settings = Parser("peers", "").read(words[2:])
    recipe = load(words[1], settings=settings)

    def evaluate(process_group) -> int:
        run = build(recipe, process_group=process_group)
        result = run.evaluate(run.feeds.test)
        if process_group is None or process_group.leads:
            shown = {name: getattr(value, "tolist", lambda value=value: value)()
                     for name, value in vars(result).items()}
            with open(file, "w") as out:
                json.dump(shown, out)
        return 0

    raise SystemExit(launch.run(evaluate))


if __name__ == "__main__":
    # Before the fork, once for all; every optimiser of torch imports torch's compiler.
    import torch._inductor.config  # noqa: F401

    import engine.session.resume  # noqa: F401
    from loaders.feeds.ffcv_fixes import import_ffcv

    import_ffcv()
    with open(sys.argv[1]) as jobs:
        for job in json.load(jobs):
            act = partial(train, job["words"], job["poison"])
            if job["measure"]:
                act = partial(measure, job["words"], job["measure"])
            print(json.dumps(fork(job["ranks"], act)), flush=True)
