"""Tests in a fork of a process that has imported what they need besides the project itself."""

import gc
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import hypothesis
import pytest

# What a fork imports anew.
PROJECT = {"engine", "loaders", "recipes", "tests"}


def preload(modules: Iterable[str]) -> None:
    """Import here what every fork needs, and make hypothesis leave out the search for the smallest counterexample."""
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception:  # a module that another one makes as it is imported
            continue
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", phases=phases, database=None)
    hypothesis.settings.load_profile("mutants")
    gc.collect()
    gc.freeze()


def run_pytest(words: Sequence[str], folder: str, plugin: object) -> int:
    return int(pytest.main([*words, "-q", "--tb=line", "-p", "no:cacheprovider", f"--basetemp={folder}"],
                           plugins=[plugin]))


def forked(function: Callable[[], int], log: Path | str) -> int:
    """Call `function` in a fork that has imported nothing of the project, which ends with its result as status; returns
    the fork's number."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for name in [name for name in sys.modules if name.partition(".")[0] in PROJECT]:
            del sys.modules[name]
        status = function()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
