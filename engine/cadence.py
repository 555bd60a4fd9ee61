"""One command for everything: `cadence train ...` is `python -m engine.train ...`."""

import runpy
import sys

from engine.cli.lossy_stream import lossy
from engine.cli.overview import OVERVIEW, SUMMARIES
from engine.common.errors import EngineError


def main() -> int:
    """Run the command named by the first word, or print help, version or completion; returns the exit status."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in SUMMARIES:
        # As python -m: the command is the main module, so that processes it starts find it.
        sys.argv = [name, *rest]
        runpy.run_module(f"engine.{name}", run_name="__main__", alter_sys=True)
        return 0
    try:
        print(answer(name, rest), file=lossy(sys.stdout), flush=True)
    except EngineError as error:
        print(f"error: {error}", file=lossy(sys.stderr), flush=True)
        return 2
    return 0


def answer(name: str, rest: list[str]) -> str:
    """The help, the version or a shell's completion; EngineError for anything else."""
    if name in ("-h", "--help"):
        return OVERVIEW
    # Imported late: the help needs none of these.
    if [name, *rest] == ["--version"]:
        from importlib import metadata

        try:
            return f"cadence {metadata.version('cadence-train')}"
        except metadata.PackageNotFoundError:
            return "cadence from a checkout that is not installed"
    if name == "completion":
        from engine.cli.completion import script

        return script(rest)
    from engine.common.text import known_names

    raise EngineError(f"{name} is not a command; {known_names(name, [*SUMMARIES, 'completion'])}")


if __name__ == "__main__":
    sys.exit(main())
