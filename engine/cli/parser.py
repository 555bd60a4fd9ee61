"""Shared by the commands: reading the command line, the table of settings, errors as one line with status 2."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.cli.lossy_stream import lossy
from engine.cli.signals import noting_ctrl_c
from engine.common.errors import EngineError
from engine.common.files import refuse_unwritable
from engine.distributed.torchrun import speaks_for_all
from loaders.common.errors import DataError
from recipes.settings.docstring import docstring
from recipes.settings.load import RecipeError, as_text, in_one_line
from recipes.settings.messages import nearest_settings
from recipes.settings.schema import declare

USER_ERRORS = (RecipeError, DataError, EngineError)


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations, with one-line errors and settings."""

    def __init__(self, module: str, about: str | None, settings: bool = True):
        super().__init__(prog=f"python -m {module}", description=about or docstring(module), allow_abbrev=False,
                         formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False)
        self.takes_settings = settings
        self.add_argument("-h", "--help", action="store_true", help="show this help")

    def error(self, message):
        raise EngineError(f"{message} (see --help)")

    def read(self, argv: Sequence[str] | None) -> tuple[argparse.Namespace, dict[str, str]]:
        """The command's options, and the recipe's settings (`--train.epochs=3` or `--train.epochs 3`)."""
        argv = list(sys.argv[1:] if argv is None else argv)
        own, settings = [], {}
        while argv:
            word = argv.pop(0)
            name, equals, value = word.partition("=")
            if not (self.takes_settings and name.startswith("--") and "." in name):
                own.append(word)
                continue
            path, shown = name[2:], in_one_line(name)
            if not equals:
                if not argv or argv[0].startswith("--"):
                    raise EngineError(f"{shown} needs a value: {shown}=VALUE")
                value = argv.pop(0)
            if path in settings:
                raise EngineError(f"{shown} is given twice: keep one of {in_one_line(settings[path])} and "
                                  f"{in_one_line(value)}")
            settings[path] = value
        if "-h" in own or "--help" in own:
            print_help(self)
            raise SystemExit(0)
        options, rest = self.parse_known_args(own)
        if rest:
            self.error(f"{in_one_line(rest[0])} is unknown{self._hint(*rest[:2])}")
        if isinstance(file := getattr(options, "json", None), str):
            refuse_unwritable(Path(file))
        return options, settings

    def _hint(self, word: str, following: str = "") -> str:
        """What an unknown word may mean: an option, or a setting with the value that came with the word."""
        name, _, value = word.partition("=")
        value = value or ("VALUE" if following.startswith("-") else following or "VALUE")
        options = [option.lstrip("-") for action in self._actions for option in action.option_strings]
        settings = [".".join(path) for path in declare().entries] if self.takes_settings else []
        near = nearest_settings(name.lstrip("-"), settings, options)
        shown = [f"--{each}={in_one_line(value)}" if "." in each else f"--{each}" for each in near]
        return f"; did you mean {' or '.join(shown)}?" if shown else ""


def print_help(parser: Parser) -> None:
    """The command's options, then every setting with its type, default and unit."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    console.print(escape(parser.format_help()))
    if not parser.takes_settings:
        return
    console.print("Settings, as --section.name=VALUE or in a file (--config-file):\n")
    table = Table(*(Column(title, overflow="fold") for title in ("setting", "default", "unit", "allowed", "meaning")),
                  box=None, pad_edge=False)
    section = None
    for path, param in declare().entries.items():
        if param.section is not section:
            section = param.section
            needs = f" (only with {section.condition})" if section.condition else ""
            table.add_row(f"[bold]{section.ns[0]}[/]", "", "", "", f"[bold]{escape(section.desc + needs)}[/]")
        default = "unset" if param.default is None else as_text(param.default) or '""'
        table.add_row(f"  {'.'.join(path)}", escape(default), param.unit, escape(param.checker.help()),
                      escape(param.desc))
    console.print(table)


def run_command(main: Callable[[], int | None]) -> None:
    """Run a command's main and exit: with 0 or its status, 2 after a user's mistake, 130 after Ctrl-C.

    What it prints need not arrive: a closed terminal, a reader that left and a full disk end no command.
    """
    line, streams = "", (sys.stdout, sys.stderr)
    for name in ("stdout", "stderr"):
        # Closed by whoever started the command (`>&-`): what is shown is lost, and no other file takes the descriptor.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A class or folder may have a name that the terminal's encoding lacks.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout, sys.stderr = lossy(sys.stdout), lossy(sys.stderr)
    try:
        with noting_ctrl_c() as interrupts:
            status = main() or 0
        if interrupts and not status:
            raise KeyboardInterrupt
    except USER_ERRORS as error:
        line, status = f"error: {error}" if speaks_for_all() else "", 2
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) or interrupts:
            # A library can turn a KeyboardInterrupt into another error.
            line, status = "interrupted", 130
        elif getattr(error, "errno", None) == errno.ENAMETOOLONG:
            line, status = f"error: {in_one_line(error.filename)} is longer than a name may be: choose a shorter one", 2
        else:
            raise
    finally:
        sys.stdout.flush()
        if line:
            print(line, file=sys.stderr, flush=True)
        if None not in streams:
            sys.stdout, sys.stderr = streams
    raise SystemExit(status)
