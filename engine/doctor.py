"""Is everything there, and what bounds a recipe?

    python -m engine.doctor [--json FILE]
    python -m engine.doctor --recipe NAME [--seconds S] [--json FILE] [--out DIR] [--section.name=VALUE ...]

Without a recipe: what is installed, which devices and precisions there are, and the one command that mends what is
missing; exit status 0 where everything is there, 1 where something is missing. With one: its feed, transfer and step
measured alone and together, which of them bounds the run, and which setting to change; a roofline in --out.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from engine.common.errors import EngineError
from engine.common.files import expand, make_folder, write_atomic, write_json
from engine.diagnostics.install import Finding, examine, mend_command

MARKS = {True: "ok", False: "MISSING", None: ""}
# What only a whole run looks at.
IDLE = ("run.", "eval.", "checkpoint.", "log.", "train.epochs", "train.repeats", "train.stop_at", "train.patience",
        "train.min_delta")


class Parser(argparse.ArgumentParser):
    """Python's own parser, as the doors' needs packages that may be what is missing."""

    def error(self, message):
        raise EngineError(f"{message} (--help shows what there is)")


def main(argv: list[str] | None = None) -> int:
    """The door: a recipe is diagnosed; without one: look, show, say what to do."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if any(word.partition("=")[0] == "--recipe" for word in argv):
        return with_recipe(argv)
    parser = Parser(prog="python -m engine.doctor", description=__doc__, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the findings as JSON too")
    options, rest = parser.parse_known_args(argv)
    if rest:
        parser.error(f"{rest[0]} is unknown, or needs --recipe NAME")
    print("looking; importing FFCV takes several seconds ...", flush=True)
    findings = examine(default_cache())
    command = mend_command(findings)
    show(findings)
    if options.json:
        report = {"ok": command is None, "mend": command, "findings": [asdict(finding) for finding in findings]}
        write_atomic(Path(options.json), (json.dumps(report, indent=2) + "\n").encode())
    if command is None:
        print("everything is there")
        return 0
    print(f"to mend what is missing:\n\n    {command}\n")
    return 1


def default_cache() -> Path | None:
    """Where betons are kept unless a recipe says otherwise; None where the settings cannot be read."""
    try:
        from recipes.settings.schema import declare
    except ImportError:
        return None
    return expand(declare().entries["data", "cache"].default)


def show(findings: list[Finding]) -> None:
    """A table; plain columns where rich is what is missing."""
    rows = [(finding.name, finding.found, finding.needed, MARKS[finding.ok]) for finding in findings]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for name, found, needed, mark in rows:
            print(f"{mark:<8}{name:<18}{found}" + (f"  (needed: {needed})" if needed else ""))
        return
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    table = Table()
    for title in ("what", "found", "needed", ""):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*row, style="bold red" if row[-1] == MARKS[False] else None)
    console.print(table)


def with_recipe(argv: list[str]) -> int:
    """The door with a recipe; every mistake of the user's is an EngineError."""
    try:
        from engine.cli.parser import USER_ERRORS

        return ask(argv)
    except ImportError as error:
        raise EngineError(f"--recipe needs a package that cannot be imported ({error}): python -m engine.doctor alone "
                          "says what mends it") from None
    except USER_ERRORS as error:
        raise EngineError(str(error)) from None


def ask(argv: list[str]) -> int:
    """Parse, check, diagnose, draw, tell."""
    from engine.cli.parser import Parser
    from recipes.settings import load

    parser = Parser("engine.doctor", __doc__)
    parser.add_argument("--recipe", metavar="NAME", help="which recipe (python -m engine.train --list shows them)")
    parser.add_argument("--config-file", metavar="FILE", help="settings in YAML or JSON, below the command line's")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="measured a part (3)")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON here too")
    parser.add_argument("--out", metavar="DIR", help="folder for picture and result (default: runs/doctor/<recipe>)")
    options, settings = parser.read(argv)
    if not 0.1 <= options.seconds <= 600:
        raise EngineError(f"--seconds={options.seconds:g} must be from 0.1 to 600")
    idle = [path for path in settings if path.startswith(IDLE)]
    if idle:
        raise EngineError(f"--{idle[0]} has no effect on what bounds a run: leave it out")
    recipe = load.load(options.recipe, options.config_file, settings)

    from engine.build.preflight import refuse_early

    refuse_early(recipe)
    from engine.cli.console import Screen
    from engine.diagnostics.recipe import diagnose_recipe, tell

    folder = make_folder(Path(options.out) if options.out else Path("runs", "doctor", recipe.name))
    with Screen() as screen:
        report = diagnose_recipe(recipe, options.seconds, folder / "roofline.png", screen)
        for path in (folder / "doctor.json", *([Path(options.json)] if options.json else [])):
            write_json(path, report)
        tell(report, screen)
    return 0


if __name__ == "__main__":
    try:
        status = main()
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)
