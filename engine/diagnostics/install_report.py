"""A table of what the installation has and lacks, and one command to install the rest. Standard library only."""

import os
import shlex
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from engine.common.errors import EngineError
from engine.common.files import expand, refuse_unwritable, write_json
from engine.diagnostics.install import Finding, examine
from engine.diagnostics.probes import ROOT

MARKS = {True: "ok", False: "MISSING", None: ""}


def report_install(json_file: str | None) -> int:
    """Examine the installation, show it, write it to `json_file`; 1 where something is missing, else 0."""
    if json_file:
        refuse_unwritable(Path(json_file))
    print("checking the installation; importing FFCV takes several seconds ...", flush=True)
    try:
        from recipes.settings.schema import declare

        findings = examine(expand(declare().entries["data", "cache"].default))
    except ImportError:
        findings = examine(None)
    command = mend_command(findings)
    show(findings)
    if json_file:
        write_json(Path(json_file), {"ok": command is None, "mend": command,
                                     "findings": [asdict(finding) for finding in findings]})
    print(f"to install what is missing:\n\n    {command}\n" if command else "everything is there")
    return int(command is not None)


def show(findings: list[Finding]) -> None:
    """Print a table; plain columns without rich."""
    rows = [(finding.name, finding.found, finding.needed, MARKS[finding.ok]) for finding in findings]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for name, found, needed, mark in rows:
            print(f"{mark:<8}{name:<18}{found}" + (f"  (needed: {needed})" if needed else ""))
        return
    table = Table()
    for title in ("what", "found", "needed", ""):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*row, style="bold red" if row[-1] == MARKS[False] else None)
    Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False).print(table)


def mend_command(findings: list[Finding]) -> str | None:
    """One shell line that installs or repairs all that is not ok; None if everything is."""
    bad = [finding for finding in findings if finding.ok is False]
    if not bad:
        return None
    if any(finding.name == "Python" for finding in bad):
        return "make clean setup PYTHON=python3.12  # or another Python that is new enough"
    if sys.prefix == sys.base_prefix and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists():
        # pip refuses to install into Debian's own Python.
        return shlex.join(["make", "-C", str(ROOT), "setup"]) + "  # then use its .venv/bin/python"
    sudo, pip = "" if os.geteuid() == 0 else "sudo ", shlex.join([sys.executable, "-m", "pip", "install"])
    # A cached wheel may have been compiled for other libraries.
    installers = {"apt": f"{sudo}apt-get update && {sudo}apt-get install -y", "pip": pip,
                  "anew": f"{pip} --force-reinstall --no-deps --no-cache-dir"}
    wanted = {kind: dict.fromkeys(item for finding in bad for item in getattr(finding, kind)) for kind in installers}
    return " && ".join(f"{installers[kind]} {shlex.join(items)}" for kind, items in wanted.items() if items)


def run_bare(main: Callable[[], int]) -> None:
    """Run a command's main and exit, without the packages that `engine.cli.parser.run_command` needs."""
    try:
        status = main()
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    sys.exit(status)
