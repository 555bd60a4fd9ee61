"""What is installed, which devices and precisions there are, and the one command that mends what is missing:
`python -m engine.doctor [--json FILE]`; exit status 0 where everything is there, 1 where something is missing."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from engine.errors import EngineError
from engine.files import write_atomic
from engine.health import Finding, examine, mend_command

MARKS = {True: "ok", False: "MISSING", None: ""}


class Parser(argparse.ArgumentParser):
    """Python's own parser, as the doors' needs packages that may be what is missing."""

    def error(self, message):
        raise EngineError(f"{message} (--help shows what there is)")


def main(argv: list[str] | None = None) -> int:
    """The door: look, show, say what to do."""
    parser = Parser(prog="python -m engine.doctor", description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", metavar="FILE", help="write the findings as JSON too")
    options = parser.parse_args(argv)
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
        from recipes.schema import declare
    except ImportError:
        return None
    return Path(declare().entries["data", "cache"].default).expanduser()


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
